"""What a user's function is known by, so that a job is continued by the same function only."""

from __future__ import annotations

import functools
import re
import types
import zlib
from typing import Any

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def function_fingerprint(function: Any) -> str:
    """Return a text that another function does not have: its name and a checksum of its code and what it holds.

    Parameters
    ----------
    function : callable
        A function of Python, of numba, or an object that can be called, which is known by its ``repr``.

    Examples
    --------
    >>> function_fingerprint(lambda x: x + 1) == function_fingerprint(lambda x: x + 1), function_fingerprint(lambda x: x + 1) == function_fingerprint(lambda x: x + 2)
    (True, False)
    """
    if isinstance(function, functools.partial):
        return f"partial({function_fingerprint(function.func)}, {_said(function.args)}, {_said(function.keywords)})"
    plain = getattr(function, "py_func", function)  # numba's
    code = getattr(plain, "__code__", None)
    if code is None:
        return _said(plain)
    held = [cell.cell_contents for cell in plain.__closure__ or ()]
    parts = [_of_code(code), _said(plain.__defaults__), _said(plain.__kwdefaults__), *map(_held, held)]
    return f"{plain.__qualname__} {zlib.crc32(' '.join(parts).encode(errors='surrogatepass')):08x}"


def _of_code(code: types.CodeType) -> str:
    constants = [_of_code(one) if isinstance(one, types.CodeType) else _said(one) for one in code.co_consts]
    return " ".join([code.co_code.hex(), *code.co_names, *constants])


def _held(value: Any) -> str:
    return function_fingerprint(value) if isinstance(value, types.FunctionType) else _said(value)


def _said(value: Any) -> str:
    return _ADDRESS.sub("", repr(value))
