"""Pickles of functions that keep the names of their source files.

Since version 3.1.3 cloudpickle names the file of each function that is pickled by value ``<dynamic-code>``, so that
equal functions give equal bytes. No digest is computed from the bytes here, and messages name the file.
"""

from __future__ import annotations

import functools
import io
import sys
import types
from collections import ChainMap
from typing import Any, ClassVar

import cloudpickle

_PLACEHOLDER = "<dynamic-code>"


def _reduce_code(code: types.CodeType) -> Any:
    function, arguments = cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    return function, tuple(code.co_filename if argument == _PLACEHOLDER else argument for argument in arguments)


def _reduce_cached(function: Any) -> Any:
    """Reduce a function with `functools.lru_cache`, which Python pickles by name: by value where cloudpickle would."""
    if _is_importable(function):
        return function.__reduce__()
    return _cached, (function.__wrapped__, function.cache_parameters())


def _is_importable(function: Any) -> bool:
    if function.__module__ == "__main__" or function.__module__ in cloudpickle.list_registry_pickle_by_value():
        return False
    value = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        value = getattr(value, name, None)
    return value is function


def _cached(function: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


_REDUCERS = {types.CodeType: _reduce_code, functools._lru_cache_wrapper: _reduce_cached}


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    dispatch_table: ClassVar[Any] = ChainMap(_REDUCERS, cloudpickle.Pickler.dispatch_table)


def dumps(value: Any) -> bytes:
    """Serialize a value as `cloudpickle.dumps` does, with the file names of functions that are pickled by value.

    Examples
    --------
    >>> import pickle
    >>> double = eval(compile("lambda x: 2 * x", "double.py", "eval"))
    >>> pickle.loads(dumps(double)).__code__.co_filename
    'double.py'
    """
    with io.BytesIO() as file:
        _Pickler(file).dump(value)
        return file.getvalue()
