"""File systems of remote files: one instance per process and options, without built-in retries, and requests to each.

All coroutines run on fsspec's event loop.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import zlib
from typing import TYPE_CHECKING, Any, TypeVar

from pandas_imgproc._uninterrupted import import_atomically, run_uninterrupted
from pandas_imgproc.errors import MissingExtraError, UnreadableImageError
from pandas_imgproc.source.local import UNKNOWN_SIGNATURE, FileSignature, check_size
from pandas_imgproc.source.redaction import protocol_family

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pandas_imgproc.source.paths import RemotePath
    from pandas_imgproc.source.read_config import ReadConfig
    from pandas_imgproc.source.redaction import StorageOptions

T = TypeVar("T")

ByteRange = tuple[int, int]
"""First byte, and the one after the last."""

ReadResult = tuple[bytes, FileSignature]
FileInfo = tuple[int | None, FileSignature]
"""Size in bytes, None if the server does not report it, and the signature."""

_EXTRAS = {"s3": ("s3", "s3fs"), "gs": ("gcs", "gcsfs"), "http": ("http", "aiohttp")}
_MAX_FILESYSTEMS = 16
_CRC = re.compile(r"crc32c=([^,]+)")

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


async def get_filesystem(location: RemotePath, options: StorageOptions, config: ReadConfig) -> Any:
    """Return the file system of a location, created on first use."""
    family = protocol_family(location.scheme)
    create = functools.partial(_create, family, location.path, options.for_protocol(family), config)
    return await shared_future(
        _filesystems,
        (family, options.tokenize(family), config),
        # In a thread: some search for credentials on disk and on the network when they are created.
        lambda: asyncio.get_running_loop().run_in_executor(None, create),
        _MAX_FILESYSTEMS,
    )


def _create(family: str, url: str, storage_options: dict[str, Any], config: ReadConfig) -> Any:
    import fsspec

    check_installed(family)
    if "::" in url and family not in _READERS:  # chained; in a bucket or on a web server it is part of a name
        return fsspec.core.url_to_fs(url, **storage_options)[0]
    # Not from fsspec's cache: the changes below must not reach an instance of the user's.
    options = {"skip_instance_cache": True, **storage_options}
    if family == "http":
        options["encoded"] = True
        # Identity: a compressed response would have another length than the file.
        headers = {"User-Agent": config.user_agent, "Accept-Encoding": "identity"}
        options["headers"] = {**headers, **(options.get("headers") or {})}
    if family == "s3":
        botocore = {"retries": {"total_max_attempts": 1}, "max_pool_connections": config.max_concurrency}
        botocore["user_agent_extra"] = config.user_agent
        options["config_kwargs"] = {**botocore, **(options.get("config_kwargs") or {})}
    fs = fsspec.filesystem(family, **options)
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


async def read_bytes(fs: Any, location: RemotePath, byte_range: ByteRange | None) -> ReadResult:
    """Return the bytes of a file or of a range of it, and its signature if the response has one."""
    read = _READERS.get(protocol_family(location.scheme), _generic_read)
    return await read(fs, location.path, byte_range)


def version_hash(*version: object) -> int:
    """Return a checksum of a server's version of a file: signatures and journals hold a number, not a text."""
    text = repr(version).encode()
    return zlib.crc32(text) | zlib.adler32(text) << 31


def _range_header(byte_range: ByteRange | None) -> dict[str, str]:
    return {} if byte_range is None else {"Range": f"bytes={byte_range[0]}-{byte_range[1] - 1}"}


async def _http_read(fs: Any, url: str, byte_range: ByteRange | None) -> ReadResult:
    """Read over HTTP; fsspec's `_cat_file` would hide the headers, and read a response of any size into memory."""
    session = await fs.set_session()
    options = {**fs.kwargs, "headers": {**fs.kwargs["headers"], **_range_header(byte_range)}}
    async with session.get(fs.encode_url(url), **options) as response:
        response.raise_for_status()
        if byte_range is not None and response.status != 206:
            raise UnreadableImageError("unsupported", "the server does not give parts of a file")
        check_size(int(response.headers.get("Content-Length") or 0))
        chunks, size = [], 0
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            check_size(size)
        return b"".join(chunks), _http_signature(response.headers, size)


def _http_signature(headers: Mapping[str, str], size: int | None) -> FileSignature:
    version = headers.get("ETag") or headers.get("Last-Modified")
    return (size, version_hash(version)) if version and size is not None else UNKNOWN_SIGNATURE


async def _s3_read(fs: Any, path: str, byte_range: ByteRange | None) -> ReadResult:
    bucket, key, version = fs.split_path(path)
    request = {"Bucket": bucket, "Key": key, **({"VersionId": version} if version else {}), **_range_header(byte_range)}
    response = await fs._call_s3("get_object", **request)
    body = response["Body"]
    try:
        check_size(response.get("ContentLength") or 0)
        data = await body.read()
    finally:
        body.close()
    return data, (len(data), version_hash(response.get("ETag")))


async def _gs_read(fs: Any, path: str, byte_range: ByteRange | None) -> ReadResult:
    headers, data = await fs._call("GET", fs.url(path), headers=_range_header(byte_range))
    checksum = _CRC.search(",".join(headers.getall("X-Goog-Hash", [])))
    if checksum is None or byte_range is not None:
        return data, UNKNOWN_SIGNATURE
    return data, (len(data), version_hash(checksum[1]))


async def _generic_read(fs: Any, url: str, byte_range: ByteRange | None) -> ReadResult:
    path = fs._strip_protocol(url)
    start, stop = byte_range or (None, None)
    if fs.async_impl:
        return await fs._cat_file(path, start=start, end=stop), UNKNOWN_SIGNATURE
    return await asyncio.to_thread(fs.cat_file, path, start=start, end=stop), UNKNOWN_SIGNATURE


_READERS: dict[str, Callable[[Any, str, ByteRange | None], Awaitable[ReadResult]]] = {
    "http": _http_read,
    "s3": _s3_read,
    "gs": _gs_read,
}


async def info(fs: Any, location: RemotePath) -> FileInfo:
    """Return the size and the signature of a file, without reading the file."""
    family = protocol_family(location.scheme)
    if family == "http":
        return await _http_info(fs, location.path)
    path = location.path if family in _READERS else fs._strip_protocol(location.path)
    details = await (fs._info(path) if fs.async_impl else asyncio.to_thread(fs.info, path))
    version = details.get({"s3": "ETag", "gs": "crc32c"}.get(family, ""))
    return details.get("size"), ((details["size"], version_hash(version)) if version else UNKNOWN_SIGNATURE)


async def _http_info(fs: Any, url: str) -> FileInfo:
    session = await fs.set_session()
    async with session.head(fs.encode_url(url), **{"allow_redirects": True, **fs.kwargs}) as response:
        response.raise_for_status()
        length = response.headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() else None
        return size, _http_signature(response.headers, size)
