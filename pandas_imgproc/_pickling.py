"""Pickles of functions that keep the names of their source files.

Since version 3.1.3 cloudpickle names the file of each function that is pickled by value ``<dynamic-code>``, so that
equal functions give equal bytes. No digest is computed from the bytes here, and messages name the file.
"""

from __future__ import annotations

import io
import types
from collections import ChainMap
from typing import Any, ClassVar

import cloudpickle

_PLACEHOLDER = "<dynamic-code>"


def _reduce_code(code: types.CodeType) -> Any:
    function, arguments = cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    return function, tuple(code.co_filename if argument == _PLACEHOLDER else argument for argument in arguments)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    dispatch_table: ClassVar[Any] = ChainMap({types.CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table)


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
