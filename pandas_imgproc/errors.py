"""What can go wrong, in one place: exceptions, failure kinds, warnings.

The exceptions form one tree::

    ImgprocError
    ├── UnreadableImageError (OSError)       one image could not be read
    ├── NoReadableImageError (OSError)       none of a call's images could be read
    ├── MissingImagesError (ValueError)      a block was asked for, and some of its images are missing
    ├── ResultTooLargeError (MemoryError)    the answer cannot fit into memory
    ├── JournalError (ValueError)            what stands at out= is of another job, or damaged
    ├── MissingExtraError (ImportError)      what reads a scheme, or draws, is not installed
    ├── ClusterError (RuntimeError)          the cluster is gone or cannot be used
    └── UserFunctionError                    a user's function raised, or returned an unusable value

and one warning, `UnreadableImageWarning`, is shown each time, not once per line.
"""

from __future__ import annotations

import difflib
import warnings
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

FailureKind = Literal[
    "missing",  # there is no such file
    "permission",  # it may not be read
    "not_a_file",  # a folder, a socket, a device
    "invalid_path",  # what stands in the column cannot be a path
    "outside_root",  # it leads out of root=
    "empty",  # a file of zero bytes
    "unidentified",  # no image, or of a format that is not allowed
    "truncated",  # a part of it is missing
    "corrupt",  # it starts like an image and is none
    "too_large",  # more pixels than allowed
    "unsupported",  # a good image that cannot be given in the mode asked for
    "timeout",  # it took too long
    "remote",  # the server failed
    "worker_died",  # it killed its process
    "function",  # the user's function raised
]
"""Why a row has no image; the categories of ``.img.failure_kind``, in this order."""

FAILURE_KINDS: tuple[FailureKind, ...] = get_args(FailureKind)


MAX_LISTED_NAMES = 40
"""Names that an error lists, at most."""


class Failure(TypedDict):
    """Why one row has no image: plain data, so that it survives pickle, JSON and ``attrs``."""

    position: int
    path: str
    kind: FailureKind
    message: str


class ImgprocError(Exception):
    """The root of all exceptions of this library."""


class UnreadableImageError(ImgprocError, OSError):
    """One image could not be read.

    Parameters
    ----------
    kind : str
        One of the failure kinds, for example ``"truncated"``.
    message : str
        The reason, in a sentence.

    Examples
    --------
    >>> UnreadableImageError("missing", "there is no file 'a.jpg'").kind
    'missing'
    """

    def __init__(self, kind: FailureKind, message: str) -> None:
        # All arguments go to super().__init__: an exception that crosses a process is rebuilt from them.
        super().__init__(kind, message)
        self.kind: FailureKind = kind
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} [{self.kind}]"


class NoReadableImageError(ImgprocError, OSError):
    """None of a call's images could be read: a wrong folder or column, rather than bad images."""


class MissingImagesError(ImgprocError, ValueError):
    """A block of pixels was asked for, and some of its images are missing."""


class ResultTooLargeError(ImgprocError, MemoryError):
    """The answer cannot fit into memory."""


class JournalError(ImgprocError, ValueError):
    """What stands at ``out=`` belongs to another job, or its journal cannot be read."""


class MissingExtraError(ImgprocError, ImportError):
    """What reads the URLs of a scheme, or draws a plot, is not installed; the message says what to install."""


class ClusterError(ImgprocError, RuntimeError):
    """The cluster is gone or cannot be used."""


class UserFunctionError(ImgprocError):
    """Exception or unusable return value of a user's function."""


class UnreadableImageWarning(UserWarning):
    """Some images of a call could not be read; their rows are missing values."""


# Python shows a warning once per line of code: the second call in a loop would lose its images silently.
# Appended, so that the user's own filters still come first.
warnings.filterwarnings("always", category=UnreadableImageWarning, append=True)


def failure(position: int, path: Any, kind: FailureKind, message: str) -> Failure:
    """Return a failure as plain data.

    Examples
    --------
    >>> failure(3, "a.jpg", "empty", "the file has no bytes")
    {'position': 3, 'path': 'a.jpg', 'kind': 'empty', 'message': 'the file has no bytes'}
    """
    return {"position": int(position), "path": _writable(str(path)), "kind": kind, "message": _writable(message)}


_ELSEWHERE = " on host "


def format_row(position: int, label: Any) -> str:
    """Return how a message calls a row.

    Examples
    --------
    >>> format_row(3, np.int64(7)), format_row(0, ("a", np.int64(7)))
    ('row 3 (label 7)', "row 0 (label ('a', 7))")
    """
    parts = [part.item() if isinstance(part, np.generic) else part for part in _parts(label)]
    return f"row {position} (label {tuple(parts) if isinstance(label, tuple) else parts[0]!r})"


def _parts(label: Any) -> tuple[Any, ...]:
    return label if isinstance(label, tuple) else (label,)


def with_host(message: str, host: str) -> str:
    """Return a failure's message with the host that looked, where that is not the caller's.

    Examples
    --------
    >>> with_host("there is no such file", "node-7")
    "there is no such file on host 'node-7'"
    """
    return f"{message}{_ELSEWHERE}{host!r}"


def mentions_host(message: str) -> bool:
    """Return whether a failure's message names the host that looked.

    Examples
    --------
    >>> mentions_host(with_host("there is no such file", "node-7")), mentions_host("there is no such file")
    (True, False)
    """
    return _ELSEWHERE in message


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Return what may help somebody who has mistyped a name: the near ones, or else the first of all.

    Examples
    --------
    >>> did_you_mean("lable", ["image_path", "label"]), did_you_mean("x", ["image_path", "label"])
    ("did you mean 'label'?", "there are 'image_path', 'label'")
    """
    names = [str(one) for one in known]
    found = difflib.get_close_matches(str(name), names, cutoff=0.5)
    if found:
        return f"did you mean {' or '.join(map(repr, found))}?"
    more = ", …" if len(names) > MAX_LISTED_NAMES else ""
    return f"there are {', '.join(map(repr, names[:MAX_LISTED_NAMES]))}{more}" if names else "there is none"


def _writable(text: str) -> str:
    """Return a text that every string column can hold: Arrow's refuse half of a surrogate pair."""
    return text.encode(errors="backslashreplace").decode()
