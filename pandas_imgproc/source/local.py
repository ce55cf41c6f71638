"""Local files: bytes, file signatures, reasons why a file cannot be read."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from pandas_imgproc.errors import ImgprocError, UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pandas_imgproc.errors import FailureKind

MAX_FILE_BYTES = 2**30
"""Maximum size of a file, else it is `too_large`: a worker reads it whole, and a sparse file may claim any size."""

BLOCK_NBYTES = 2**18
"""Bytes of a file that a copy holds in memory; smaller files are read at once."""

_CHUNK_BYTES = 2**20

FileSignature = tuple[int, int]
"""Size in bytes, and the time of modification in nanoseconds or a checksum of the server's version."""

UNKNOWN_SIGNATURE: FileSignature = (-1, -1)

# The disk or the network failed, not the path.
_IO_ERRNOS = {errno.EIO, errno.ESTALE, errno.ECONNRESET, errno.EHOSTDOWN, errno.EREMOTEIO, errno.ENOTCONN}

_OSERROR_KINDS: dict[type[OSError], tuple[FailureKind, str]] = {
    FileNotFoundError: ("missing", "there is no such file"),
    NotADirectoryError: ("missing", "a part of its path is a file, not a folder"),
    PermissionError: ("permission", "it may not be read by this user"),
    IsADirectoryError: ("not_a_file", "it is a folder"),
}


def signature_of(status: os.stat_result) -> FileSignature:
    """Return the signature of a local file, which changes when the file is replaced."""
    return status.st_size, status.st_mtime_ns


def local_signature(path: object) -> FileSignature:
    """Return the current signature of a local file; `UNKNOWN_SIGNATURE` if it cannot be read, or is none."""
    if not isinstance(path, str):
        return UNKNOWN_SIGNATURE
    try:
        return signature_of(os.stat(path))
    except (OSError, ValueError):
        return UNKNOWN_SIGNATURE


def is_dir(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def read_file(path: str) -> tuple[bytes, FileSignature]:
    """Return the bytes and the signature of a local file.

    Raises
    ------
    UnreadableImageError
        With one of the kinds missing, permission, not_a_file, invalid_path, too_large, remote.
    """
    with open_regular(path) as (fd, status):
        check_size(status.st_size)
        return _read_all(fd, status.st_size), signature_of(status)


@contextlib.contextmanager
def open_regular(path: str) -> Iterator[tuple[int, os.stat_result]]:
    """Open a file for a block, as a descriptor with its status; errors of the block are those of the file.

    Raises
    ------
    UnreadableImageError
        With one of the kinds missing, permission, not_a_file, invalid_path, remote.
    """
    try:
        # O_NONBLOCK: opening a named pipe would wait for a writer forever.
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            status = os.fstat(fd)
            _check_regular(status)
            yield fd, status
        finally:
            os.close(fd)
    except ImgprocError:
        raise
    except OSError as exc:
        raise os_error_reason(exc) from exc
    except ValueError as exc:  # among them UnicodeEncodeError, for half of a surrogate pair
        raise UnreadableImageError("invalid_path", f"it cannot be a path: {exc}") from exc


def _read_all(fd: int, size: int) -> bytes:
    data = os.read(fd, size + 1)
    if len(data) == size:
        return data
    # Its size has changed since the fstat, or a network file system returned fewer bytes than there are. It may grow as
    # fast as it is read, or have no end, as files of /proc that claim no bytes.
    chunks, n_read = [data], len(data)
    while chunks[-1]:
        check_size(n_read)
        chunks.append(os.read(fd, _CHUNK_BYTES))
        n_read += len(chunks[-1])
    return b"".join(chunks)


def _check_regular(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableImageError("not_a_file", "it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImageError("not_a_file", "it is a pipe, a socket or a device")


def check_size(size: int) -> None:
    """Raise an UnreadableImageError if a file of so many bytes is too large."""
    if size > MAX_FILE_BYTES:
        raise UnreadableImageError("too_large", f"it has {size:,} bytes, more than {MAX_FILE_BYTES:,}")


def os_error_reason(exc: OSError) -> UnreadableImageError:
    """Return the failure for an exception of a local file."""
    for error_type, reason in _OSERROR_KINDS.items():
        if isinstance(exc, error_type):
            return UnreadableImageError(*reason)
    if exc.errno == errno.ENXIO:  # a socket, or a terminal that is not there
        return UnreadableImageError("not_a_file", "it is a pipe, a socket or a device")
    kind: FailureKind = "remote" if exc.errno in _IO_ERRNOS else "invalid_path"
    return UnreadableImageError(kind, f"it could not be opened: {exc.strerror or exc}")


def combine_signatures(signatures: Sequence[FileSignature]) -> FileSignature:
    """Return one signature of the files of a row, which changes if that of any does.

    Examples
    --------
    >>> combine_signatures([(10, 5), (20, 3)]), combine_signatures([(10, 5), UNKNOWN_SIGNATURE])
    ((30, 5), (-1, -1))
    """
    if UNKNOWN_SIGNATURE in signatures:
        return UNKNOWN_SIGNATURE
    return sum(size for size, _ in signatures), max(time for _, time in signatures)
