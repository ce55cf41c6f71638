"""Sink of shards: the caller packs the images of rows in their order into files of bounded size.

Workers return encoded images; those that come before their turn wait in memory, or in a temporary file. A shard gets
its name once it is complete, and then a line in the journal: a job that is resumed starts with its first unfinished
shard. So the shards are the same for any number of workers.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import zlib
from typing import IO, TYPE_CHECKING

import numpy as np

from pandas_imgproc._atomic import atomic_write
from pandas_imgproc.errors import ImgprocError, JournalError
from pandas_imgproc.sinks.job_spec import JobContext, JobSpec, first_mismatch
from pandas_imgproc.sinks.memory import ArraySpec, MemorySink
from pandas_imgproc.sinks.object_folder import ObjectFolder
from pandas_imgproc.sinks.shard_journal import Shard, ShardJournal, ShardTemplate
from pandas_imgproc.source.redaction import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandas_imgproc.partition import Mask, PartitionResult
    from pandas_imgproc.sinks.shard_format import ShardFormat, ShardWriter

_MAX_PARTITION_NBYTES = 24 * 2**20
"""Bytes of the images of a partition: a worker holds them until the last one is encoded."""

_FIRST_PARTITION_ROWS = 16
"""Rows of a partition before the size of an image is known."""

_MAX_WAITING_NBYTES = 2**27
"""Bytes of images that wait in memory for their turn; more wait in a temporary file."""


class _WaitingImages:
    """Images that wait for their turn, by position: in memory up to a limit, and else in a temporary file."""

    def __init__(self) -> None:
        self._in_memory: dict[int, tuple[str, bytes]] = {}
        self._in_file: dict[int, tuple[str, int, int]] = {}
        self._nbytes = 0
        self._file: IO[bytes] | None = None

    def put(self, position: int, value: tuple[str, bytes]) -> None:
        """Add an image, its suffix and its bytes."""
        suffix, data = value
        if self._nbytes + len(data) <= _MAX_WAITING_NBYTES:
            self._in_memory[position] = value
            self._nbytes += len(data)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  see close
        self._in_file[position] = suffix, self._file.seek(0, os.SEEK_END), len(data)
        self._file.write(data)

    def pop(self, position: int) -> tuple[str, bytes]:
        """Remove an image and return it."""
        if position in self._in_memory:
            value = self._in_memory.pop(position)
            self._nbytes -= len(value[1])
            return value
        assert self._file is not None
        suffix, start, n = self._in_file.pop(position)
        self._file.seek(start)
        data = self._file.read(n)
        if not self._in_file:
            self._file.truncate(0)
        return suffix, data

    def close(self) -> None:
        """Delete the temporary file."""
        if self._file is not None:
            self._file.close()


class _OpenShard:
    """Shard that is being written, to a file that has no name yet."""

    def __init__(self, number: int, start: int, stop: int | None, template: ShardTemplate, form: ShardFormat) -> None:
        self.number, self.start, self.stop = number, start, stop  # stop: end that an earlier run has given it
        self.nbytes, self.n = form.end_nbytes, 0
        self._template, self._stack = template, contextlib.ExitStack()
        folder = template.folder
        if folder.is_local:
            fd = self._stack.enter_context(atomic_write(f"{folder.url}/{template.name(number)}", sync=True))
            self._file: IO[bytes] = open(fd, "wb", closefd=False)  # noqa: SIM115  see save
        else:
            self._file = self._stack.enter_context(tempfile.NamedTemporaryFile(prefix="pandas-imgproc-"))  # noqa: SIM115
        self._writer: ShardWriter = form.open(self._file)

    def add(self, position: int, name: str, value: tuple[str, bytes], nbytes: int) -> None:
        """Write a row, of so many bytes in the shard."""
        self._writer.add(position, name, *value)
        self.nbytes, self.n = self.nbytes + nbytes, self.n + 1

    def save(self) -> int:
        """Give the file its name, and return its size."""
        self._writer.close()
        self._file.flush()
        size = os.fstat(self._file.fileno()).st_size
        folder = self._template.folder
        if isinstance(folder, ObjectFolder):
            folder.upload(self._template.name(self.number), self._file.name, size)
        self._file.close()  # before its descriptor, which may be of another file then
        self._stack.close()
        return size

    def discard(self) -> None:
        """Drop the file."""
        self._writer.discard()
        with contextlib.suppress(OSError):  # a full disk
            self._file.close()
        with contextlib.suppress(_DiscardError):
            self._stack.__exit__(_DiscardError, _DiscardError(), None)


class _DiscardError(Exception):
    """Exception that ends the writing of a file that is not wanted."""


class ShardSink(MemorySink):
    """Sink in shards, of which the values of the job are the paths.

    Parameters
    ----------
    job : JobContext
        Job, with the columns of the shards.
    template : ShardTemplate
    form : ShardFormat
        Format, with the same columns.
    max_bytes : int
        Size that a shard has at most, unless it has one row.
    names : list of str
        Name of the image of each row.
    """

    def __init__(
        self, job: JobContext, template: ShardTemplate, form: ShardFormat, max_bytes: int, names: list[str]
    ) -> None:
        super().__init__(ArraySpec.from_task(job.task, job.n))
        self._job, self._template, self._form, self._max_bytes, self._names = job, template, form, max_bytes, names
        self._spec = JobSpec.from_job(job)
        self._arrived = np.zeros(job.n, dtype=bool)
        self._is_pending = np.ones(job.n, dtype=bool)
        self._waiting = _WaitingImages()
        self._open: _OpenShard | None = None
        self._fixed: dict[int, Shard] = {}  # shards that are written again, by their first row
        self._next = self._next_number = self._mean_nbytes = 0
        self._stale: set[int] = set()

    def open(self, *, overwrite: bool) -> None:
        """Find the finished shards.

        Raises
        ------
        JournalError
            If the shards belong to another job, or a file of their name was not written by it.
        OSError
            If the folder cannot be written.
        """
        self._template.folder.create()
        storage = self._template.journal_storage()
        storage.lock()
        try:
            self._journal = ShardJournal(storage, lenient=overwrite)
            self._resume(overwrite=overwrite)
        except BaseException:
            storage.close()
            raise
        self._skip_finished()

    def _resume(self, *, overwrite: bool) -> None:
        spec = self._spec
        journal, existing = self._journal, set(self._template.folder.names())
        known = journal.begun | set(journal.shards)
        if overwrite:
            self._stale = known
        else:
            self._check(spec, existing, known)
        if overwrite or journal.task != spec.task:
            journal.start(spec.task)
        for shard in journal.shards.values():
            self._restore(shard, existing)
        self._next_number = max(journal.shards, default=-1) + 1

    def _check(self, spec: JobSpec, existing: set[str], known: set[int]) -> None:
        """Raise a JournalError if there are shards of another job, or files of others."""
        difference = None if self._journal.task is None else first_mismatch(self._journal.task, spec.task)
        for shard in self._journal.shards.values():
            if shard.rows.stop > self.n:
                difference = difference or f"it had at least {shard.rows.stop:,} rows, the frame has {self.n:,}"
            elif shard.digest != self._digest(shard.rows):
                rows = f"{shard.rows.start:,} to {shard.rows.stop - 1:,}"
                difference = difference or f"rows {rows} had other images or columns"
        if difference and self._journal.shards:
            raise JournalError(
                f"the shards {self._template.redacted!r} belong to another job: {difference}; choose another to=, or "
                "overwrite=True writes all of them again"
            )
        foreign = {name for name in existing if self._template.number(name) not in (None, *known)}
        if foreign:
            raise JournalError(
                f"{min(foreign)!r} exists in {redact_url(self._template.folder.url)!r}, and it was not written by this "
                "job; choose another to=, or overwrite=True replaces it"
            )

    def _restore(self, shard: Shard, existing: set[str]) -> None:
        """Take over a finished shard; one whose file is gone, or has another size, is written again."""
        name = self._template.name(shard.number)
        if name not in existing or self._template.folder.size(name) != shard.nbytes:
            self._fixed[shard.rows.start] = shard
            return
        rows = slice(shard.rows.start, shard.rows.stop)
        self._is_pending[rows] = False
        self._finish_rows(shard)

    def _finish_rows(self, shard: Shard) -> None:
        """Set the status and the path of the rows of a finished shard."""
        rows = range(shard.rows.start, shard.rows.stop)
        failed = {item["position"]: item for item in shard.failures}
        for position in rows:
            if self._job.inputs[position] is not None and position not in failed:
                self._status[position], self._values[position] = 0, self._template.path(shard.number)
        for item in failed.values():
            self.fail(item)

    def _digest(self, rows: range) -> int:
        return zlib.crc32(self._spec.paths[rows.start : rows.stop].astype("<u4").tobytes())

    # ---- running

    @property
    def nbytes(self) -> int:
        """Bytes of all values: 0, because the sizes of images are unknown until they are encoded."""
        return 0

    @property
    def max_partition_rows(self) -> int:  # type: ignore[override]
        """Maximum rows of a partition, by the mean size of the images."""
        if not self._mean_nbytes:
            return _FIRST_PARTITION_ROWS
        return max(1, _MAX_PARTITION_NBYTES // self._mean_nbytes)

    def pending(self) -> Mask:
        """Return the mask of the rows that are in no finished shard."""
        return self._is_pending

    def commit(self, part: PartitionResult) -> None:
        """Take the images that were returned to the caller, and write those whose turn it is."""
        assert part.values is not None
        self._record_status(part)
        sizes = []
        for i, position in enumerate(part.positions):
            self._arrived[position] = True
            if part.status[i] == 0:
                self._waiting.put(position, part.values[i])
                sizes.append(len(part.values[i][1]))
        if sizes:
            self._mean_nbytes = max(1, sum(sizes) // len(sizes))
        self._write_next()

    def _write_next(self) -> None:
        """Write the images whose predecessors are all written."""
        while self._next < self.n and self._arrived[self._next]:
            position = self._next
            if self._open is not None and self._open.stop == position:
                self._close_shard()
            if self._status[position] == 0:
                self._write_row(position)
            elif self._open is None:
                self._open_shard(position)
            self._next += 1
            self._skip_finished()

    def _skip_finished(self) -> None:
        """Go on behind rows of finished shards; at their beginning, and at the end, the open shard ends."""
        while self._next < self.n and not self._is_pending[self._next]:
            if self._open is not None:
                self._close_shard()
            self._next += 1
        if self._next == self.n and self._open is not None:
            self._close_shard()

    def _write_row(self, position: int) -> None:
        value, name = self._waiting.pop(position), self._names[position]
        nbytes = self._form.row_nbytes(position, name, value[1])
        shard = self._open or self._open_shard(position)
        if shard.n and shard.stop is None and shard.nbytes + nbytes > self._max_bytes:
            self._close_shard()
            shard = self._open_shard(position)
        with self._named_errors(shard.number):
            shard.add(position, name, value, nbytes)

    def _open_shard(self, position: int) -> _OpenShard:
        fixed = self._fixed.get(position)
        number, stop = (self._next_number, None) if fixed is None else (fixed.number, fixed.rows.stop)
        if fixed is None:
            self._next_number += 1
        with self._named_errors(number):
            self._open = _OpenShard(number, position, stop, self._template, self._form)
        return self._open

    def _close_shard(self) -> None:
        """Finish the open shard in front of the next row; one without an image is dropped."""
        shard, self._open = self._open, None
        assert shard is not None
        rows = range(shard.start, self._next)
        if not shard.n:
            shard.discard()
            self._next_number -= shard.stop is None
            return
        path = self._template.path(shard.number)
        with self._named_errors(shard.number), contextlib.ExitStack() as on_error:
            on_error.callback(shard.discard)
            self._journal.begin(shard.number)
            nbytes = shard.save()
            on_error.pop_all()
        codes = self._status[rows.start : rows.stop]
        failures = tuple(self._failures[code - 1] for code in codes[codes > 0].tolist())
        self._journal.finish(Shard(shard.number, rows, self._digest(rows), shard.n, nbytes, failures))
        self._stale.discard(shard.number)
        for position in rows:
            if self._status[position] == 0:
                self._values[position] = path
        if self._next == self.n:
            self._delete_stale()

    @contextlib.contextmanager
    def _named_errors(self, number: int) -> Iterator[None]:
        """Name the shard in errors of its file."""
        try:
            yield
        except ImgprocError:  # of an object, which names it
            raise
        except OSError as exc:
            path = self._template.path(number)
            raise OSError(
                exc.errno, f"{path!r} cannot be written: {exc.strerror or exc}; finished shards stay"
            ) from exc

    def _delete_stale(self) -> None:
        """Delete the shards of the result that was replaced, of which there are more."""
        for number in self._stale:
            with contextlib.suppress(FileNotFoundError):
                self._template.folder.remove(self._template.name(number))
        self._stale = set()

    def close(self) -> None:
        """Drop the unfinished shard, and release the lock."""
        if self._open is not None:
            self._open.discard()
        self._waiting.close()
        self._journal.close()


def image_names(paths: list[str | None], positions: Iterator[int] | range) -> list[str]:
    """Return the names of images: of their files, or the positions of images without a file.

    Examples
    --------
    >>> image_names(["a/b.jpg", None], range(2))
    ['b.jpg', '000000001']
    """
    names = (os.path.basename((path or "").partition("?")[0].rstrip("/")) for path in paths)
    return [name or f"{position:09d}" for name, position in zip(names, positions, strict=True)]
