"""Result in one NumPy file, which workers write in place; it is named ``.partial`` until every row is finished."""

from __future__ import annotations

import contextlib
import errno
import io
import mmap
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from pandas_imgproc._shared_memory import FileHandle
from pandas_imgproc.array import ImageArray
from pandas_imgproc.errors import JournalError
from pandas_imgproc.sinks.arrow_columns import from_table, to_index_of, to_table
from pandas_imgproc.sinks.journal_storage import LocalJournal
from pandas_imgproc.sinks.journaled import JournaledSink
from pandas_imgproc.sinks.memory import BufferWriter, contiguous_runs, pwrite_all
from pandas_imgproc.tasks import variant_index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_imgproc.sinks.journal import JobContext, JobSpec, Journal
    from pandas_imgproc.sinks.journaled import ResultStore
    from pandas_imgproc.sinks.memory import Array, PartitionWriter
    from pandas_imgproc.tasks import Task


class NpySink(JournaledSink):
    """Sink in one ``.npy`` file, with its journal and the index of the frame in files of their own.

    The result maps the file: nothing is read until it is used.
    """

    def __init__(self, store: ResultStore, job: JobContext, journal: Journal) -> None:
        super().__init__(store, job, journal)
        self._path, self._partial = store.path, f"{store.path}.partial"
        self._header = _header(self.spec.shape, self.spec.dtype)
        self._fd = -1

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

    @classmethod
    def prepare(cls, store: ResultStore) -> None:
        """Raise if a directory, or a file without a journal, has the name."""
        if os.path.isdir(store.path):
            raise IsADirectoryError(errno.EISDIR, "it is a folder; a NumPy file has another name")
        if not store.overwrite and os.path.exists(store.path) and not os.path.exists(f"{store.path}.journal"):
            raise JournalError(f"out={store.path!r} is a file without a journal; overwrite=True replaces it")

    @classmethod
    def delete(cls, store: ResultStore) -> None:
        """Delete the file and the index of an earlier job."""
        for path in (store.path, f"{store.path}.partial", f"{store.path}.index"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    @classmethod
    def read(cls, store: ResultStore, journal: Journal) -> pd.Series[Any]:
        """Return a column of images over a map of the file."""
        path = store.path if os.path.exists(store.path) else f"{store.path}.partial"
        n = len(journal.done)
        try:
            pixels = _load(path, n)
        except FileNotFoundError as exc:
            raise FileNotFoundError(
                f"{store.path!r} is gone, its journal is not; the same call again writes it"
            ) from exc
        except (ValueError, EOFError) as exc:
            raise JournalError(f"{path!r} is damaged ({exc}); the same call again writes it") from exc
        n_outputs = len(pixels) // n if n else 1
        index = load_index(f"{store.path}.index", n)
        index = variant_index(index, n_outputs) if n_outputs > 1 else index
        status = np.repeat(np.where(journal.status == 0, 0, -1), n_outputs).astype(np.int32)
        return pd.Series(ImageArray(pixels, status), index=index, name="image", copy=False)

    def _resume(self, spec: JobSpec) -> None:
        super()._resume(spec)
        save_index(f"{self._path}.index", self._job.index)

    def pending(self) -> list[range]:
        """Return the ranges of rows that are unfinished, or retried; if there are any, the file is opened for them."""
        if not os.path.exists(self._path) and not os.path.exists(self._partial):
            self._is_pending[:] = True  # the user has deleted the file
        pending = super().pending()
        if pending or not os.path.exists(self._path):
            self._open_file()
        return pending

    def _open_file(self) -> None:
        if os.path.exists(self._path):
            os.replace(self._path, self._partial)
        nbytes = len(self._header) + self.nbytes
        present = os.path.getsize(self._partial) if os.path.exists(self._partial) else 0
        _check_folder(self._path, nbytes - present)
        fd = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            # A full disk raises here, before the first image.
            os.posix_fallocate(fd, 0, nbytes)
            os.pwrite(fd, self._header, 0)
        except OSError as exc:
            os.close(fd)
            need = f"out={self._path!r} needs {nbytes / 1e9:.2f} GB"
            raise OSError(exc.errno, f"{need}: {exc.strerror or exc}; what was finished is kept") from exc
        self._fd = fd

    def writer(self, positions: range) -> PartitionWriter:  # noqa: ARG002  subclasses need them
        """Return the writer of values into the file."""
        stat = os.fstat(self._fd)
        handle = FileHandle(self._partial, stat.st_dev, stat.st_ino)
        return BufferWriter(handle, self.spec.n_outputs, self.spec.row_nbytes, len(self._header))

    def _write(self, positions: Sequence[int], values: Array) -> None:
        for offset, block in contiguous_runs(positions, values, self.spec.n_outputs):
            pwrite_all(self._fd, block, len(self._header) + offset * self.spec.row_nbytes)
        os.fsync(self._fd)

    def values(self) -> Array:
        """Return the values of all rows: a read-only map of the file."""
        return _load(self._path, self.n)

    def close(self) -> None:
        """Close the file, which gets its name if every row is finished, and release the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if self.journal.done.all():
                os.replace(self._partial, self._path)
        super().close()


def _load(path: str, n: int) -> Array:
    return np.asarray(np.load(path, mmap_mode="r" if n else None))  # an empty file cannot be mapped


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
        raise OSError(exc.errno, f"out={path!r} cannot be written: {exc.strerror or exc}{advice}") from exc
    if nbytes > free:
        raise OSError(
            errno.ENOSPC,
            f"out={path!r} needs {nbytes / 1e9:.2f} GB more, {free / 1e9:.2f} GB are free; what was finished is kept",
        )


# ---- the index of the frame


def save_index(path: str, index: pd.Index[Any]) -> None:
    """Write the index of a frame atomically."""
    temporary = f"{path}.{os.getpid()}"
    # The labels of a range are not stored, only its bounds.
    table = to_table(pd.DataFrame(index=index))
    pq.write_table(table.slice(0, 0) if isinstance(index, pd.RangeIndex) else table, temporary)
    os.replace(temporary, path)


def load_index(path: str, n: int) -> pd.Index[Any]:
    """Return the index of a frame of n rows; 0 to n - 1 if it was not saved."""
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        return pd.RangeIndex(n)
    _, levels, spec = from_table(table)
    return to_index_of(levels, [spec])
