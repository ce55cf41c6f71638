"""Objects of remote file systems: complete in one request, or in parts that become an object together.

All coroutines run on fsspec's event loop. A request is one attempt; see `writer` for the attempts.
"""

from __future__ import annotations

import base64
import contextlib
import io
import mimetypes
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source.error_mapping import http_status
from pandas_imgproc.source.filesystems import generic_path
from pandas_imgproc.source.streams import version_hash
from pandas_imgproc.source.threads import in_thread

if TYPE_CHECKING:
    from pandas_imgproc.source.local import FileSignature

    Page = tuple[dict[str, FileSignature], str | None]

_GENERIC_VERSIONS = ("ETag", "etag", "md5", "checksum", "mtime", "last_modified", "LastModified", "created")


class ObjectStore(Protocol):
    """Requests to one kind of file system; a path is as `RemotePath` holds it."""

    async def put(self, fs: Any, path: str, data: bytes) -> FileSignature:
        """Write an object in one request."""

    async def begin(self, fs: Any, path: str) -> Any:
        """Begin an object of several parts, and return its handle."""

    async def send(self, fs: Any, path: str, handle: Any, part: Part) -> Any:
        """Send a part; return the value that `complete` needs."""

    async def complete(self, fs: Any, path: str, handle: Any, sent: list[Any], part: Part, md5: bytes) -> FileSignature:
        """Send the last part, and make the object."""

    async def abort(self, fs: Any, path: str, handle: Any) -> None:
        """Drop the parts."""

    async def signature(self, fs: Any, path: str) -> FileSignature | None:
        """Return the signature of an object; None if there is none."""

    async def page(self, fs: Any, folder: str, token: str | None) -> Page:
        """Return the signatures of objects in a folder by name, and the token of the next page, if there is one."""


class Part:
    """Part of an object: its number from 0 on, its first byte, its bytes, and the size of the object if it is known."""

    __slots__ = ("data", "number", "size", "start")

    def __init__(self, number: int, start: int, data: bytes, size: int | None = None) -> None:
        self.number, self.start, self.data, self.size = number, start, data, size


def _content_type(path: str) -> str:
    return mimetypes.guess_type(path)[0] or "application/octet-stream"


class S3Objects:
    """Requests to S3; an ETag is the version of a signature, as in reads."""

    async def put(self, fs: Any, path: str, data: bytes) -> FileSignature:
        """Write an object in one request."""
        response = await fs._call_s3("put_object", **_key(fs, path), Body=data, ContentType=_content_type(path))
        return len(data), version_hash(response.get("ETag"))

    async def begin(self, fs: Any, path: str) -> Any:
        """Begin a multipart upload."""
        response = await fs._call_s3("create_multipart_upload", **_key(fs, path), ContentType=_content_type(path))
        return response["UploadId"]

    async def send(self, fs: Any, path: str, handle: Any, part: Part) -> Any:
        """Send a part of a multipart upload."""
        number = part.number + 1
        response = await fs._call_s3(
            "upload_part", **_key(fs, path), UploadId=handle, PartNumber=number, Body=part.data
        )
        return {"PartNumber": number, "ETag": response["ETag"]}

    async def complete(self, fs: Any, path: str, handle: Any, sent: list[Any], part: Part, md5: bytes) -> FileSignature:  # noqa: ARG002
        """Send the last part of a multipart upload, and complete it."""
        try:
            parts = {"Parts": [*sent, await self.send(fs, path, handle, part)]}
            response = await fs._call_s3(
                "complete_multipart_upload", **_key(fs, path), UploadId=handle, MultipartUpload=parts
            )
        except FileNotFoundError:  # an attempt before has completed it, and its response was lost
            signature = await self.signature(fs, path)
            if signature is None or signature[0] != part.size:
                raise
            return signature
        return part.size or 0, version_hash(response.get("ETag"))

    async def abort(self, fs: Any, path: str, handle: Any) -> None:
        """Abort a multipart upload."""
        await fs._call_s3("abort_multipart_upload", **_key(fs, path), UploadId=handle)

    async def signature(self, fs: Any, path: str) -> FileSignature | None:
        """Return the signature of an object; None if there is none."""
        try:
            response = await fs._call_s3("head_object", **_key(fs, path))
        except Exception as exc:
            if http_status(exc)[0] == 404 or isinstance(exc, FileNotFoundError):
                return None
            raise
        if "ContentLength" not in response:
            raise UnreadableImageError("unsupported", "the server does not report the size of the object")
        return response["ContentLength"], version_hash(response.get("ETag"))

    async def page(self, fs: Any, folder: str, token: str | None) -> Page:
        """Return a page of the objects in a folder: s3fs would hold a dict of each object."""
        bucket, prefix = _prefix(fs, folder)
        more = {} if token is None else {"ContinuationToken": token}
        page = await fs._call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter="/", **more)
        objects = page.get("Contents", [])
        found = {one["Key"][len(prefix) :]: (one["Size"], version_hash(one.get("ETag"))) for one in objects}
        return found, page.get("NextContinuationToken")


def _prefix(fs: Any, folder: str) -> tuple[str, str]:
    """Return the bucket of a folder, and the beginning of the names in it: versions of s3fs differ in its slash."""
    bucket, key, _ = fs.split_path(folder.rstrip("/"))
    return bucket, f"{key}/" if key else ""


def _key(fs: Any, path: str) -> dict[str, str]:
    bucket, key, _ = fs.split_path(path)
    return {"Bucket": bucket, "Key": key}


class GoogleObjects:
    """Requests to Google Cloud Storage; an MD5 is the version of a signature."""

    async def put(self, fs: Any, path: str, data: bytes) -> FileSignature:
        """Write an object in one request."""
        bucket, key, _ = fs.split_path(path)
        url = f"{fs._location}/upload/storage/v1/b/{quote(bucket)}/o"
        headers = {"Content-Type": _content_type(path)}
        options = {"uploadType": "media", "name": key, "json_out": True}
        details = await fs._call("POST", url, headers=headers, data=io.BytesIO(data), **options)
        return _google_signature(details)

    async def begin(self, fs: Any, path: str) -> Any:
        """Begin a resumable upload."""
        from gcsfs.core import initiate_upload

        bucket, key, _ = fs.split_path(path)
        return await initiate_upload(fs, bucket, key, _content_type(path))

    async def send(self, fs: Any, path: str, handle: Any, part: Part) -> Any:  # noqa: ARG002  the interface's
        """Send a part; the server ignores bytes that it has from an attempt before."""
        stop = part.start + len(part.data)
        size = "*" if part.size is None else part.size
        headers = {"Content-Range": f"bytes {part.start}-{stop - 1}/{size}", "Content-Length": str(len(part.data))}
        headers, _ = await fs._call("POST", handle, headers=headers, data=io.BytesIO(part.data))
        stored = headers.get("Range")
        if part.size is None and (stored is None or int(stored.rpartition("-")[2]) + 1 != stop):
            raise ConnectionError("the server has stored a part of the part")

    async def complete(self, fs: Any, path: str, handle: Any, sent: list[Any], part: Part, md5: bytes) -> FileSignature:  # noqa: ARG002
        """Send the last part, which makes the object."""
        await self.send(fs, path, handle, part)
        return _md5_signature(part.size or 0, md5)

    async def abort(self, fs: Any, path: str, handle: Any) -> None:  # noqa: ARG002
        """Cancel a resumable upload, to which the response is an error."""
        with contextlib.suppress(Exception):
            await fs._call("DELETE", handle)

    async def signature(self, fs: Any, path: str) -> FileSignature | None:
        """Return the signature of an object; None if there is none."""
        bucket, key, _ = fs.split_path(path)
        try:
            details = await fs._call("GET", "b/{}/o/{}", bucket, key, json_out=True)
        except FileNotFoundError:
            return None
        return _google_signature(details)

    async def page(self, fs: Any, folder: str, token: str | None) -> Page:
        """Return a page of the objects in a folder."""
        bucket, prefix = _prefix(fs, folder)
        more = {} if token is None else {"pageToken": token}
        page = await fs._call("GET", "b/{}/o", bucket, delimiter="/", prefix=prefix, json_out=True, **more)
        found = {one["name"][len(prefix) :]: _google_signature(one) for one in page.get("items", [])}
        return found, page.get("nextPageToken")


def _google_signature(details: dict[str, Any]) -> FileSignature:
    return int(details["size"]), version_hash(details.get("md5Hash") or details.get("crc32c"))


def _md5_signature(size: int, md5: bytes) -> FileSignature:
    return size, version_hash(base64.b64encode(md5).decode())


class AnyObjects:
    """Requests to any other file system of fsspec, through its own files."""

    async def put(self, fs: Any, path: str, data: bytes) -> FileSignature:
        """Write a file at once."""
        target = generic_path(fs, path)
        await _call(fs, "makedirs", target.rpartition("/")[0], exist_ok=True)
        await _call(fs, "pipe_file", target, data)
        return await self._written(fs, path)

    async def _written(self, fs: Any, path: str) -> FileSignature:
        signature = await self.signature(fs, path)
        if signature is None:
            raise ConnectionError("the file is not there after it was written")
        return signature

    async def begin(self, fs: Any, path: str) -> Any:
        """Open a file."""
        target = generic_path(fs, path)
        await _call(fs, "makedirs", target.rpartition("/")[0], exist_ok=True)
        return await in_thread(fs.open, target, "wb")

    async def send(self, fs: Any, path: str, handle: Any, part: Part) -> Any:  # noqa: ARG002
        """Append to the file."""
        await in_thread(handle.write, part.data)

    async def complete(self, fs: Any, path: str, handle: Any, sent: list[Any], part: Part, md5: bytes) -> FileSignature:  # noqa: ARG002
        """Close the file, which writes it."""
        await in_thread(handle.write, part.data)
        await in_thread(handle.close)
        return await self._written(fs, path)

    async def abort(self, fs: Any, path: str, handle: Any) -> None:
        """Drop the file."""
        with contextlib.suppress(Exception):
            await in_thread(handle.discard)
        with contextlib.suppress(Exception):
            handle.closed or await in_thread(handle.close)
            await _call(fs, "rm_file", generic_path(fs, path))

    async def signature(self, fs: Any, path: str) -> FileSignature | None:
        """Return the signature of a file; None if there is none."""
        try:
            return _generic_signature(await _call(fs, "info", generic_path(fs, path)))
        except FileNotFoundError:
            return None

    async def page(self, fs: Any, folder: str, token: str | None) -> Page:  # noqa: ARG002  there is one page
        """Return the files in a folder."""
        fs.invalidate_cache()
        try:
            entries = await _call(fs, "ls", generic_path(fs, folder), detail=True)
        except FileNotFoundError:
            return {}, None
        files = [entry for entry in entries if entry.get("type") != "directory"]
        return {entry["name"].rpartition("/")[2]: _generic_signature(entry) for entry in files}, None


def _generic_signature(details: dict[str, Any]) -> FileSignature:
    version = next((details[name] for name in _GENERIC_VERSIONS if details.get(name) is not None), None)
    return int(details.get("size") or 0), version_hash(str(version))


async def _call(fs: Any, name: str, *args: Any, **options: Any) -> Any:
    """Call a method of a file system, on this loop if it is asynchronous, and else in a thread."""
    if fs.async_impl:
        return await getattr(fs, f"_{name}")(*args, **options)
    return await in_thread(getattr(fs, name), *args, **options)


async def read_object(fs: Any, path: str) -> bytes:
    """Return the bytes of a file of a file system that is no bucket."""
    data: bytes = await _call(fs, "cat_file", generic_path(fs, path))
    return data


async def delete_object(fs: Any, path: str) -> None:
    """Delete an object, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        await _call(fs, "rm_file", path if "://" not in path else generic_path(fs, path))


STORES: dict[str, ObjectStore] = {"s3": S3Objects(), "gs": GoogleObjects()}
ANY_STORE: ObjectStore = AnyObjects()
