"""Locations of images: local paths, URLs and members of archives, and never one outside of the root."""

from __future__ import annotations

import numbers
import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from pandas_imgproc._text import shorten
from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source.redaction import redact_path, redact_signed, redact_url, remove_userinfo

SCHEMES = frozenset({"file", "s3", "gs", "http", "https"})
"""Schemes that may be read by default."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*(?=://)")
_ARCHIVE = re.compile(r"((?:[^/]+://[^/]+/)?.+?\.(?:zip|tar))(?:/(.*))?", re.IGNORECASE | re.DOTALL)
_COMPRESSED = re.compile(
    r"(?:[^/]+://[^/]+/)?.+\.(tar\.\w+|tgz|tbz2?|txz|tzst|7z|rar|gz|bz2|xz|zst)", re.IGNORECASE | re.DOTALL
)
_SUFFIXES = r"\.(?:zip|tar|tgz|tbz2?|txz|tzst|tar\.(?:gz|bz2|xz|zst))"  # of local archives
_ARCHIVE_SUFFIX = re.compile(rf"(?<=[^/]){_SUFFIXES}$", re.IGNORECASE)
_IN_ARCHIVE = re.compile(rf"{_SUFFIXES}(?=/)", re.IGNORECASE)
_LOCAL_ARCHIVE = re.compile(rf"(.+?{_SUFFIXES})(?:/(.*))?", re.IGNORECASE | re.DOTALL)
_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs"})
_WEB = frozenset({"http", "https"})
_NO_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH_CHARS = "/!$&'()*+,;=:@~[]"  # literal in a path


@dataclass(frozen=True)
class RemotePath:
    """Location of a remote file: in a bucket the path without the scheme, else the URL."""

    scheme: str
    path: str = field(repr=False)  # it may hold a password


@dataclass(frozen=True)
class ArchiveMember:
    """Location of a file in a local or remote archive."""

    archive: str | RemotePath
    name: str


RemoteLocation = RemotePath | ArchiveMember
Location = str | RemoteLocation
"""Location of a file; a local path is plain text."""

Resolver = Callable[[str], Location]
"""Function from a relative name to its location below a root."""


def display_path(location: Location) -> str:
    """Return a location as a path, or as a URL without user, password, query, secret parameters and percent-encoding.

    Examples
    --------
    >>> display_path(RemotePath("https", "https://me:secret@example.org/a%20b;sig=3f9c.jpg?token=1"))
    'https://example.org/a b.jpg'
    """
    if isinstance(location, ArchiveMember):
        return f"{display_path(location.archive)}/{location.name}"
    if isinstance(location, str):
        return location
    scheme, path = location.scheme, remove_userinfo(location.path)
    if scheme in _WEB:
        parts = urlsplit(path)
        path = redact_path(parts.path, mask=None)
        decoded = unquote(path)
        return f"{scheme}://{parts.netloc.rpartition('@')[2]}{decoded if decoded.isprintable() else path}"
    if "::" in path and scheme not in _BUCKETS:
        links = [RemotePath(scheme_of(link) or "", link) for link in path.split("::")]
        return "::".join(display_path(link) if link.scheme else link.path for link in links)
    return redact_signed(remove_userinfo(f"{scheme}://{path.removeprefix(f'{scheme}://')}"), mask="")


def to_path_text(name: object, *, has_suffix: bool) -> str:
    """Return a name as text, or raise an UnreadableImageError with ``invalid_path``."""
    if isinstance(name, str):
        if not name.strip():
            raise UnreadableImageError("invalid_path", "the path is an empty text")
        if "\0" in name:
            raise UnreadableImageError("invalid_path", "the path holds a NUL character")
        if name[:5] == "data:" and ";base64," in name[:100]:
            advice = (
                "a column is read whose first text is one; decode this one: base64.b64decode(uri.partition(',')[2])"
            )
            raise UnreadableImageError("invalid_path", f"it is a data: URI, which holds the image itself; {advice}")
        return name
    if has_suffix and isinstance(name, numbers.Integral):
        return str(name)
    if has_suffix and isinstance(name, float) and name.is_integer():
        return str(int(name))  # pandas converts a column of ids to float if a value is missing
    text = f"{type(name).__name__} {redact_url(shorten(name))}"
    raise UnreadableImageError("invalid_path", f"a path, URL or bytes was expected, not {text}")


def scheme_of(text: str) -> str | None:
    """Return the scheme of a URL, in lower case; None for a local path.

    Examples
    --------
    >>> scheme_of("S3://bucket/a.jpg"), scheme_of("simplecache::s3://bucket/a.jpg"), scheme_of("a/b.jpg")
    ('s3', 'simplecache::s3', None)
    """
    match = _SCHEME.match(text)
    return match[0].lower() if match else None


def parse_url(text: str, scheme: str, schemes: Collection[str]) -> RemotePath:
    """Return the location of a URL, or raise an UnreadableImageError if it is not valid or its scheme not allowed."""
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
    """Raise an UnreadableImageError if the scheme of a URL, or of a part of a chained one, may not be read."""
    targets = [part for part in text[len(scheme) :].split("::")[1:] if "://" in part or scheme not in _WEB | _BUCKETS]
    used = [*scheme.split("::"), *(part.partition("://")[0].lower() for part in targets)]
    refused = [part for part in used if part not in schemes]
    if refused:
        raise UnreadableImageError("unsupported", f"{refused[0]}:// is not read; schemes={refused[:1]!r} allows it")
    if len(used) > 1 and set(used) <= SCHEMES:
        raise UnreadableImageError("unsupported", "chained URLs are not read; schemes= allows a protocol before ::")


def quote_url(scheme: str, rest: str) -> str:
    """Return a URL as sent: characters that are not valid in a URL are encoded, encoded ones stay.

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
        urlsplit(f"//{host}").port  # noqa: B018  it raises for an invalid one
    except ValueError:
        raise UnreadableImageError("invalid_path", "the port in the URL is no number from 0 to 65535") from None
    path = quote(_NO_ESCAPE.sub("%25", path), safe=_PATH_CHARS + "%")
    query = quote(_NO_ESCAPE.sub("%25", query), safe=_PATH_CHARS + "%?")
    return f"{scheme}://{quote(user, safe=_PATH_CHARS + '%')}{at}{host}/{path}{mark}{query}"


# ---- root


def safe_join(name: str, root: str) -> str:
    """Return a relative name without ``.`` and ``..``, or raise an UnreadableImageError with ``outside_root``.

    A name leads out of the root also if it does so for a server that decodes it or takes a backslash for a slash.
    """
    decoded, previous = name, None
    while decoded != previous:
        slashed = decoded.replace("\\", "/")
        if slashed.startswith("/") or _escapes(slashed) or scheme_of(slashed):
            raise UnreadableImageError("outside_root", f"it leads out of root={redact_url(root)!r}")
        decoded, previous = unquote(decoded), decoded
    if "\0" in decoded:
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
    """Return the path of a name below a local folder."""
    path = os.path.join(root, name)
    try:
        real_path = os.path.realpath(path)
    except (OSError, ValueError) as exc:
        raise UnreadableImageError("invalid_path", f"the path cannot be followed: {exc}") from exc
    if not real_path.startswith(os.path.realpath(root).rstrip(os.sep) + os.sep):
        raise UnreadableImageError("outside_root", f"it leads out of root={redact_url(root)!r}")
    return path


def join_url(root: str, name: str, schemes: Collection[str]) -> RemotePath:
    """Return the location of a name below a URL; a complete URL must begin with the root."""
    scheme = scheme_of(root) or ""
    path, mark, query = root.partition("?")
    prefix = path.rstrip("/") + "/"
    if scheme_of(name):
        if not name.startswith(prefix):
            raise UnreadableImageError("outside_root", f"it leads out of root={redact_url(root)!r}")
        safe_join(name[len(prefix) :].partition("?")[0], root)
        return parse_url(name, scheme, schemes)
    name = safe_join(name, root)
    if scheme not in _WEB:
        return parse_url(f"{root.rstrip('/')}/{name}", scheme, schemes)
    # Below root= a name is the name of a file: none of its characters has a meaning for the server.
    return parse_url(f"{prefix}{quote(name, safe=_PATH_CHARS)}{mark}{query}", scheme, schemes)


def make_resolver(root: str, folder: str, schemes: Collection[str]) -> Resolver:
    """Return the resolver of a root, or raise a ValueError: a function from a relative name to its location.

    The root is a folder, an archive or a folder in an archive; a local path, relative to `folder`, or a URL.
    """
    scheme = scheme_of(root)
    try:
        if "\0" in root:
            raise UnreadableImageError("invalid_path", "it holds a NUL character")
        if scheme is not None:
            check_scheme(root, scheme, schemes)
            parse_url(f"{root.rstrip('/')}/x", scheme, schemes)
    except (UnreadableImageError, UnicodeError) as exc:
        reason = exc.message if isinstance(exc, UnreadableImageError) else str(exc)
        raise ValueError(f"root={redact_url(root)!r} cannot be read: {reason}") from None
    if scheme is not None:
        return _archive_resolver(root, root, scheme, schemes) or (lambda name: join_url(root, name, schemes))
    path = os.path.join(folder, root)
    archive = None if os.path.isdir(path) else _archive_resolver(root, path, None, schemes)
    return archive or (lambda name: join_local(path, name))


def through_archive(path: str) -> str | ArchiveMember:
    """Return the location of a local path; one that goes on behind the name of an archive is of a member of it.

    Examples
    --------
    >>> import zipfile
    >>> name = getfixture("tmp_path") / "train.zip"
    >>> zipfile.ZipFile(name, "w").close()
    >>> through_archive(f"{name}/cat/1.jpg").name, through_archive(f"{name}s/cat/1.jpg") == f"{name}s/cat/1.jpg"
    ('cat/1.jpg', True)
    """
    for match in _IN_ARCHIVE.finditer(path):
        archive, name = path[: match.end()], path[match.end() :].strip("/")
        if name and os.path.isfile(archive):
            return ArchiveMember(archive, name)
    return path


def without_archive_suffix(name: str) -> str:
    """Return the name of an archive without its suffix, and any other name as it is.

    Examples
    --------
    >>> without_archive_suffix("train.zip"), without_archive_suffix("photos")
    ('train', 'photos')
    """
    match = _ARCHIVE_SUFFIX.search(name)
    return name[: match.start()] if match else name


def is_archive_path(path: str) -> bool:
    """Return whether a path has the suffix of an archive that is read."""
    return _ARCHIVE_SUFFIX.search(path) is not None


def web_root(root: str) -> str | None:
    """Return the URL of the folder or archive on a web server that a root names, or None for another root.

    Examples
    --------
    >>> web_root("https://host/my photos?token=1"), web_root("simplecache::https://host/all.zip/train")
    ('https://host/my%20photos', 'https://host/all.zip')
    """
    scheme = scheme_of(root)
    if scheme is not None and "::" in root and scheme not in _WEB | _BUCKETS:
        root = root.rpartition("::")[2]
        scheme = scheme_of(root)
    if scheme not in _WEB:
        return None
    path = root[len(scheme) + 3 :].partition("?")[0]
    archive = _ARCHIVE.fullmatch(f"{scheme}://{path}".rstrip("/"))
    return quote_url(scheme, path if archive is None else archive[1][len(scheme) + 3 :])


def _archive_resolver(root: str, path: str, scheme: str | None, schemes: Collection[str]) -> Resolver | None:
    """Return the resolver of names in an archive; None for a root without an archive."""
    without_query = path if scheme is None else path.partition("?")[0]
    match = (_LOCAL_ARCHIVE if scheme is None else _ARCHIVE).fullmatch(without_query.rstrip("/"))
    if _COMPRESSED.fullmatch(without_query.rstrip("/")) and (scheme is not None or match is None):
        advice = "unpack it" if scheme is None else "download it, and give the local file as root="
        raise ValueError(
            f"root={redact_url(root)!r} is compressed as a whole, so its members cannot be read in place: {advice}, "
            "or convert it to a .zip or a plain .tar"
        )
    if match is None or (scheme is None and os.path.isdir(match[1])):
        return None
    archive = match[1] if scheme is None else parse_url(match[1] + path[len(without_query) :], scheme, schemes)
    prefix = f"{match[2]}/" if match[2] else ""
    return lambda name: ArchiveMember(archive, prefix + safe_join(name, root))
