"""Short tracebacks: an error of this library ends at the line of the user, as frames of the library do not help."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import traceback
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from pandas_imgproc._text import truncate_path
from pandas_imgproc.errors import ImgprocError, UnreadableImageError, UserFunctionError

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("pandas_imgproc")

MAX_ERROR_CHARS = 1500
"""Limit of the message of an exception."""

_PACKAGE_DIR = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")

P = ParamSpec("P")
R = TypeVar("R")
Class = TypeVar("Class", bound=type)


def trim_tracebacks(cls: Class) -> Class:
    """Trim the tracebacks of a class's public methods, inherited ones included, and return the class."""
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if not name.startswith("_"):
            inspect.unwrap(method).__qualname__ = name  # which Python's errors on missing arguments show
            setattr(cls, name, _trim(method))
    return cls


def _trim(method: Callable[P, R]) -> Callable[P, R]:
    """Return the method with tracebacks that end at the caller's line, for errors that this library raises.

    Errors of pandas, Pillow or Dask keep their traceback, and so do unexpected ones. The complete traceback is logged
    at level DEBUG.
    """

    @functools.wraps(method)
    def trimmed(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except (ImgprocError, OSError, ValueError, TypeError, KeyError, KeyboardInterrupt) as exc:
            if not _raised_by_package(exc):
                raise
            logger.debug("%s", type(exc).__name__, exc_info=exc)
            _drop_frames(exc)
            _shorten_message(exc)
            raise  # the traceback starts again at this line

    return trimmed


def _shorten_message(exc: BaseException) -> None:
    """Cut the middle of a long message, which quotes names and values of any length; the advice is at its end."""
    exc.args = tuple(truncate_path(text, MAX_ERROR_CHARS) if isinstance(text, str) else text for text in exc.args)
    if isinstance(exc, UnreadableImageError):
        exc.message = exc.args[1]


def _raised_by_package(exc: BaseException) -> bool:
    """Return whether this library raised an exception, in any process; an interrupt may be raised anywhere."""
    if isinstance(exc, ImgprocError | KeyboardInterrupt):
        return True
    *_, (frame, _) = traceback.walk_tb(exc.__traceback__)
    return frame.f_code.co_filename.startswith(_PACKAGE_DIR)


def _drop_frames(exc: BaseException) -> None:
    """Remove the frames of an exception and of its causes. The causes stay: they hold the errno, for example.

    The exception of a user's function keeps its frames, which are of the user's code.
    """
    cause: BaseException | None = exc
    while cause is not None:
        cause.__suppress_context__ = True
        cause.__traceback__ = None
        cause = None if isinstance(cause, UserFunctionError) else cause.__cause__
