"""Writer of objects in buckets and in any file system of fsspec, with the retries and the redaction of reads."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pandas_imgproc.errors import ImgprocError, OutputError
from pandas_imgproc.source.error_mapping import to_image_error
from pandas_imgproc.source.objects import ANY_STORE, STORES, delete_object
from pandas_imgproc.source.paths import RemotePath, parse_url, scheme_of
from pandas_imgproc.source.redaction import protocol_family, redact_url
from pandas_imgproc.source.redirects import FOLLOW_ALL
from pandas_imgproc.source.remote import RemoteReader
from pandas_imgproc.source.retry import with_retries

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence

    from pandas_imgproc.source.local import FileSignature
    from pandas_imgproc.source.objects import ObjectStore
    from pandas_imgproc.source.source import Source

T = TypeVar("T")

MAX_HEADS = 256
"""Number of objects up to which each has a request of its own; the folders of more are listed."""


@dataclass(frozen=True)
class RemoteWriter:
    """Writer of objects, and reader of their signatures.

    Attributes
    ----------
    reader : RemoteReader
        With the options and the configuration of the source.
    schemes : frozenset of str
        Schemes that may be used.
    """

    reader: RemoteReader
    schemes: frozenset[str]

    @classmethod
    def from_source(cls, source: Source) -> RemoteWriter:
        """Return the writer with the storage options of a source."""
        return cls(RemoteReader(source.options, source.config, FOLLOW_ALL), source.schemes)

    def location(self, url: str) -> RemotePath:
        """Return the location of a URL."""
        return parse_url(url, scheme_of(url) or "", self.schemes)

    def store(self, location: RemotePath) -> ObjectStore:
        """Return the requests of the file system of a location."""
        return STORES.get(protocol_family(location.scheme), ANY_STORE)

    async def request(self, function: Callable[..., Any], location: RemotePath, *args: Any, nbytes: int = 0) -> Any:
        """Return the result of a request that sends so many bytes, with retries; raise an OutputError at the end."""
        fs = await self.reader.filesystem(location)

        async def attempt(timeout: Any) -> Any:
            timeout.allow_sending(nbytes)
            return await function(fs, location.path, *args)

        try:
            return await with_retries(attempt, location, self.reader.config, purpose="write")
        except ImgprocError as exc:
            raise self.error(location, exc) from None
        except Exception as exc:
            raise self.error(location, exc) from None

    def error(self, location: RemotePath, exc: BaseException) -> OutputError:
        """Return the error that an object cannot be written, without secrets."""
        image_error = to_image_error(exc, self.reader.options, self.reader.config.attempts)
        reason = image_error.message
        if image_error.kind == "missing":  # nothing else must exist before it is written
            reason += "; is there such a bucket?"
        url = location.path if "://" in location.path else f"{location.scheme}://{location.path}"
        return OutputError(f"{redact_url(url)!r} cannot be written: {reason}; what was finished is kept")

    async def put(self, url: str, data: bytes) -> FileSignature:
        """Write an object in one request, and return its signature."""
        location = self.location(url)
        signature: FileSignature = await self.request(self.store(location).put, location, data, nbytes=len(data))
        return signature

    async def delete(self, url: str) -> None:
        """Delete an object, if there is one."""
        await self.request(delete_object, self.location(url))

    async def read(self, url: str) -> bytes:
        """Return the bytes of an object."""
        location = self.location(url)
        try:
            data, _ = await self.reader.read(location)
        except Exception as exc:
            raise self.error(location, exc) from None
        return data

    async def names(self, folder: str) -> list[str]:
        """Return the sorted names of the objects in a folder."""
        return sorted(await self._list(folder))

    async def signatures(self, urls: Collection[str]) -> dict[str, FileSignature]:
        """Return the signatures of the objects that exist among some: of few each alone, of many by their folders."""
        if len(urls) <= MAX_HEADS:
            found = await gather(self._signature(url) for url in urls)
            return {url: signature for url, signature in zip(urls, found, strict=True) if signature is not None}
        names, folders = set(urls), sorted({url.rpartition("/")[0] for url in urls})
        listings = await gather(self._list(folder, names) for folder in folders)
        return {
            f"{folder}/{name}": signature
            for folder, listing in zip(folders, listings, strict=True)
            for name, signature in listing.items()
        }

    async def _signature(self, url: str) -> FileSignature | None:
        location = self.location(url)
        signature: FileSignature | None = await self.request(self.store(location).signature, location)
        return signature

    async def _list(self, folder: str, names: Collection[str] | None = None) -> dict[str, FileSignature]:
        location = self.location(f"{folder}/x")
        location = RemotePath(location.scheme, location.path.rpartition("/")[0])

        found: dict[str, FileSignature] = {}
        token: str | None = None
        while True:
            page, token = await self.request(self.store(location).page, location, token)
            found |= {
                name: signature
                for name, signature in page.items()
                if name and (names is None or f"{folder}/{name}" in names)
            }
            if token is None:
                return found

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine, run on fsspec's event loop, from another thread."""
        return self.reader.run(coroutine)


async def gather(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return the results of coroutines that run concurrently, all of which have ended before an error is raised."""
    results: Sequence[Any] = await asyncio.gather(*coroutines, return_exceptions=True)
    error = next((result for result in results if isinstance(result, BaseException)), None)
    if error is not None:
        raise error
    return list(results)
