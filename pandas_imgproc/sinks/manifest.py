"""Manifest of a folder: the files that this package has written there, from which sources and by which task.

A task is declared with the names that it will write, and each file is recorded just before it gets its name: every file
is known, however a run ends. Only the declaration must be durable. A file that a power cut has emptied differs from
its record, and is written again. The record of a file outlives the declaration of another task for its name, until the
file itself is replaced: it is known by its signature.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import functools
import json
import os
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from pandas_imgproc.sinks.job_spec import PATH_BITS, checksum, first_mismatch
from pandas_imgproc.sinks.journal_storage import (
    FORMAT,
    JsonJournal,
    LinesReader,
    LocalJournal,
    check_failure_kind,
    check_format,
    to_json_line,
)
from pandas_imgproc.sinks.own_names import MANIFEST
from pandas_imgproc.source import UNKNOWN_SIGNATURE, FileSignature, FileVersion, signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pandas_imgproc.errors import FailureKind

_MIN_LINES = 64
"""Lines that are not worth to be replaced by fewer."""

_NAMES_PER_LINE = 2**12
"""Files of a line of a manifest that is compacted."""


class LinesFile(LinesReader, Protocol):
    """Storage of a manifest, to which other processes may add lines."""

    def rewrite(self, function: Callable[[bytes], bytes]) -> None:
        """Replace all lines by those that a function of them returns."""


@dataclass(frozen=True)
class TaskSpec:
    """Identity of a task that writes files."""

    task: dict[str, Any]  # its fingerprint
    versions: dict[str, str] = field(compare=False)  # of the libraries that write pixels

    @classmethod
    def from_task(cls, task: Any, versions: dict[str, str]) -> TaskSpec:
        """Return the identity of a task."""
        return cls(json.loads(json.dumps(task.fingerprint())), versions)

    @functools.cached_property
    def digest(self) -> str:
        """Key of the task in the manifest's lines."""
        return f"{zlib.crc32(json.dumps(self.task, sort_keys=True).encode()):08x}"


@dataclass
class FileRecord:
    """State of one file in the manifest."""

    digest: str  # of the task that was last declared for the file
    source_checksum: int  # of the path
    source_signature: FileSignature = UNKNOWN_SIGNATURE  # when it was read
    file_signature: FileSignature | None = None  # when it was written; None if it was not
    failed: tuple[FailureKind, str] | None = None  # kind and message, if there was no image

    def is_of(self, spec: TaskSpec, source_checksum: int) -> bool:
        """Return whether a task and an image are those of the file."""
        return (self.digest, self.source_checksum) == (spec.digest, source_checksum)


@dataclass(frozen=True)
class FilePart:
    """Part of a file in the manifest, which a copy continues."""

    digest: str  # of the task
    source_checksum: int  # of the path
    version: FileVersion  # of which the part is


class FolderManifest(JsonJournal):
    """Manifest of a folder, which need not exist: records by file name, and tasks by digest."""

    _intact = (
        "the files themselves are not touched. Restore the journal from a copy; or, if this line lists files that "
        'were "made", delete it, and the same call writes them again'
    )

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._file: LinesFile = LocalJournal(os.path.join(folder, MANIFEST))
        super().__init__(self._file)

    def compact(self) -> None:
        """Replace many lines by few that say the same, with those that other processes have added."""
        if self._n_lines <= _MIN_LINES or self._n_lines * _NAMES_PER_LINE <= 8 * len(self.files):
            return
        with contextlib.suppress(OSError):  # nothing is lost without it
            self._file.rewrite(self._compacted)

    def _compacted(self, lines: bytes) -> bytes:
        self._replay_all(lines)
        replaced = {name: self._records_in_doubt(name) for name in self._replaced}
        n_layers = max(map(len, replaced.values()), default=0)
        layers = [{name: records[k] for name, records in replaced.items() if k < len(records)} for k in range(n_layers)]
        lines_of = chain.from_iterable(map(self._lines_of, [*layers, self.files]))
        parts = (part_line(name, part) for name, part in self.parts.items())
        return b"".join(map(to_json_line, chain(lines_of, parts)))

    def _records_in_doubt(self, name: str) -> list[FileRecord]:
        """Return the earlier records of a file, one of which may be that of its present content."""
        current = self.signature(name)
        return [] if current is None or self.files[name].file_signature == current else self._replaced[name]

    def _lines_of(self, records: dict[str, FileRecord]) -> Iterator[dict[str, Any]]:
        """Yield the lines that declare and record some files, one record for each."""
        by_task: defaultdict[str, list[tuple[str, FileRecord]]] = defaultdict(list)
        for name, record in records.items():
            by_task[record.digest].append((name, record))
        for digest, items in by_task.items():
            for start in range(0, len(items), _NAMES_PER_LINE):
                chunk = items[start : start + _NAMES_PER_LINE]
                yield self._declaration(self.tasks[digest], {name: record.source_checksum for name, record in chunk})
                written = {
                    name: [*record.source_signature, *record.file_signature]
                    for name, record in chunk
                    if record.file_signature is not None
                }
                failed = {
                    name: [*record.failed, *record.source_signature]
                    for name, record in chunk
                    if record.failed is not None
                }
                yield {"work": digest, "made": written, "failed": failed}

    def _reset(self) -> None:
        self._n_lines = 0
        self.files: dict[str, FileRecord] = {}
        self._replaced: defaultdict[str, list[FileRecord]] = defaultdict(list)  # earlier records, of written files
        self.tasks: dict[str, TaskSpec] = {}
        self.parts: dict[str, FilePart] = {}  # of files that are not finished

    def _replay(self, line: Any) -> None:
        self._n_lines += 1
        digest = str(line["work"])
        if "asked" in line:
            self._replay_declaration(digest, line)
        for name, part in line.get("part", {}).items():
            self.parts[name] = FilePart(digest, int(part["source"]), FileVersion.from_json(part))
        for name, (*source, size, mtime) in line.get("made", {}).items():
            self.parts.pop(name, None)
            self._apply(digest, name, source, file_signature=(int(size), int(mtime)), failed=None)
        for name, (kind, message, *source) in line.get("failed", {}).items():
            self._apply(digest, name, source, file_signature=None, failed=(check_failure_kind(kind), str(message)))

    def _replay_declaration(self, digest: str, line: dict[str, Any]) -> None:
        check_format(line)
        self.tasks[digest] = TaskSpec(dict(line["asked"]), dict(line["versions"]))
        for name, source_checksum in line["names"].items():
            self._set(name, FileRecord(digest, int(source_checksum)))

    def _apply(self, digest: str, name: str, source: list[Any], **state: Any) -> None:
        size, mtime = source
        record = self.files[name]
        if record.digest == digest:  # else another task has been declared for the file in the meantime
            self._set(name, dataclasses.replace(record, source_signature=(int(size), int(mtime)), **state))

    def _set(self, name: str, record: FileRecord) -> None:
        old = self.files.get(name)
        if old is not None and old.file_signature is not None:
            self._replaced[name].append(old)
        self.files[name] = record

    def declare(self, spec: TaskSpec, names: dict[str, int]) -> None:
        """Write the names of the files that a task will write, with the checksums of their sources, durably."""
        self._append(self._declaration(spec, names))

    @staticmethod
    def _declaration(spec: TaskSpec, names: dict[str, int]) -> dict[str, Any]:
        return {"work": spec.digest, "journal": FORMAT, "asked": spec.task, "versions": spec.versions, "names": names}

    def record_failures(self, digest: str, failed: dict[str, tuple[FailureKind, str, int, int]]) -> None:
        """Write the names of the files without an image, each with kind, message and signature of the source."""
        self._append({"work": digest, "failed": failed}, sync=False)

    def has_failed(
        self, name: str, spec: TaskSpec, failed: tuple[FailureKind, str], source_signature: FileSignature
    ) -> bool:
        """Return whether the last record of a file is this failure of a task already."""
        last = self.files.get(name)
        return (
            last is not None
            and last.digest == spec.digest
            and last.failed == failed
            and last.source_signature == source_signature
        )

    def record(self, name: str, spec: TaskSpec, source_checksum: int) -> FileRecord | None:
        """Return the last record of a file; an earlier one if its file was not replaced after all."""
        last, earlier = self.files.get(name), self._replaced.get(name, [])
        if last is not None and last.is_of(spec, source_checksum):  # the task goes on, whose file it replaces or not
            earlier = [record for record in earlier if last.file_signature and record.is_of(spec, source_checksum)]
        if last is None or not earlier:
            return last
        current = self.signature(name)
        return next((record for record in (last, *reversed(earlier)) if record.file_signature == current), last)

    def is_declared(self, name: str, spec: TaskSpec, source_checksum: int) -> bool:
        """Return whether a file of a task and an image is the one of the last declaration of its name."""
        last = self.files.get(name)
        return last is not None and last.is_of(spec, source_checksum)

    def mismatch(self, record: FileRecord, spec: TaskSpec, source_checksum: int) -> str | None:
        """Return the difference between a recorded file and a requested one; None if there is none."""
        if record.digest != spec.digest:
            return first_mismatch(self.tasks[record.digest].task, spec.task)
        return "it was written from another image, box or frame" if record.source_checksum != source_checksum else None

    def signature(self, name: str) -> FileSignature | None:
        """Return the present signature of a file; None if there is no such file."""
        try:
            return signature_of(os.lstat(os.path.join(self.folder, name)))
        except FileNotFoundError:
            return None


def record_written(path: str, digest: str, source_signature: FileSignature, file_signature: FileSignature) -> None:
    """Record a file that is about to get its name."""
    folder, name = os.path.split(path)
    line = to_json_line({"work": digest, "made": {name: [*source_signature, *file_signature]}})
    LocalJournal(os.path.join(folder, MANIFEST)).append(line, sync=False)


def part_line(name: str, part: FilePart) -> dict[str, Any]:
    """Return the line that records a part before there is any of it."""
    return {"work": part.digest, "part": {name: {"source": part.source_checksum, **part.version.to_json()}}}


def record_part(path: str, part: FilePart) -> None:
    """Record a part of a file that is about to be created."""
    folder, name = os.path.split(path)
    LocalJournal(os.path.join(folder, MANIFEST)).append(to_json_line(part_line(name, part)), sync=False)


def derived_files(paths: Sequence[str]) -> set[str]:
    """Return the files that were written from others of them.

    Raises
    ------
    JournalError
        If the manifest of a folder is damaged.
    """
    absolute = functools.cache(os.path.abspath)
    folder_by_path = {path: absolute(os.path.dirname(path)) for path in paths}
    folders = {folder for folder in set(folder_by_path.values()) if os.path.exists(os.path.join(folder, MANIFEST))}
    if not folders:
        return set()
    records = {folder: FolderManifest(folder).files for folder in folders}
    top = os.path.commonpath(list(folder_by_path.values()))
    checksums = _checksums_under(map(os.path.abspath, paths))
    derived = set()
    for path, folder in folder_by_path.items():
        record = records.get(folder, {}).get(os.path.basename(path))
        if record is not None and any(
            record.source_checksum % 2**PATH_BITS in checksums(*ancestor) for ancestor in _ancestors(folder, top)
        ):
            derived.add(path)
    return derived


def _checksums_under(paths: Iterable[str]) -> Callable[[str, int], frozenset[int]]:
    """Return a cached function ``(folder, depth)`` -> checksums of the paths under `folder`.

    Each path is relative to a directory `depth` levels below the folder.
    """
    ordered = sorted(paths)

    # Many folders share an ancestor and a depth: the paths under each are summed once, not once for each folder.
    @functools.cache
    def checksums(folder: str, depth: int) -> frozenset[int]:
        prefix = folder.rstrip(os.sep) + os.sep
        start, stop = (bisect.bisect_left(ordered, text) for text in (prefix, prefix[:-1] + chr(ord(os.sep) + 1)))
        return frozenset(checksum(f"..{os.sep}" * depth + path[len(prefix) :]) for path in ordered[start:stop])

    return checksums


def _ancestors(folder: str, top: str) -> list[tuple[str, int]]:
    """Return a folder and its ancestors up to `top`, each with its distance.

    Examples
    --------
    >>> _ancestors("/data/a/b", "/data")
    [('/data/a/b', 0), ('/data/a', 1), ('/data', 2)]
    """
    folders = [folder]
    while folders[-1] != top:
        folders.append(os.path.dirname(folders[-1]))
    return [(folder, depth) for depth, folder in enumerate(folders)]
