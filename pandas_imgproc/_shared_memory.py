"""A nameless file that the caller maps and workers of the same machine write.

No name means nothing to clean up: the kernel frees it with the last process that holds it, also after a
``kill -9``. Workers open it as ``/proc/<caller>/fd/<n>``, which other users may not.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class MemfdHandle:
    """Where a process of the same machine finds a shared file.

    Attributes
    ----------
    pid, fd : int
        The process that holds the file, and its number there.
    name : str
        A random name. On another machine the same pid and fd may be somebody else's file.
    """

    pid: int
    fd: int
    name: str

    @contextlib.contextmanager
    def open(self) -> Iterator[int | None]:
        """Give a descriptor of the file for a block, or None where it cannot be reached.

        It is not kept between partitions: a worker that holds it would hold the caller's result in memory.
        """
        path = f"/proc/{self.pid}/fd/{self.fd}"
        fd = None
        with contextlib.suppress(OSError):
            if os.readlink(path) == f"/memfd:{self.name} (deleted)":
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            if fd is not None:
                os.close(fd)

    def flush(self, fd: int) -> None:
        """Return at once: memory is not a disk."""


@dataclass(frozen=True)
class FileHandle:
    """Where a process finds a file that has a name.

    Attributes
    ----------
    path : str
        Absolute.
    device, inode : int
        Which file that is here. On another machine the same path may be another file.
    """

    path: str
    device: int
    inode: int

    @contextlib.contextmanager
    def open(self) -> Iterator[int | None]:
        """Give a descriptor of the file for a block, or None where it is not that file."""
        fd = None
        with contextlib.suppress(OSError):
            fd = os.open(self.path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        try:
            status = None if fd is None else os.fstat(fd)
            same = status is not None and (status.st_dev, status.st_ino) == (self.device, self.inode)
            yield fd if same else None
        finally:
            if fd is not None:
                os.close(fd)

    def flush(self, fd: int) -> None:
        """Return when what was written is safely on disk."""
        os.fsync(fd)


class SharedBuffer:
    """Memory without a name, reserved when it is made.

    Parameters
    ----------
    nbytes : int
        How many bytes; they are zero.

    Raises
    ------
    OSError
        If there is no such memory, or the system has no nameless files (other than Linux).
    """

    def __init__(self, nbytes: int) -> None:
        if not hasattr(os, "memfd_create"):
            raise OSError(errno.ENOSYS, "this system has no nameless files")
        name = f"pandas-imgproc-{uuid.uuid4().hex}"
        self.nbytes = nbytes
        self._fd = os.memfd_create(name, os.MFD_CLOEXEC)
        self.address = MemfdHandle(os.getpid(), self._fd, name)
        if nbytes:
            try:
                # A full machine is an error here; without it, it would be a SIGBUS at some later page.
                os.posix_fallocate(self._fd, 0, nbytes)
            except OSError:
                self.close()
                raise

    def map(self, *, writeable: bool = False) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        """Return its bytes; the array keeps them alive after `close`.

        Returns
        -------
        ndarray of uint8, shape (nbytes,)
        """
        if not self.nbytes:
            return np.zeros(0, dtype=np.uint8)
        return mmap_array(self._fd, self.nbytes, writeable=writeable)

    def close(self) -> None:
        """Close the caller's descriptor: workers can no longer find the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def mmap_array(fd: int, nbytes: int, *, writeable: bool = False) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Return the bytes of an open shared file.

    Returns
    -------
    ndarray of uint8, shape (nbytes,)
    """
    access = mmap.PROT_READ | (mmap.PROT_WRITE if writeable else 0)
    # Not MAP_POPULATE: naming all pages at once takes 0.4 s a gigabyte before the first image, reading them 0.07 s.
    return np.frombuffer(mmap.mmap(fd, nbytes, mmap.MAP_SHARED, access), np.uint8)
