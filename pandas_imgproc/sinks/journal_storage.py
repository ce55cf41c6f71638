"""Append-only logs of JSON lines, in a local file or in an object store.

A partial last line, as a crash or a running writer leaves it, is ignored; any other damaged line is refused. Nothing in
a journal is ever executed.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import pathlib
import re
import stat
import zlib
from typing import IO, TYPE_CHECKING, Any, ClassVar, Protocol

try:
    import fcntl
except ImportError:  # Windows locks an open file by itself
    fcntl = None  # type: ignore[assignment]

from pandas_imgproc._atomic import atomic_write, sync_folder
from pandas_imgproc._text import shorten
from pandas_imgproc.errors import FAILURE_KINDS, JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pandas_imgproc.sinks.directory import Directory
    from pandas_imgproc.sinks.object_folder import ObjectFolder

FORMAT = 1

ANEW = f'{{"journal":{FORMAT},"anew":true,'.encode()
"""Beginning of a header line that makes all lines before it void."""

_READ_ATTEMPTS = 5
"""Times that a journal is read before an error is believed, because a running job may replace it."""


class LocalJournal:
    """Lines in a local file, which need not exist, locked from `lock` to `close` or else for each line.

    Readers need neither the lock nor permission to write: only a writer, which holds the lock, repairs anything.
    """

    def __init__(self, path: str) -> None:
        self.name = path
        self._file: IO[bytes] | None = None

    def lock(self) -> None:
        """Exclude other processes until `close`.

        Raises
        ------
        JournalError
            If another process holds the lock.
        """
        while self._file is None:
            file = _open_to_append(self.name)
            if not try_lock(file):
                file.close()
                raise JournalError(f"{self.name!r} is being written by another process; wait for it")
            if is_named(file, self.name):
                self._file = file
            else:  # replaced or deleted in the meantime
                file.close()

    def read(self) -> bytes:
        """Return all complete lines."""
        try:
            data = pathlib.Path(self.name).read_bytes()
        except FileNotFoundError:
            return b""
        return data[: data.rfind(b"\n") + 1]

    def append(self, lines: bytes, *, sync: bool = True) -> None:
        """Add lines, all or none; with `sync`, return when they are durable."""
        with self._locked_file() as file:
            stop = _truncate_partial_line(file)
            try:
                if file.write(lines) < len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if sync:
                    os.fsync(file.fileno())
                    if not stop:
                        sync_folder(self.name)
            except BaseException:
                file.truncate(stop)
                raise

    def replace(self, lines: bytes) -> None:
        """Replace all lines durably by others, at once: a reader, or a crash, sees either."""
        if not self.read():
            self.append(lines)
            return
        path = f"{self.name}.new"
        pathlib.Path(path).unlink(missing_ok=True)  # of a process that was killed
        file = _open_to_append(path)
        try:
            try_lock(file)
            if file.write(lines) < len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
            os.replace(path, self.name)
        except BaseException:
            file.close()
            pathlib.Path(path).unlink(missing_ok=True)
            raise
        self._release()
        self._file = file
        with contextlib.suppress(OSError):  # it is replaced, and cannot be taken back
            sync_folder(self.name)

    def rewrite(self, function: Callable[[bytes], bytes]) -> None:
        """Replace all lines by those that a function of them returns, durably; meanwhile no other process adds any.

        Nothing happens if the file is of another user, who could not append to a new one.
        """
        if fcntl is None:  # Windows replaces no open file
            return
        with self._locked_file() as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid():
                return
            stop = _truncate_partial_line(file)
            file.seek(0)
            lines = function(file.read(stop))
            with atomic_write(self.name, sync=True) as fd, open(fd, "wb", closefd=False) as new:
                os.fchmod(fd, stat.S_IMODE(status.st_mode))
                new.write(lines)

    @contextlib.contextmanager
    def _locked_file(self) -> Iterator[IO[bytes]]:
        """File with the lock held: until `close`, or for the block."""
        if self._file is not None:
            yield self._file
            return
        while True:
            with _open_to_append(self.name) as file:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX)
                if is_named(file, self.name):  # else it was replaced during the wait for the lock
                    yield file
                    return

    def size(self) -> int:
        """Return the size of the journal, to which `truncate` returns."""
        with self._locked_file() as file:
            return _truncate_partial_line(file)

    def truncate(self, size: int) -> None:
        """Take back the lines that were added since the journal had a size."""
        with self._locked_file() as file:
            file.truncate(size)

    def clear(self) -> None:
        """Delete all lines."""
        self.truncate(0)

    def close(self) -> None:
        """Release the lock, and delete a file without lines."""
        if self._file is not None and not os.fstat(self._file.fileno()).st_size:
            with contextlib.suppress(OSError):
                os.unlink(self.name)
        self._release()

    def _release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _open_to_append(path: str) -> IO[bytes]:
    return open(path, "ab+", buffering=0)  # a lock lasts as long as the file is open


def try_lock(file: IO[bytes]) -> bool:
    """Lock an open file, unless another process has; return whether it is locked."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def is_named(file: IO[bytes], path: str) -> bool:
    """Return whether a path still names an open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _truncate_partial_line(file: IO[bytes]) -> int:
    """Cut off a partial last line; return the number of bytes that remain."""
    stop = file.seek(0, os.SEEK_END)
    if stop:
        file.seek(stop - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            stop = file.read().rfind(b"\n") + 1
            file.truncate(stop)
            file.seek(stop)
    return stop


class ObjectStoreJournal:
    """Lines in a folder of an object store, which cannot append: one object for each addition."""

    def __init__(self, folder: Directory | ObjectFolder) -> None:
        self._folder, self.name = folder, folder.url
        self._next: int | None = None  # number of the next object; None before the first addition

    def lock(self) -> None:
        """Do nothing: object stores have no locks."""

    def _names(self) -> list[str]:
        return [name for name in self._folder.names() if re.fullmatch(r"\d{8}\.jsonl", name)]

    def read(self) -> bytes:
        """Return all lines."""
        for _ in range(_READ_ATTEMPTS - 1):
            with contextlib.suppress(FileNotFoundError):  # deleted by a job that replaces the result
                return b"".join(map(self._folder.read, self._names()))
        return b"".join(map(self._folder.read, self._names()))

    def append(self, lines: bytes, *, sync: bool = True) -> None:  # noqa: ARG002  a written object is durable
        """Add lines, all or none."""
        if self._next is None:
            self._next = max((int(name[:8]) for name in self._names()), default=-1) + 1
        number, self._next = self._next, self._next + 1  # also after an error: the object may have been written
        self._folder.write(f"{number:08d}.jsonl", lines)

    def replace(self, lines: bytes) -> None:
        """Add lines that start anew, and delete those before them, which are ignored from then on."""
        old = self._names()
        self.append(lines)
        for name in old:
            with contextlib.suppress(OSError):
                self._folder.remove(name)

    def size(self) -> int:
        """Return the size of the journal, to which `truncate` returns."""
        return len(self._names())

    def truncate(self, size: int) -> None:
        """Take back the lines that were added since the journal had a size."""
        for name in reversed(self._names()[size:]):
            self._folder.remove(name)

    def clear(self) -> None:
        """Delete all lines."""
        self.truncate(0)

    def close(self) -> None:
        """Do nothing: no file is open."""


JournalStorage = LocalJournal | ObjectStoreJournal


class LinesReader(Protocol):
    """Storage of lines, as a journal reads it and appends to it."""

    name: str

    def read(self) -> bytes:
        """Return all complete lines."""

    def append(self, lines: bytes, *, sync: bool = True) -> None:
        """Add lines, all or none; with `sync`, return when they are durable."""


class JsonJournal:
    """Append-only log of JSON lines, replayed when it is opened; a damaged line raises a JournalError."""

    _intact: ClassVar[str]
    """Part of a message: what a damaged line has left intact, and the way to use it."""

    def __init__(self, storage: LinesReader, *, lenient: bool = False) -> None:
        self._storage = storage
        self._load(lenient=lenient)

    def _load(self, *, lenient: bool = False) -> None:
        storage = self._storage
        data = storage.read()
        for attempts in range(_READ_ATTEMPTS, 0, -1):
            self._remember(data)
            try:
                self._replay_all(data)
            except JournalError:
                if lenient:
                    return
                old, data = data, storage.read()
                if old == data or attempts == 1:  # else it was replaced, or repaired, while it was read
                    raise
            else:
                return

    def _remember(self, data: bytes) -> None:
        # Not the bytes: of ten million rows they are 300 MB.
        self._nbytes, self._checksum = len(data), zlib.crc32(data)

    def refresh(self) -> None:
        """Replay the lines that other processes have added since the journal was read."""
        data = self._storage.read()
        if not self._is_prefix(data):  # another process has replaced the lines
            self._load()
            return
        start = self._nbytes
        self._remember(data)
        self._replay_from(data, start)

    @property
    def is_empty(self) -> bool:
        """Whether there were no lines when the journal was opened."""
        return not self._nbytes

    def is_current(self, *, grown: bool = False) -> bool:
        """Return whether the lines are those that were read; with `grown`, there may be more behind them."""
        data = self._storage.read()
        return (grown or len(data) == self._nbytes) and self._is_prefix(data)

    def _is_prefix(self, data: bytes) -> bool:
        """Return whether lines begin with those that were read."""
        return len(data) >= self._nbytes and zlib.crc32(memoryview(data)[: self._nbytes]) == self._checksum

    def _replay_all(self, data: bytes) -> None:
        self._reset()
        # A header that starts anew makes the lines before it void, even damaged ones.
        self._replay_from(data, data.rfind(b"\n" + ANEW) + 1)

    def _replay_from(self, data: bytes, start: int) -> None:
        lines = io.BytesIO(data)
        lines.seek(start)
        for number, line in enumerate(lines, data.count(b"\n", 0, start) + 1):
            if not line.endswith(b"\n"):
                break
            try:
                self._replay(json.loads(line))
            except _FormatError as exc:
                raise JournalError(f"the journal {self._storage.name!r} cannot be read: {exc}") from exc
            except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as exc:
                raise JournalError(
                    f"line {number} of the journal {self._storage.name!r} is damaged ({exc!s:.200}); {self._intact}"
                ) from exc

    def _reset(self) -> None:
        raise NotImplementedError

    def _replay(self, line: Any) -> None:
        raise NotImplementedError

    def _append(self, line: dict[str, Any], *, sync: bool = True) -> None:
        self._storage.append(to_json_line(line), sync=sync)


def to_json_line(line: dict[str, Any]) -> bytes:
    """Return a line of a journal as bytes."""
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


class _FormatError(ValueError):
    """Error of a journal that another version of this package has written."""


def check_format(line: dict[str, Any]) -> None:
    """Raise a ValueError if a header line has another format number."""
    if line["journal"] != FORMAT:
        raise _FormatError(
            f"it is of format {shorten(line['journal'])}, and this version of pandas_imgproc reads {FORMAT}; use the "
            "version that wrote it"
        )


def check_failure_kind(kind: Any) -> Any:
    """Return a kind of failure, or raise a ValueError."""
    if kind not in FAILURE_KINDS:
        raise ValueError(f"{kind!r} is no kind of failure")
    return kind
