"""Lease of the folders that workers write to: a file with a token in each, until the end of the job.

A worker that finds the token sees the caller's folder, on any host and any file system. Numbers of devices and inodes
would not do: those of a network file system differ from host to host. Without the token a worker returns its values to
the caller: the folder of this name is another one, or the job has ended, and the next one may write there.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pandas_imgproc._atomic import atomic_write

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator


class Lease:
    """Lease of the caller: the token is written when the first partition leaves for a worker."""

    def __init__(self) -> None:
        self._token, self._paths = uuid.uuid4().hex, set[str]()

    def grant(self, path: str) -> LeaseHandle:
        """Return the handle of a lease whose token is in a file, which replaces that of a killed caller.

        If the file cannot be written, neither can the results; the caller raises that error when it stores them.
        """
        if path not in self._paths:
            self._paths.add(path)
            with contextlib.suppress(OSError), atomic_write(path) as fd:
                os.write(fd, self._token.encode())
        return LeaseHandle(path, self._token)

    def revoke(self) -> None:
        """Delete the files: from now on workers write nothing."""
        while self._paths:
            path = self._paths.pop()
            if LeaseHandle(path, self._token).is_valid():  # else it is of the same call in another process
                discard(path)


def discard(path: str) -> None:
    """Delete a file, if there is one."""
    with contextlib.suppress(OSError):
        os.unlink(path)


@dataclass(frozen=True)
class LeaseHandle:
    """Handle of a lease for workers.

    Attributes
    ----------
    path : str
        File in the folder that is leased.
    token : str
        Random content of the file.
    """

    path: str
    token: str

    def is_valid(self) -> bool:
        """Return whether this process sees the file, may write to its folder, and the job has not ended."""
        with contextlib.suppress(OSError):
            # Opened every time: that is when network file systems look for changes.
            fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
            try:
                is_same = os.read(fd, len(self.token) + 1) == self.token.encode()
            finally:
                os.close(fd)
            return is_same and os.access(os.path.dirname(self.path), os.W_OK | os.X_OK)
        return False


@dataclass(frozen=True)
class LeasedFile:
    """File that the caller has allocated, and that workers write with its lease; the caller itself needs none."""

    path: str
    lease: LeaseHandle | None

    @contextlib.contextmanager
    def open(self) -> Iterator[int | None]:
        """Open a descriptor for a block, None without a valid lease or without the file."""
        fd = None
        if self.lease is None or self.lease.is_valid():
            with contextlib.suppress(OSError):
                fd = os.open(self.path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        if fd is None:
            yield None
            return
        try:
            with unextended_writes(fd):
                yield fd
        finally:
            os.close(fd)

    def flush(self, fd: int) -> None:
        """Wait until all writes are on disk."""
        os.fsync(fd)


@contextlib.contextmanager
def unextended_writes(fd: int) -> Iterator[None]:
    """Block in which hosts may write to the same page of a file.

    Linux writes whole pages to NFS, also where another host has written a part of one, unless the file is locked for
    reading.
    """
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(fd, fcntl.LOCK_SH)
    try:
        yield
    finally:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)
