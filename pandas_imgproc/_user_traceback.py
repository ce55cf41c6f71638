"""Exceptions of a user's function with their tracebacks, in this process and from others."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

from pandas_imgproc import _pickling
from pandas_imgproc._text import INTERRUPTS, format_exception

if TYPE_CHECKING:
    from types import TracebackType

_PACKAGE_DIR = os.path.join(os.path.dirname(__file__), "")

MAX_CAUSES = 8
"""Exceptions of a chain that are sent to another process."""


def user_traceback(tb: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the first frame that is not of this package, or None if all are."""
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_PACKAGE_DIR):
        tb = tb.tb_next
    return tb


def user_line(exc: BaseException) -> tuple[str, str, int]:
    """Return the type of an exception, and the file and line of the user's code that raised it, or called for it.

    Examples
    --------
    >>> user_line(ValueError("no such size"))
    ('ValueError', '', 0)
    """
    name, tb = type(exc).__qualname__, user_traceback(exc.__traceback__)
    return (name, "", 0) if tb is None else (name, tb.tb_frame.f_code.co_filename, tb.tb_lineno)


def dump_exception(exc: BaseException | None) -> list[tuple[bytes | None, str, Any]]:
    """Return an exception and those that it was raised from as values that any process can unpickle.

    Each has its pickle, if it has one, its text and its traceback.
    """
    from tblib import Traceback  # Dask brings it, and sends the exceptions of its tasks in this form

    chain: list[tuple[bytes | None, str, Any]] = []
    while exc is not None and len(chain) < MAX_CAUSES:
        tb = user_traceback(exc.__traceback__)
        chain.append((_dumps(exc), format_exception(exc), tb and Traceback(tb).to_dict()))
        exc = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    return chain


def load_exception(chain: list[tuple[bytes | None, str, Any]]) -> BaseException | None:
    """Return an exception that `dump_exception` has described; an Exception with its text if it cannot be unpickled."""
    from tblib import Traceback

    cause: BaseException | None = None
    for pickled, text, tb in reversed(chain):
        exc = _loads(pickled) or Exception(text)
        exc.__cause__ = cause
        cause = exc.with_traceback(tb and Traceback.from_dict(tb).as_traceback())
    return cause


def _dumps(exc: BaseException) -> bytes | None:
    """Return the pickle of an exception: by Python's rules, or else without a call of its ``__init__``."""
    for value in (exc, _Uncalled(exc)):
        try:
            pickled = _pickling.dumps(value)
            if pickle.loads(pickled) is not None:
                return pickled
        except INTERRUPTS:
            raise
        except BaseException:  # an argument that cannot be pickled, or an __init__ with others than Exception's
            continue
    return None


class _Uncalled:
    """Exception whose pickle calls ``__new__`` only."""

    def __init__(self, exc: BaseException) -> None:
        self._exc = exc

    def __reduce__(self) -> Any:
        return _new_exception, (type(self._exc), self._exc.args, vars(self._exc))


def _new_exception(cls: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    exc = cls.__new__(cls, *args)
    exc.args = args
    vars(exc).update(attributes)
    return exc


def _loads(pickled: bytes | None) -> BaseException | None:
    try:
        exc = pickle.loads(pickled) if pickled else None
    except INTERRUPTS:
        raise
    except BaseException:  # its module or its __init__
        return None
    return exc if isinstance(exc, BaseException) else None
