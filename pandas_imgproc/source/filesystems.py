"""File systems of remote files: one instance per process and options, without built-in retries, and requests to each.

All coroutines run on fsspec's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import os
from typing import TYPE_CHECKING, Any, TypeVar

from pandas_imgproc._uninterrupted import import_atomically, run_uninterrupted
from pandas_imgproc.errors import MissingExtraError, UnreadableImageError
from pandas_imgproc.source import streams
from pandas_imgproc.source.chained import chain_protocols, open_filesystem, split_chain
from pandas_imgproc.source.local import BLOCK_NBYTES, UNKNOWN_SIGNATURE, FileSignature, check_size
from pandas_imgproc.source.redaction import protocol_family
from pandas_imgproc.source.redirects import guard_sessions, guarded_options
from pandas_imgproc.source.streams import ByteRange as ByteRange
from pandas_imgproc.source.streams import version_hash
from pandas_imgproc.source.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pandas_imgproc.source.byte_budget import Reservation
    from pandas_imgproc.source.paths import RemotePath
    from pandas_imgproc.source.read_config import ReadConfig
    from pandas_imgproc.source.redaction import StorageOptions
    from pandas_imgproc.source.redirects import RedirectPolicy
    from pandas_imgproc.source.stall import StallTimeout

T = TypeVar("T")

ReadResult = tuple[bytes, FileSignature]
FileInfo = tuple[int | None, FileSignature]
"""Size in bytes, None if the server does not report it, and the signature."""

_EXTRAS = {"s3": ("s3", "s3fs"), "gs": ("gcs", "gcsfs"), "http": ("http", "aiohttp")}
_MAX_FILESYSTEMS = 16

_filesystems: dict[Any, asyncio.Future[Any]] = {}


def check_installed(scheme: str) -> None:
    """Raise a MissingExtraError with the package to install if the file system of a scheme is missing."""
    fsspec = import_atomically("fsspec")
    for part in scheme.split("::"):
        try:
            run_uninterrupted(fsspec.get_filesystem_class, part)  # imports the package of the file system
        except ImportError as exc:
            extra, package = _EXTRAS.get(protocol_family(part), (None, None))
            hint = f"{package}: pip install 'pandas-imgproc[{extra}]'" if extra else " ".join(str(exc).split())
            raise MissingExtraError(f"{part}:// needs {hint}") from None
        except ValueError:
            raise ValueError(f"fsspec knows no file system for {part}://") from None
        _check_aiohttp(part)


def _check_aiohttp(scheme: str) -> None:
    """Raise a MissingExtraError if redirects could not be guarded: aiohttp has client middleware from 3.12 on."""
    extra, _ = _EXTRAS.get(protocol_family(scheme), (None, None))
    if extra is None:
        return
    import aiohttp

    if not hasattr(aiohttp, "ClientMiddlewareType"):
        hint = f"pip install --upgrade 'pandas-imgproc[{extra}]'"
        raise MissingExtraError(f"{scheme}:// needs aiohttp 3.12, and {aiohttp.__version__} is installed: {hint}")


async def shared_future(
    cache: dict[Any, asyncio.Future[T]], key: Any, create: Callable[[], asyncio.Future[T]], max_entries: int
) -> T:
    """Return the result of a future that all requests of this process share; a failed one is created anew."""
    key = (os.getpid(), key)  # a forked child must not use connections of its parent
    future = cache.get(key)
    if future is None or (future.done() and (future.cancelled() or future.exception() is not None)):
        while len(cache) >= max_entries:
            del cache[next(iter(cache))]
        future = cache[key] = create()
    return await asyncio.shield(future)


def drop_shared(cache: dict[Any, asyncio.Future[T]], key: Any, result: T) -> None:
    """Let the next request create a shared future anew, if it still has this result."""
    future = cache.get((os.getpid(), key))
    is_successful = future is not None and future.done() and not future.cancelled() and future.exception() is None
    if future is not None and is_successful and future.result() is result:
        del cache[os.getpid(), key]


async def get_filesystem(
    location: RemotePath, options: StorageOptions, config: ReadConfig, redirects: RedirectPolicy
) -> Any:
    """Return the file system of a location, created on first use."""
    family = protocol_family(location.scheme)
    protocols = [family]
    if _is_chained(location):
        protocols, family = chain_protocols(location.path), split_chain(location.path)[0]
    create = functools.partial(_create, location, options, config, redirects)
    return await shared_future(
        _filesystems,
        (family, options.tokenize(*protocols), config, redirects),
        # In a thread: some search for credentials on disk and on the network when they are created.
        lambda: asyncio.get_running_loop().run_in_executor(None, create),
        _MAX_FILESYSTEMS,
    )


def _is_chained(location: RemotePath) -> bool:
    """Return whether ``::`` chains protocols; in a bucket or on a web server it is part of a name."""
    return "::" in location.path and protocol_family(location.scheme) not in streams.OPENERS


def _create(
    location: RemotePath, storage_options: StorageOptions, config: ReadConfig, redirects: RedirectPolicy
) -> Any:
    fsspec = import_atomically("fsspec")
    family = protocol_family(location.scheme)
    check_installed(location.scheme if _is_chained(location) else family)
    if _is_chained(location):
        return open_filesystem(location.path, storage_options, redirects, config.user_agent)[0]
    # Not from fsspec's cache: the changes below must not reach an instance of the user's.
    options = {"skip_instance_cache": True, **storage_options.for_protocol(family)}
    if family == "http":
        options["encoded"] = True
        # Identity: a compressed response would have another length than the file.
        headers = {"User-Agent": config.user_agent, "Accept-Encoding": "identity"}
        options["headers"] = {**headers, **(options.get("headers") or {})}
    if family == "s3":
        botocore = {"retries": {"total_max_attempts": 1}, "max_pool_connections": config.max_concurrency}
        botocore["user_agent_extra"] = config.user_agent
        options["config_kwargs"] = {**botocore, **(options.get("config_kwargs") or {})}
    fs = fsspec.filesystem(family, **guarded_options(family, options, redirects, config.user_agent))
    if family == "gs":
        guard_sessions(fs, config.user_agent)
    _disable_builtin_retries(family, fs)
    return fs


def _disable_builtin_retries(family: str, fs: Any) -> None:
    """Disable the built-in retries of a file system: attempts would multiply, and waits could not be configured."""
    if family == "s3":
        fs.retries = 1
    if family == "gs":
        # The function under gcsfs's decorator, which also logs each failure.
        request = getattr(type(fs)._request, "__wrapped__", None)
        if request is not None:
            fs._request = functools.partial(request, fs)


# ---- reads


async def read_bytes(
    fs: Any, location: RemotePath, byte_range: ByteRange | None, memory: Reservation, timeout: StallTimeout
) -> ReadResult:
    """Return the bytes of a file or of a range of it, and its signature if the response has one.

    Raises
    ------
    OverBudgetError
        If it is larger than its reservation, and the process has no more memory for files at the moment.
    """
    open_body = streams.OPENERS.get(protocol_family(location.scheme))
    if open_body is None:
        return await _generic_read(fs, location.path, byte_range)
    async with open_body(fs, location.path, byte_range) as body:
        if byte_range is not None and not body.is_part:
            raise UnreadableImageError("unsupported", "the server does not give parts of a file")
        data = await _read_body(body, memory, timeout)
        return data, UNKNOWN_SIGNATURE if body.is_part else body.signature(len(data))


async def _read_body(body: streams.Body, memory: Reservation, timeout: StallTimeout) -> bytes:
    # In one buffer, which its end empties: chunks to be joined would be in memory twice, and the traceback of an error
    # would keep them.
    with memory, io.BytesIO() as buffer:
        check_size(body.length or 0)
        memory.reserve(body.length or 0)
        async for chunk in body.chunks:
            timeout.received(len(chunk))
            size = buffer.tell() + len(chunk)
            check_size(size)
            memory.reserve(size)
            buffer.write(chunk)
        return buffer.getvalue()


async def _generic_read(fs: Any, url: str, byte_range: ByteRange | None) -> ReadResult:
    path = generic_path(fs, url)
    start, stop = byte_range or (None, None)
    if fs.async_impl:
        return await fs._cat_file(path, start=start, end=stop), UNKNOWN_SIGNATURE
    return await in_thread(fs.cat_file, path, start=start, end=stop), UNKNOWN_SIGNATURE


@contextlib.asynccontextmanager
async def generic_body(
    fs: Any,
    url: str,
    byte_range: streams.OpenRange | None = None,
    version: str | None = None,  # noqa: ARG001  it is compared
) -> AsyncIterator[streams.Body]:
    """Open a file of any file system, as the bodies of `streams`."""
    path, start = generic_path(fs, url), byte_range[0] if byte_range else 0
    details = await (fs._info(path) if fs.async_impl else in_thread(fs.info, path))
    size = details.get("size")
    # Another version may have the same name and size.
    key = str(version_hash(details)) if details.keys() - {"name", "size", "type"} else None
    file = await in_thread(fs.open, path, "rb")
    try:
        await in_thread(file.seek, start)
        chunks = _read_chunks(file)
        yield streams.Body(chunks, None, byte_range is not None, None, key, start, size)
    finally:
        await in_thread(file.close)


async def _read_chunks(file: Any) -> AsyncIterator[bytes]:
    while chunk := await in_thread(file.read, BLOCK_NBYTES):
        yield chunk


def generic_path(fs: Any, url: str) -> Any:
    """Return the path of a URL, as its file system names it."""
    return fs._strip_protocol(split_chain(url)[1] if "::" in url else url)


async def info(fs: Any, location: RemotePath, timeout: StallTimeout) -> FileInfo:  # noqa: ARG001  one wait
    """Return the size and the signature of a file, without reading the file."""
    family = protocol_family(location.scheme)
    if family == "http":
        return await _http_info(fs, location.path)
    path = location.path if family in streams.OPENERS else generic_path(fs, location.path)
    details = await (fs._info(path) if fs.async_impl else in_thread(fs.info, path))
    version = details.get({"s3": "ETag", "gs": "crc32c"}.get(family, ""))
    return details.get("size"), ((details["size"], version_hash(version)) if version else UNKNOWN_SIGNATURE)


async def _http_info(fs: Any, url: str) -> FileInfo:
    session = await fs.set_session()
    async with session.head(fs.encode_url(url), **{"allow_redirects": True, **fs.kwargs}) as response:
        streams.raise_for_status(response)
        size = streams.content_length(response.headers)
        return size, streams.http_signature(response.headers, size)
