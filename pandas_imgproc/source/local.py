"""Files of this machine."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from pandas_imgproc.errors import UnreadableImageError

if TYPE_CHECKING:
    from pandas_imgproc.errors import FailureKind

MAX_FILE_BYTES = 2**30
"""A file of more bytes is `too_large`: a worker reads it whole, and a sparse file may claim any size."""

FileSignature = tuple[int, int]
UNKNOWN_SIGNATURE: FileSignature = (-1, -1)

# The disk or the network failed, not the path.
_FAILED = {errno.EIO, errno.ESTALE, errno.ECONNRESET, errno.EHOSTDOWN, errno.EREMOTEIO, errno.ENOTCONN}

_REASONS: dict[type[OSError], tuple[FailureKind, str]] = {
    FileNotFoundError: ("missing", "there is no such file"),
    NotADirectoryError: ("missing", "a part of its path is a file, not a folder"),
    PermissionError: ("permission", "it may not be read by this user"),
    IsADirectoryError: ("not_a_file", "it is a folder"),
}


def signature_of(status: os.stat_result) -> FileSignature:
    """Return what tells a file from a later one of the same name."""
    return status.st_size, status.st_mtime_ns


def read_file(path: str) -> tuple[bytes, FileSignature]:
    """Return the bytes of a file of this machine, and its stamp.

    Raises
    ------
    UnreadableImageError
        With one of the kinds missing, permission, not_a_file, invalid_path, too_large, remote.
    """
    try:
        # O_NONBLOCK: opening a named pipe would wait for a writer for ever.
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            status = os.fstat(fd)
            _check_regular(status)
            return _read_all(fd, status.st_size), signature_of(status)
        finally:
            os.close(fd)
    except OSError as exc:
        if isinstance(exc, UnreadableImageError):
            raise
        raise os_error_reason(exc) from exc
    except ValueError as exc:  # among them UnicodeEncodeError, for half of a surrogate pair
        raise UnreadableImageError("invalid_path", f"it cannot be a path: {exc}") from exc


def _read_all(fd: int, size: int) -> bytes:
    data = os.read(fd, size + 1)
    if len(data) == size:
        return data
    # It has grown or shrunk since it was asked for its size, or a network file system gives less than it could.
    with open(fd, "rb", buffering=0, closefd=False) as file:
        return data + file.readall()


def _check_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableImageError("not_a_file", "it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImageError("not_a_file", "it is a pipe, a socket or a device")
    if status.st_size > MAX_FILE_BYTES:
        raise UnreadableImageError("too_large", f"it has {status.st_size:,} bytes, more than {MAX_FILE_BYTES:,}")


def os_error_reason(exc: OSError) -> UnreadableImageError:
    """Return why a file of this machine could not be opened."""
    for known, reason in _REASONS.items():
        if isinstance(exc, known):
            return UnreadableImageError(*reason)
    kind: FailureKind = "remote" if exc.errno in _FAILED else "invalid_path"
    return UnreadableImageError(kind, f"it could not be opened: {exc.strerror or exc}")
