"""Members of zip and plain tar archives, read in place: a table of what is where, then one span of bytes for each."""

from __future__ import annotations

import asyncio
import io
import os
import posixpath
import stat
import struct
import tarfile
import threading
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source import filesystems
from pandas_imgproc.source.error_mapping import exception_chain
from pandas_imgproc.source.local import MAX_FILE_BYTES, UNKNOWN_SIGNATURE, FileSignature, os_error_reason, signature_of
from pandas_imgproc.source.prefetch import submit, wait_for, with_retries

if TYPE_CHECKING:
    from pandas_imgproc.source.filesystems import ReadResult
    from pandas_imgproc.source.paths import ArchiveMember, RemotePath
    from pandas_imgproc.source.read_config import ReadConfig
    from pandas_imgproc.source.redaction import StorageOptions

READ_BLOCK_NBYTES = 2**22
"""What is read of a far archive at a time while its table is made: a tar has its table between its members."""

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_MAX_CACHED_INDEXES = 4
_MAX_LINKS = 8

# What follows the thirty bytes before a member is told once in the table and once at the member, where it may be
# longer: so much is read at first, and if need be all that can be.
_HEADER_SLACK = (64, 2**17)


class MemberInfo(NamedTuple):
    """Where a member is.

    Attributes
    ----------
    offset : int
        Where it begins: in a zip its header, in a tar its bytes.
    compressed_size, size : int
        Bytes in the archive, and unpacked.
    method : int or None
        How a zip has packed it; None in a tar.
    crc : int
        Its checksum, in a zip.
    link : str or None
        The member it is a link to, in a tar.
    header : int
        Bytes before it, as far as the table tells.
    """

    offset: int
    compressed_size: int
    size: int
    method: int | None = None
    crc: int = 0
    link: str | None = None
    header: int = 0


MemberIndex = dict[str, MemberInfo]


# ---- tables


def read_index(file: IO[bytes], name: str) -> MemberIndex:
    """Return what is where in an archive.

    Raises
    ------
    UnreadableImageError
        If it is none that can be read in place.
    """
    try:
        if name.partition("?")[0].lower().endswith(".zip"):
            return _zip_table(file)
        return _tar_table(file)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, struct.error, EOFError) as exc:
        for cause in exception_chain(exc):  # zipfile takes any OSError for a file that is no zip
            if isinstance(cause, UnreadableImageError):
                raise cause from None
        raise UnreadableImageError("corrupt", f"the archive cannot be read: {exc}") from exc


def _zip_table(file: IO[bytes]) -> MemberIndex:
    table: MemberIndex = {}
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            link = stat.S_ISLNK(info.external_attr >> 16)
            method = -1 if info.flag_bits & 1 or link else info.compress_type
            header = 30 + len(info.orig_filename.encode(errors="replace")) + len(info.extra)
            entry = MemberInfo(info.header_offset, info.compress_size, info.file_size, method, info.CRC, None, header)
            if not info.is_dir():
                table[_key(info.filename)] = entry
    return table


def _tar_table(file: IO[bytes]) -> MemberIndex:
    first = file.read(8)
    if first.startswith(_COMPRESSED):
        raise UnreadableImageError("unsupported", "the archive is a compressed tar, which cannot be read in place")
    file.seek(0)
    table: MemberIndex = {}
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while (info := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # or a million members would stay in memory twice
            link = None
            if info.issym():
                link = posixpath.join(posixpath.dirname(info.name), info.linkname)
            elif info.islnk():
                link = info.linkname
            if link is not None or info.isreg():
                table[_key(info.name)] = MemberInfo(info.offset_data, info.size, info.size, link=link)
    return table


def _key(name: str) -> str:
    return posixpath.normpath(name).lstrip("/")


def find_member(table: MemberIndex, name: str) -> MemberInfo:
    """Return the entry of a member, following links within the archive.

    Raises
    ------
    UnreadableImageError
        ``missing``, ``not_a_file``, ``outside_root``, ``too_large`` or ``unsupported``.
    """
    key = _key(name)
    for _ in range(_MAX_LINKS):
        entry = table.get(key)
        if entry is None:
            if any(other.startswith(f"{key}/") for other in table):
                raise UnreadableImageError("not_a_file", "it is a folder of the archive")
            raise UnreadableImageError("missing", "the archive has no such member")
        if entry.link is None:
            return _checked(entry)
        key = _key(entry.link)
        if key.startswith("..") or entry.link.startswith("/"):
            raise UnreadableImageError("outside_root", "it is a link that leads out of the archive")
    raise UnreadableImageError("invalid_path", "it is a loop of links")


def _checked(entry: MemberInfo) -> MemberInfo:
    if max(entry.size, entry.compressed_size) > MAX_FILE_BYTES:
        raise UnreadableImageError("too_large", f"it has {entry.size:,} bytes, more than {MAX_FILE_BYTES:,}")
    if entry.method not in (None, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnreadableImageError("unsupported", "it is encrypted, a link, or packed by another method than deflate")
    return entry


# ---- members


def byte_range(entry: MemberInfo, slack: int) -> filesystems.ByteRange:
    """Return which bytes of the archive hold a member."""
    header = 0 if entry.method is None else entry.header + slack
    return entry.offset, entry.offset + header + entry.compressed_size


def extract(entry: MemberInfo, data: bytes) -> bytes | None:
    """Return a member from the bytes of its span; None where that was too short.

    Raises
    ------
    UnreadableImageError
        ``truncated`` or ``corrupt``.
    """
    if entry.method is not None:
        if len(data) < 30 or not data.startswith(b"PK\3\4"):
            raise UnreadableImageError("corrupt", "the archive has something else where the member should begin")
        name, extra = struct.unpack_from("<HH", data, 26)
        data = data[30 + name + extra : 30 + name + extra + entry.compressed_size]
    if len(data) < entry.compressed_size:
        return None
    if entry.method == zipfile.ZIP_DEFLATED:
        data = _inflated(data, entry.size)
    if entry.method is not None and (len(data) != entry.size or zlib.crc32(data) != entry.crc):
        raise UnreadableImageError("corrupt", "the member is not what its checksum in the archive says")
    return data


def _inflated(data: bytes, size: int) -> bytes:
    try:
        # One byte more would tell of a member that claims to be smaller than it is; its size is known to be sane.
        return zlib.decompressobj(-15).decompress(data, size + 1)
    except zlib.error as exc:
        raise UnreadableImageError("corrupt", f"the member cannot be unpacked: {exc}") from exc


_TOO_SHORT = UnreadableImageError("truncated", "the archive ends within the member")


# ---- archives of this machine

_here: dict[tuple[str, FileSignature], MemberIndex] = {}
_locks: dict[int, threading.Lock] = {}


def _lock() -> threading.Lock:
    """Return the lock of this process: one that a parent held when it forked would never be let go."""
    return _locks.setdefault(os.getpid(), threading.Lock())


def read_local_member(place: ArchiveMember) -> ReadResult:
    """Return the bytes of a member of an archive of this machine, and the stamp of the archive."""
    path = str(place.archive)
    try:
        with open(path, "rb", buffering=0) as file:
            signature = signature_of(os.fstat(file.fileno()))
            entry = find_member(_table_here(path, signature), place.name)
            for slack in _HEADER_SLACK:
                begin, end = byte_range(entry, slack)
                data = extract(entry, os.pread(file.fileno(), end - begin, begin))
                if data is not None:
                    return data, signature
    except OSError as exc:
        if isinstance(exc, UnreadableImageError):
            raise
        reason = os_error_reason(exc)
        raise UnreadableImageError(reason.kind, f"the archive: {reason.message}") from exc
    raise _TOO_SHORT


def _table_here(path: str, signature: FileSignature) -> MemberIndex:
    with _lock():  # the table of a large archive takes seconds: one thread makes it, the others wait
        table = _here.get((path, signature))
        if table is None:
            with open(path, "rb") as file:
                table = read_index(file, path)
            while len(_here) >= _MAX_CACHED_INDEXES:
                del _here[next(iter(_here))]
            _here[path, signature] = table
        return table


# ---- archives that are elsewhere

_there: dict[tuple[int, RemotePath, str], asyncio.Future[MemberIndex]] = {}


async def fetch(place: ArchiveMember, options: StorageOptions, config: ReadConfig) -> ReadResult:
    """Return the bytes of a member of an archive that is elsewhere."""
    archive: Any = place.archive
    table = await _table_there(archive, options, config)
    entry = find_member(table, place.name)
    for slack in _HEADER_SLACK:
        span = byte_range(entry, slack)
        data, _ = await with_retries(filesystems.read_bytes, archive, span, options, config, config=config)
        member = extract(entry, data)
        if member is not None:
            return member, UNKNOWN_SIGNATURE
    raise _TOO_SHORT


async def _table_there(archive: RemotePath, options: StorageOptions, config: ReadConfig) -> MemberIndex:
    key = (os.getpid(), archive, options.tokenize(archive.scheme))
    made = _there.get(key)
    if made is None or (made.done() and (made.cancelled() or made.exception() is not None)):
        while len(_there) >= _MAX_CACHED_INDEXES:
            del _there[next(iter(_there))]
        made = _there[key] = asyncio.ensure_future(_make_table(archive, options, config))
    return await asyncio.shield(made)


async def _make_table(archive: RemotePath, options: StorageOptions, config: ReadConfig) -> MemberIndex:
    size, _ = await with_retries(filesystems.info, archive, options, config, config=config)
    if size is None:
        raise UnreadableImageError("unsupported", "the server does not tell how large the archive is")
    file = io.BufferedReader(_RangeReader(archive, size, options, config), READ_BLOCK_NBYTES)
    # In a thread: zipfile and tarfile read when they like, and each of those reads is waited for.
    return await asyncio.get_running_loop().run_in_executor(None, read_index, file, archive.path)


class _RangeReader(io.RawIOBase):
    """A file that is elsewhere, read span by span, for what wants a file."""

    def __init__(self, place: RemotePath, size: int, options: StorageOptions, config: ReadConfig) -> None:
        self._place, self._size, self._options, self._patience = place, size, options, config
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        span = (self._at, end)
        once = with_retries(
            filesystems.read_bytes, self._place, span, self._options, self._patience, config=self._patience
        )
        data, _ = wait_for(submit(once), self._options, self._patience)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
