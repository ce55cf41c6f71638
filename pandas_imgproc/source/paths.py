"""A name becomes a place: here, elsewhere or in an archive, and never outside of root."""

from __future__ import annotations

import numbers
import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source.redaction import redact_url

SCHEMES = frozenset({"file", "s3", "gs", "http", "https"})
"""Schemes that are read without being asked for."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*(?=://)")
_ARCHIVE = re.compile(r"((?:[^/]+://[^/]+/)?.+?\.(?:zip|tar))(?:/(.*))?", re.IGNORECASE | re.DOTALL)
_COMPRESSED = re.compile(
    r"(?:[^/]+://[^/]+/)?.+\.(tar\.\w+|tgz|tbz2?|txz|tzst|7z|rar|gz|bz2|xz|zst)", re.IGNORECASE | re.DOTALL
)
_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs"})
_WEB = frozenset({"http", "https"})
_NO_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH = "/!$&'()*+,;=:@~[]"  # what may stand in a path as it is


@dataclass(frozen=True)
class RemotePath:
    """A file that is elsewhere.

    Attributes
    ----------
    scheme : str
        Of its URL.
    path : str
        As its file system has it.
    """

    scheme: str
    path: str = field(repr=False)  # it may hold a password


@dataclass(frozen=True)
class ArchiveMember:
    """A file in an archive.

    Attributes
    ----------
    archive : str or RemotePath
        The path of the archive.
    name : str
        Its name there.
    """

    archive: str | RemotePath
    name: str


Location = str | RemotePath | ArchiveMember
"""Where a file is; the path of one of this machine is plain text."""


def display_path(place: Location) -> str:
    """Return a place as a path, or as a URL without user, password, query and percent-encoding, to name things by.

    Examples
    --------
    >>> display_path(RemotePath("https", "https://me:secret@example.org/a%20b.jpg?token=1"))
    'https://example.org/a b.jpg'
    """
    if isinstance(place, ArchiveMember):
        return f"{display_path(place.archive)}/{place.name}"
    if isinstance(place, str):
        return place
    if place.scheme not in _WEB:
        return f"{place.scheme}://{place.path.removeprefix(f'{place.scheme}://')}"
    parts = urlsplit(place.path)
    plain = unquote(parts.path)
    return f"{place.scheme}://{parts.netloc.rpartition('@')[2]}{plain if plain.isprintable() else parts.path}"


def to_path_text(name: object, *, has_suffix: bool) -> str:
    """Return a name as text.

    Raises
    ------
    UnreadableImageError
        ``invalid_path`` if it cannot be one.
    """
    if isinstance(name, str):
        if not name.strip():
            raise UnreadableImageError("invalid_path", "the path is an empty text")
        if "\0" in name:
            raise UnreadableImageError("invalid_path", "the path holds a NUL character")
        return name
    if has_suffix and isinstance(name, numbers.Integral):
        return str(name)
    if has_suffix and isinstance(name, float) and name.is_integer():
        return str(int(name))  # pandas makes floats of a column of ids with a hole
    kind = type(name).__name__
    shown = redact_url(f"{name!r:.100}")
    raise UnreadableImageError("invalid_path", f"a path, URL or bytes was expected, not {kind} {shown}")


def scheme_of(text: str) -> str | None:
    """Return the scheme of a URL, in small letters; None where a text is a path of this machine.

    Examples
    --------
    >>> scheme_of("S3://bucket/a.jpg"), scheme_of("simplecache::s3://bucket/a.jpg"), scheme_of("a/b.jpg")
    ('s3', 'simplecache::s3', None)
    """
    found = _SCHEME.match(text)
    return found[0].lower() if found else None


def parse_url(text: str, scheme: str, schemes: Collection[str]) -> RemotePath:
    """Return the place that a URL names.

    Raises
    ------
    UnreadableImageError
        ``unsupported`` if its scheme is not to be read, ``invalid_path`` if it is no URL.
    """
    check_scheme(text, scheme, schemes)
    rest = text[len(scheme) + 3 :]
    if scheme in _WEB:
        return RemotePath(scheme, quote_url(scheme, rest))
    if scheme in _BUCKETS:
        bucket, _, key = rest.partition("/")
        if not bucket or not key or key.endswith("/"):
            raise UnreadableImageError("not_a_file", f"it names no file in a bucket: {scheme}://bucket/name is needed")
        return RemotePath(scheme, rest)
    return RemotePath(scheme, text)


def check_scheme(text: str, scheme: str, schemes: Collection[str]) -> None:
    """Raise an UnreadableImageError if a URL, or a part of a chained one, is of a scheme that is not to be read."""
    more = [part for part in text[len(scheme) :].split("::")[1:] if "://" in part or scheme not in _WEB | _BUCKETS]
    parts = [*scheme.split("::"), *(part.partition("://")[0].lower() for part in more)]
    wrong = [part for part in parts if part not in schemes]
    if wrong:
        raise UnreadableImageError("unsupported", f"{wrong[0]}:// is not read; schemes={wrong[:1]!r} allows it")
    if len(parts) > 1 and set(parts) <= SCHEMES:
        raise UnreadableImageError("unsupported", "chained URLs are not read; schemes= names what may stand before ::")


def quote_url(scheme: str, rest: str) -> str:
    """Return a URL as it is sent: what may not stand in one is encoded, what is encoded stays.

    Examples
    --------
    >>> quote_url("https", "host/100% ü #1.jpg?w=20")
    'https://host/100%25%20%C3%BC%20%231.jpg?w=20'
    """
    path, mark, query = rest.partition("?")
    authority, _, path = path.partition("/")
    user, at, host = authority.rpartition("@")
    if not host.isascii():
        name, colon, port = host.partition(":")
        host = name.encode("idna").decode() + colon + port
    if not host.strip(":"):
        raise UnreadableImageError("invalid_path", "the URL names no server")
    try:
        urlsplit(f"//{host}").port  # noqa: B018  it raises where it is none
    except ValueError:
        raise UnreadableImageError("invalid_path", "the port in the URL is no number from 0 to 65535") from None
    path = quote(_NO_ESCAPE.sub("%25", path), safe=_PATH + "%")
    query = quote(_NO_ESCAPE.sub("%25", query), safe=_PATH + "%?")
    return f"{scheme}://{quote(user, safe=_PATH + '%')}{at}{host}/{path}{mark}{query}"


# ---- root


def safe_join(name: str, root: str) -> str:
    """Return a relative name without ``.`` and ``..``.

    Raises
    ------
    UnreadableImageError
        ``outside_root`` if it leads out, also for a server that decodes it or takes a backslash for a slash.
    """
    reading = name
    while True:
        slashed = reading.replace("\\", "/")
        if slashed.startswith("/") or _escapes(slashed) or scheme_of(slashed):
            raise UnreadableImageError("outside_root", f"it leads out of root={redact_url(root)!r}")
        decoded = unquote(reading)
        if decoded == reading:
            break
        reading = decoded
    if "\0" in reading:
        raise UnreadableImageError("invalid_path", "the path holds a NUL character")
    return _normalize(name)


def _escapes(name: str) -> bool:
    depth = 0
    for part in name.split("/"):
        depth += -1 if part == ".." else part not in ("", ".")
        if depth < 0:
            return True
    return depth == 0


def _normalize(name: str) -> str:
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def join_local(root: str, name: str) -> str:
    """Return the path of a name below a folder of this machine."""
    path = os.path.join(root, name)
    try:
        found = os.path.realpath(path)
    except (OSError, ValueError) as exc:
        raise UnreadableImageError("invalid_path", f"the path cannot be followed: {exc}") from exc
    make_resolver = os.path.realpath(root)
    if not found.startswith(make_resolver.rstrip(os.sep) + os.sep):
        raise UnreadableImageError("outside_root", f"it leads out of root={root!r}")
    return path


def join_url(root: str, name: str, schemes: Collection[str]) -> RemotePath:
    """Return the place of a name below a URL; a whole URL must begin with it."""
    scheme = scheme_of(root) or ""
    if scheme_of(name):
        make_resolver = root.partition("?")[0].rstrip("/") + "/"
        if not name.startswith(make_resolver):
            raise UnreadableImageError("outside_root", f"it leads out of root={redact_url(root)!r}")
        safe_join(name[len(make_resolver) :].partition("?")[0], root)
        return parse_url(name, scheme, schemes)
    name = safe_join(name, root)
    if scheme not in _WEB:
        return parse_url(f"{root.rstrip('/')}/{name}", scheme, schemes)
    path, mark, query = root.partition("?")
    # Below root= a name is the name of a file: nothing in it means anything to a server.
    return parse_url(f"{path.rstrip('/')}/{quote(name, safe=_PATH)}{mark}{query}", scheme, schemes)


Resolver = Callable[[str], Location]


def make_resolver(root: str, folder: str, schemes: Collection[str]) -> Resolver:
    """Return what finds names below a root.

    Parameters
    ----------
    root : str
        A folder, a zip or tar archive, or a folder in one; here, or a URL.
    folder : str
        What a relative root starts from.
    schemes : collection of str
        The schemes that may be read.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    scheme = scheme_of(root)
    if scheme == "file":
        scheme, root = None, root[7:]
    here = scheme is None
    path = os.path.join(folder, root) if here else root
    try:
        if "\0" in root:
            raise UnreadableImageError("invalid_path", "it holds a NUL character")
        if scheme is not None:
            check_scheme(root, scheme, schemes)
            parse_url(f"{root.rstrip('/')}/x", scheme, schemes)
    except (UnreadableImageError, UnicodeError) as exc:
        reason = exc.message if isinstance(exc, UnreadableImageError) else str(exc)
        raise ValueError(f"root={redact_url(root)!r} cannot be read: {reason}") from None
    if not (here and os.path.isdir(path)):
        archive = _archive(root, path, scheme, schemes)
        if archive is not None:
            return archive
    if here:
        return lambda name: join_local(path, name)
    return lambda name: join_url(root, name, schemes)


def _archive(root: str, path: str, scheme: str | None, schemes: Collection[str]) -> Resolver | None:
    bare = path if scheme is None else path.partition("?")[0]
    if _COMPRESSED.fullmatch(bare.rstrip("/")) and not (scheme is None and os.path.isdir(path)):
        raise ValueError(
            f"root={redact_url(root)!r} is compressed as a whole, so its members cannot be read in place: unpack "
            "it, or make it a .zip or a plain .tar"
        )
    found = _ARCHIVE.fullmatch(bare.rstrip("/"))
    if found is None or (scheme is None and os.path.isdir(found[1])):
        return None
    archive = found[1] if scheme is None else parse_url(found[1] + path[len(bare) :], scheme, schemes)
    prefix = f"{found[2]}/" if found[2] else ""
    return lambda name: ArchiveMember(archive, prefix + safe_join(name, root))
