"""Part of a file that is copied: ``name.part`` until its last byte has arrived, when it becomes ``name``.

The manifest records the version of the source before the first byte is written: a part with bytes and without a record
is not ours, and is left alone. While a process writes it, the part is locked; another process that copies the same
file does so into an anonymous one, and so does a copy whose ``name.part`` is the name of another file of the folder, or
too long. A part that is deleted or replaced meanwhile is complete all the same: it gets the name of the file
as a copy.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from typing import TYPE_CHECKING, Any, TypeVar

from pandas_imgproc._atomic import atomic_write, sync_folder
from pandas_imgproc.errors import OutputError
from pandas_imgproc.sinks.journal_storage import is_named, try_lock
from pandas_imgproc.sinks.manifest import FilePart, record_part, record_written
from pandas_imgproc.source import FileSignature, FileVersion, new_digest, signature_of
from pandas_imgproc.source.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

SUFFIX = ".part"

_READ_NBYTES = 2**20
# A link or a folder, which is not ours; or the suffix makes the name too long.
_NO_PART = {errno.ELOOP, errno.EISDIR, errno.ENAMETOOLONG}
_FLAGS = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def write_error(path: str, exc: OSError) -> OutputError:
    """Return an error that names path and reason."""
    return OutputError(exc.errno, f"{path!r} cannot be written: {exc.strerror or exc}; what was finished is kept")


class PartFile:
    """Output of one file: a part beside it that is locked, or an anonymous file where that is impossible.

    Parameters
    ----------
    path : str
        Path of the file.
    digest, source_checksum : str, int
        Task, and path of the source, as the manifest holds them.
    part : FilePart or None
        Record of a part of an earlier attempt.
    may_write : callable
        Whether the job goes on, so that a file may get its name.
    is_free : bool
        Whether no other file of the folder has the name of the part.
    """

    def __init__(
        self,
        path: str,
        digest: str,
        source_checksum: int,
        part: FilePart | None,
        may_write: Callable[[], bool],
        *,
        is_free: bool,
    ) -> None:
        self._path, self._task, self._may_write = path, (digest, source_checksum), may_write
        self._part, self._is_free = part, is_free
        self._file: Any = None
        self._anonymous: contextlib.ExitStack | None = None  # of a file in place of the part

    is_remote = False

    # ---- as a copy knows an output

    async def resume(self) -> tuple[int, FileVersion] | None:
        """Return the size and the version of the part of an earlier attempt; None if there is none."""
        return await self._in_thread(self._resume)

    async def start(self, version: FileVersion) -> None:
        """Create a part, or truncate that of another version, and record its version before."""
        await self._in_thread(self._start, version)

    async def write(self, block: bytes) -> None:
        """Append a block."""
        await self._in_thread(self._write, block)

    async def digest(self, name: str) -> str:
        """Return a digest of the bytes in the file."""
        return await self._in_thread(self._digest, name)

    async def finish(self, signature: FileSignature) -> None:
        """Record the file, and give it its name once its bytes are on disk."""
        await self._in_thread(self._finish, signature)

    async def restart(self) -> None:
        """Drop all bytes."""
        if self._file is not None:
            await self._in_thread(self._truncate)

    async def close(self) -> None:
        """Close the part, which the next attempt continues."""
        if self._file is not None:
            self._file.close()
        if self._anonymous is not None:
            self._anonymous.__exit__(InterruptedError, InterruptedError(), None)

    async def _in_thread(self, function: Callable[..., T], *args: Any) -> T:
        running = asyncio.ensure_future(in_thread(function, *args))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait({running})  # the thread goes on, and the file must not be closed meanwhile
            raise
        except OSError as exc:
            raise write_error(self._path, exc) from exc

    # ---- in a thread

    def _resume(self) -> tuple[int, FileVersion] | None:
        part = self._part
        if part is None or not self._open(0) or (part.digest, part.source_checksum) != self._task:
            return None
        return self._file.seek(0, os.SEEK_END), part.version

    def _open(self, flags: int) -> bool:
        """Open the part and lock it; return False if there is none, it is not ours, or another process writes it."""
        path = self._path + SUFFIX
        if not self._is_free:
            return False
        try:
            fd = os.open(path, flags | _FLAGS, 0o666)
        except FileNotFoundError:
            return False
        except OSError as exc:
            if exc.errno in _NO_PART:
                return False
            raise
        file = open(fd, "rb+", buffering=0)  # noqa: SIM115  it is closed with the output
        is_ours = self._part is not None or not os.fstat(fd).st_size
        if is_ours and try_lock(file) and is_named(file, path):
            self._file = file
            return True
        file.close()
        return False

    def _start(self, version: FileVersion) -> None:
        if self._file is None:
            os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
            if not self._open(os.O_CREAT):
                self._open_anonymous()
        self._truncate()
        if self._anonymous is None:
            record_part(self._path, FilePart(*self._task, version))

    def _open_anonymous(self) -> None:
        self._anonymous = contextlib.ExitStack()
        fd = self._anonymous.enter_context(atomic_write(self._path, sync=True))
        self._file = open(fd, "rb+", buffering=0, closefd=False)  # noqa: SIM115  it is closed with the output

    def _move(self) -> None:
        """Copy a part that has lost its name into an anonymous file."""
        with self._file as part:
            self._open_anonymous()
            part.seek(0)
            while block := part.read(_READ_NBYTES):
                self._write(block)

    def _write(self, block: bytes) -> None:
        view = memoryview(block)
        while view:  # a full disk takes a part of it
            view = view[self._file.write(view) :]

    def _truncate(self) -> None:
        self._file.seek(0)
        self._file.truncate()

    def _digest(self, name: str) -> str:
        digest = new_digest(name)
        self._file.seek(0)
        while block := self._file.read(_READ_NBYTES):
            digest.update(block)
        result: str = digest.hexdigest()
        return result

    def _finish(self, signature: FileSignature) -> None:
        if not self._may_write():
            raise InterruptedError("the call has ended")
        if self._anonymous is None and not is_named(self._file, self._path + SUFFIX):
            self._move()
        if self._anonymous is None:
            os.fsync(self._file.fileno())
        # First recorded, then named: every file is known, however this process ends.
        record_written(self._path, self._task[0], signature, signature_of(os.fstat(self._file.fileno())))
        if self._anonymous is None:
            os.replace(self._path + SUFFIX, self._path)
            sync_folder(self._path)
        else:
            self._anonymous.close()
            self._anonymous = None
