"""Anonymous memory (memfd) of the caller, which workers of the same machine write.

Without a name nothing has to be cleaned up: the kernel frees the memory with the last process that holds it, also after
a ``kill -9``. Workers open it as ``/proc/<caller>/fd/<n>``, which other users may not.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import threading
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class MemfdHandle:
    """Handle of a `SharedBuffer` for other processes of the same machine.

    Attributes
    ----------
    pid, fd : int
        Process that holds the memory, and its descriptor there.
    token : str
        Random name: on another machine the same pid and fd may be an unrelated file.
    """

    pid: int
    fd: int
    token: str

    @property
    def path(self) -> str:
        """Path for processes of the same user, as long as the caller holds the memory."""
        return f"/proc/{self.pid}/fd/{self.fd}"

    @contextlib.contextmanager
    def open(self) -> Iterator[int | None]:
        """Open a descriptor for a block, None if the memory cannot be reached.

        A worker closes it after each partition, because an open descriptor holds the caller's result in memory.
        """
        fd = None
        with contextlib.suppress(OSError):
            if os.readlink(self.path) == f"/memfd:{self.token} (deleted)":
                fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        with _closed_after(fd):
            yield fd

    def flush(self, fd: int) -> None:
        """Do nothing: memory has no disk."""


@contextlib.contextmanager
def _closed_after(fd: int | None) -> Iterator[None]:
    try:
        yield
    finally:
        if fd is not None:
            os.close(fd)


CHUNK_NBYTES = 16 * 2**20
"""Bytes that are reserved at a time in the background."""


class SharedBuffer:
    """Anonymous memory, reserved before it is used.

    Parameters
    ----------
    nbytes : int
        Size; all bytes are zero.
    in_background : bool, default False
        Whether a thread reserves the memory after its first chunk, a quarter of a second per gigabyte: `wait_reserved`
        before each use.

    Raises
    ------
    OSError
        If the memory is not available, or the system has no memfd (other than Linux).
    """

    def __init__(self, nbytes: int, *, in_background: bool = False) -> None:
        if not hasattr(os, "memfd_create"):
            raise OSError(errno.ENOSYS, "this system has no anonymous memory (memfd)")
        token = f"pandas-imgproc-{uuid.uuid4().hex}"
        self.nbytes = nbytes
        self._fd = os.memfd_create(token, os.MFD_CLOEXEC)
        self.handle = MemfdHandle(os.getpid(), self._fd, token)
        self._reservation: _Reservation | None = None
        if nbytes:
            n_first = min(nbytes, CHUNK_NBYTES) if in_background else nbytes
            try:
                # A full machine is an error here; otherwise it would be a SIGBUS at some later page.
                os.posix_fallocate(self._fd, 0, n_first)
                os.ftruncate(self._fd, nbytes)
            except OSError:
                self.close()
                raise
            if n_first < nbytes:
                self._reservation = _Reservation(self._fd, n_first, nbytes)

    def wait_reserved(self, n: int) -> None:
        """Wait until the first n bytes are reserved; raise an OSError if they cannot be."""
        if self._reservation is not None:
            self._reservation.wait(n)

    def map(self, *, writeable: bool = False) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        """Return the bytes as an array of uint8, shape (nbytes,), which is valid after `close` too."""
        if not self.nbytes:
            return np.zeros(0, dtype=np.uint8)
        return mmap_array(self._fd, self.nbytes, writeable=writeable)

    def close(self) -> None:
        """Close the caller's descriptor: workers can no longer open the memory."""
        if self._reservation is not None:
            self._reservation.cancel()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Reservation:
    """Reservation of a file's blocks from an offset on, chunk by chunk, in a thread of its own."""

    def __init__(self, fd: int, start: int, stop: int) -> None:
        self._fd, self._n, self._stop = fd, start, stop
        self._changed = threading.Condition()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="pandas_imgproc memory", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._n < self._stop:
            n = min(CHUNK_NBYTES, self._stop - self._n)
            try:
                os.posix_fallocate(self._fd, self._n, n)  # without Python's lock
            except OSError as exc:
                self._error = exc
            with self._changed:
                self._n += n
                self._changed.notify_all()
            if self._error is not None:
                return

    def wait(self, n: int) -> None:
        """Wait until the first n bytes are reserved, or raise the error of the reservation."""
        with self._changed:
            self._changed.wait_for(lambda: self._n >= n or self._error is not None)
        if self._error is not None:
            raise self._error

    def cancel(self) -> None:
        """End the reservation, after the current chunk."""
        self._stop = 0
        self._thread.join()


def mmap_array(fd: int, nbytes: int, *, writeable: bool = False) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Return a shared map of an open file, as an array of uint8, shape (nbytes,)."""
    access = mmap.PROT_READ | (mmap.PROT_WRITE if writeable else 0)
    # Not MAP_POPULATE: naming all pages at once takes 0.4 s a gigabyte before the first image, reading them 0.07 s.
    return np.frombuffer(mmap.mmap(fd, nbytes, mmap.MAP_SHARED, access), np.uint8)
