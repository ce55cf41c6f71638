"""Exceptions of file systems mapped to failure kinds and messages, and whether they are transient."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pandas_imgproc.errors import OutputError, UnreadableImageError

if TYPE_CHECKING:
    from pandas_imgproc.errors import FailureKind
    from pandas_imgproc.source.redaction import StorageOptions

_KINDS: dict[int, FailureKind] = {
    401: "permission", 403: "permission", 407: "permission", 404: "missing", 410: "missing",
    408: "timeout", 504: "timeout",
}  # fmt: skip
_TRANSIENT_STATUS = frozenset({408, 425, 429})

# By name, because the libraries that raise them may not be installed; bases of the exceptions that aiohttp, botocore,
# requests and google.auth raise when a connection breaks.
_TRANSIENT_NAMES = frozenset(
    {"ClientConnectionError", "ClientPayloadError", "HTTPClientError", "HttpProcessingError", "IncompleteReadError",
     "ResponseStreamingError", "RequestException", "TransportError", "ChecksumError"}
)  # fmt: skip
_NO_RESPONSE = frozenset({"HttpProcessingError", "TooManyRedirects"})  # aiohttp's own 400 and 0
_NO_AUTH = frozenset({"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "RefreshError"})
_INVALID_URL = frozenset({"ParamValidationError", "InvalidURL", "InvalidUrlClientError"})


def exception_chain(exc: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes or contexts."""
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        yield exc
        exc = exc.__cause__ or exc.__context__


def _image_error(exc: BaseException) -> UnreadableImageError | None:
    """Return the failure behind an exception, also one that a file system or aiohttp has wrapped."""
    return next((cause for cause in exception_chain(exc) if isinstance(cause, UnreadableImageError)), None)


def _mro_names(exc: BaseException | None) -> set[str]:
    return {base.__name__ for base in type(exc).__mro__}


def _http_response(exc: BaseException) -> tuple[int | None, Mapping[str, str]]:
    """Return the status and the headers of the response that an exception of any of the libraries holds."""
    if _NO_RESPONSE & (_mro_names(exc) | _mro_names(exc.__cause__)):
        return None, {}
    response = getattr(exc, "response", None)
    if isinstance(response, Mapping):  # botocore
        meta = response.get("ResponseMetadata", {})
        return meta.get("HTTPStatusCode"), meta.get("HTTPHeaders", {})
    status = getattr(exc, "status", None) or getattr(exc, "code", None) or getattr(response, "status_code", None)
    if isinstance(status, str) and status.isdecimal():
        status = int(status)
    headers = getattr(exc, "headers", None) or getattr(response, "headers", None) or {}
    return (status if isinstance(status, int) and 100 <= status < 600 else None), headers


def http_status(exc: BaseException) -> tuple[int | None, Mapping[str, str]]:
    """Return the HTTP status and headers behind an exception, also one that a file system has wrapped."""
    for cause in exception_chain(exc):
        status, headers = _http_response(cause)
        if status is not None:
            return status, headers
    if any(isinstance(cause, OSError) and str(cause).startswith("Forbidden: ") for cause in exception_chain(exc)):
        return 403, {}  # gcsfs drops the response
    return None, {}


def is_transient(exc: BaseException) -> bool:
    """Return whether a retry may succeed: timeouts, resets, short bodies, 429 and 5xx; never a 404 or a 403."""
    if not isinstance(exc, Exception) or isinstance(exc, OutputError):  # which has had its attempts
        return False
    known = _image_error(exc)
    if known is not None:
        return known.kind == "timeout"
    status, _ = http_status(exc)
    if status is not None:
        return status >= 500 or status in _TRANSIENT_STATUS
    causes = list(exception_chain(exc))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return False
    if any(isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME for cause in causes):
        return False
    return any(
        isinstance(cause, TimeoutError | ConnectionError) or _mro_names(cause) & _TRANSIENT_NAMES for cause in causes
    )


def retry_after(exc: BaseException) -> float:
    """Return the seconds of a ``Retry-After`` header, 0 without one."""
    _, headers = http_status(exc)
    value = headers.get("Retry-After") or headers.get("retry-after") or ""
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def to_image_error(exc: BaseException, options: StorageOptions, attempts: int) -> UnreadableImageError:
    """Return the failure of a remote file, without the values of its options.

    The message of a transient exception has the number of attempts.
    """
    known = _image_error(exc)
    if known is not None and known.kind != "timeout":
        return known
    kind, message = (known.kind, known.message) if known is not None else _classify(exc, options)
    if attempts > 1 and is_transient(exc):
        message += f", each of {attempts} times"
    return UnreadableImageError(kind, message)


def _classify(exc: BaseException, options: StorageOptions) -> tuple[FailureKind, str]:
    status, _ = http_status(exc)
    if status is not None:
        phrase = f" ({HTTPStatus(status).phrase})" if status in HTTPStatus.__members__.values() else ""
        return _KINDS.get(status, "remote"), f"the server responded with {status}{phrase}"
    causes = list(exception_chain(exc))
    for cause in causes:
        reason = _match_known(cause)
        if reason is not None:
            return reason
    text = options.redact(" ".join(str(causes[-1]).split()))[:200]
    return "remote", f"it could not be read: {type(causes[-1]).__name__}: {text}".rstrip(": ")


def _match_known(exc: BaseException) -> tuple[FailureKind, str] | None:
    names = _mro_names(exc)
    is_unknown_option = isinstance(exc, TypeError) and "keyword argument" in str(exc)
    table: tuple[tuple[Any, FailureKind, str], ...] = (
        (names & _NO_AUTH, "permission", "there are no credentials for it; give them in storage_options="),
        (names & {"TooManyRedirects"}, "remote", "the server redirects too often"),
        (names & {"RedirectClientError"}, "remote", "the server redirects to what cannot be a URL"),
        (names & _INVALID_URL, "invalid_path", "the server's name or the path cannot be one"),
        (isinstance(exc, TimeoutError), "timeout", "it took too long"),
        (names & {"DamagedTransferError"}, "remote", str(exc)),
        (names & {"ClientPayloadError", "IncompleteReadError"}, "remote", "the response ended too early"),
        (names & {"HttpProcessingError"}, "remote", "the response is not that of a web server"),
        (isinstance(exc, socket.gaierror), "remote", "the server's name is not known"),
        (isinstance(exc, ssl.SSLError), "remote", "there is no safe connection to the server"),
        (isinstance(exc, ConnectionRefusedError), "remote", "the server refused the connection"),
        (isinstance(exc, ConnectionError) or "ServerDisconnectedError" in names, "remote", "the connection broke"),
        (isinstance(exc, FileNotFoundError), "missing", "there is no such file"),
        (isinstance(exc, PermissionError), "permission", "it may not be read"),
        (isinstance(exc, IsADirectoryError), "not_a_file", "it is a folder"),
        (is_unknown_option, "remote", f"storage_options= names what its file system does not know: {exc}"),
        (
            isinstance(exc, ImportError),
            "unsupported",
            "the package for its scheme is not installed where the call runs",
        ),
    )
    return next(((kind, message) for matches, kind, message in table if matches), None)
