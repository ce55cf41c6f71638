"""Which files of a folder were made here, of what and how: a journal in each folder that is written to.

A task is announced with the names that it will make, then each file is written down just before it gets its name:
whatever ends a run, a file that stands there is known. No line need be safe on disk but the announcement. A file
that a power cut has emptied is not the one that was written down, and is made again.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import json
import os
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pandas_imgproc.errors import FAILURE_KINDS, JournalError
from pandas_imgproc.sinks.journal import SharedLocalJournal, checksum, first_mismatch
from pandas_imgproc.source import UNKNOWN_SIGNATURE, FileSignature, signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pandas_imgproc.errors import FailureKind

JOURNAL = ".pandas-imgproc.jsonl"
FORMAT = 1


@dataclass(frozen=True)
class TaskSpec:
    """What is done to make files: a task as plain values, and what did it.

    Attributes
    ----------
    task : dict
        The task as JSON has it.
    versions : dict of str to str
        Of what makes pixels.
    """

    task: dict[str, Any]
    versions: dict[str, str] = field(compare=False)

    @classmethod
    def from_task(cls, task: Any, versions: dict[str, str]) -> TaskSpec:
        """Return the work of a task."""
        return cls(json.loads(json.dumps(task.fingerprint())), versions)

    @property
    def digest(self) -> str:
        """What lines call it."""
        return f"{zlib.crc32(json.dumps(self.task, sort_keys=True).encode()):08x}"


@dataclass
class FileRecord:
    """What is known of one file.

    Attributes
    ----------
    work : str
        The sign of the work that was last announced for it.
    source_checksum : int
        A checksum of the name of its source.
    source_signature : FileSignature
        Of the source, when it was read.
    file_signature : FileSignature or None
        Of the file, when it was written; None if it was not.
    failed : tuple or None
        Kind and message, if there was no image.
    """

    work: str
    source_checksum: int
    source_signature: FileSignature = UNKNOWN_SIGNATURE
    file_signature: FileSignature | None = None
    failed: tuple[FailureKind, str] | None = None


class FolderManifest:
    """The files of a folder.

    Parameters
    ----------
    folder : str
        The folder; it need not exist.

    Raises
    ------
    JournalError
        If its journal is damaged.

    Attributes
    ----------
    files : dict of str to FileRecord
        By name.
    works : dict of str to TaskSpec
        By sign.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.files: dict[str, FileRecord] = {}
        self.works: dict[str, TaskSpec] = {}
        self._lines = SharedLocalJournal(os.path.join(folder, JOURNAL))
        for number, line in enumerate(self._lines.read().splitlines(), 1):
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError, IndexError) as exc:
                raise JournalError(
                    f"line {number} of the journal {self._lines.name!r} is damaged ({exc}); remove the journal, and "
                    "with overwrite=True the files are made anew"
                ) from exc

    def _take(self, line: Any) -> None:
        sign = str(line["work"])
        if "asked" in line:
            self._take_announced(sign, line)
        for name, (size, changed, *written) in line.get("made", {}).items():
            self._set(
                sign, name, source_signature=(int(size), int(changed)), file_signature=_stamp(*written), failed=None
            )
        for name, (kind, message, size, changed) in line.get("failed", {}).items():
            if kind not in FAILURE_KINDS:
                raise ValueError(f"{kind!r} is no kind of failure")
            self._set(
                sign, name, source_signature=(int(size), int(changed)), file_signature=None, failed=(kind, str(message))
            )

    def _take_announced(self, sign: str, line: dict[str, Any]) -> None:
        if line["journal"] != FORMAT:
            raise ValueError(f"it is of format {line['journal']!r}, this version reads {FORMAT}")
        self.works[sign] = TaskSpec(dict(line["asked"]), dict(line["versions"]))
        for name, source in line["names"].items():
            self.files[name] = FileRecord(sign, int(source))

    def _set(self, sign: str, name: str, **known: Any) -> None:
        file = self.files[name]
        if file.work == sign:  # else another work was announced for it meanwhile, and this is not what it made
            self.files[name] = dataclasses.replace(file, **known)

    # ---- lines, as they are written

    def declare(self, work: TaskSpec, names: dict[str, int]) -> None:
        """Write that files will be made, of which sources; return when it is safely on disk."""
        said = {"journal": FORMAT, "asked": work.task, "versions": work.versions, "names": names}
        self._write({"work": work.digest, **said}, sync=True)

    def record_failures(self, sign: str, failed: dict[str, tuple[FailureKind, str, int, int]]) -> None:
        """Write that there were no images to make files of."""
        self._write({"work": sign, "failed": failed})

    def _write(self, line: dict[str, Any], *, sync: bool = False) -> None:
        self._lines.append(_text(line), sync=sync)

    # ---- questions

    def mismatch(self, name: str, work: TaskSpec, source: int) -> str | None:
        """Return in what a file that is known differs from the one that is asked for."""
        file = self.files[name]
        if file.work != work.digest:
            return first_mismatch(self.works[file.work].task, work.task)
        return "it was made of another image" if file.source_checksum != source else None

    def signature(self, name: str) -> FileSignature | None:
        """Return the stamp that a file has now, None where there is none."""
        try:
            return signature_of(os.lstat(os.path.join(self.folder, name)))
        except FileNotFoundError:
            return None


def record_written(path: str, sign: str, read: FileSignature, written: FileSignature) -> None:
    """Write down a file that is about to get its name."""
    folder, name = os.path.split(path)
    SharedLocalJournal(os.path.join(folder, JOURNAL)).append(_text({"work": sign, "made": {name: [*read, *written]}}))


def derived_files(paths: Sequence[str]) -> set[str]:
    """Return which of some files were made of others of them.

    Raises
    ------
    JournalError
        If the journal of a folder is damaged.
    """
    folder_of = {path: os.path.dirname(os.path.abspath(path)) for path in paths}
    folders = {folder for folder in folder_of.values() if os.path.exists(os.path.join(folder, JOURNAL))}
    if not folders:
        return set()
    made = {folder: FolderManifest(folder).files for folder in folders}
    top = os.path.commonpath(list(folder_of.values()))
    below = _sums_below(map(os.path.abspath, paths))
    found = set()
    for path, folder in folder_of.items():
        file = made.get(folder, {}).get(os.path.basename(path))
        if file is not None and any(file.source_checksum in below(*way) for way in _ways_up(folder, top)):
            found.add(path)
    return found


def _sums_below(paths: Iterable[str]) -> Callable[[str, int], frozenset[int]]:
    """Return what gives the checksums of the paths below a folder, as seen from so many folders down."""
    ordered = sorted(paths)

    # Many folders see the same from as deep: what lies below each is summed once, not once for each folder.
    @functools.cache
    def below(folder: str, deep: int) -> frozenset[int]:
        start = folder.rstrip(os.sep) + os.sep
        first, last = (bisect.bisect_left(ordered, text) for text in (start, start[:-1] + chr(ord(os.sep) + 1)))
        return frozenset(checksum(f"..{os.sep}" * deep + path[len(start) :]) for path in ordered[first:last])

    return below


def _ways_up(folder: str, top: str) -> list[tuple[str, int]]:
    """Return a folder and those that it lies in up to one of them, and how deep it lies in each.

    Examples
    --------
    >>> _ways_up("/data/a/b", "/data")
    [('/data/a/b', 0), ('/data/a', 1), ('/data', 2)]
    """
    ways = [folder]
    while ways[-1] != top:
        ways.append(os.path.dirname(ways[-1]))
    return [(way, deep) for deep, way in enumerate(ways)]


def _text(line: dict[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def _stamp(size: Any, changed: Any) -> FileSignature:
    return int(size), int(changed)
