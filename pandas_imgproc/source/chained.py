"""File systems of URLs, also of chained ones such as ``zip://a.jpg::https://host/all.zip``, with guarded redirects."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pandas_imgproc._uninterrupted import import_atomically
from pandas_imgproc.source.redaction import protocol_family
from pandas_imgproc.source.redirects import guarded_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandas_imgproc.source.redaction import StorageOptions
    from pandas_imgproc.source.redirects import RedirectPolicy

_PROTOCOL = re.compile(r"[a-z]+")


def chain_protocols(url: str) -> list[str]:
    """Return the protocols of a URL, as fsspec reads them.

    Examples
    --------
    >>> chain_protocols("simplecache::zip://a.jpg::https://host/all.zip")
    ['simplecache', 'zip', 'https']
    """
    return [_protocol(part) for part in url.split("::")]


def _protocol(part: str) -> str:
    scheme, mark, _ = part.partition("://")
    return scheme if mark else part if _PROTOCOL.fullmatch(part) else "file"


def split_chain(url: str) -> tuple[str, str]:
    """Return the part of a chained URL that identifies its file system, and the path in it.

    Examples
    --------
    >>> split_chain("zip://a.jpg::https://host/all.zip")
    ('zip://::https://host/all.zip', 'zip://a.jpg')
    >>> split_chain("simplecache::https://host/a.jpg")
    ('simplecache::https://', 'https://host/a.jpg')
    """
    parts = url.split("::")
    k = next(k for k, part in enumerate(parts) if "://" in part)
    return "::".join([*parts[:k], f"{_protocol(parts[k])}://", *parts[k + 1 :]]), parts[k]


def open_filesystem(url: str, options: StorageOptions, policy: RedirectPolicy, user_agent: str) -> tuple[Any, str]:
    """Return the file system and the path of a URL, as fsspec's ``url_to_fs``; web servers redirect as a policy allows.

    Options are by protocol, or of the first file system of a chain, which may hold those of others by protocol.
    """
    fsspec = import_atomically("fsspec")  # takes 0.1 s
    protocols = chain_protocols(url)
    by_protocol = options.for_chain(protocols)
    if len(protocols) == 1:
        # At the top, because fsspec lets these options replace those by protocol.
        by_protocol |= by_protocol.pop(protocols[0], None) or {}
        by_protocol = _guarded(protocols[0], by_protocol, policy, user_agent)
    else:
        for protocol in set(protocols):
            by_protocol[protocol] = _guarded(protocol, by_protocol.get(protocol) or {}, policy, user_agent)
        by_protocol = _guarded("", by_protocol, policy, user_agent)
    fs, path = fsspec.core.url_to_fs(url, **by_protocol)
    return fs, path


def _guarded(protocol: str, options: Mapping[str, Any], policy: RedirectPolicy, user_agent: str) -> dict[str, Any]:
    """Return the options of a file system, with a guarded client for it and the one that it reads from."""
    options = dict(options)
    for kind in ("target", "remote"):
        if inner := options.get(f"{kind}_protocol"):
            target = _guarded(inner, options.get(f"{kind}_options") or {}, policy, user_agent)
            options[f"{kind}_options"] = target
    family = protocol_family(protocol)
    if family in ("http", "s3"):
        options["skip_instance_cache"] = True  # the session is another one for each policy
    return guarded_options(family, options, policy, user_agent)
