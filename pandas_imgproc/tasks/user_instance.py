"""Instances of a user's classes: built once in a process, with calls that are serialized.

A class, or a `functools.partial` of one, takes the place of a function whose state is costly, such as a model.
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

from pandas_imgproc._text import truncate
from pandas_imgproc.errors import UserFunctionError
from pandas_imgproc.tasks.user_function import user_code

if TYPE_CHECKING:
    from collections.abc import Callable


def is_class(function: Any) -> bool:
    """Return whether a callable is a class or a partial of one, of which an instance is the function.

    A class whose instances cannot be called is a function itself.

    Examples
    --------
    >>> is_class(functools.partial), is_class(functools.partial(functools.partial, len)), is_class(str), is_class(len)
    (True, True, False, False)
    """
    while isinstance(function, functools.partial):
        function = function.func
    return isinstance(function, type) and any("__call__" in vars(base) for base in function.__mro__)


def function_name(function: Any) -> str:
    """Return the name of a function or class, also of a partial one.

    Examples
    --------
    >>> function_name(functools.partial(dict, a=1)), function_name(functools.lru_cache()(len))
    ('dict', 'len')
    """
    while isinstance(function, functools.partial):
        function = function.func
    return truncate(str(getattr(function, "__name__", type(function).__name__)), 60)


def build_instance(cls: Callable[..., Any]) -> Any:
    """Return an instance of a class or of a partial of one.

    Raises
    ------
    UserFunctionError
        If the constructor raises.
    """
    try:
        with user_code():
            return cls()
    except UserFunctionError as exc:
        raise UserFunctionError(f"{function_name(cls)} could not be built: {exc}") from exc.__cause__


class SerializedFunction:
    """Function that one thread at a time calls: an instance of a user's class may not be thread-safe.

    Parameters
    ----------
    instance : callable
    name : str
        Name of the class.
    """

    def __init__(self, instance: Callable[..., Any], name: str) -> None:
        self._instance, self.__name__, self._lock = instance, name, threading.Lock()

    def __call__(self, *args: Any) -> Any:
        """Call the instance."""
        with self._lock:
            return self._instance(*args)


def build_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function as it is, and an instance of a class as a `SerializedFunction`."""
    return SerializedFunction(build_instance(function), function_name(function)) if is_class(function) else function
