"""One NumPy file, written in place by the workers; ``.partial`` is its last name until every row is done."""

from __future__ import annotations

import errno
import io
import mmap
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc._shared_memory import FileHandle
from pandas_imgproc.sinks.journaled import JournaledSink
from pandas_imgproc.sinks.memory import BufferWriter, contiguous_runs, pwrite_all, row_nbytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_imgproc.sinks.journal import Journal
    from pandas_imgproc.sinks.memory import PartitionWriter
    from pandas_imgproc.tasks import Task


class NpySink(JournaledSink):
    """Values in one ``.npy`` file, which the answer maps: nothing is read until it is used.

    Parameters
    ----------
    task : Task
        Whose answers they are.
    n : int
        Rows of the frame.
    journal : Journal
        What is done.
    path : str
        The file, absolute.

    Raises
    ------
    OSError
        If the folder cannot hold the file, or cannot be mmap_array; with path and reason.
    """

    def __init__(self, task: Task, n: int, journal: Journal, path: str) -> None:
        self._path, self._partial = path, f"{path}.partial"
        super().__init__(task, n, journal)
        self._row_bytes = row_nbytes(task)
        one = task.allocate(0)
        self._header = _header((n * task.n_outputs, *one.shape[1:]), one.dtype)
        self._fd = -1

    def pending(self) -> list[range]:
        """Return the ranges of rows that are not done; if there are any, the file is made ready for them."""
        if not os.path.exists(self._path) and not os.path.exists(self._partial):
            self._left[:] = True  # somebody has removed it
        left = super().pending()
        if left or not os.path.exists(self._path):
            self._open()
        return left

    def _open(self) -> None:
        if os.path.exists(self._path):
            os.replace(self._path, self._partial)
        nbytes = len(self._header) + self.n * self._copies * self._row_bytes
        check_folder(os.path.dirname(self._path), nbytes - _size(self._partial), self._path)
        fd = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            # A full disk is an error here, before the first image.
            os.posix_fallocate(fd, 0, nbytes)
            os.pwrite(fd, self._header, 0)
        except OSError as exc:
            os.close(fd)
            raise _named(exc, self._path, nbytes) from exc
        self._fd = fd

    def writer(self, positions: range) -> PartitionWriter:  # noqa: ARG002  others need them
        """Return what a worker does with a finished partition."""
        status = os.fstat(self._fd)
        address = FileHandle(self._partial, status.st_dev, status.st_ino)
        return BufferWriter(address, self._copies, self._row_bytes, len(self._header))

    def _write(self, positions: Sequence[int], values: np.ndarray[Any, np.dtype[Any]]) -> None:
        for first, own in contiguous_runs(positions, values, self._copies):
            pwrite_all(self._fd, own, len(self._header) + first * self._row_bytes)
        os.fsync(self._fd)

    @property
    def nbytes(self) -> int:
        """Bytes of the values of all rows."""
        return self.n * self._copies * self._row_bytes

    def values(self) -> np.ndarray[Any, np.dtype[Any]]:
        """Return the values of all rows: a read-only map of the file."""
        return np.asarray(np.load(self._path, mmap_mode="r" if self.n else None))

    def close(self) -> None:
        """Close the file; it gets its name when every row is done."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if self.journal.done.all():
                os.replace(self._partial, self._path)
        super().close()


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    # NumPy leaves room for a longer first axis: the header of a file that grows keeps its length.
    buffer = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _named(exc: OSError, path: str, nbytes: int) -> OSError:
    reason = exc.strerror or str(exc)
    return OSError(exc.errno, f"out={path!r} needs {nbytes / 1e9:.2f} GB: {reason}; what was finished is kept")


def check_folder(folder: str, nbytes: int, path: str) -> None:
    """Raise an OSError that names path and reason, if a folder cannot hold a mmap_array file of so many bytes."""
    try:
        free = shutil.disk_usage(folder).free
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(mmap.PAGESIZE))
            probe.flush()
            mmap.mmap(probe.fileno(), mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ).close()
    except OSError as exc:
        advice = "" if exc.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOENT) else (
            "; folders of networks often cannot be mmap_array: use out='….parquet'"
        )  # fmt: skip
        raise OSError(exc.errno, f"out={path!r} cannot be written: {exc.strerror or exc}{advice}") from exc
    if nbytes > free:
        raise OSError(
            errno.ENOSPC,
            f"out={path!r} needs {nbytes / 1e9:.2f} GB more, {free / 1e9:.2f} GB are free; what was finished is kept",
        )
