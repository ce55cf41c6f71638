"""Members of a local archive from its beginning to its end, in one pass, also of a compressed tar.

Nothing here trusts the archive: sizes, numbers of bytes of headers, and the growth by decompression are bounded.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal

from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source.archive_index import MAX_HEADER_NBYTES, ZipNames, corrupt_archive, damaged_header
from pandas_imgproc.source.decompressed import is_compressed, open_decompressed, read_chunks, unpacked_bound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pandas_imgproc.errors import FailureKind

MIN_MEMBER_NBYTES = 2**12
"""Bytes that a member counts at least: a file needs a block of the disk."""

_ZIP_STARTS = (b"PK\3\4", b"PK\5\6", b"PK\7\b", b"PK00")  # a tar begins with a name, such as PKLot
_MAX_EMPTY_READS = 8  # tarfile needs three to find the end
_CHUNK_NBYTES = 2**20
_BUFFER_NBYTES = 2**16  # of a tar
_BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)


@dataclass(frozen=True)
class Member:
    """Member of an archive.

    Attributes
    ----------
    name : str
        Name in the archive, with slashes where Windows has written backslashes.
    kind : {"file", "folder", "link", "other"}
    size : int
        Size of a file in bytes, according to its header.
    target : str
        Name of the member that a link points to, which may lead anywhere.
    chunks : callable
        Function that yields the bytes of a file, before the next member is requested. It raises an
        UnreadableImageError if they are not those of the header.
    """

    name: str
    kind: Literal["file", "folder", "link", "other"]
    size: int = 0
    target: str = ""
    chunks: Callable[[], Iterator[bytes]] = lambda: iter(())


class ArchiveStream:
    """Members of a local archive in their order, as an iterable.

    Parameters
    ----------
    path : str
        Zip or tar, compressed or not.
    encoding : str, optional
        Code page of the names in a zip that are not UTF-8.
    max_bytes : int, optional
        Bytes that all members may have together; by default a hundred times the size of the archive, or 1 GiB if that
        is more.

    Raises
    ------
    UnreadableImageError
        If it is no archive, or a damaged one, or larger than the limit, also while it is iterated over.
    OSError
        If it cannot be read.
    """

    def __init__(self, path: str, encoding: str | None = None, max_bytes: int | None = None) -> None:
        self._path, self._encoding = path, encoding
        self.size = os.stat(path).st_size
        self._bound = unpacked_bound(self.size) if max_bytes is None else max_bytes
        self._nbytes = 0
        self.position = 0  # in the archive, for a bar

    def __iter__(self) -> Iterator[Member]:
        with open(self._path, "rb") as file:
            try:
                is_zip = file.read(4) in _ZIP_STARTS
                file.seek(0)
                yield from self._zip(file) if is_zip else self._tar(file)
            except (zipfile.BadZipFile, tarfile.TarError) as exc:
                raise corrupt_archive(file, exc) from exc

    def _count(self, nbytes: int) -> None:
        self._nbytes += nbytes
        if self._nbytes > self._bound:
            raise UnreadableImageError(
                "too_large",
                f"the archive of {self.size:,} bytes becomes larger than {self._bound:,}; if it is no bomb, "
                "max_bytes= allows more",
            )

    # ---- zip

    def _zip(self, file: IO[bytes]) -> Iterator[Member]:
        with zipfile.ZipFile(file) as archive:
            infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
            for info in infos:  # all before the first is written
                self._count(max(info.file_size, MIN_MEMBER_NBYTES))
            names = ZipNames(infos, self._encoding)
            ends = [*(info.header_offset for info in infos[1:]), self.size]
            for info, end in zip(infos, ends, strict=False):  # one more, if there is none
                self.position = info.header_offset
                yield self._zip_member(archive, info, names.name(info), end)
        self.position = self.size

    def _zip_member(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, end: int) -> Member:
        mode = info.external_attr >> 16
        if name.endswith("/"):
            return Member(name, "folder")
        if stat.S_ISLNK(mode) and info.file_size <= MAX_HEADER_NBYTES:
            target = b"".join(_read_zip(archive, info, end))
            return Member(name, "link", target=posixpath.join(posixpath.dirname(name), os.fsdecode(target)))
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            return Member(name, "other")
        return Member(name, "file", info.file_size, chunks=lambda: _read_zip(archive, info, end))

    # ---- tar

    def _tar(self, file: IO[bytes]) -> Iterator[Member]:
        reader = _BoundedReader(open_decompressed(file) if is_compressed(file) else file, self._count)
        with reader.limited(MAX_HEADER_NBYTES):
            archive = tarfile.open(fileobj=reader, mode="r|", bufsize=_BUFFER_NBYTES)  # type: ignore[call-overload]  # noqa: SIM115
        with archive:
            while (info := self._next(archive, reader)) is not None:
                self.position = file.tell()
                yield self._tar_member(archive, info)
            reader.check_end(archive.offset)

    def _next(self, archive: tarfile.TarFile, reader: _BoundedReader) -> tarfile.TarInfo | None:
        """Return the next member; the rest of the one before is skipped."""
        left = archive.offset - archive.fileobj.tell()
        with reader.limited(MAX_HEADER_NBYTES + max(0, left)):
            info = archive.next()
        archive.members = []  # type: ignore[attr-defined]  # or all would stay in memory
        if info is not None and info.size < 0:  # tarfile would go back, and never end
            raise UnreadableImageError("corrupt", "a member of the archive has a negative size")
        if info is not None:
            self._count(max(info.size - (archive.offset - info.offset_data), 0) + MIN_MEMBER_NBYTES)
        return info

    @staticmethod
    def _tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
        if info.isdir():
            return Member(info.name, "folder")
        if info.issym() or info.islnk():
            folder = posixpath.dirname(info.name) if info.issym() else ""
            return Member(info.name, "link", target=posixpath.join(folder, info.linkname))
        if not info.isreg():
            return Member(info.name, "other")
        return Member(info.name, "file", info.size, chunks=lambda: _read_tar(archive, info))


def _read_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, end: int) -> Iterator[bytes]:
    if info.flag_bits & 1:
        raise UnreadableImageError("unsupported", "it is encrypted")
    if info.header_offset + 30 + info.compress_size > end:
        raise UnreadableImageError("corrupt", "it overlaps with the next member, as in a bomb")
    try:
        with archive.open(info) as file:
            yield from _sized(iter(lambda: file.read(_CHUNK_NBYTES), b""), info.file_size)
    except UnreadableImageError:
        raise
    except NotImplementedError as exc:
        raise UnreadableImageError("unsupported", f"it is packed by a method that cannot be read: {exc}") from exc
    except _BAD_ZIP as exc:
        raise UnreadableImageError("corrupt", f"it cannot be unpacked: {exc}") from exc


def _read_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Iterator[bytes]:
    file: Any = archive.extractfile(info)
    try:
        yield from _sized(iter(lambda: file.read(_CHUNK_NBYTES), b""), info.size)
    except tarfile.ReadError as exc:
        raise _TRUNCATED from exc


_TRUNCATED = UnreadableImageError("truncated", "the archive ends within the member")


def _sized(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yield chunks, or raise an UnreadableImageError if they do not have a size together."""
    n = 0
    for chunk in chunks:
        n += len(chunk)
        if n > size:
            raise UnreadableImageError("corrupt", f"it is larger than its header claims, {size:,} bytes")
        yield chunk
    if n < size:
        raise _TRUNCATED


class _BoundedReader:
    """Reader for tarfile that counts all bytes, and limits those of headers, which tarfile holds in memory."""

    def __init__(self, reader: Any, count: Callable[[int], None]) -> None:
        self._reader, self._count = reader, count
        self._left: int | None = None
        self._tail, self._position = b"", 0  # the last bytes, and the position behind them
        self._n_empty = 0

    def read(self, n: int) -> bytes:
        """Return n bytes, fewer at the end."""
        data = next(read_chunks(self._reader, n), b"")
        self._n_empty = 0 if data else self._n_empty + 1
        if self._n_empty > _MAX_EMPTY_READS:  # tarfile would skip a member of any claimed size block by block
            raise _TRUNCATED
        self._count(len(data))
        self._position += len(data)
        self._tail = (self._tail + data)[-2 * _BUFFER_NBYTES :]
        if self._left is not None:
            self._left -= len(data)
            if self._left < -_BUFFER_NBYTES:
                raise UnreadableImageError("too_large", "a header of the archive is longer than 16 MiB")
        return data

    @contextlib.contextmanager
    def limited(self, n: int) -> Iterator[None]:
        """Limit the bytes that are read in a block."""
        self._left = n
        yield
        self._left = None

    def check_end(self, offset: int) -> None:
        """Raise an UnreadableImageError if there is no end, but a damaged header, at an offset: tarfile is silent."""
        start = self._position - len(self._tail)
        block = self._tail[offset - start :][: tarfile.BLOCKSIZE] if offset >= start else b""
        damage = damaged_header(block)
        if damage is not None:
            kind: FailureKind = "truncated" if len(block) < tarfile.BLOCKSIZE else "corrupt"
            raise UnreadableImageError(kind, f"the archive cannot be read to its end: {damage}")
