"""Reader of remote files: storage options and retry policy in one object, for reads and file info."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pandas_imgproc._uninterrupted import import_atomically
from pandas_imgproc.errors import OutputError
from pandas_imgproc.source import filesystems
from pandas_imgproc.source.byte_budget import OverBudgetError, reservation
from pandas_imgproc.source.error_mapping import to_image_error
from pandas_imgproc.source.local import UNKNOWN_SIGNATURE
from pandas_imgproc.source.retry import with_retries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from concurrent.futures import Future

    from pandas_imgproc.source.filesystems import ByteRange, FileInfo, ReadResult
    from pandas_imgproc.source.local import FileSignature
    from pandas_imgproc.source.paths import RemotePath
    from pandas_imgproc.source.read_config import ReadConfig
    from pandas_imgproc.source.redaction import StorageOptions
    from pandas_imgproc.source.redirects import RedirectPolicy

T = TypeVar("T")


@dataclass(frozen=True)
class RemoteReader:
    """Reader of remote files with the options of their file systems, the retry policy and the limits of one source.

    Its coroutines run on fsspec's event loop; the other methods are for other threads.
    """

    options: StorageOptions
    config: ReadConfig
    redirects: RedirectPolicy

    async def read(self, location: RemotePath, byte_range: ByteRange | None = None) -> ReadResult:
        """Return the bytes of a file or of a range of it, and its signature if the response has one."""
        memory, nbytes = reservation.get(), 0
        while True:
            try:
                return await self._request(filesystems.read_bytes, location, byte_range, memory)
            except OverBudgetError as exc:
                # Twice as many if they were not enough: of a size that the server does not tell, each wait is for more.
                nbytes = max(exc.nbytes, 2 * nbytes)
            await memory.wait(nbytes)

    async def info(self, location: RemotePath) -> FileInfo:
        """Return the size and the signature of a file, without reading the file."""
        return await self._request(filesystems.info, location)

    async def filesystem(self, location: RemotePath) -> Any:
        """Return the file system of a location."""
        return await filesystems.get_filesystem(location, self.options, self.config, self.redirects)

    async def _request(self, request: Callable[..., Awaitable[T]], location: RemotePath, *args: Any) -> T:
        """Return the result of a request with retries; its last argument is the timeout of the attempt."""
        # Before the timeout starts: to create a file system may take a second.
        fs = await self.filesystem(location)
        return await with_retries(functools.partial(request, fs, location, *args), location, self.config)

    async def _fetch_signatures(self, locations: Sequence[RemotePath]) -> list[FileSignature]:
        signatures = [UNKNOWN_SIGNATURE] * len(locations)
        pending = iter(enumerate(locations))

        async def fetch_pending() -> None:
            for i, location in pending:
                request = asyncio.ensure_future(self.info(location))
                await asyncio.wait({request})
                if request.exception() is None:
                    _, signatures[i] = request.result()

        await asyncio.gather(*(fetch_pending() for _ in range(self.config.max_concurrency)))
        return signatures

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine on fsspec's event loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, import_atomically("fsspec.asyn").get_loop())

    def call_soon(self, function: Callable[[], None]) -> None:
        """Call a function on fsspec's event loop, without a wait for it."""
        import_atomically("fsspec.asyn").get_loop().call_soon_threadsafe(function)

    def result(self, future: Future[T]) -> T:
        """Return the result of a coroutine, or raise an UnreadableImageError with the reason, or an OutputError.

        The exception of the file system is not its cause: a traceback would show the URL with its secrets.
        """
        exc = future.exception()
        if isinstance(exc, OutputError):
            raise exc
        if exc is not None:
            raise to_image_error(exc, self.options, self.config.attempts) from None
        return future.result()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine, run on fsspec's event loop; see `result`."""
        future = self.submit(coroutine)
        try:
            return self.result(future)
        finally:
            future.cancel()  # after an interrupt; a finished future ignores it

    def signatures(self, locations: Sequence[RemotePath]) -> list[FileSignature]:
        """Return the current signatures of files, `UNKNOWN_SIGNATURE` where the server reports none."""
        return self.submit(self._fetch_signatures(locations)).result()
