"""A file for each answer, written by the workers; what is there already, of the same work and image, is left."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc._atomic import atomic_write
from pandas_imgproc._shared_memory import MemfdHandle, SharedBuffer
from pandas_imgproc._timing import timed
from pandas_imgproc.errors import Failure, JournalError, failure
from pandas_imgproc.sinks.journal import checksum
from pandas_imgproc.sinks.journaled import TRANSIENT_KINDS, true_runs, versions, warn_version_change
from pandas_imgproc.sinks.manifest import FileRecord, FolderManifest, TaskSpec, record_written
from pandas_imgproc.sinks.memory import MemorySink, return_to_caller
from pandas_imgproc.source import UNKNOWN_SIGNATURE, FileSignature, InputFile, is_encoded, signature_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_imgproc.partition import PartitionResult
    from pandas_imgproc.sinks.journaled import Retry
    from pandas_imgproc.sinks.memory import PartitionWriter, Status
    from pandas_imgproc.source import Source
    from pandas_imgproc.tasks import Task


class ImageFileSink(MemorySink):
    """A file for each answer; the values of the task are the bytes of the files, those of the call are their paths.

    Parameters
    ----------
    task : Task
        Whose answers they are: objects, the bytes of a file each.
    n : int
        Rows of the frame.
    targets : sequence of str or None, ``n * task.n_outputs`` long
        The files; relative ones are below the working directory of the caller. Rows with the same one have the same
        image.
    """

    def __init__(self, task: Task, n: int, targets: Sequence[str | None]) -> None:
        super().__init__(task, n)
        self._targets = targets
        self._work = TaskSpec.from_task(task, versions())
        self._folders: dict[str, FolderManifest] = {}
        self._left = np.zeros(n, dtype=bool)
        self._twins: dict[int, int] = {}
        self._call: SharedBuffer | None = None

    def open(self, source: Source, inputs: Sequence[Any], *, overwrite: bool, retry: Retry) -> None:
        """Look what is there, and make ready for the rest: from now on `todo` is what is left.

        Parameters
        ----------
        source : Source
            How cells become files.
        inputs : sequence
            What stands in the column.
        overwrite : bool
            Whether every file is made anew, whatever stands there.
        retry : {"transient", "all"}
            Which images of which an earlier run could make no file are tried again.

        Raises
        ------
        JournalError
            If a file is there that was not made here, or of another image or by another task.
        OSError
            If a folder cannot be made or written.
        """
        self._source, self._cells = source, inputs
        self._now = self._stamps_now()
        names: dict[str, dict[str, int]] = {}
        owner: dict[str, int] = {}
        for row, cell in enumerate(inputs):
            first = self._targets[row * self._copies]
            if cell is None:
                continue
            if first is not None and owner.setdefault(first, row) != row:
                self._twins[row] = owner[first]
                continue
            self._left[row] = self._is_left(row, names, overwrite=overwrite, retry=retry)
        for work in {work.digest: work for made in self._folders.values() for work in made.works.values()}.values():
            warn_version_change(work.versions)
        self._announce(names)

    # ---- what is there

    def _of_row(self, row: int) -> list[str]:
        """Return the files of a row."""
        return [name for name in self._targets[row * self._copies : (row + 1) * self._copies] if name is not None]

    def _made(self, target: str) -> tuple[FolderManifest, str]:
        folder, name = os.path.split(os.path.join(self._source.folder, target))
        if folder not in self._folders:
            try:
                self._folders[folder] = FolderManifest(folder)
            except OSError as exc:
                raise cannot_be_written(folder, exc) from exc
        return self._folders[folder], name

    def _is_left(self, row: int, names: dict[str, dict[str, int]], *, overwrite: bool, retry: Retry) -> bool:
        """Return whether the files of a row must be made, and gather the names that were not announced yet."""
        known = []
        for target in self._of_row(row):
            made, name = self._made(target)
            source = self._sum(row, made.folder)
            file, there = made.files.get(name), made.signature(name)
            other = "it was not made here" if file is None else made.mismatch(name, self._work, source)
            if other and there and not overwrite:
                advice = "choose another to=, or overwrite=True replaces it"
                raise JournalError(f"{target!r} is there, and {other}; {advice}")
            if file is None or other:
                names.setdefault(made.folder, {})[name] = source
                file = FileRecord(self._work.digest, source)
            known.append((file, there))
        if overwrite or not known:
            return True
        failed = next((file for file, _ in known if file.failed), None)
        if failed is not None:
            return self._again(row, failed, retry)
        if all(file.file_signature is not None and file.file_signature == there for file, there in known):
            return self._changed(row, known[0][0]) or not self._keep(row)
        return True

    def _sum(self, row: int, folder: str) -> int:
        """Return the checksum of a row's source: of its path as seen from the folder, so that both may move."""
        cell = self._cells[row]
        path = None if is_encoded(cell) else self._source.path(cell)
        return checksum(cell) if path is None else checksum(relative_to(path, folder))

    def _changed(self, row: int, file: FileRecord) -> bool:
        """Return whether the source is not what it was when it was read; one that is gone is not."""
        return self._now.get(row, UNKNOWN_SIGNATURE) not in (UNKNOWN_SIGNATURE, file.source_signature)

    def _stamps_now(self) -> dict[int, FileSignature]:
        """Return the stamps that the sources of files that are known have now, asked for together."""
        known = [row for row in range(self.n) if any(self._is_known(target) for target in self._of_row(row))]
        return dict(zip(known, self._source.signatures([self._cells[row] for row in known]), strict=True))

    def _is_known(self, target: str) -> bool:
        made, name = self._made(target)
        return name in made.files

    def _again(self, row: int, file: FileRecord, retry: Retry) -> bool:
        """Return whether an image of which no file could be made is tried again; else note why it was not."""
        assert file.failed is not None
        kind, message = file.failed
        if retry == "all" or kind in TRANSIENT_KINDS or self._changed(row, file):
            return True
        self._failures.append(failure(row, InputFile(self._cells[row], self._source).path, kind, message))
        self._status[row] = len(self._failures)
        return False

    def _keep(self, row: int) -> bool:
        where = slice(row * self._copies, (row + 1) * self._copies)
        self._values[where], self._status[row] = self._targets[where], 0
        return True

    def _announce(self, names: dict[str, dict[str, int]]) -> None:
        for folder, sources in names.items():
            try:
                os.makedirs(folder, exist_ok=True)
                self._folders[folder].declare(self._work, sources)
            except OSError as exc:
                raise cannot_be_written(folder, exc) from exc

    # ---- what is made

    def pending(self) -> list[range]:
        """Return the ranges of rows whose files are to be made."""
        return true_runs(self._left)

    def writer(self, positions: range) -> PartitionWriter:
        """Return what a worker does with a finished partition."""
        if self._call is None:
            try:
                self._call = SharedBuffer(1)
            except OSError:  # no nameless files here: the bytes come back through the socket
                return return_to_caller
        return self._writer(positions, self._call.address)

    def _writer(self, positions: range, call: MemfdHandle | None) -> ImageFileWriter:
        targets = self._targets[positions.start * self._copies : positions.stop * self._copies]
        return ImageFileWriter(self._source.folder, targets, self._work.digest, call)

    def commit(self, part: PartitionResult) -> None:
        """Write what came back, and write down of which rows there are no files."""
        rows = range(part.positions[0], part.positions[-1] + 1)
        if part.values is not None:
            self._writer(rows, None)(part)
        for number in np.flatnonzero(part.status == 0).tolist():
            self._keep(rows[number])
        self._record(part.failures, part)
        self._record_status(part)

    def _record(self, failures: list[Failure], part: PartitionResult) -> None:
        lines: dict[str, dict[str, Any]] = {}
        for failed in failures:
            signature = part.signatures[failed["position"] - part.positions[0]].tolist()
            for target in self._of_row(failed["position"]):
                made, name = self._made(target)
                lines.setdefault(made.folder, {})[name] = (failed["kind"], failed["message"], *signature)
        for folder, failed_names in lines.items():
            self._folders[folder].record_failures(self._work.digest, failed_names)

    def status(self) -> tuple[Status, tuple[Failure, ...]]:
        """Return the status of each row and the failures; rows of one image and one file have the same."""
        while self._twins:
            row, other = self._twins.popitem()
            self._status[row] = code = self._status[other]
            if code == 0:
                self._keep(row)
            elif code > 0:
                known = self._failures[code - 1]
                self._failures.append(failure(row, known["path"], known["kind"], known["message"]))
                self._status[row] = len(self._failures)
        return super().status()

    def close(self) -> None:
        """End the call: workers write nothing any more."""
        if self._call is not None:
            self._call.close()

    @property
    def nbytes(self) -> int:
        """Bytes of the values of all rows, which nobody knows before they are encoded."""
        return 0


@dataclass(frozen=True)
class ImageFileWriter:
    """Write the files of a finished partition, each whole or not at all.

    Attributes
    ----------
    folder : str
        What relative targets start from.
    targets : sequence of str or None
        Those of the partition.
    sign : str
        Of the work.
    call : MemfdHandle or None
        What only workers of the caller's machine can open, and only as long as the call lasts: a worker that goes on
        after its call has failed must not write over what the next one makes. None in the caller itself.
    """

    folder: str
    targets: Sequence[str | None]
    sign: str
    call: MemfdHandle | None

    def __call__(self, part: PartitionResult) -> PartitionResult:
        """Write the files and drop the values; out of the caller's reach, leave them to it."""
        assert part.values is not None
        n_outputs = len(part.values) // len(part.status)
        for number, data in enumerate(part.values):
            target, row = self.targets[number], number // n_outputs
            if part.status[row] != 0 or target is None:
                continue
            if not self._may_write():
                return part
            with timed("write"):
                self._write(os.path.join(self.folder, target), data, part.signatures[row].tolist())
        part.values = None
        return part

    def _may_write(self) -> bool:
        if self.call is None:
            return True
        with self.call.open() as fd:
            return fd is not None

    def _write(self, path: str, data: bytes, read: list[int]) -> None:
        try:
            with atomic_write(path) as fd:
                with open(fd, "wb", closefd=False) as file:
                    file.write(data)
                # First written down, then named: a file that stands there is known, whatever ends this process.
                record_written(path, self.sign, (read[0], read[1]), signature_of(os.fstat(fd)))
        except OSError as exc:
            raise cannot_be_written(path, exc) from exc


def relative_to(path: str, folder: str) -> str:
    """Return a path as seen from a folder.

    Examples
    --------
    >>> relative_to("/data/a/1.jpg", "/data/thumbs")
    '../a/1.jpg'
    """
    return path if "://" in path else os.path.relpath(path, folder)


def cannot_be_written(path: str, exc: OSError) -> OSError:
    """Return an error that names path and reason."""
    return OSError(exc.errno, f"{path!r} cannot be written: {exc.strerror or exc}; what was finished is kept")
