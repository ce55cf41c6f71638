"""Exceptions, failure kinds and warnings.

The exceptions form one tree::

    ImgprocError
    ├── UnreadableImageError (OSError)       one image could not be read
    ├── NoReadableImageError (OSError)       none of a call's images could be read
    ├── MissingImagesError (ValueError)      an array was requested, and some of its images are missing
    ├── ResultTooLargeError (MemoryError)    the result cannot fit into memory
    ├── JournalError (ValueError)            the result at out= or to= belongs to another job, or is damaged
    ├── MissingExtraError (ImportError)      a package for a URL scheme, plots or strict=True is missing
    ├── OutputError (OSError)                a file cannot be written; finished ones stay
    ├── ClusterError (RuntimeError)          the cluster is gone or cannot be used
    └── UserFunctionError                    a user's function raised, or returned an unusable value
        └── BatchLengthError                 it returned another number of rows than it was given images

The warnings, `UnreadableImageWarning` and `UserFunctionWarning`, are shown each time, not once per line.
"""

from __future__ import annotations

import difflib
import warnings
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

import numpy as np

from pandas_imgproc._text import MAX_QUOTED_CHARS, shorten, truncate, truncate_path
from pandas_imgproc._user_traceback import dump_exception, load_exception

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FailureKind = Literal[
    "missing",  # there is no such file
    "permission",  # it may not be read
    "not_a_file",  # a folder, a socket, a device
    "invalid_path",  # the value of the column cannot be a path
    "outside_root",  # it leads out of root=
    "empty",  # a file of zero bytes
    "unidentified",  # no image, or of a format that is not allowed
    "truncated",  # the end of the file is missing
    "corrupt",  # it starts like an image and cannot be decoded
    "too_large",  # more pixels than allowed
    "unsupported",  # an intact image that cannot be converted to the requested mode
    "region",  # the box or the frame is not in the image
    "timeout",  # the read took too long
    "remote",  # the server failed
    "worker_died",  # the row killed its worker process
    "function",  # the user's function raised
]
"""Reason why a row has no image; the categories of ``.img.failure_kind``, in this order."""

FAILURE_KINDS: tuple[FailureKind, ...] = get_args(FailureKind)

MAX_LISTED_NAMES = 40
"""Limit of the names that an error lists."""


class Failure(TypedDict):
    """Failure of one row: plain data, so that it survives pickle, JSON and ``attrs``."""

    position: int
    path: str
    kind: FailureKind
    message: str


class ImgprocError(Exception):
    """Base class of all exceptions of this library."""


class UnreadableImageError(ImgprocError, OSError):
    """Image that could not be read.

    Parameters
    ----------
    kind : str
        One of the failure kinds, for example ``"truncated"``.
    message : str
        Reason, in one sentence.

    Examples
    --------
    >>> UnreadableImageError("missing", "there is no file 'a.jpg'").kind
    'missing'
    """

    def __init__(self, kind: FailureKind, message: str) -> None:
        # All arguments go to super().__init__: an exception sent to another process is rebuilt from them.
        super().__init__(kind, message)
        self.kind: FailureKind = kind
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} [{self.kind}]"


class NoReadableImageError(ImgprocError, OSError):
    """Call of which no image could be read: a wrong folder or column, rather than bad images."""


class MissingImagesError(ImgprocError, ValueError):
    """Array of pixels that cannot be returned, because some of its images are missing."""


class ResultTooLargeError(ImgprocError, MemoryError):
    """Result that cannot fit into memory."""


class JournalError(ImgprocError, ValueError):
    """Result at ``out=`` or ``to=`` that belongs to another job, or has a damaged journal."""


class OutputError(ImgprocError, OSError):
    """File that cannot be written; it ends the call, and finished files stay."""


class MissingExtraError(ImgprocError, ImportError):
    """Package for a URL scheme, plots or ``strict=True`` that is not installed; the message has the command for it."""


class ClusterError(ImgprocError, RuntimeError):
    """Cluster that is gone or cannot be used."""


class UserFunctionError(ImgprocError):
    """Exception or unusable return value of a user's function.

    It ends a call if the function fails on all of the first images, or on any with ``errors="raise"``; else it is a
    failure of its row, of kind ``"function"``. Its ``__cause__`` is the exception of the function, with its traceback,
    also from a worker.
    """

    def __reduce__(self) -> Any:
        # Python's own pickle of an exception has neither cause nor traceback.
        return _rebuild_function_error, (type(self), self.args, dump_exception(self.__cause__))


def _rebuild_function_error(cls: type[UserFunctionError], args: tuple[Any, ...], cause: Any) -> UserFunctionError:
    error = cls(*args)
    error.__cause__ = load_exception(cause)
    return error


class BatchLengthError(UserFunctionError):
    """Result of a user's function for a batch of images that is not one of as many rows; it ends the call."""


class UnreadableImageWarning(UserWarning):
    """Warning that some images of a call could not be read; their rows are missing values."""


class UserFunctionWarning(UserWarning):
    """Warning that a user's function failed on some images of a call; their rows are missing values."""


# Python shows a warning once per line of code: the second call in a loop would lose images without a warning.
# Appended, so that the user's own filters still come first.
warnings.filterwarnings("always", category=UnreadableImageWarning, append=True)
warnings.filterwarnings("always", category=UserFunctionWarning, append=True)


def failure(position: int, path: Any, kind: FailureKind, message: str) -> Failure:
    """Return a failure as plain data, with a path and a message of bounded length.

    Examples
    --------
    >>> failure(3, "a.jpg", "empty", "the file has no bytes")
    {'position': 3, 'path': 'a.jpg', 'kind': 'empty', 'message': 'the file has no bytes'}
    """
    path, message = _escape_surrogates(truncate_path(str(path))), _escape_surrogates(truncate(message))
    return {"position": int(position), "path": path, "kind": kind, "message": message}


_ON_HOST = " on host "


def format_row(position: int, label: Any) -> str:
    """Return the position of a row, and its label of the index if that is another, for a message.

    Examples
    --------
    >>> format_row(3, np.int64(7)), format_row(0, ("a", np.int64(7))), format_row(3, 3)
    ('row 3 (index 7)', "row 0 (index ('a', 7))", 'row 3')
    """
    levels = label if isinstance(label, tuple) else (label,)
    parts = [level.item() if isinstance(level, np.generic) else level for level in levels]
    value = tuple(parts) if isinstance(label, tuple) else parts[0]
    is_position = type(value) is int and value == position  # of the default index
    return f"row {position}" if is_position else f"row {position} (index {shorten(value, MAX_QUOTED_CHARS)})"


def with_host(message: str, host: str) -> str:
    """Return a failure's message with the name of the remote host that raised it.

    Examples
    --------
    >>> with_host("there is no such file", "node-7"), mentions_host("there is no such file")
    ("there is no such file on host 'node-7'", False)
    """
    return f"{message}{_ON_HOST}{host!r}"


def mentions_host(message: str) -> bool:
    """Return whether a failure's message names a remote host."""
    return _ON_HOST in message


def did_you_mean(name: object, known: Iterable[object], words: Mapping[str, str] | None = None) -> str:
    """Return a hint for a mistyped name: the near names, or else the first of all.

    `words` has for known names the words of other libraries for the same, separated by blanks; they come first.

    Examples
    --------
    >>> did_you_mean("lable", ["image_path", "label"]), did_you_mean("x", ["image_path", "label"])
    ("did you mean 'label'?", "there are 'image_path', 'label'")
    >>> did_you_mean("folder", ["mode", "root"], {"root": "dir folder"})
    "did you mean 'root'?"
    """
    names = [truncate_path(str(item), MAX_QUOTED_CHARS) for item in known]
    near = [same for same, others in (words or {}).items() if same in names and name in others.split()]
    near = near or difflib.get_close_matches(truncate_path(str(name), MAX_QUOTED_CHARS), names, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    more = ", …" if len(names) > MAX_LISTED_NAMES else ""
    return f"there are {', '.join(map(repr, names[:MAX_LISTED_NAMES]))}{more}" if names else "there is none"


def _escape_surrogates(text: str) -> str:
    """Escape lone surrogates in a text, which Arrow's string columns refuse."""
    return text.encode(errors="backslashreplace").decode()
