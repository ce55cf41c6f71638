"""Manifest of objects in a bucket, where nothing can be appended: an object of lines for each finished partition.

The objects are in a folder beside the results. Their names sort by the call that has written them, and those of a call
begin with its declaration, so that workers on any host may add some without a lock. The next call replaces many objects
by one; the objects that it has read are deleted after the new one is there.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pandas_imgproc.errors import OutputError
from pandas_imgproc.sinks.journal_storage import JsonJournal
from pandas_imgproc.sinks.manifest import FolderManifest
from pandas_imgproc.sinks.own_names import MANIFEST_FOLDER
from pandas_imgproc.source.writer import gather

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pandas_imgproc.source import FileSignature
    from pandas_imgproc.source.writer import RemoteWriter

MAX_OBJECTS = 32
"""Objects of lines that are not worth to be replaced by one."""

_READ_ATTEMPTS = 4
"""Times that the objects are listed again because some of them are gone."""

_NAME = re.compile(r"(\d{8})-[01]-[0-9a-f]+\.jsonl")


@dataclass(frozen=True)
class JournalAppender:
    """Writer of lines, for any process.

    Attributes
    ----------
    url : str
        Folder of the objects.
    number : int
        Number of the call.
    """

    writer: RemoteWriter
    url: str
    number: int

    async def append(self, lines: bytes, *, is_first: bool = False) -> None:
        """Add lines; those that declare files come first."""
        name = f"{self.number:08d}-{0 if is_first else 1}-{uuid.uuid4().hex}.jsonl"
        await self.writer.put(f"{self.url}/{name}", lines)


class ObjectJournal:
    """Lines in objects of a folder."""

    def __init__(self, writer: RemoteWriter, url: str) -> None:
        self.name, self._writer = url, writer
        self.find_objects()

    def find_objects(self) -> None:
        """Find the objects that there are."""
        self._names = self._list()
        numbers = [int(name[:8]) for name in self._names]
        self.appender = JournalAppender(self._writer, self.name, max(numbers, default=-1) + 1)

    def _list(self) -> list[str]:
        return [name for name in self._writer.run(self._writer.names(self.name)) if _NAME.fullmatch(name)]

    @property
    def n_objects(self) -> int:
        """Number of objects when they were listed."""
        return len(self._names)

    def read(self) -> bytes:
        """Return all lines."""
        for _ in range(_READ_ATTEMPTS):
            with contextlib.suppress(OutputError):  # another call has replaced some of them
                return self._read()
            self._names = self._list()
        return self._read()

    def _read(self) -> bytes:
        return b"".join(self._writer.run(gather(self._writer.read(f"{self.name}/{name}") for name in self._names)))

    def append(self, lines: bytes, *, sync: bool = True) -> None:
        """Add lines; with `sync` they declare files, and come before those of the files."""
        self._writer.run(self.appender.append(lines, is_first=sync))

    def rewrite(self, function: Callable[[bytes], bytes]) -> None:
        """Replace the lines that were read by those that a function of them returns."""
        lines, old = function(self.read()), self._names
        self.append(lines)
        self.appender = replace(self.appender, number=self.appender.number + 1)
        self._writer.run(gather(self._writer.delete(f"{self.name}/{name}") for name in old))


class ObjectManifest(FolderManifest):
    """Manifest of objects below a URL: records by the rest of their names.

    Parameters
    ----------
    writer : RemoteWriter
    url : str
        Folder above all objects of a call, for each frame the same one.
    """

    def __init__(self, writer: RemoteWriter, url: str) -> None:
        self.folder, self._writer = url, writer
        self._objects = ObjectJournal(writer, f"{url}/{MANIFEST_FOLDER}")
        self._signatures: dict[str, FileSignature] = {}
        self._file = self._objects
        JsonJournal.__init__(self, self._file)

    @property
    def appender(self) -> JournalAppender:
        """Writer of lines, for workers."""
        return self._objects.appender

    def refresh(self) -> None:
        """Replay the lines that other calls have added since the manifest was read."""
        self._objects.find_objects()
        super().refresh()

    def fetch_signatures(self, names: Collection[str]) -> None:
        """Fetch the present signatures of objects."""
        found = self._writer.run(self._writer.signatures([f"{self.folder}/{name}" for name in names]))
        self._signatures = {url[len(self.folder) + 1 :]: signature for url, signature in found.items()}

    def signature(self, name: str) -> FileSignature | None:
        """Return the signature of an object when they were fetched; None if there was none."""
        return self._signatures.get(name)

    def compact(self) -> None:
        """Replace many objects by one with the same content."""
        if self._objects.n_objects > MAX_OBJECTS:
            self._objects.rewrite(self._compacted)
