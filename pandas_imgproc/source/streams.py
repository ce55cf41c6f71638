"""Bodies of responses in chunks, from any byte on: of web servers, S3 and Google Cloud Storage."""

from __future__ import annotations

import base64
import contextlib
import functools
import re
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source.local import UNKNOWN_SIGNATURE, FileSignature

ByteRange = tuple[int, int]
"""First byte, and the one after the last."""

OpenRange = tuple[int, int | None]
"""The same; None for all that follow."""

CHUNK_NBYTES = 2**16

_MAX_DECOMPRESSED_NBYTES = 2**18
"""Bytes of a chunk that is decompressed: a few bytes may hold a thousand times as many."""

_ANY_HEADER = 32
"""Flag of zlib for the header of gzip or of its own."""

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_WEAK_ETAG = re.compile(r'(?:[^"]* )?W/', re.IGNORECASE)  # alone, or after a date
_MD5_ETAG = re.compile(r'"([0-9a-f]{32})"')


@dataclass
class Body:
    """Body of a response."""

    chunks: AsyncIterator[bytes]
    length: int | None  # bytes of the body; None if the server does not tell
    is_part: bool  # whether it is the requested range, and not the whole file
    key: str | None  # version of the file, as signatures hold it
    version: str | None = None  # by which a later range is known to be of the same file
    start: int = 0  # first byte
    size: int | None = None  # bytes of the whole file
    digest: tuple[str, str] | None = None  # name and hexadecimal value, of the whole file

    def signature(self, size: int) -> FileSignature:
        """Return the signature of a file of this size."""
        return (size, version_hash(self.key)) if self.key else UNKNOWN_SIGNATURE


class DamagedTransferError(ConnectionError):
    """Error of a file that arrived with another size or digest than its server announced; another attempt may do."""


TOO_EARLY = "the response ended too early"

OpenBody = Callable[..., AbstractAsyncContextManager[Body]]


def version_hash(*version: object) -> int:
    """Return a checksum of a server's version of a file: signatures and journals hold a number, not a text."""
    text = repr(version).encode()
    return zlib.crc32(text) | zlib.adler32(text) << 31


def _range_header(byte_range: OpenRange | None) -> dict[str, str]:
    if byte_range is None:
        return {}
    start, stop = byte_range
    return {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}


def _position(content_range: str | None, length: int | None) -> dict[str, Any]:
    """Return the place of a body in its file, by the header of a response to a range."""
    found = _CONTENT_RANGE.fullmatch(content_range or "")
    return {"size": length} if found is None else {"start": int(found[1]), "size": int(found[2])}


def _decode_digest(name: str, text: str | None) -> tuple[str, str] | None:
    """Return a digest in base64 as the name and the hexadecimal value, None if it cannot be one."""
    try:
        digest = base64.b64decode(text or "", validate=True)
    except ValueError:
        return None
    return (name, digest.hex()) if len(digest) == {"md5": 16, "crc32c": 4}[name] else None


def raise_for_status(response: Any) -> None:
    """Raise for a response that holds no file."""
    response.raise_for_status()
    if response.status >= 300:  # a redirect without a target, or the user's allow_redirects=False
        raise UnreadableImageError("remote", f"the server responded with {response.status}, and not with a file")


def http_signature(headers: Mapping[str, str], size: int | None) -> FileSignature:
    """Return the signature of a file by the headers of a response."""
    version = headers.get("ETag") or headers.get("Last-Modified")
    return (size, version_hash(version)) if version and size is not None else UNKNOWN_SIGNATURE


def content_length(headers: Mapping[str, str]) -> int | None:
    """Return the bytes of a file that a response holds; None if the server does not tell, or compresses them."""
    length = headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and _encoding(headers) is None else None


def _encoding(headers: Mapping[str, str]) -> str | None:
    """Return the compression of a response, of those that have one; unknown words there change no bytes."""
    encoding = headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("br", "zstd"):
        raise UnreadableImageError("unsupported", f"the server compresses it with {encoding}, which was not requested")
    return encoding if encoding in ("gzip", "x-gzip", "deflate") else None


def _chunks(response: Any) -> AsyncIterator[bytes]:
    """Return the chunks of a file, decompressed if the server compresses them unrequested."""
    chunks: AsyncIterator[bytes] = response.content.iter_any()
    encoding = _encoding(response.headers)
    return chunks if encoding is None else _decompressed(chunks, is_deflate=encoding == "deflate")


async def _decompressed(chunks: AsyncIterator[bytes], *, is_deflate: bool) -> AsyncIterator[bytes]:
    """Decompress a stream, whose end must arrive: aiohttp would take any part of it for all of it."""
    decoder = None
    try:
        async for data in chunks:
            while data:
                if decoder is None or decoder.eof:  # the first member of a gzip file, or the next one
                    decoder = zlib.decompressobj(_window_bits(data, is_deflate=is_deflate))
                yield decoder.decompress(data, _MAX_DECOMPRESSED_NBYTES)
                data = decoder.unconsumed_tail or decoder.unused_data
        if decoder is not None:
            yield decoder.flush()
    except zlib.error:
        raise DamagedTransferError("its bytes are not compressed as the server announced") from None
    if decoder is None or not decoder.eof:
        raise DamagedTransferError(TOO_EARLY)


def _window_bits(data: bytes, *, is_deflate: bool) -> int:
    """Return the format of a stream, as zlib names it: some servers send deflate without its header."""
    has_no_header = is_deflate and data[0] & 0xF != zlib.DEFLATED
    return -zlib.MAX_WBITS if has_no_header else zlib.MAX_WBITS | _ANY_HEADER


def _http_version(headers: Mapping[str, str]) -> str | None:
    """Return the version that the bytes of a file are of; None if two files of a server may have the same.

    A date needs a `Date` that is later (RFC 9110, 8.8.2.2): within the same second the file may change again. A weak
    ETag is no proof of equal bytes, but another one means another file, whose date may be the same.
    """
    etag, date = headers.get("ETag"), headers.get("Last-Modified")
    if etag and not _WEAK_ETAG.match(etag):
        return etag
    if not date or not _is_later(headers.get("Date"), date):
        return None
    return f"{date} {etag}" if etag else date


def _is_later(sent: str | None, modified: str) -> bool:
    try:
        return sent is not None and parsedate_to_datetime(sent) > parsedate_to_datetime(modified)
    except (ValueError, TypeError):
        return False


def _if_range(version: str | None) -> dict[str, str]:
    """Return the condition of a range; none with a weak ETag, which servers compare with nothing."""
    return {"If-Range": version} if version and not _WEAK_ETAG.match(version) else {}


def _without_total(fs_options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the timeout of a request: none of aiohttp's, which ends each response after five minutes."""
    if fs_options and "timeout" in fs_options:  # the user's own
        return {}
    import aiohttp

    return {"timeout": aiohttp.ClientTimeout(total=None)}


@contextlib.asynccontextmanager
async def _http_body(
    fs: Any, url: str, byte_range: OpenRange | None, version: str | None = None
) -> AsyncIterator[Body]:
    """Open a file over HTTP; fsspec's `_cat_file` would hide the headers, and read a response of any size at once."""
    session = await fs.set_session()
    headers = {**fs.kwargs["headers"], **_range_header(byte_range), **(_if_range(version) if byte_range else {})}
    options = {**_without_total(fs.client_kwargs), **fs.kwargs, "headers": headers, "auto_decompress": False}
    async with session.get(fs.encode_url(url), **options) as response:
        raise_for_status(response)
        header, is_part, n = response.headers, response.status == 206, content_length(response.headers)
        is_encoded = _encoding(header) is not None
        key = header.get("ETag") or header.get("Last-Modified")
        yield Body(
            _chunks(response), n, is_part, key, None if is_encoded else _http_version(header),
            **_position(header.get("Content-Range") if is_part else None, n),
            digest=None if is_part or is_encoded else _http_digest(header),
        )  # fmt: skip


def _http_digest(headers: Any) -> tuple[str, str] | None:
    return _decode_digest("md5", headers.get("Content-MD5")) or _google_digest(_google_hashes(headers))


@contextlib.asynccontextmanager
async def _s3_body(
    fs: Any,
    path: str,
    byte_range: OpenRange | None,
    version: str | None = None,  # noqa: ARG001  it is compared
) -> AsyncIterator[Body]:
    bucket, key, number = fs.split_path(path)
    request = {"Bucket": bucket, "Key": key, **({"VersionId": number} if number else {}), **_range_header(byte_range)}
    response = await fs._call_s3("get_object", **request)
    body, etag, n = response["Body"], response.get("ETag"), response.get("ContentLength")
    # With keys of its own the server encrypts, and the tag is no digest.
    is_md5 = response.get("ServerSideEncryption") in (None, "AES256") and "SSECustomerAlgorithm" not in response
    md5 = _MD5_ETAG.fullmatch(etag or "") if is_md5 else None
    try:
        yield Body(
            body.iter_chunks(CHUNK_NBYTES), n, byte_range is not None, etag, etag,
            **_position(response.get("ContentRange"), n), digest=("md5", md5[1]) if md5 else None,
        )  # fmt: skip
    finally:
        body.close()


@contextlib.asynccontextmanager
async def _gs_body(
    fs: Any,
    path: str,
    byte_range: OpenRange | None,
    version: str | None = None,  # noqa: ARG001  it is compared
) -> AsyncIterator[Body]:
    """Open an object; `_call` of gcsfs would read all of it."""
    from gcsfs.retry import validate_response

    session, url = await fs._set_session(), fs.url(path)
    headers = {"Accept-Encoding": "identity", **fs._get_headers(_range_header(byte_range))}
    timeout = {} if fs.requests_timeout is None else {"timeout": fs.requests_timeout}
    options = {"params": fs._get_params({}), "headers": headers, "auto_decompress": False}
    options |= timeout or _without_total(fs.session_kwargs)
    async with session.get(url, **options) as response:
        if response.status >= 300:
            validate_response(response.status, await response.read(), path)
            raise_for_status(response)
        header, is_part, n = response.headers, response.status == 206, content_length(response.headers)
        hashes = _google_hashes(header)
        crc = hashes.get("crc32c")
        generation = header.get("X-Goog-Generation")
        yield Body(
            _chunks(response), n, is_part, crc, generation or crc,
            **_position(header.get("Content-Range"), n), digest=_google_digest(hashes),
        )  # fmt: skip


def _google_hashes(headers: Any) -> dict[str, str]:
    """Return the digests of an object of Google Cloud Storage, in base64 by their names.

    Those of an object that is stored compressed are of other bytes than the server sends.
    """
    if headers.get("X-Goog-Stored-Content-Encoding", "identity") != "identity":
        return {}
    pairs = ",".join(headers.getall("X-Goog-Hash", [])).split(",")
    return {name.strip(): value for name, _, value in (pair.partition("=") for pair in pairs)}


def _google_digest(hashes: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the MD5 of an object; of one composed of others, which has none, the CRC-32C if that can be computed."""
    md5 = _decode_digest("md5", hashes.get("md5"))
    return md5 or (_decode_digest("crc32c", hashes.get("crc32c")) if _has_crc32c() else None)


@functools.cache
def _has_crc32c() -> bool:
    try:
        import google_crc32c  # noqa: F401  gcsfs installs it
    except ImportError:
        return False
    return True


OPENERS: dict[str, OpenBody] = {"http": _http_body, "s3": _s3_body, "gs": _gs_body}
