"""What a call does wrong is told at the line that called: the way through this library is of no help there."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import traceback
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from pandas_imgproc.errors import ImgprocError

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("pandas_imgproc")

_PACKAGE_DIR = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")

P = ParamSpec("P")
R = TypeVar("R")
Class = TypeVar("Class", bound=type)


def trim_tracebacks(cls: Class) -> Class:
    """Make the errors of a class's public methods short, also of those that it inherits.

    Parameters
    ----------
    cls : type

    Returns
    -------
    type
        The same.
    """
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if not name.startswith("_"):
            setattr(cls, name, _short(method))
    return cls


def _short(method: Callable[P, R]) -> Callable[P, R]:
    """Return a method whose errors end at the line that called it, if it is this library that raises them.

    What pandas, Pillow or Dask raise by themselves keeps its traceback, and so does what nobody expects. The whole
    traceback of the others, with what caused them, is logged at level DEBUG.
    """

    @functools.wraps(method)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except (ImgprocError, OSError, ValueError, TypeError, KeyError, KeyboardInterrupt) as exc:
            if not _is_ours(exc):
                raise
            logger.debug("%s", type(exc).__name__, exc_info=exc)
            raise exc.with_traceback(None) from None

    return called


def _is_ours(exc: BaseException) -> bool:
    """Return whether this library has raised an exception, here or in another process; a Ctrl-C comes anywhere."""
    if isinstance(exc, ImgprocError | KeyboardInterrupt):
        return True
    *_, (frame, _) = traceback.walk_tb(exc.__traceback__)
    return frame.f_code.co_filename.startswith(_PACKAGE_DIR)
