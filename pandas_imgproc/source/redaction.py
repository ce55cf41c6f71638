"""Redaction of secrets: `storage_options`, and the parts of URLs before ``@``, after ``?`` and after ``;``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

from pandas_imgproc._uninterrupted import import_atomically

MASK = "…"

FAMILIES = {"https": "http", "gcs": "gs", "s3a": "s3"}
"""Schemes that share the file system of another scheme."""

# User and password, up to the last @. A slash belongs to the password where the part before it is no server: its port
# is no number. There may be slashes too many or too few, except for files, whose third one begins a path.
_START = r"(?P<start>%s|(?<!file)(?<!local)(?<!memory):///*|://)"
_USERINFO_OF_NAME = re.compile(
    _START % r"\Ahttps?:/*" + r"(?:[^/]*@|(?!arn:|\[)[^/@:]*:(?!\d{0,5}(?:/|$))(?:(?!://).)*@)",
    re.IGNORECASE | re.DOTALL,
)
_USERINFO = re.compile(
    _START % r"(?<![^\s'\"])https?:/*" + r"(?:[^/\s]*@|(?!arn:|\[)[^/@:\s]*:(?!\d{0,5}(?:/|\s|$))(?:(?!://)\S)*@)",
    re.IGNORECASE,
)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>]*", re.IGNORECASE)
_LINK_OF_CHAIN = re.compile(r"(?<=::)(?=[a-z][a-z0-9+.-]*://)", re.IGNORECASE)

# A parameter of a path (";token=3f9c"), also a percent-encoded one, which a server may decode; a suffix follows it.
_MARK = r"(?:[;?#&,]|%(?:25)*(?:3B|3F|23|26|2C))"
_EQUALS = r"(?:=|%(?:25)*3D)"
_PATH_PARAMETER = re.compile(
    rf"(?P<mark>{_MARK})(?P<name>[^/;?#&,=]{{0,80}}?)(?P<equals>{_EQUALS})(?P<value>(?:(?!{_MARK})[^/])*?)"
    rf"(?P<suffix>(?:\.[a-z]{{3,4}})?)(?=/|{_MARK}|$)",
    re.IGNORECASE,
)
_PAIR = re.compile(r"[^?#&;=]+(=[^?#&;]*)?")
_NUMBER = re.compile(r"[\w.-]*=\d{0,9}")
_NAME = re.compile(r"[A-Za-z][\w.-]{0,39}")
_SECRET_NAME = re.compile(r"sig|token|key|secret|pass|pwd|cred|auth|code|pin", re.IGNORECASE)

# A parameter of a signed URL, also where a ? is a part of the name.
_SIGNED = re.compile(
    r"([?&;#](?:X-(?:Amz|Goog)-[\w-]+|(?:\w+[_-])?(?:signature|sig|token|secret|password)|(?:AWS|Google)AccessKey\w*)=)"
    r"[^?&;#]*",
    re.IGNORECASE,
)
_WITHOUT_QUERY = frozenset({"s3", "s3a", "gs", "gcs", "file", "memory"})


def protocol_family(scheme: str) -> str:
    """Return the scheme that names the file system of a scheme.

    Examples
    --------
    >>> protocol_family("https")
    'http'
    """
    return FAMILIES.get(scheme, scheme)


class StorageOptions:
    """Storage options of a call, or by scheme: ``{"s3": {…}, "https": {…}}``; only file systems see their values."""

    __slots__ = ("_by_scheme", "_tokens", "_unscoped")

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        options = dict(options or {})
        is_scoped = (
            bool(options) and all(isinstance(value, Mapping) for value in options.values()) and _are_schemes(options)
        )
        self._unscoped = {} if is_scoped else options
        self._by_scheme = {protocol_family(name): dict(value) for name, value in options.items()} if is_scoped else {}
        self._tokens: dict[tuple[str, ...], str] = {}

    def __repr__(self) -> str:
        return "<storage_options>"

    def __reduce__(self) -> Any:
        return StorageOptions, (self._by_scheme or self._unscoped,)

    @property
    def is_unscoped(self) -> bool:
        """Whether the options are not given by scheme."""
        return bool(self._unscoped)

    def for_protocol(self, scheme: str) -> dict[str, Any]:
        """Return the options of a scheme."""
        if scheme == "file":
            return {}
        return self._by_scheme.get(protocol_family(scheme), self._unscoped)

    def for_chain(self, protocols: Sequence[str]) -> dict[str, Any]:
        """Return the options of a URL as fsspec takes them: for the first protocol of a chain, and by protocol."""
        if self._unscoped:
            return dict(self._unscoped)
        return {protocol: options for protocol in protocols if (options := self.for_protocol(protocol))}

    def tokenize(self, *protocols: str) -> str:
        """Return a digest of the options of a scheme or of the protocols of a chain, which reveals nothing else."""
        if protocols not in self._tokens:
            import cloudpickle

            options = [self.for_protocol(protocol) for protocol in protocols]
            self._tokens[protocols] = hashlib.sha256(cloudpickle.dumps(options)).hexdigest()
        return self._tokens[protocols]

    def redact(self, text: str) -> str:
        """Return a text without any value of the options, and with its URLs redacted."""
        for secret in sorted(set(_strings((self._unscoped, self._by_scheme))), key=len, reverse=True):
            for form in (secret, quote(secret), quote(secret, safe="")):
                text = text.replace(form, MASK)
        return redact_text(text)


def _are_schemes(names: Mapping[str, Any]) -> bool:
    return set(names) <= set(import_atomically("fsspec.registry").known_implementations)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    elif isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        if len(value) > 2:
            yield value
    elif isinstance(value, Sequence):
        for item in value:
            yield from _strings(item)


def redact_text(text: str) -> str:
    """Return a text with its URLs redacted: no user, no password, and of parameters only plain numbers.

    Examples
    --------
    >>> redact_text("https://ann:pass@host/a.jpg?id=7&X-Amz-Signature=3f9c")
    'https://…@host/a.jpg?id=7&X-Amz-Signature=…'
    >>> redact_text("s3://bucket/a?b#c.jpg")
    's3://bucket/a?b#c.jpg'
    """
    if ":" not in text:
        return text
    return _URL.sub(lambda url: redact_url(url[0]), _USERINFO.sub(rf"\g<start>{MASK}@", text))


def redact_url(name: str) -> str:
    """Return a name of a column redacted if it is a URL: unlike in a text, spaces and quotes belong to the URL.

    Examples
    --------
    >>> redact_url("https://host/a b;token=3f9c.jpg")
    'https://host/a b;token=….jpg'
    >>> redact_url("https://ann:pa/ss@host/a.jpg")
    'https://…@host/a.jpg'
    """
    if ":" not in name:
        return name
    rest, redacted = _USERINFO_OF_NAME.sub(rf"\g<start>{MASK}@", name), ""
    if "://" not in rest:
        return rest
    for original in _LINK_OF_CHAIN.split(rest):
        link = original
        if link.partition("://")[0].lower() not in _WITHOUT_QUERY:
            query = re.search(r"[?#]", link)
            if query is not None:
                return redacted + redact_path(rest[: query.start()]) + _PAIR.sub(_redact_pair, rest[query.start() :])
            link = redact_path(link)
        else:
            link = redact_signed(link)
        redacted, rest = redacted + link, rest[len(original) :]
    return redacted


def remove_userinfo(url: str) -> str:
    """Return a URL without user and password.

    Examples
    --------
    >>> remove_userinfo("https://ann:pa/ss@host/a@b.jpg"), remove_userinfo("https://ann:pass@host/a@b.jpg")
    ('https://b.jpg', 'https://host/a@b.jpg')
    """
    return _USERINFO_OF_NAME.sub(r"\g<start>", url)


def redact_signed(key: str, mask: str = MASK) -> str:
    """Return the key of an object, in which ``?`` is a character, with the values of a signed URL masked.

    Examples
    --------
    >>> redact_signed("a?b=1.jpg"), redact_signed("a.jpg?X-Amz-Signature=3f9c")
    ('a?b=1.jpg', 'a.jpg?X-Amz-Signature=…')
    """
    return _SIGNED.sub(rf"\1{mask}", key)


def redact_path(path: str, mask: str | None = MASK) -> str:
    """Return the path of a URL with the values of its parameters masked, or without these parameters.

    Examples
    --------
    >>> redact_path("train;v=2/a;sig=3f9c.jpg"), redact_path("a;sig=3f9c.jpg", mask=None)
    ('train;v=2/a;sig=….jpg', 'a.jpg')
    """

    def redacted(found: re.Match[str]) -> str:
        # Commas and ampersands are common in names: "width=80,format=auto".
        is_plain = found["mark"] in ",&" or _NUMBER.fullmatch(f"{found['name']}={found['value']}")
        if is_plain and not _SECRET_NAME.search(unquote(found["name"])):
            return found[0]
        return found["suffix"] if mask is None else f"{found['mark']}{found['name']}={mask}{found['suffix']}"

    return _PATH_PARAMETER.sub(redacted, path)


def _redact_pair(pair: re.Match[str]) -> str:
    name, _, value = pair[0].partition("=")
    if _NUMBER.fullmatch(pair[0]) and not _SECRET_NAME.search(name):
        return pair[0]
    # A key in base64 may hold an equals sign, too.
    return f"{name}={MASK}" if _NAME.fullmatch(name) and value.strip("=") else MASK
