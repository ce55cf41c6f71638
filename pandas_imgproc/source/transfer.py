"""Copies of files in blocks, which go on within a file after an error, in this call or in the next one.

::

    no part ──────────────> the first block ── the file ends ──> its bytes, as of a read
                                │ more
                                v
    a part of a version ──> the output ── the server's size and digest match ──> finished
         ^                      │ an error                │ they do not match
         └── the same version ──┴── another version ──────┴──> begun anew
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Self

from pandas_imgproc.source import filesystems, streams
from pandas_imgproc.source.archive import read_remote_file
from pandas_imgproc.source.copies import CopiedFile, FileVersion, new_digest
from pandas_imgproc.source.error_mapping import http_status, is_transient
from pandas_imgproc.source.local import BLOCK_NBYTES, open_regular, signature_of
from pandas_imgproc.source.paths import RemotePath
from pandas_imgproc.source.redaction import protocol_family
from pandas_imgproc.source.retry import local_copies, one_attempt, repeated
from pandas_imgproc.source.streams import TOO_EARLY, DamagedTransferError
from pandas_imgproc.source.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pandas_imgproc.source.copies import Output
    from pandas_imgproc.source.local import FileSignature
    from pandas_imgproc.source.paths import Location
    from pandas_imgproc.source.remote import RemoteReader
    from pandas_imgproc.source.stall import StallTimeout


async def copy_file(location: Location, reader: RemoteReader, output: Output) -> tuple[Any, FileSignature]:
    """Copy a file into an output; return its bytes instead if it is small or in an archive."""
    if not isinstance(location, str | RemotePath):
        return await read_remote_file(location, reader)
    try:
        if isinstance(location, str):
            return await _copy_local(location, output)
        return await (await _RemoteCopy.open(location, reader, output)).run()
    finally:
        await output.close()


async def _copy_local(path: str, output: Output) -> tuple[Any, FileSignature]:
    async with contextlib.nullcontext() if output.is_remote else local_copies():
        with open_regular(path) as (fd, status):
            signature, n = signature_of(status), 0
            version = FileVersion(f"{signature[1]}", status.st_size)
            resumed = await output.resume()
            if resumed is not None and resumed[1] == version and resumed[0] <= status.st_size:
                n = os.lseek(fd, resumed[0], os.SEEK_SET)
            else:
                await output.start(version)
            while block := await in_thread(os.read, fd, BLOCK_NBYTES):
                await output.write(block)
                n += len(block)
        await output.finish(signature)
        return CopiedFile(n), signature


class _RemoteCopy:
    """Copy of a remote file: attempts that each go on where the one before has ended."""

    def __init__(self, fs: Any, location: RemotePath, reader: RemoteReader, output: Output) -> None:
        self._fs, self._location, self._reader, self._output = fs, location, reader, output
        self._open_body: streams.OpenBody = streams.OPENERS.get(
            protocol_family(location.scheme), filesystems.generic_body
        )
        self._position = self._start = 0  # bytes in the output, and those at the beginning of the attempt
        self._version: FileVersion | None = None  # of these bytes
        self._n_restarts = 0

    @classmethod
    async def open(cls, location: RemotePath, reader: RemoteReader, output: Output) -> Self:
        """Return a copy, before the timeout of the first attempt starts."""
        return cls(await reader.filesystem(location), location, reader, output)

    async def run(self) -> tuple[Any, FileSignature]:
        """Return the value and the signature of the file, after attempts without progress that are few enough."""
        if (resumed := await self._output.resume()) is not None:
            self._position, self._version = resumed
        while True:
            result = await repeated(self._attempt, self._reader.config)
            if result is not None:
                return result

    async def _attempt(self) -> tuple[Any, FileSignature] | None:
        """Return the result of an attempt; None after progress, when the attempts are counted anew."""
        self._start = self._position
        try:
            return await one_attempt(self._copy, self._location, self._reader.config)
        except Exception as exc:
            error = exc
        # Outside of the block: the context of an exception counts as its reason.
        # A server that never continues would send the same bytes without end: after some restarts attempts are counted.
        is_progress = self._position >= self._start + BLOCK_NBYTES and self._n_restarts < self._reader.config.attempts
        if is_progress and is_transient(error):
            return None
        if http_status(error)[0] == 416 and self._start:
            await self._restart("the file has become shorter")
        raise error

    async def _copy(self, timeout: StallTimeout) -> tuple[Any, FileSignature]:
        async with self._open_body(self._fs, self._location.path, *self._range()) as body:
            if self._version is None and body.start:
                raise DamagedTransferError("the server sent a part of the file that was not requested")
            if self._version is not None and not await self._continues(body):
                await self._restart("the file has changed")
            if (data := await self._read(body, timeout)) is not None:
                _check_data(body, data)
                return data, body.signature(len(data))
            signature = body.signature(self._position)
        with timeout.paused():
            await self._check()
            await self._output.finish(signature)
        return CopiedFile(self._position), signature

    def _range(self) -> tuple[streams.OpenRange | None, str | None]:
        """Return the range that is missing, and the version of which it must be."""
        if self._version is None or not self._position or not self._version.can_continue:
            return None, None
        # The last byte once more of a complete part: of no byte the response would be an error.
        is_complete = self._position == self._version.size
        return (self._position - is_complete, None), self._version.version

    async def _continues(self, body: streams.Body) -> bool:
        """Return whether a response continues the part; after one with the complete file the output begins anew."""
        assert self._version is not None
        if body.is_part and self._version.continues_in(body) and body.start <= self._position:
            return True
        if body.is_part:
            return False
        await self._begin_anew()
        return True

    async def _begin_anew(self) -> None:
        self._position, self._version = 0, None
        self._n_restarts += 1
        await self._output.restart()

    async def _restart(self, reason: str) -> None:
        await self._begin_anew()
        raise DamagedTransferError(reason)

    async def _read(self, body: streams.Body, timeout: StallTimeout) -> bytes | None:
        """Write the chunks of a response into the output in blocks; return a file of at most one block."""
        skip, block = (self._position - body.start if self._version is not None else 0), bytearray()
        try:
            async for chunk in _received(body, timeout):
                if skip:
                    chunk, skip = chunk[skip:], max(0, skip - len(chunk))
                block += chunk
                if len(block) > BLOCK_NBYTES:
                    with timeout.paused():
                        await self._write(body, block)
        except BaseException:
            if block and self._version is not None:
                await self._write(body, block)
            raise
        if self._version is None and not self._n_restarts:
            return bytes(block)
        await self._write(body, block)  # also a small file in place of a large one, whose part is there
        return None

    async def _write(self, body: streams.Body, block: bytearray) -> None:
        if self._version is None:
            version = FileVersion.of_body(body)
            await self._output.start(version)
            self._version = version
        data = bytes(block)
        block.clear()
        self._position += len(data)
        await self._output.write(data)

    async def _check(self) -> None:
        """Raise a DamagedTransferError if the bytes are not those that the server announced."""
        assert self._version is not None
        size, digest = self._version.size, self._version.digest
        if size is not None and self._position < size:
            raise DamagedTransferError(TOO_EARLY)
        if size is not None and self._position > size:
            await self._restart("there are more bytes than the server announced")
        if digest is not None and await self._output.digest(digest[0]) != digest[1]:
            await self._restart(_wrong_digest(digest[0]))


def _wrong_digest(name: str) -> str:
    return f"the {name} differs from the one that the server announced"


def _check_data(body: streams.Body, data: bytes) -> None:
    """Raise a DamagedTransferError if the bytes of a small file are not those that the server announced."""
    if body.size is not None and len(data) < body.size:
        raise DamagedTransferError(TOO_EARLY)
    if body.digest is not None:
        digest = new_digest(body.digest[0])
        digest.update(data)
        if digest.hexdigest() != body.digest[1]:
            raise DamagedTransferError(_wrong_digest(body.digest[0]))


async def _received(body: streams.Body, timeout: StallTimeout) -> AsyncIterator[bytes]:
    async for chunk in body.chunks:
        timeout.received(len(chunk))
        yield chunk
