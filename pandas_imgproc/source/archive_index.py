"""Indexes of archives: the members of a zip or tar file by name, and the code pages of names that are not UTF-8."""

from __future__ import annotations

import functools
import os
import posixpath
import stat
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source.error_mapping import exception_chain
from pandas_imgproc.source.local import check_size

if TYPE_CHECKING:
    from collections.abc import Iterator

CODE_PAGES = (
    "cp437", "cp850", "cp1252", "cp852", "cp1250", "cp866", "cp1251", "cp737", "cp1253", "cp857", "cp1254", "cp775",
    "cp1257", "cp862", "cp1255", "cp720", "cp1256", "cp874", "cp1258", "cp932", "gbk", "cp949", "cp950",
)  # fmt: skip
"""Code pages of Windows, in which its own archiver and others write the names in a zip file."""

MAX_HEADER_NBYTES = 2**24
"""Bytes of the headers of one member of a tar: a long name, attributes."""

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_MAX_LINKS = 8
_UTF8_FLAG, _ENCRYPTED_FLAG = 0x800, 1
_UNICODE_PATH = 0x7075  # extra field of Info-ZIP with the name in UTF-8
_WINDOWS_SYSTEMS = {0, 6, 10, 11, 14}  # that wrote a member, of which some archivers separate folders by backslashes


class MemberInfo(NamedTuple):
    """Location of a member in its archive."""

    offset: int  # of the member's header
    compressed_size: int
    size: int  # after decompression
    method: int | None = None  # of compression, in a zip
    crc: int = 0  # of the member in a zip, of its header in a tar
    link: str | None = None  # name of the member that a link of a tar points to
    header: int = 0  # bytes of the header, in a zip according to the index


@dataclass(frozen=True)
class MemberIndex:
    """Members of an archive by name.

    Attributes
    ----------
    members : dict of str to MemberInfo
        Names without ``.`` and ``//``, and with slashes.
    raw_names : dict of bytes to str
        Names in `members` by their bytes in the archive, if these are in an unknown code page.
    damage : str or None
        Reason why there may be more members that cannot be found.
    """

    members: dict[str, MemberInfo] = field(default_factory=dict)
    raw_names: dict[bytes, str] = field(default_factory=dict)
    damage: str | None = None

    @functools.cached_property
    def folders(self) -> frozenset[str]:
        """Folders of the members."""
        folders: set[str] = set()
        for name in self.members:
            folder = posixpath.dirname(name)
            while folder and folder not in folders:
                folders.add(folder)
                folder = posixpath.dirname(folder)
        return frozenset(folders)

    def get(self, key: str) -> MemberInfo | None:
        """Return the member of a name, also of one with backslashes or in a code page of Windows."""
        member = self.members.get(key)
        if member is not None:
            return member
        if "\\" in key and (member := self.members.get(key.replace("\\", "/"))):
            return member
        if not self.raw_names or key.isascii():
            return None
        names = (self.raw_names.get(raw) for raw in _encodings_of(key))
        return next((self.members[name] for name in names if name is not None), None)

    def names(self, encoding: str | None = None) -> list[str]:
        """Return the names of all members; those in an unknown code page are decoded by `encoding`, if it can."""
        if encoding is None or not self.raw_names:
            return list(self.members)
        decoded = {name: normalize_name(_try_decode(raw, encoding) or name) for raw, name in self.raw_names.items()}
        return [decoded.get(name, name) for name in self.members]


def _encodings_of(key: str) -> Iterator[bytes]:
    for encoding in ("utf-8", *CODE_PAGES):
        try:
            yield _raw_key(key.encode(encoding))
        except UnicodeEncodeError:
            continue


def _raw_key(raw: bytes) -> bytes:
    """Return the bytes of a name with slashes: a backslash may be half of a character, but is so in both names."""
    return raw.replace(b"\\", b"/")


def _try_decode(raw: bytes, encoding: str) -> str | None:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return None


def normalize_name(name: str) -> str:
    """Return the name of a member as a key of an index.

    Examples
    --------
    >>> normalize_name("./train//a.jpg"), normalize_name("/train/a.jpg")
    ('train/a.jpg', 'train/a.jpg')
    """
    return posixpath.normpath(name).lstrip("/")


def read_index(file: IO[bytes], name: str) -> MemberIndex:
    """Return the index of a zip or tar archive, or raise an UnreadableImageError."""
    try:
        return _index_zip(file) if name.partition("?")[0].lower().endswith(".zip") else _index_tar(file)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, struct.error, EOFError) as exc:
        for cause in exception_chain(exc):  # zipfile takes any OSError for a file that is not a zip
            if isinstance(cause, UnreadableImageError):
                raise cause from None
        raise corrupt_archive(file, exc) from exc


def corrupt_archive(file: IO[bytes], exc: Exception) -> UnreadableImageError:
    """Return the error of an archive that cannot be read; it names a page that a server has sent in its place."""
    try:
        file.seek(0)
        is_page = file.read(512).lstrip().startswith(b"<")
    except (OSError, UnreadableImageError):  # a remote one
        is_page = False
    reason = "it is a page of HTML or XML, as servers send in place of a file" if is_page else exc
    return UnreadableImageError("corrupt", f"the archive cannot be read: {reason}")


# ---- zip


def _index_zip(file: IO[bytes]) -> MemberIndex:
    index = MemberIndex()
    with zipfile.ZipFile(file) as archive:
        names = ZipNames(archive.infolist())
        for info in archive.infolist():
            name = names.name(info)
            if name.endswith("/"):
                continue
            link = stat.S_ISLNK(info.external_attr >> 16)
            method = -1 if info.flag_bits & _ENCRYPTED_FLAG or link else info.compress_type
            raw = raw_name(info)
            header = 30 + len(raw) + len(info.extra)
            key = normalize_name(name)
            index.members[key] = MemberInfo(
                info.header_offset, info.compress_size, info.file_size, method, info.CRC, None, header
            )
            if names.is_guess(info):
                index.raw_names[_raw_key(raw)] = key
    return index


class ZipNames:
    """Names of the members of a zip file.

    A name is UTF-8 if its flag is set, if an extra field holds it in UTF-8, or if all names of the archive are valid
    UTF-8, as macOS writes them. Any other is decoded as cp437, which the format prescribes, and which is often wrong.
    """

    def __init__(self, infos: list[zipfile.ZipInfo], encoding: str | None = None) -> None:
        guessed = [raw for info in infos if self.is_guess(info) and not (raw := raw_name(info)).isascii()]
        is_utf8 = all(_try_decode(raw, "utf-8") is not None for raw in guessed)
        self._encoding = encoding or ("utf-8" if is_utf8 else "cp437")

    @staticmethod
    def is_guess(info: zipfile.ZipInfo) -> bool:
        """Return whether the archive does not tell in which encoding a name is that is not ASCII."""
        return not info.flag_bits & _UTF8_FLAG and not info.filename.isascii() and _unicode_path(info) is None

    def name(self, info: zipfile.ZipInfo) -> str:
        """Return the name of a member, with slashes; that of a folder ends with one."""
        name = info.filename
        if not name.isascii() and not info.flag_bits & _UTF8_FLAG:
            name = _unicode_path(info) or _try_decode(raw_name(info), self._encoding) or name
        return name.replace("\\", "/") if info.create_system in _WINDOWS_SYSTEMS else name


def raw_name(info: zipfile.ZipInfo) -> bytes:
    """Return the bytes of a member's name in its zip file."""
    return info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8_FLAG else "cp437", errors="replace")


def _unicode_path(info: zipfile.ZipInfo) -> str | None:
    """Return the name in the extra field for it, None if it has none or it belongs to another name."""
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        value, extra = extra[4 : 4 + size], extra[4 + size :]
        if (
            kind == _UNICODE_PATH
            and value[:1] == b"\1"
            and value[1:5] == zlib.crc32(raw_name(info)).to_bytes(4, "little")
        ):
            return _try_decode(value[5:], "utf-8")
    return None


# ---- tar


def _index_tar(file: IO[bytes]) -> MemberIndex:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(8).startswith(_COMPRESSED):
        raise UnreadableImageError("unsupported", "the archive is a compressed tar, which cannot be read in place")
    file.seek(0)
    members: dict[str, MemberInfo] = {}
    try:
        damage = _read_tar_headers(file, size, members)
    except tarfile.TarError as exc:
        if not members:
            raise
        damage = str(exc)
    return MemberIndex(members, damage=damage)


def _read_tar_headers(file: IO[bytes], size: int, members: dict[str, MemberInfo]) -> str | None:
    """Add the members of a tar to some, and return a text if it is damaged behind them."""
    reader: Any = _HeaderReader(file)
    with tarfile.open(fileobj=reader, mode="r:") as archive:
        while (info := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # or a million members would stay in memory twice
            header = info.offset_data - info.offset
            crc = reader.crc(header)
            folder = posixpath.dirname(info.name) if info.issym() else ""
            link = posixpath.join(folder, info.linkname) if info.issym() or info.islnk() else None
            if link is not None or info.isreg():
                if info.size < 0:  # tarfile would go back, and never end
                    raise tarfile.ReadError("a member has a negative size")
                method = -1 if info.issparse() else None
                members[normalize_name(info.name)] = MemberInfo(
                    info.offset, info.size, info.size, method, crc, link, header
                )
            if archive.offset > size:  # a file cannot be read at any position
                raise tarfile.ReadError("it ends within a member")
        file.seek(archive.offset)
    return damaged_header(file.read(tarfile.BLOCKSIZE))


def damaged_header(block: bytes) -> str | None:
    """Return a text if a block behind the last member of a tar is not its end: tarfile stops without an error."""
    if not block.strip(b"\0"):
        return None
    return "a header is damaged" if len(block) == tarfile.BLOCKSIZE else "it ends within a header"


class _HeaderReader:
    """Reader for tarfile that limits the bytes of a header, such as of a long name, which tarfile holds in memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.seek, self.tell = file, file.seek, file.tell
        self._headers = b""

    def read(self, n: int) -> bytes:
        """Return n bytes, fewer at the end."""
        if n > MAX_HEADER_NBYTES:
            raise UnreadableImageError("too_large", "a header of the archive is longer than 16 MiB")
        data = self._file.read(n)
        if n > 1:  # tarfile reads one byte to see whether there are more
            self._headers += data
        return data

    def crc(self, n: int) -> int:
        """Return the checksum of the last n bytes: the header of a member, with its name, size and time."""
        headers, self._headers = self._headers, b""
        return zlib.crc32(headers[-n:])


# ---- lookup


def find_member(index: MemberIndex, name: str) -> MemberInfo:
    """Return the location of a member, following links within the archive, or raise an UnreadableImageError."""
    key = normalize_name(name)
    for _ in range(_MAX_LINKS):
        member = index.get(key)
        if member is None:
            if key in index.folders:
                raise UnreadableImageError("not_a_file", "it is a folder of the archive")
            if index.damage is not None:
                raise UnreadableImageError("corrupt", f"the archive is damaged, and has no such member: {index.damage}")
            raise UnreadableImageError("missing", "the archive has no such member")
        if member.link is None:
            return _check_supported(member)
        key = normalize_name(member.link)
        if key.startswith("..") or member.link.startswith("/"):
            raise UnreadableImageError("outside_root", "it is a link that leads out of the archive")
    raise UnreadableImageError("invalid_path", "it is a loop of links")


def _check_supported(member: MemberInfo) -> MemberInfo:
    check_size(max(member.size, member.compressed_size))
    if member.method not in (None, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnreadableImageError("unsupported", "it is encrypted, a link, or packed by another method than deflate")
    return member
