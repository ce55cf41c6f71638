"""Result in one NumPy file, which workers write in place; it is named ``.partial`` until every row is finished.

The file of a frame that grows keeps its name, and its old header until the new rows are finished, which are behind the
old ones: it is complete at all times.
"""

from __future__ import annotations

import contextlib
import errno
import io
import mmap
import os
import pathlib
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from dask.utils import format_bytes

from pandas_imgproc._atomic import atomic_write, sync_folder
from pandas_imgproc.array import ImageArray
from pandas_imgproc.errors import JournalError
from pandas_imgproc.partition import as_position_array, runs, to_positions
from pandas_imgproc.sinks.arrow_columns import from_table, to_index_of, to_table
from pandas_imgproc.sinks.journal_storage import LocalJournal
from pandas_imgproc.sinks.journaled import JournaledSink
from pandas_imgproc.sinks.lease import LeasedFile, unextended_writes
from pandas_imgproc.sinks.memory import BufferWriter, contiguous_runs, pwrite_all, return_to_caller
from pandas_imgproc.tasks import Augment, variant_index

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pandas_imgproc.partition import Mask, PartitionResult
    from pandas_imgproc.sinks.job_spec import JobContext
    from pandas_imgproc.sinks.journal import Journal
    from pandas_imgproc.sinks.journaled import ResultStore
    from pandas_imgproc.sinks.memory import Array, PartitionWriter
    from pandas_imgproc.tasks import Task


class NpySink(JournaledSink):
    """Sink in one ``.npy`` file, with its journal and the index of the frame in files of their own.

    The result maps the file: nothing is read until it is used.
    """

    def __init__(self, store: ResultStore, job: JobContext, journal: Journal) -> None:
        super().__init__(store, job, journal)
        self._path, self._partial, self._index = store.path, *_side_files(store.path, journal.generation)
        self._header = _header(self.spec.shape, self.spec.dtype)
        self._fd = -1
        self._name = self._partial  # of the file at present
        self._undo: contextlib.ExitStack | None = None  # takes back what was allocated, until a row is finished

    @classmethod
    def check_task(cls, store: ResultStore, task: Task) -> None:
        """Raise a ValueError if the results of a task are not images of one shape."""
        empty = task.allocate(0)
        if empty.dtype.hasobject or empty.ndim < 4:
            raise ValueError(f"out={store.path!r} holds images; this {task.name} gives others: use '….parquet'")

    @classmethod
    def journal_storage(cls, store: ResultStore) -> LocalJournal:
        """Return the storage of the journal: a file beside the result."""
        return LocalJournal(f"{store.path}.journal")

    @property
    def _lease_path(self) -> str:
        return f"{self._store.path}.lease"

    @classmethod
    def prepare(cls, store: ResultStore) -> None:
        """Raise if a directory, or a file without a journal, has the name."""
        if os.path.isdir(store.path):
            raise IsADirectoryError(errno.EISDIR, "it is a folder; a NumPy file has another name")
        if not store.overwrite and os.path.exists(store.path) and not cls.journal_storage(store).read():
            raise JournalError(f"out={store.path!r} is a file without a journal; overwrite=True replaces it")

    @classmethod
    def read(cls, store: ResultStore, journal: Journal) -> pd.Series[Any]:
        """Return a column of images over a map of the file."""
        n = len(journal.done)
        partial, index_path = _side_files(store.path, journal.generation)
        try:
            pixels = _map_first((partial, store.path), journal.n_values)
        except FileNotFoundError as exc:
            raise FileNotFoundError(
                f"{store.path!r} is gone, its journal is not; the same call again writes it"
            ) from exc
        except (ValueError, EOFError) as exc:
            if not journal.done.any():
                raise FileNotFoundError(f"there are no finished rows in {store.path!r}") from exc
            raise JournalError(
                f"{store.path!r} is damaged ({exc}); the same call again writes the rows that it has lost"
            ) from exc
        n_outputs = len(pixels) // n if n else 1
        index = load_index(index_path, n)[:n]  # a frame that grows has its new labels before its new rows
        if journal.spec is not None and journal.spec.task["method"] == Augment.name:  # also of one variant, or no row
            index = variant_index(index, n_outputs)
        status = np.repeat(np.where(journal.status == 0, 0, -1), n_outputs).astype(np.int32)
        return pd.Series(ImageArray(pixels, status), index=index, name="image", copy=False)

    # ---- opening

    def _data_path(self) -> str:
        """Return the path of the file that holds the finished rows of this job."""
        is_finished = not self.journal.replaces and not os.path.exists(self._partial) and os.path.exists(self._path)
        return self._path if is_finished else self._partial

    def _intact_rows(self) -> Mask:
        try:
            size = os.path.getsize(self._data_path()) - len(self._header)
        except FileNotFoundError:  # the user has deleted the file
            size = 0
        return (np.arange(self.n) + 1) * self.spec.n_outputs * self.spec.row_nbytes <= size

    def _reserve(self, on_error: contextlib.ExitStack) -> None:
        self._name = self._data_path()
        if not self._is_pending.any() and self._name == self._path:
            return
        on_error.callback(self._close_file)
        with contextlib.ExitStack() as undo:
            undo.callback(_restore, self._index, _read_if_exists(self._index))
            self._allocate_file(undo)
            save_index(self._index, self._job.index)
            sync_folder(self._path)
            self._undo = undo.pop_all()

    def _allocate_file(self, undo: contextlib.ExitStack) -> None:
        """Open the file, with blocks for all rows: a full disk raises before the first image."""
        size = os.path.getsize(self._name) if self.journal.done.any() and os.path.exists(self._name) else 0
        nbytes = len(self._header) + self.nbytes
        _check_folder(self._path, nbytes - size)
        self._fd = os.open(self._name, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        undo.callback(*((os.ftruncate, self._fd, size) if size else (os.unlink, self._name)))
        try:
            os.posix_fallocate(self._fd, 0, nbytes)
            if not size:
                os.pwrite(self._fd, self._header, 0)
            # Where a file system cannot allocate, the C library writes zeros: not after workers have written rows.
            os.fsync(self._fd)
        except OSError as exc:
            need = f"it needs {format_bytes(nbytes - size)} more"
            raise OSError(exc.errno, f"{need}: {exc.strerror or exc}; what was finished is kept") from exc

    def _delete_stale(self) -> None:
        if not self.journal.replaces:
            replaced = [self._path] if os.path.exists(self._partial) else []
            for path in [*replaced, *_side_files(self._path, 1 - self.journal.generation)]:
                with contextlib.suppress(OSError):  # no reader looks at it
                    os.unlink(path)

    # ---- running

    def writer(self, positions: Sequence[int], *, in_caller: bool = False) -> PartitionWriter:
        """Return the writer of values into the file; values that replace others return to the caller."""
        if self._rewritten(positions):
            return return_to_caller
        file = LeasedFile(self._name, None if in_caller else self._grant_lease())
        return BufferWriter(file, self.spec.n_outputs, self.spec.row_nbytes, len(self._header))

    def _rewritten(self, positions: Sequence[int]) -> Sequence[int]:
        """Return the rows that have a value, which is replaced: their file was changed."""
        rows = as_position_array(positions)
        return to_positions(rows[self.journal.done[rows] & (self.journal.status[rows] == 0)])

    def _commit(self, part: PartitionResult) -> None:
        with contextlib.ExitStack() as replacing:
            rewritten = self._rewritten(part.positions)
            if rewritten:
                # A reader, or a crash, must not find half of the old value and half of the new one.
                replacing.enter_context(self.journal.reopened(rewritten))
                replacing.enter_context(self._values_restored_on_error(rewritten))
            if part.values is not None:
                self._write(part.positions, part.values)
            self.journal.record(part)
        if self._undo is not None:
            self._undo = None
            self._delete_stale()

    @contextlib.contextmanager
    def _values_restored_on_error(self, positions: Sequence[int]) -> Iterator[None]:
        row_nbytes = self.spec.n_outputs * self.spec.row_nbytes
        offsets = {len(self._header) + rows.start * row_nbytes: len(rows) * row_nbytes for rows in runs(positions)}
        old = {offset: os.pread(self._fd, nbytes, offset) for offset, nbytes in offsets.items()}
        try:
            yield
        except BaseException:
            for offset, data in old.items():
                pwrite_all(self._fd, np.frombuffer(data, np.uint8), offset)
            raise

    def _write(self, positions: Sequence[int], values: Array) -> None:
        with unextended_writes(self._fd):
            for offset, block in contiguous_runs(positions, values, self.spec.n_outputs):
                pwrite_all(self._fd, block, len(self._header) + offset * self.spec.row_nbytes)
            os.fsync(self._fd)

    def values(self) -> Array:
        """Return the values of all rows: a read-only map of the file."""
        return _map_rows(self._path, self.spec.shape[0])

    def close(self) -> None:
        """Close the file, which gets its name if every row is finished, and release the lock.

        If no row was finished, everything is as it was before the job.
        """
        try:
            if self._fd >= 0 and self.journal.done.all():
                self._finish_file()
            elif self._undo is not None and not self.journal.replaces and not self.journal.done.any():
                self.journal.clear()
        finally:
            try:
                self._close_file()
            finally:
                super().close()

    def _finish_file(self) -> None:
        self.journal.write_header()  # of a frame without rows
        self._undo = None
        os.pwrite(self._fd, self._header, 0)  # of a frame that has grown
        os.ftruncate(self._fd, len(self._header) + self.nbytes)
        os.fsync(self._fd)
        if self._name != self._path:
            os.replace(self._name, self._path)
            sync_folder(self._path)

    def _close_file(self) -> None:
        undo, self._undo = self._undo, None
        fd, self._fd = self._fd, -1
        with contextlib.suppress(OSError):  # what is not taken back is behind the finished rows
            if undo is not None:
                undo.close()
        if fd >= 0:
            os.close(fd)


def _side_files(path: str, generation: int) -> tuple[str, str]:
    """Return the paths of an unfinished file and of its index."""
    suffix = f".{generation}" if generation else ""
    return f"{path}.partial{suffix}", f"{path}.index{suffix}"


def _map_first(paths: Sequence[str], n: int | None) -> Array:
    """Return a map of the rows of the first path that names a file.

    It is opened without a look before: a job that ends renames its file, from the first path to the second.
    """
    for path in paths[:-1]:
        with contextlib.suppress(FileNotFoundError):
            return _map_rows(path, n)
    return _map_rows(paths[-1], n)


def _map_rows(path: str, n: int | None) -> Array:
    """Return a read-only map of the first n rows of a NumPy file, whose header may be that of a shorter frame."""
    with open(path, "rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("it was not written by pandas_imgproc")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.hasobject or not shape:
            raise ValueError("it does not hold images")
        shape = (shape[0] if n is None else n, *shape[1:])
        if not shape[0]:
            return np.zeros(shape, dtype)  # an empty file cannot be mapped
        return np.asarray(np.memmap(file, dtype, "r", file.tell(), shape))


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    # NumPy reserves bytes for a longer first axis: the header of a file that grows keeps its length.
    buffer = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _check_folder(path: str, nbytes: int) -> None:
    """Raise an OSError if the folder of a file cannot hold `nbytes` more, or not a memory-mapped file."""
    folder = os.path.dirname(path)
    try:
        free = shutil.disk_usage(folder).free
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(mmap.PAGESIZE))
            probe.flush()
            mmap.mmap(probe.fileno(), mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ).close()
    except OSError as exc:
        advice = "" if exc.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOENT) else (
            "; network file systems often cannot be memory-mapped: use out='….parquet'"
        )  # fmt: skip
        raise OSError(exc.errno, f"{exc.strerror or exc}{advice}") from exc
    if nbytes > free:
        need = f"it needs {format_bytes(nbytes)} more, and {format_bytes(free)} are free"
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}, {need}; what was finished is kept")


# ---- the index of the frame


def save_index(path: str, index: pd.Index[Any]) -> None:
    """Write the index of a frame atomically."""
    # The labels of a range are not stored, only its bounds.
    table = to_table(pd.DataFrame(index=index))
    stream = io.BytesIO()
    pq.write_table(table.slice(0, 0) if isinstance(index, pd.RangeIndex) else table, stream)
    _restore(path, stream.getvalue())


def _restore(path: str, data: bytes | None) -> None:
    """Let a file have some bytes, or delete it; a full disk does not matter to a file that has them already."""
    if _read_if_exists(path) == data:
        return
    if data is None:
        os.unlink(path)
        return
    with atomic_write(path, sync=True) as fd, open(fd, "wb", closefd=False) as file:
        file.write(data)


def _read_if_exists(path: str) -> bytes | None:
    try:
        return pathlib.Path(path).read_bytes()
    except FileNotFoundError:
        return None


def load_index(path: str, n: int) -> pd.Index[Any]:
    """Return the index of a frame of n rows; 0 to n - 1 if it was not saved."""
    try:
        with open(path, "rb") as file:  # Arrow refuses a name that is not UTF-8
            table = pq.read_table(file)
    except FileNotFoundError:
        return pd.RangeIndex(n)
    _, levels, spec = from_table(table)
    return to_index_of(levels, [spec])
