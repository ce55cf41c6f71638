"""Fingerprints of functions, so that only the same function resumes a job."""

from __future__ import annotations

import functools
import re
import types
import zlib
from typing import Any

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def function_fingerprint(function: Any) -> str:
    """Return the fingerprint of a function: its name and a checksum of its code, defaults and closure.

    Parameters
    ----------
    function : callable
        A Python function, a numba function, or a callable object, whose fingerprint is its ``repr``.

    Examples
    --------
    >>> a, b, c = map(function_fingerprint, [lambda x: x + 1, lambda x: x + 1, lambda x: x + 2])
    >>> a == b, a == c
    (True, False)
    """
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


def _fingerprint_code(code: types.CodeType) -> str:
    constants = [_fingerprint_code(c) if isinstance(c, types.CodeType) else _describe(c) for c in code.co_consts]
    return " ".join([code.co_code.hex(), *code.co_names, *constants])


def _fingerprint_value(value: Any) -> str:
    return function_fingerprint(value) if isinstance(value, types.FunctionType) else _describe(value)


def _describe(value: Any) -> str:
    return _ADDRESS.sub("", repr(value))
