"""Files that are whole or not there: a file gets its name when its last byte is written."""

from __future__ import annotations

import contextlib
import os
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def atomic_write(path: str, *, sync: bool = False) -> Iterator[int]:
    """Give a descriptor of a new file for a block; it is called `path`, instead of what was, when the block has ended.

    Where the system can, it has no name before: a process that is killed leaves nothing behind.

    Parameters
    ----------
    path : str
        The file.
    sync : bool
        Whether its bytes are safely on disk before it has its name. They always are if it takes the place of another.

    Raises
    ------
    OSError
        If it cannot be written; what was there is there still, and nothing else is left.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> with atomic_write(f"{folder}/a.txt") as fd:
    ...     written, there = os.write(fd, b"all of it"), os.path.exists(f"{folder}/a.txt")
    >>> there, (folder / "a.txt").read_bytes()
    (False, b'all of it')
    """
    hidden = os.path.join(os.path.dirname(path), f".{uuid.uuid4().hex}.partial")
    flags = os.O_RDWR | getattr(os, "O_CLOEXEC", 0)
    fd, nameless = _open(hidden, flags)
    try:
        yield fd
        if sync or os.path.lexists(path):
            os.fsync(fd)
        if not (nameless and _link(fd, path)):
            if nameless:
                _name(fd, hidden)
            os.replace(hidden, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(hidden)
        raise
    finally:
        os.close(fd)


def _open(hidden: str, flags: int) -> tuple[int, bool]:
    """Return a descriptor of a new file, and whether it has no name; else it is called `hidden`."""
    if hasattr(os, "O_TMPFILE"):
        with contextlib.suppress(OSError):  # not every file system can; other reasons come again with a name
            return os.open(os.path.dirname(hidden) or ".", flags | os.O_TMPFILE, 0o666), True
    return os.open(hidden, flags | os.O_CREAT | os.O_EXCL, 0o666), False


def _link(fd: int, path: str) -> bool:
    """Give a nameless file a name; return False if the name is taken, or this is not possible here."""
    try:
        # Without a folder's descriptor, which an absolute path makes no use of, Python would not follow the link.
        os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
    except OSError:
        return False
    return True


def _name(fd: int, hidden: str) -> None:
    """Give a nameless file a name that nobody has; copy it where files cannot be named afterwards."""
    if _link(fd, hidden):
        return
    status = os.fstat(fd)
    with open(hidden, "xb") as copy, open(fd, "rb", closefd=False) as file:
        file.seek(0)
        copy.write(file.read())
        copy.flush()
        os.fsync(copy.fileno())
        os.utime(copy.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
