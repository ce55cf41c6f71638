"""Validation of the arguments that define a source, before anything starts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pandas_imgproc._file_uri import to_user_path
from pandas_imgproc._text import shorten
from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source import paths
from pandas_imgproc.source.inputs import path_or_bytes
from pandas_imgproc.source.redaction import StorageOptions, protocol_family, redact_url
from pandas_imgproc.source.redirects import AllowedHost, parse_host
from pandas_imgproc.source.source import Source


def make_source(
    *,
    root: object = None,
    suffix: object = None,
    storage_options: object = None,
    schemes: object = (),
    redirect_hosts: object = None,
) -> Source:
    """Return the source that the arguments of a call define.

    Raises
    ------
    ValueError, TypeError
        With the argument and its valid values; never with a value of `storage_options`.
    """
    if not isinstance(root, str | os.PathLike | None):
        raise TypeError(f"root={root!r} is not a folder; give a path such as 'train'")
    if not isinstance(suffix, str | None):
        raise TypeError(f"suffix={suffix!r} is not a text such as '.jpg'")
    options, more = StorageOptions(_check_options(storage_options)), _check_schemes(schemes)
    root = None if root is None else to_user_path(root)
    hosts = None if redirect_hosts is None else _check_hosts(redirect_hosts)
    source = Source(root, suffix, _getcwd_or_empty(), options, Source.schemes | more, redirect_hosts=hosts)
    source.resolver  # noqa: B018  it raises for an invalid root
    return source


def _getcwd_or_empty() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed: relative paths are missing, absolute ones are not
        return ""


def _check_options(storage_options: object) -> Mapping[str, Any]:
    if storage_options is None:
        return {}
    if not isinstance(storage_options, Mapping) or not all(isinstance(name, str) for name in storage_options):
        kind = type(storage_options).__name__  # never the value: it may be a secret
        raise TypeError(f"storage_options= is of type {kind}; give a dict of names and values for the file system")
    return storage_options


def _check_schemes(schemes: object) -> frozenset[str]:
    if isinstance(schemes, str) or not isinstance(schemes, Iterable):
        raise TypeError(f"schemes={schemes!r} is not a list of schemes such as ['sftp']")
    names = list(schemes)
    if not all(isinstance(name, str) and name and ":" not in name for name in names):
        raise ValueError(f"schemes={schemes!r} is not a list of schemes such as ['sftp']; each without ://")
    return frozenset(name.lower() for name in names)


def _check_hosts(redirect_hosts: object) -> frozenset[AllowedHost]:
    example = "a list of hosts such as ['cdn.example.org']"
    if isinstance(redirect_hosts, str) or not isinstance(redirect_hosts, Iterable):
        raise TypeError(f"redirect_hosts={shorten(redirect_hosts)} is not {example}")
    hosts = list(redirect_hosts)
    for host in hosts:
        try:
            if not isinstance(host, str):
                raise ValueError
            parse_host(host)
        except ValueError:  # an invalid port or IDNA name too
            name = redact_url(host).rpartition("@")[2] if isinstance(host, str) else host  # without a password
            raise ValueError(
                f"redirect_hosts=[…, {shorten(name)}] is not {example}; each without a path, with or without a port"
            ) from None
    return frozenset(map(parse_host, hosts))


def used_protocols(inputs: Sequence[Any]) -> set[str]:
    """Return the schemes of the URLs in a column, without that of local files."""
    texts = (value if isinstance(value, str) else path_or_bytes(value) for value in inputs)
    schemes = {paths.scheme_of(text) for text in texts if isinstance(text, str) and "://" in text}
    return {scheme for scheme in schemes if scheme not in (None, "file")}


def _prepare_archive(source: Source, inputs: Sequence[Any]) -> None:
    """Decompress the archive of the first input, if it must be: announced, and in no row's time."""
    location = source.try_resolve(next((value for value in inputs if value is not None), None))
    if not isinstance(location, paths.ArchiveMember) or not isinstance(location.archive, str):
        return
    if os.path.isfile(location.archive):
        from pandas_imgproc.source.decompressed import plain_archive

        with contextlib.suppress(UnreadableImageError):  # each row has the reason
            plain_archive(location.archive, source.config)


def check(source: Source, inputs: Sequence[Any], to: str | None = None) -> None:
    """Raise before anything starts if a source cannot read its inputs, or the files not be written to a URL.

    Raises
    ------
    MissingExtraError
        If the package that reads a scheme is not installed.
    OSError
        If a compressed archive cannot be decompressed for lack of space or permission.
    ValueError
        If fsspec does not know a scheme, `storage_options` could be for several schemes, or `to` cannot be written.
    """
    _prepare_archive(source, inputs)
    used = used_protocols(inputs) if source.is_local else {paths.scheme_of(source.root or "") or ""}
    used = {scheme for scheme in used if set(scheme.split("::")) <= source.schemes}
    if to is not None and (scheme := paths.scheme_of(to)) is not None:
        used.add(_check_writable(to, scheme, source))
    if not used:
        return
    from pandas_imgproc.source.filesystems import check_installed

    for scheme in sorted(used):
        check_installed(scheme)
    families = sorted({protocol_family(scheme) for scheme in used})
    if source.options.is_unscoped and len(families) > 1:
        raise ValueError(
            f"storage_options= could be for {' or '.join(families)}: give them by protocol, as in "
            f"{{{families[0]!r}: {{…}}}}"
        )


def _check_writable(to: str, scheme: str, source: Source) -> str:
    if scheme in ("http", "https") or "::" in scheme:
        raise ValueError(f"to={redact_url(to)!r}: {scheme}:// is not written; give a folder, s3://… or gs://…")
    if scheme not in source.schemes:
        raise ValueError(f"to={redact_url(to)!r}: {scheme}:// is not written; schemes={[scheme]!r} allows it")
    return scheme
