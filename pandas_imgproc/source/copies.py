"""Copies of files, as sources and sinks know them: their versions, outputs and digests."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pandas_imgproc.source.local import FileSignature
    from pandas_imgproc.source.streams import Body


@dataclass(frozen=True)
class FileVersion:
    """Version of a file, beside the part of it that an output holds.

    Attributes
    ----------
    version : str or None
        ETag, date or number of the server; None if a part of this version cannot be continued.
    size : int or None
        Bytes of the complete file.
    digest : (str, str) or None
        Name and hexadecimal value of its digest.
    """

    version: str | None = None
    size: int | None = None
    digest: tuple[str, str] | None = None

    @classmethod
    def of_body(cls, body: Body) -> FileVersion:
        """Return the version of a response."""
        return cls(body.version, body.size, body.digest)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> FileVersion:
        """Return the version that `to_json` has returned."""
        digest = values["digest"]
        size, version = values["size"], values["version"]
        return cls(
            None if version is None else str(version),
            None if size is None else int(size),
            None if digest is None else (str(digest[0]), str(digest[1])),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the attributes as JSON-serializable values."""
        return asdict(self)

    @property
    def can_continue(self) -> bool:
        """Whether a later response can be known to be of this version."""
        return self.size is not None and (self.version is not None or self.digest is not None)

    def continues_in(self, body: Body) -> bool:
        """Return whether a response to a range is of this version."""
        if body.size != self.size or not self.can_continue:
            return False
        if body.version is None or self.version is None:
            return self.digest is not None  # which is compared at the end
        return body.version == self.version


@dataclass(frozen=True)
class CopiedFile:
    """Value of a row whose file an output holds already."""

    nbytes: int

    def __len__(self) -> int:
        return self.nbytes


class Output(Protocol):
    """Output of one file, into which blocks are copied; its methods raise an OutputError if it cannot be written."""

    is_remote: bool
    """Whether a network is slower than the disk that a local file is read from."""

    async def resume(self) -> tuple[int, FileVersion] | None:
        """Return the number of bytes that are there, and their version; None if there is no part."""

    async def start(self, version: FileVersion) -> None:
        """Begin anew with a version."""

    async def write(self, block: bytes) -> None:
        """Append a block."""

    async def digest(self, name: str) -> str:
        """Return a digest of all bytes, hexadecimal."""

    async def finish(self, signature: FileSignature) -> None:
        """Give the complete file its name; `signature` is that of its source."""

    async def restart(self) -> None:
        """Drop all bytes."""

    async def close(self) -> None:
        """Close the output; an unfinished part remains where it can be continued."""


def new_digest(name: str) -> Any:
    """Return the object that computes a digest, with `update` and `hexdigest`.

    Examples
    --------
    >>> new_digest("md5").hexdigest()
    'd41d8cd98f00b204e9800998ecf8427e'
    """
    if name == "md5":
        return hashlib.md5(usedforsecurity=False)
    import google_crc32c

    return _Crc32c(google_crc32c.Checksum())


class _Crc32c:
    """CRC-32C with the interface of hashlib."""

    def __init__(self, checksum: Any) -> None:
        self._checksum = checksum

    def update(self, data: bytes) -> None:
        self._checksum.update(data)

    def hexdigest(self) -> str:
        return self.digest().hex()

    def digest(self) -> bytes:
        digest: bytes = self._checksum.digest()
        return digest
