"""Folder of objects in a bucket, or of files of any remote file system, with the interface of `Directory`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pandas_imgproc.source.copies import FileVersion
from pandas_imgproc.source.upload import ObjectOutput

if TYPE_CHECKING:
    from pandas_imgproc.source import FileSignature
    from pandas_imgproc.source.writer import RemoteWriter

_BLOCK_NBYTES = 2**22


@dataclass(frozen=True)
class ObjectFolder:
    """Folder of objects, each of them complete, with the retries of reads."""

    url: str
    writer: RemoteWriter
    is_local = False

    def create(self) -> None:
        """Do nothing: a bucket has no folders, and other file systems get them with their first file."""

    def names(self) -> list[str]:
        """Return the sorted names of the objects."""
        return self.writer.run(self.writer.names(self.url))

    def size(self, name: str) -> int:
        """Return the size of an object in bytes, -1 if there is none."""
        url = f"{self.url}/{name}"
        return self.writer.run(self.writer.signatures({url})).get(url, (-1, -1))[0]

    def read(self, name: str) -> bytes:
        """Return the bytes of an object."""
        return self.writer.run(self.writer.read(f"{self.url}/{name}"))

    def write(self, name: str, data: bytes) -> None:
        """Write an object in one request."""
        self.writer.run(self.writer.put(f"{self.url}/{name}", data))

    def remove(self, name: str) -> None:
        """Delete an object, if there is one."""
        self.writer.run(self.writer.delete(f"{self.url}/{name}"))

    def upload(self, name: str, path: str, size: int) -> None:
        """Write an object from a local file, in parts if it is large."""
        self.writer.run(self._upload(f"{self.url}/{name}", path, size))

    async def _upload(self, url: str, path: str, size: int) -> None:
        output = ObjectOutput(url, self.writer, _record_nothing)
        try:
            await output.start(FileVersion(size=size))
            with open(path, "rb") as file:
                while block := file.read(_BLOCK_NBYTES):
                    await output.write(block)
            await output.finish((size, -1))
        finally:
            await output.close()


async def _record_nothing(source: FileSignature, written: FileSignature) -> None:
    """Do nothing: the journal of the shards records them."""
