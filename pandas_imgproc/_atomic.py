"""Atomic writes: a file gets its name once its last byte is written."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


_SUFFIX = ".partial"


def is_temporary(name: str) -> bool:
    """Return whether a name is that of a file that a killed process was about to name.

    Examples
    --------
    >>> is_temporary(".0123456789abcdef0123456789abcdef.partial"), is_temporary("x.npy.partial")
    (True, False)
    """
    return len(name) == 33 + len(_SUFFIX) and name.startswith(".") and name.endswith(_SUFFIX)


@contextlib.contextmanager
def atomic_write(path: str, *, sync: bool = False) -> Iterator[int]:
    """Open a new file for a block, as a descriptor; at the end of the block it replaces the file at `path`.

    On Linux the file is anonymous until then (``O_TMPFILE``): a process that is killed leaves nothing behind.

    Parameters
    ----------
    path : str
        Path of the file.
    sync : bool
        Whether the bytes are on disk before the file gets its name, as always if it replaces another; and the name
        too when the block is left.

    Raises
    ------
    OSError
        If the file cannot be written; an existing file is unchanged, and nothing else remains.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> with atomic_write(f"{folder}/a.txt") as fd:
    ...     written, exists = os.write(fd, b"all of it"), os.path.exists(f"{folder}/a.txt")
    >>> exists, (folder / "a.txt").read_bytes()
    (False, b'all of it')
    """
    temporary = os.path.join(os.path.dirname(path), f".{uuid.uuid4().hex}{_SUFFIX}")
    fd, anonymous = _open_temporary(temporary)
    try:
        yield fd
        if sync or os.path.lexists(path):
            os.fsync(fd)
        if not (anonymous and _link_fd(fd, path)):
            if anonymous:
                _materialize(fd, temporary)
            os.replace(temporary, path)
        if sync:
            sync_folder(path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        os.close(fd)


def sync_folder(path: str) -> None:
    """Wait until the names in the folder of a file are on disk, where the system can open folders."""
    try:
        fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:  # Windows, or a folder that may be written but not listed
        return
    try:
        os.fsync(fd)
    except OSError as exc:
        if exc.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(fd)


def _open_temporary(path: str) -> tuple[int, bool]:
    """Return the descriptor of a new file, and whether it is anonymous; otherwise it is at `path`."""
    flags = os.O_RDWR | getattr(os, "O_CLOEXEC", 0)
    if hasattr(os, "O_TMPFILE"):
        with contextlib.suppress(OSError):  # some file systems lack it; any other error recurs below
            return os.open(os.path.dirname(path) or ".", flags | os.O_TMPFILE, 0o666), True
    return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666), False


def _link_fd(fd: int, path: str) -> bool:
    """Name an anonymous file; return False if the name is taken, or the file system cannot do so."""
    try:
        # Without a folder's descriptor, which an absolute path ignores, Python would not follow the link.
        os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
    except OSError:
        return False
    return True


def _materialize(fd: int, path: str) -> None:
    """Name an anonymous file, or copy it if the file system cannot name it afterwards."""
    if _link_fd(fd, path):
        return
    status = os.fstat(fd)
    with open(path, "xb") as copy, open(fd, "rb", closefd=False) as file:
        file.seek(0)
        copy.write(file.read())
        copy.flush()
        os.fsync(copy.fileno())
        os.utime(copy.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
