"""Append-only logs of JSON lines, in a local file or in an object store.

A partial last line, as a crash leaves it, is ignored; any other damaged line is refused. Nothing in a journal is ever
executed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pathlib
from typing import IO, TYPE_CHECKING, Any, ClassVar

try:
    import fcntl
except ImportError:  # Windows locks an open file by itself
    fcntl = None  # type: ignore[assignment]

from pandas_imgproc.errors import FAILURE_KINDS, JournalError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandas_imgproc.sinks.directory import Directory

FORMAT = 1


class LocalJournal:
    """Lines in a local file, which need not exist, locked from `lock` to `close` or else for each line."""

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
        self._file = open(self.name, "ab+", buffering=0)  # noqa: SIM115  the lock lasts as long as the file is open
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                self.close()
                raise JournalError(f"{self.name!r} is being written by another process; wait for it") from exc

    def read(self) -> bytes:
        """Return all complete lines."""
        try:
            data = pathlib.Path(self.name).read_bytes()
        except FileNotFoundError:
            return b""
        return data[: data.rfind(b"\n") + 1]

    def append(self, line: bytes, *, sync: bool = True) -> None:
        """Add a line; with `sync`, return when it is durable."""
        with self._locked_file() as file:
            self._truncate_partial_line(file)
            if file.write(line) < len(line):  # the next line to be added cuts it off
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if sync:
                os.fsync(file.fileno())

    @contextlib.contextmanager
    def _locked_file(self) -> Iterator[IO[bytes]]:
        """File with the lock held: until `close`, or for the block."""
        if self._file is not None:
            yield self._file
            return
        with open(self.name, "ab+", buffering=0) as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def _truncate_partial_line(self, file: IO[bytes]) -> None:
        if not file.seek(0, os.SEEK_END):
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.truncate(len(self.read()))

    def clear(self) -> None:
        """Delete all lines."""
        with self._locked_file() as file:
            file.truncate(0)

    def close(self) -> None:
        """Release the lock."""
        if self._file is not None:
            self._file.close()
            self._file = None


class ObjectStoreJournal:
    """Lines in a folder of an object store, which cannot append: one object each."""

    def __init__(self, folder: Directory) -> None:
        self._folder, self.name = folder, folder.url
        self._names = [name for name in folder.names() if name.endswith(".jsonl")]

    def lock(self) -> None:
        """Do nothing: object stores have no locks."""

    def read(self) -> bytes:
        """Return all lines."""
        return b"".join(self._folder.read(name) for name in self._names)

    def append(self, line: bytes, *, sync: bool = True) -> None:  # noqa: ARG002  a written object is durable
        """Add a line."""
        self._names.append(f"{len(self._names):08d}.jsonl")
        self._folder.write(self._names[-1], line)

    def clear(self) -> None:
        """Delete all lines."""
        while self._names:
            self._folder.remove(self._names.pop())

    def close(self) -> None:
        """Do nothing: no file is open."""


JournalStorage = LocalJournal | ObjectStoreJournal


class JsonJournal:
    """Append-only log of JSON lines, replayed when it is opened; a damaged line raises a JournalError."""

    _repair_hint: ClassVar[str]

    def __init__(self, storage: JournalStorage) -> None:
        self._storage = storage
        for number, line in enumerate(storage.read().splitlines(), 1):
            try:
                self._replay(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as exc:
                raise JournalError(
                    f"line {number} of the journal {storage.name!r} is damaged ({exc}); {self._repair_hint}"
                ) from exc

    def _replay(self, line: Any) -> None:
        raise NotImplementedError

    def _append(self, line: dict[str, Any], *, sync: bool = True) -> None:
        self._storage.append(to_json_line(line), sync=sync)


def to_json_line(line: dict[str, Any]) -> bytes:
    """Return a line of a journal as bytes."""
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def check_format(line: dict[str, Any]) -> None:
    """Raise a ValueError if a header line has another format number."""
    if line["journal"] != FORMAT:
        raise ValueError(f"it is of format {line['journal']!r}, this version reads {FORMAT}")


def check_failure_kind(kind: Any) -> Any:
    """Return a kind of failure, or raise a ValueError."""
    if kind not in FAILURE_KINDS:
        raise ValueError(f"{kind!r} is no kind of failure")
    return kind
