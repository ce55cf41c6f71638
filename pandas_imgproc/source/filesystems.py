"""File systems: made once per process, without retries of their own, and how each is asked for a file.

Everything here runs on fsspec's event loop.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import zlib
from typing import TYPE_CHECKING, Any

from pandas_imgproc.errors import MissingExtraError, UnreadableImageError
from pandas_imgproc.source.local import MAX_FILE_BYTES, UNKNOWN_SIGNATURE, FileSignature
from pandas_imgproc.source.redaction import protocol_family

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pandas_imgproc.source.paths import RemotePath
    from pandas_imgproc.source.read_config import ReadConfig
    from pandas_imgproc.source.redaction import StorageOptions

ByteRange = tuple[int, int]
"""First byte, and the one after the last."""

ReadResult = tuple[bytes, FileSignature]

_EXTRAS = {"s3": ("s3", "s3fs"), "gs": ("gcs", "gcsfs"), "http": ("http", "aiohttp")}
_MOST_SYSTEMS = 16
_CRC = re.compile(r"crc32c=([^,]+)")

# By process, because a forked child must not use what its parent has opened.
_filesystems: dict[tuple[int, str, str, ReadConfig], asyncio.Future[Any]] = {}


def check_installed(scheme: str) -> None:
    """Raise a MissingExtraError that says what to install, if nothing reads a scheme here.

    Examples
    --------
    >>> check_installed("file")
    """
    import fsspec

    for part in scheme.split("::"):
        try:
            fsspec.get_filesystem_class(part)
        except ImportError as exc:
            extra, package = _EXTRAS.get(protocol_family(part), (None, None))
            how = f"{package}: pip install 'pandas-imgproc[{extra}]'" if extra else " ".join(str(exc).split())
            raise MissingExtraError(f"{part}:// needs {how}") from None
        except ValueError:
            raise ValueError(f"fsspec knows no file system for {part}://") from None


async def get_filesystem(place: RemotePath, options: StorageOptions, config: ReadConfig) -> Any:
    """Return the file system of a place; made on first use, and kept."""
    kind = protocol_family(place.scheme)
    key = (os.getpid(), kind, options.tokenize(kind), config)
    made = _filesystems.get(key)
    if made is None or (made.done() and (made.cancelled() or made.exception() is not None)):
        while len(_filesystems) >= _MOST_SYSTEMS:
            del _filesystems[next(iter(_filesystems))]
        # In a thread: some look for credentials on disk and on the network when they are made.
        loop = asyncio.get_running_loop()
        made = _filesystems[key] = loop.run_in_executor(
            None, _create, kind, place.path, options.for_protocol(kind), config
        )
    return await asyncio.shield(made)


def _create(kind: str, url: str, given: dict[str, Any], config: ReadConfig) -> Any:
    import fsspec

    check_installed(kind)
    # Ours alone: what is changed in it below must not change the user's, which fsspec would hand out again.
    options = {"skip_instance_cache": True, **given}
    if "::" in url:
        return fsspec.core.url_to_fs(url, **given)[0]
    if kind == "http":
        options["encoded"] = True
    if kind == "s3":
        options = _s3_options(options, config)
    fs = fsspec.filesystem(kind, **options)
    _disable_builtin_retries(kind, fs)
    return fs


def _s3_options(options: dict[str, Any], config: ReadConfig) -> dict[str, Any]:
    given = dict(options.get("config_kwargs") or {})
    ours = {
        "retries": {"total_max_attempts": 1},
        "max_pool_connections": config.max_concurrency,
        "user_agent_extra": config.user_agent,
    }
    return {**options, "config_kwargs": {**ours, **given}}


def _disable_builtin_retries(kind: str, fs: Any) -> None:
    """Switch off what some file systems do again by themselves: attempts would multiply, and nobody could wait less."""
    if kind == "s3":
        fs.retries = 1
    if kind == "gs":
        once = getattr(
            type(fs)._request, "__wrapped__", None
        )  # beneath gcsfs's decorator, which also logs each failure
        if once is not None:
            fs._request = functools.partial(once, fs)


# ---- reading


async def read_bytes(
    place: RemotePath, span: ByteRange | None, options: StorageOptions, config: ReadConfig
) -> ReadResult:
    """Return the bytes of a file that is elsewhere, or of a part of it, and its stamp where that comes for free."""
    fs = await get_filesystem(place, options, config)
    reader = _READERS.get(protocol_family(place.scheme), _read_other)
    return await reader(fs, place.path, span, config)


def version_hash(*what: object) -> int:
    """Return a number for what a server says of a version of a file.

    It is a checksum: the journal has room for a number where a file of this machine has its time.
    """
    text = repr(what).encode()
    return zlib.crc32(text) | zlib.adler32(text) << 31


def _check_size(size: object) -> None:
    if isinstance(size, int | str) and int(size) > MAX_FILE_BYTES:
        raise UnreadableImageError("too_large", f"it has {int(size):,} bytes, more than {MAX_FILE_BYTES:,}")


def _web_headers(fs: Any, config: ReadConfig) -> dict[str, str]:
    # Identity: a compressed answer would have another length than the file.
    own = {"User-Agent": config.user_agent, "Accept-Encoding": "identity"}
    return {**own, **(fs.kwargs.get("headers") or {})}


async def _read_web(fs: Any, url: str, span: ByteRange | None, config: ReadConfig) -> ReadResult:
    """Ask a web server; fsspec's own way would hide the headers, and read an answer of any size into memory."""
    headers = _web_headers(fs, config)
    if span is not None:
        headers["Range"] = f"bytes={span[0]}-{span[1] - 1}"
    session = await fs.set_session()
    async with session.get(fs.encode_url(url), **{**fs.kwargs, "headers": headers}) as answer:
        answer.raise_for_status()
        if span is not None and answer.status != 206:
            raise UnreadableImageError("unsupported", "the server does not give parts of a file")
        _check_size(answer.headers.get("Content-Length"))
        pieces, size = [], 0
        async for piece in answer.content.iter_any():
            pieces.append(piece)
            size += len(piece)
            _check_size(size)
        return b"".join(pieces), _web_stamp(answer.headers, size)


def _web_stamp(headers: Mapping[str, str], size: int | None) -> FileSignature:
    version = headers.get("ETag") or headers.get("Last-Modified")
    return (size, version_hash(version)) if version and size is not None else UNKNOWN_SIGNATURE


async def _read_s3(fs: Any, path: str, span: ByteRange | None, config: ReadConfig) -> ReadResult:  # noqa: ARG001  the readers'
    bucket, key, version = fs.split_path(path)
    asked = {"Bucket": bucket, "Key": key}
    if version:
        asked["VersionId"] = version
    if span is not None:
        asked["Range"] = f"bytes={span[0]}-{span[1] - 1}"
    answer = await fs._call_s3("get_object", **asked)
    body = answer["Body"]
    try:
        _check_size(answer.get("ContentLength"))
        data = await body.read()
    finally:
        body.close()
    return data, (len(data), version_hash(answer.get("ETag")))


async def _read_gs(fs: Any, path: str, span: ByteRange | None, config: ReadConfig) -> ReadResult:  # noqa: ARG001  the readers'
    part = {} if span is None else {"Range": f"bytes={span[0]}-{span[1] - 1}"}
    headers, data = await fs._call("GET", fs.url(path), headers=part)
    told = _CRC.search(",".join(headers.getall("X-Goog-Hash", [])))
    return data, ((len(data), version_hash(told[1])) if told and span is None else UNKNOWN_SIGNATURE)


async def _read_other(fs: Any, url: str, span: ByteRange | None, config: ReadConfig) -> ReadResult:  # noqa: ARG001  the readers'
    path = fs._strip_protocol(url)
    start, stop = span or (None, None)
    if fs.async_impl:
        return await fs._cat_file(path, start=start, end=stop), UNKNOWN_SIGNATURE
    return await asyncio.to_thread(fs.cat_file, path, start=start, end=stop), UNKNOWN_SIGNATURE


_READERS: dict[str, Callable[[Any, str, ByteRange | None, ReadConfig], Awaitable[ReadResult]]] = {
    "http": _read_web,
    "s3": _read_s3,
    "gs": _read_gs,
}


# ---- asking


async def info(place: RemotePath, options: StorageOptions, config: ReadConfig) -> tuple[int | None, FileSignature]:
    """Return the size of a file that is elsewhere, None where it is not told, and its stamp, without reading it."""
    fs = await get_filesystem(place, options, config)
    kind = protocol_family(place.scheme)
    if kind == "http":
        return await _ask_web(fs, place.path, config)
    path = place.path if kind in _READERS else fs._strip_protocol(place.path)
    if fs.async_impl:
        info = await fs._info(path)
    else:
        info = await asyncio.to_thread(fs.info, path)
    version = info.get({"s3": "ETag", "gs": "crc32c"}.get(kind, ""))
    return info.get("size"), ((info["size"], version_hash(version)) if version else UNKNOWN_SIGNATURE)


async def _ask_web(fs: Any, url: str, config: ReadConfig) -> tuple[int | None, FileSignature]:
    session = await fs.set_session()
    headers = _web_headers(fs, config)
    async with session.head(fs.encode_url(url), **{"allow_redirects": True, **fs.kwargs, "headers": headers}) as answer:
        answer.raise_for_status()
        told = answer.headers.get("Content-Length", "")
        size = int(told) if told.isdecimal() else None
        return size, _web_stamp(answer.headers, size)
