"""Fingerprints of functions, so that only the same function resumes a job."""

from __future__ import annotations

import functools
import re
import types
import zlib
from typing import Any

import numpy as np

MAX_REPR = 1000
"""Length of bytes, and of arrays, above which they are described by a checksum."""

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def function_fingerprint(function: Any) -> str:
    """Return the fingerprint of a function: its name and a checksum of its code, defaults and closure.

    Parameters
    ----------
    function : callable
        A Python function, a class, a numba function, or a callable object, whose fingerprint is its ``repr``.

    Examples
    --------
    >>> a, b, c = map(function_fingerprint, [lambda x: x + 1, lambda x: x + 1, lambda x: x + 2])
    >>> a == b, a == c
    (True, False)
    """
    if isinstance(function, type):
        return _fingerprint_class(function)
    if isinstance(function, functools._lru_cache_wrapper):
        return function_fingerprint(function.__wrapped__)
    if isinstance(function, functools.partial):
        arguments = f"{_describe(function.args)}, {_describe(function.keywords)}"
        return f"partial({function_fingerprint(function.func)}, {arguments})"
    python = getattr(function, "py_func", function)  # numba's
    code = getattr(python, "__code__", None)
    if code is None:
        return _describe(python)
    closure = [_fingerprint_value(cell.cell_contents) for cell in python.__closure__ or ()]
    parts = [_fingerprint_code(code), _describe(python.__defaults__), _describe(python.__kwdefaults__), *closure]
    return f"{python.__qualname__} {zlib.crc32(' '.join(parts).encode(errors='surrogatepass')):08x}"


def _fingerprint_class(cls: type) -> str:
    """Return the name of a class, and a checksum of the methods that it defines itself or inherits."""
    methods = {
        name: function_fingerprint(value)
        for base in reversed(cls.__mro__)
        for name, value in vars(base).items()
        if isinstance(value, types.FunctionType)
    }
    text = " ".join(f"{name} {value}" for name, value in sorted(methods.items()))
    return f"{cls.__qualname__} {zlib.crc32(text.encode(errors='surrogatepass')):08x}"


def _fingerprint_code(code: types.CodeType) -> str:
    constants = [_fingerprint_code(c) if isinstance(c, types.CodeType) else _describe(c) for c in code.co_consts]
    return " ".join([code.co_code.hex(), *code.co_names, *constants])


def _fingerprint_value(value: Any) -> str:
    return function_fingerprint(value) if isinstance(value, types.FunctionType) else _describe(value)


def _describe(value: Any) -> str:
    if isinstance(value, tuple) and type(value) is tuple:
        return f"({', '.join(map(_describe, value))}{',' if len(value) == 1 else ''})"
    if type(value) is dict:
        return f"{{{', '.join(f'{key!r}: {_describe(item)}' for key, item in value.items())}}}"
    # The text of these is long, or leaves out most of the values.
    if isinstance(value, bytes) and len(value) > MAX_REPR:
        return f"bytes of length {len(value)}, {zlib.crc32(value):08x}"
    if isinstance(value, np.ndarray) and value.size > MAX_REPR and not value.dtype.hasobject:
        return f"{value.dtype} of shape {value.shape}, {zlib.crc32(np.ascontiguousarray(value).data):08x}"
    return _ADDRESS.sub("", repr(value))
