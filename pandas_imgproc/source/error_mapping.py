"""What an exception of a file system means: a kind, a sentence, and whether it can pass."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pandas_imgproc.errors import UnreadableImageError

if TYPE_CHECKING:
    from pandas_imgproc.errors import FailureKind
    from pandas_imgproc.source.redaction import StorageOptions

_KINDS: dict[int, FailureKind] = {
    401: "permission",
    403: "permission",
    404: "missing",
    407: "permission",
    408: "timeout",
    410: "missing",
    504: "timeout",
}
_PASSING_STATUS = frozenset({408, 425, 429})

# By name, because the libraries that raise them need not be installed; bases of what aiohttp, botocore, requests and
# google.auth raise when a connection breaks.
_PASSING_NAMES = frozenset(
    {
        "ClientConnectionError",
        "ClientPayloadError",
        "HTTPClientError",
        "HttpProcessingError",
        "IncompleteReadError",
        "ResponseStreamingError",
        "RequestException",
        "TransportError",
        "ChecksumError",
    }
)
_NO_CREDENTIALS = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "RefreshError"}
)
_NO_NAME = frozenset({"ParamValidationError", "InvalidURL", "InvalidUrlClientError"})


def exception_chain(exc: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what it came from."""
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        yield exc
        exc = exc.__cause__ or exc.__context__


def _names(exc: BaseException) -> set[str]:
    return {base.__name__ for base in type(exc).__mro__}


def _answer(exc: BaseException) -> tuple[int | None, Mapping[str, str]]:
    """Return the status and the headers that a server answered with, as each library hands them on."""
    if any("HttpProcessingError" in _names(inner) for inner in (exc, exc.__cause__) if inner is not None):
        return None, {}  # aiohttp's own 400, for an answer that it could not read
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
    """Return the status and the headers behind an exception, also one that a file system disguises."""
    for inner in exception_chain(exc):
        status, headers = _answer(inner)
        if status is not None:
            return status, headers
    if any(isinstance(inner, OSError) and str(inner).startswith("Forbidden: ") for inner in exception_chain(exc)):
        return 403, {}  # so gcsfs says it
    return None, {}


def is_transient(exc: BaseException) -> bool:
    """Return whether trying again may help: timeouts, resets, short bodies, 429 and 5xx; never a 404 or a 403."""
    if isinstance(exc, UnreadableImageError):
        return exc.kind == "timeout"
    if not isinstance(exc, Exception):
        return False
    status, _ = http_status(exc)
    if status is not None:
        return status >= 500 or status in _PASSING_STATUS
    causes = list(exception_chain(exc))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return False
    if any(isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME for cause in causes):
        return False
    return any(isinstance(cause, TimeoutError | ConnectionError) or _names(cause) & _PASSING_NAMES for cause in causes)


def retry_after(exc: BaseException) -> float:
    """Return the seconds that the server asked to wait, 0 where it did not."""
    _, headers = http_status(exc)
    asked = headers.get("Retry-After") or headers.get("retry-after") or ""
    if asked.isdecimal():
        return float(asked)
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def to_image_error(exc: BaseException, options: StorageOptions, attempts: int) -> UnreadableImageError:
    """Return why a file that is elsewhere could not be read, without a secret.

    Parameters
    ----------
    exc : BaseException
        What its file system raised.
    options : StorageOptions
        What must not be shown.
    attempts : int
        How often it was tried, if it could pass.
    """
    if isinstance(exc, UnreadableImageError):
        return exc
    kind, message = _reason(exc, options)
    if attempts > 1 and is_transient(exc):
        message += f", each of {attempts} times"
    return UnreadableImageError(kind, message)


def _reason(exc: BaseException, options: StorageOptions) -> tuple[FailureKind, str]:
    status, _ = http_status(exc)
    if status is not None:
        known = status in HTTPStatus.__members__.values()
        phrase = f" ({HTTPStatus(status).phrase})" if known else ""
        return _KINDS.get(status, "remote"), f"the server answered {status}{phrase}"
    for cause in exception_chain(exc):
        reason = _known(cause)
        if reason is not None:
            return reason
    root = list(exception_chain(exc))[-1]
    text = options.redact(" ".join(str(root).split()))[:200]
    return "remote", f"it could not be read: {type(root).__name__}: {text}".rstrip(": ")


def _known(exc: BaseException) -> tuple[FailureKind, str] | None:
    names = _names(exc)
    by_type: tuple[tuple[Any, FailureKind, str], ...] = (
        (names & _NO_CREDENTIALS, "permission", "there are no credentials for it; give them in storage_options="),
        (names & _NO_NAME, "invalid_path", "the server's name or the path cannot be one"),
        (isinstance(exc, TimeoutError), "timeout", "it took too long"),
        (names & {"ClientPayloadError", "IncompleteReadError"}, "remote", "the answer ended too early"),
        (names & {"HttpProcessingError"}, "remote", "the answer is not that of a web server"),
        (isinstance(exc, socket.gaierror), "remote", "the server's name is not known"),
        (isinstance(exc, ssl.SSLError), "remote", "there is no safe connection to the server"),
        (isinstance(exc, ConnectionRefusedError), "remote", "the server refused the connection"),
        (isinstance(exc, ConnectionError) or "ServerDisconnectedError" in names, "remote", "the connection broke"),
        (isinstance(exc, FileNotFoundError), "missing", "there is no such file"),
        (isinstance(exc, PermissionError), "permission", "it may not be read"),
        (isinstance(exc, IsADirectoryError), "not_a_file", "it is a folder"),
        (
            isinstance(exc, TypeError) and "keyword argument" in str(exc),
            "remote",
            f"storage_options= names what its file system does not know: {exc}",
        ),
        (isinstance(exc, ImportError), "unsupported", "what reads its scheme is not installed where the call runs"),
    )
    return next(((kind, message) for holds, kind, message in by_type if holds), None)
