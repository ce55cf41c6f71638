"""What must not be shown: `storage_options`, and what stands in a URL before ``@`` and after ``?``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

MASK = "…"

FAMILIES = {"https": "http", "gcs": "gs", "s3a": "s3"}
"""Schemes that are another's file system."""

_USER = re.compile(r"(://)[^/\s]*@")
_USER_OF_NAME = re.compile(r"(://)[^/]*@")
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<path>[^\s'\"<>?#]*)(?P<query>[?#][^\s'\"<>]*)?", re.IGNORECASE)
_PAIR = re.compile(r"[^?#&;=]+(=[^?#&;]*)?")
_NUMBER = re.compile(r"[\w.-]*=\d{0,9}")
_NAME = re.compile(r"[A-Za-z][\w.-]{0,39}")
_SECRET_NAME = re.compile(r"sig|token|key|secret|pass|pwd|cred|auth|code|pin", re.IGNORECASE)
_NAMES_ONLY = frozenset({"s3", "s3a", "gs", "gcs", "file", "memory"})


def protocol_family(scheme: str) -> str:
    """Return the scheme whose file system opens URLs of a scheme.

    Examples
    --------
    >>> protocol_family("https")
    'http'
    """
    return FAMILIES.get(scheme, scheme)


class StorageOptions:
    """`storage_options`: only file systems see what is in it.

    Parameters
    ----------
    given : mapping
        For the one scheme of a call, or by scheme: ``{"s3": {…}, "https": {…}}``.
    """

    __slots__ = ("_by_scheme", "_flat", "_tokens")

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        given = dict(given or {})
        by_scheme = bool(given) and all(isinstance(value, Mapping) for value in given.values()) and _are_schemes(given)
        self._flat = {} if by_scheme else given
        self._by_scheme = {protocol_family(name): dict(value) for name, value in given.items()} if by_scheme else {}
        self._tokens: dict[str, str] = {}

    def __repr__(self) -> str:
        return "<storage_options>"

    def __reduce__(self) -> Any:
        return StorageOptions, (self._by_scheme or self._flat,)

    @property
    def is_unscoped(self) -> bool:
        """Whether they do not say which scheme they are for."""
        return bool(self._flat)

    def for_protocol(self, scheme: str) -> dict[str, Any]:
        """Return the options of a scheme."""
        if scheme == "file":
            return {}
        return self._by_scheme.get(protocol_family(scheme), self._flat)

    def tokenize(self, scheme: str) -> str:
        """Return what tells these options of a scheme from others, and nothing else."""
        if scheme not in self._tokens:
            import cloudpickle

            self._tokens[scheme] = hashlib.sha256(cloudpickle.dumps(self.for_protocol(scheme))).hexdigest()
        return self._tokens[scheme]

    def redact(self, text: str) -> str:
        """Return a text without anything that stands in the options, and with its URLs redacted."""
        for secret in sorted(set(_texts((self._flat, self._by_scheme))), key=len, reverse=True):
            for form in (secret, quote(secret), quote(secret, safe="")):
                text = text.replace(form, MASK)
        return redacted(text)


def _are_schemes(names: Mapping[str, Any]) -> bool:
    from fsspec.registry import known_implementations

    return set(names) <= set(known_implementations)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, bytes):
        yield from _texts(value.decode(errors="replace"))
    elif isinstance(value, str):
        if len(value) > 2:
            yield value
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts(inner)


def redacted(text: str) -> str:
    """Return a text with its URLs redacted: no user, no password, and of a query only plain numbers.

    Examples
    --------
    >>> redacted("https://ann:pass@host/a.jpg?id=7&X-Amz-Signature=3f9c")
    'https://…@host/a.jpg?id=7&X-Amz-Signature=…'
    >>> redacted("s3://bucket/a?b#c.jpg")
    's3://bucket/a?b#c.jpg'
    """
    return _URL.sub(_redacted, _USER.sub(rf"\1{MASK}@", text)) if "://" in text else text


def redact_url(name: str) -> str:
    """Return a URL that stands in a column redacted: spaces and quotes belong to it."""
    if "://" not in name:
        return name
    name = _USER_OF_NAME.sub(rf"\1{MASK}@", name)
    scheme = name.partition("://")[0].rpartition(":")[2].lower()
    cut = re.search(r"[?#]", name)
    if cut is None or scheme in _NAMES_ONLY:
        return name
    return name[: cut.start()] + _PAIR.sub(_shown, name[cut.start() :])


def _redacted(url: re.Match[str]) -> str:
    if url["query"] is None or url["scheme"].lower() in _NAMES_ONLY:
        return url[0]
    return f"{url['scheme']}://{url['path']}{_PAIR.sub(_shown, url['query'])}"


def _shown(pair: re.Match[str]) -> str:
    name, _, value = pair[0].partition("=")
    if _NUMBER.fullmatch(pair[0]) and not _SECRET_NAME.search(name):
        return pair[0]
    # A key in base64 may hold an equals sign, too.
    return f"{name}={MASK}" if _NAME.fullmatch(name) and value.strip("=") else MASK
