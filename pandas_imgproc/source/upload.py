"""Output of a copy in an object, which is there when its last part is."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from pandas_imgproc.source.byte_budget import process_budget
from pandas_imgproc.source.copies import FileVersion, new_digest
from pandas_imgproc.source.objects import Part

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pandas_imgproc.source.local import FileSignature
    from pandas_imgproc.source.writer import RemoteWriter

PART_NBYTES = 5 * 2**20
"""Bytes of a part, more of very large files: the minimum of S3, because a process holds five copies of a part, and a
multiple of 256 KiB, as Google takes them."""

_MAX_PARTS = 9_000  # S3 takes 10,000
_UNIT = 2**18


def part_nbytes(size: int | None) -> int:
    """Return the bytes of a part of an object.

    Examples
    --------
    >>> part_nbytes(10**9), part_nbytes(10**12)
    (5242880, 111149056)
    """
    minimum = (size or 0) // _MAX_PARTS + 1
    return max(PART_NBYTES, -(-minimum // _UNIT) * _UNIT)


class ObjectOutput:
    """Output of one object: a part is sent while the next one is read.

    Parameters
    ----------
    url : str
    writer : RemoteWriter
    record : callable
        Coroutine function that records the object, with the signatures of its source and of itself.
    """

    def __init__(
        self, url: str, writer: RemoteWriter, record: Callable[[FileSignature, FileSignature], Awaitable[None]]
    ) -> None:
        self._location, self._writer, self._record = writer.location(url), writer, record
        self._store = writer.store(self._location)
        self._budget = process_budget("upload", writer.reader.config.prefetch_bytes)
        self._held = 0
        self._reset(FileVersion())

    def _reset(self, version: FileVersion) -> None:
        self._version, self._part_nbytes = version, part_nbytes(version.size)
        self._buffer, self._n_bytes, self._n_parts = bytearray(), 0, 0
        self._handle: Any = None
        self._sending: asyncio.Task[Any] | None = None
        self._sent: list[Any] = []
        names = {"md5", *([version.digest[0]] if version.digest else [])}
        self._digests = {name: new_digest(name) for name in names}

    is_remote = True

    # ---- as a copy knows an output

    async def resume(self) -> None:
        """Return None: an object has no part that could be continued."""

    async def start(self, version: FileVersion) -> None:
        """Begin anew with a version, when there is memory for its parts."""
        await self.restart()
        self._reset(version)
        size = self._part_nbytes if version.size is None else version.size
        nbytes = min(2 * self._part_nbytes, size, self._budget.nbytes)
        await self._budget.acquire(nbytes)
        self._held = nbytes

    async def write(self, block: bytes) -> None:
        """Append a block."""
        for digest in self._digests.values():
            digest.update(block)
        self._buffer += block
        self._n_bytes += len(block)
        if len(self._buffer) > self._part_nbytes:  # the last part is not empty
            await self._send()

    async def _send(self) -> None:
        if self._handle is None:
            self._handle = await self._request(self._store.begin)
        await self._wait()
        part = self._next_part(self._part_nbytes)
        nbytes = len(part.data)
        self._sending = asyncio.ensure_future(self._request(self._store.send, self._handle, part, nbytes=nbytes))

    def _next_part(self, nbytes: int, size: int | None = None) -> Part:
        start = self._n_bytes - len(self._buffer)
        with memoryview(self._buffer) as view:
            part = Part(self._n_parts, start, bytes(view[:nbytes]), size)
        del self._buffer[:nbytes]
        self._n_parts += 1
        return part

    async def _wait(self) -> None:
        """Wait until the part before has been sent."""
        if self._sending is not None:
            sending, self._sending = self._sending, None
            self._sent.append(await sending)

    async def digest(self, name: str) -> str:
        """Return a digest of all bytes, hexadecimal."""
        digest: str = self._digests[name].hexdigest()
        return digest

    async def finish(self, signature: FileSignature) -> None:
        """Send the last part, and record the object."""
        await self._wait()
        part, md5 = self._next_part(len(self._buffer), self._n_bytes), self._digests["md5"].digest()
        if self._handle is None:
            written = await self._request(self._store.put, part.data, nbytes=len(part.data))
        else:
            complete = self._store.complete, self._handle, self._sent, part, md5
            written = await self._request(*complete, nbytes=len(part.data))
            self._handle = None
        await self._record(signature, written)

    async def restart(self) -> None:
        """Drop all bytes."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait({self._sending})
        if self._handle is not None:
            with contextlib.suppress(OSError):  # the bucket's own rules end what is left
                await self._request(self._store.abort, self._handle)
        self._reset(FileVersion())
        held, self._held = self._held, 0
        self._budget.release(held)

    async def close(self) -> None:
        """Drop the bytes of an object that is not finished."""
        await self.restart()

    async def _request(self, function: Callable[..., Any], *args: Any, nbytes: int = 0) -> Any:
        return await self._writer.request(function, self._location, *args, nbytes=nbytes)
