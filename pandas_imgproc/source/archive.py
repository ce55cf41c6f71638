"""Archives: members of zip and tar files, read in place by an index of the archive and a byte range for each."""

from __future__ import annotations

import asyncio
import functools
import io
import os
import struct
import threading
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source.archive_index import MemberIndex, MemberInfo, find_member, read_index
from pandas_imgproc.source.byte_budget import reserve_memory
from pandas_imgproc.source.decompressed import plain_archive
from pandas_imgproc.source.filesystems import drop_shared, shared_future
from pandas_imgproc.source.local import UNKNOWN_SIGNATURE, FileSignature, os_error_reason, signature_of
from pandas_imgproc.source.paths import ArchiveMember
from pandas_imgproc.source.read_config import ReadConfig

if TYPE_CHECKING:
    from pandas_imgproc.source.filesystems import ByteRange, FileInfo, ReadResult
    from pandas_imgproc.source.paths import RemoteLocation, RemotePath
    from pandas_imgproc.source.remote import RemoteReader

READ_BLOCK_NBYTES = 2**22
"""Bytes per request while a remote archive is indexed: a tar has no table of contents, only headers of its members."""

_INFLATE_NBYTES = 2**16  # of packed bytes at once: at most a thousand times as many are unpacked

_MAX_CACHED_INDEXES = 4

# A zip repeats a member's header in front of the member, where its extra field may be longer than in the index: the
# first read allows for a little more, and a second one for the maximum.
_HEADER_SLACK = (64, 2**17)


# ---- members


def byte_range(member: MemberInfo, slack: int) -> ByteRange:
    """Return the range of the archive's bytes that holds a member."""
    header = member.header + (0 if member.method is None else slack)
    return member.offset, member.offset + header + member.compressed_size


def extract(member: MemberInfo, data: bytes) -> bytes | None:
    """Return the bytes of a member from those of its range; None if the range was too short."""
    if member.method is None:
        is_member, header = zlib.crc32(data[: member.header]) == member.crc, member.header
    elif is_member := len(data) >= 30 and data.startswith(b"PK\3\4"):
        header = 30 + sum(struct.unpack_from("<HH", data, 26))
    if not is_member:  # also after the archive was replaced by another one
        raise UnreadableImageError("corrupt", "the archive has something else where the member should begin")
    data = data[header : header + member.compressed_size]
    if len(data) < member.compressed_size:
        return None
    if member.method == zipfile.ZIP_DEFLATED:
        data = _inflate(data, member.size)
    if member.method is not None and (len(data) != member.size or zlib.crc32(data) != member.crc):
        raise UnreadableImageError("corrupt", "the member does not match its checksum in the archive")
    return data


def _inflate(data: bytes, size: int) -> bytes:
    """Return the unpacked bytes, in one copy: zlib joins its own blocks, which takes twice the memory."""
    buffer, inflater = io.BytesIO(), zlib.decompressobj(-15)
    try:
        # One byte more reveals a member that claims to be smaller than it is; the size itself was checked.
        for start in range(0, len(data), _INFLATE_NBYTES):
            buffer.write(inflater.decompress(data[start : start + _INFLATE_NBYTES], size + 1 - buffer.tell()))
            if buffer.tell() > size:
                break
    except zlib.error as exc:
        raise UnreadableImageError("corrupt", f"the member cannot be unpacked: {exc}") from exc
    return buffer.getvalue()


_TRUNCATED_ARCHIVE = UnreadableImageError("truncated", "the archive ends within the member")


# ---- local archives

_locks: dict[int, threading.Lock] = {}


def _lock() -> threading.Lock:
    """Return the lock of this process: one that a parent held when it forked would never be released."""
    return _locks.setdefault(os.getpid(), threading.Lock())


@dataclass(frozen=True)
class _LocalArchive:
    """Local archive: the path of the zip or plain tar that holds the members, and its index."""

    path: str
    index: MemberIndex
    error: UnreadableImageError | None = None  # reason why it cannot be read, the same for each member


def read_local_member(location: ArchiveMember, config: ReadConfig) -> ReadResult:
    """Return the bytes of a member of a local archive, and the signature of the archive."""
    try:
        archive, signature = open_local(str(location.archive), config)
        member = find_member(archive.index, location.name)
        with open(archive.path, "rb", buffering=0) as file:
            for slack in _HEADER_SLACK:
                start, stop = byte_range(member, slack)
                data = extract(member, os.pread(file.fileno(), stop - start, start))
                if data is not None:
                    return data, signature
    except UnreadableImageError:
        raise
    except OSError as exc:
        reason = os_error_reason(exc)
        raise UnreadableImageError(reason.kind, f"the archive: {reason.message}") from exc
    raise _TRUNCATED_ARCHIVE


def open_local(path: str, config: ReadConfig) -> tuple[_LocalArchive, FileSignature]:
    """Return a local archive and its signature; the first call builds its index, and decompresses a compressed one.

    Raises
    ------
    UnreadableImageError
        If it is no archive, or a damaged one.
    OSError
        If it cannot be read, or decompressed for lack of space or permission.
    """
    signature = signature_of(os.stat(path))
    with _lock():  # the index of a large archive takes seconds: one thread builds it, the others wait
        archive = _local_archive(path, signature, config)
        if archive.path != path and not os.path.exists(archive.path):  # a decompressed tar that was deleted
            _local_archive.cache_clear()
            archive = _local_archive(path, signature, config)
    if archive.error is not None:
        raise UnreadableImageError(archive.error.kind, archive.error.message)
    return archive, signature


@functools.lru_cache(_MAX_CACHED_INDEXES)
def _local_archive(path: str, signature: FileSignature, config: ReadConfig) -> _LocalArchive:  # noqa: ARG001  a key
    try:
        plain = plain_archive(path, config)
        with open(plain, "rb") as file:
            return _LocalArchive(plain, read_index(file, path))
    except UnreadableImageError as exc:
        return _LocalArchive(path, MemberIndex(), exc)


def list_members(path: str, encoding: str | None = None) -> list[str]:
    """Return the names of the members of a local archive; `encoding` is of names in a zip that are not UTF-8."""
    index = open_local(path, ReadConfig.current())[0].index
    if index.damage is not None:
        message = f"the archive is damaged behind {len(index.members):,} members: {index.damage}"
        raise UnreadableImageError("corrupt", message)
    return index.names(encoding)


# ---- remote archives


@dataclass(frozen=True)
class _RemoteArchive:
    """Remote archive: its index, and its size and signature when that was built."""

    index: MemberIndex
    info: FileInfo


_remote_archives: dict[Any, asyncio.Future[_RemoteArchive]] = {}
_infos: dict[Any, asyncio.Future[FileInfo]] = {}


async def read_remote_file(location: RemoteLocation, reader: RemoteReader) -> ReadResult:
    """Return the bytes and the signature of a whole file or of a member of a remote archive."""
    if isinstance(location, ArchiveMember):
        return await _read_remote_member(location, reader)
    return await reader.read(location)


async def _read_remote_member(location: ArchiveMember, reader: RemoteReader) -> ReadResult:
    """Return the bytes of a member of a remote archive; its signature is unknown.

    What is not as in the index, or not in the index, may be in an archive that was replaced: then it is indexed again.
    """
    archive: Any = location.archive
    key = archive, reader.options.tokenize(archive.scheme), reader.redirects
    indexed = await _remote_archive(key, archive, reader)
    try:
        return await _read_by_index(indexed, location, reader)
    except UnreadableImageError as exc:
        if exc.kind not in _STALE_KINDS:
            raise
        info = await _current_info(key, archive, reader)
        # A server without versions cannot tell; and a member of a tar is only corrupt if another archive is there.
        if info == indexed.info and (info[1] != UNKNOWN_SIGNATURE or exc.kind != "corrupt"):
            raise
    drop_shared(_remote_archives, key, indexed)
    return await _read_by_index(await _remote_archive(key, archive, reader), location, reader)


_STALE_KINDS = ("corrupt", "missing", "truncated", "not_a_file")


async def _remote_archive(key: Any, archive: RemotePath, reader: RemoteReader) -> _RemoteArchive:
    """Return an archive, indexed once by this process."""
    return await shared_future(
        _remote_archives, key, lambda: asyncio.ensure_future(_build_index(archive, reader)), _MAX_CACHED_INDEXES
    )


async def _current_info(key: Any, archive: RemotePath, reader: RemoteReader) -> FileInfo:
    """Return the size and the signature of an archive; members that are missing together send one request."""
    info = await shared_future(_infos, key, lambda: asyncio.ensure_future(reader.info(archive)), _MAX_CACHED_INDEXES)
    drop_shared(_infos, key, info)
    return info


async def _read_by_index(indexed: _RemoteArchive, location: ArchiveMember, reader: RemoteReader) -> ReadResult:
    archive: Any = location.archive
    member = find_member(indexed.index, location.name)
    for slack in _HEADER_SLACK:
        data, _ = await reader.read(archive, byte_range(member, slack))
        await reserve_memory(len(data) + member.size)
        extracted = extract(member, data)
        if extracted is not None:
            return extracted, UNKNOWN_SIGNATURE
    raise _TRUNCATED_ARCHIVE


async def _build_index(archive: RemotePath, reader: RemoteReader) -> _RemoteArchive:
    info = await reader.info(archive)
    size, _ = info
    if size is None:
        raise UnreadableImageError("unsupported", "the server does not report the size of the archive")
    file = io.BufferedReader(_RangeReader(archive, size, reader), READ_BLOCK_NBYTES)
    # In a thread, because zipfile and tarfile read synchronously.
    index = await asyncio.get_running_loop().run_in_executor(None, read_index, file, archive.path)
    return _RemoteArchive(index, info)


class _RangeReader(io.RawIOBase):
    """File object over a remote file, read by byte ranges."""

    def __init__(self, location: RemotePath, size: int, reader: RemoteReader) -> None:
        self._location, self._size, self._reader = location, size, reader
        self._pos = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._pos = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._pos, os.SEEK_END: self._size}[whence]
        return self._pos

    def tell(self) -> int:
        return self._pos

    def readinto(self, buffer: Any) -> int:
        stop = min(self._pos + len(buffer), self._size)
        if stop <= self._pos:
            return 0
        data, _ = self._reader.run(self._reader.read(self._location, (self._pos, stop)))
        buffer[: len(data)] = data
        self._pos += len(data)
        return len(data)
