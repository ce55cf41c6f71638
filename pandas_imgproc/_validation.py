"""Checks of argument values: integers, booleans, choices, paths, bytes."""

from __future__ import annotations

import numbers
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc._file_uri import to_user_path
from pandas_imgproc._text import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_int(name: str, value: Any, minimum: int = 1, maximum: int | None = None) -> int:
    """Return an integer within bounds.

    Parameters
    ----------
    name : str
        Argument, as the message calls it.
    value : object
        Any integer type; True and False are none.
    minimum, maximum : int
        Bounds, inclusive. None is no bound.

    Raises
    ------
    TypeError
        If the value is not an integer.
    ValueError
        If it is out of bounds.

    Examples
    --------
    >>> check_int("quality", 75, 1, 100)
    75
    >>> check_int("n", 0)
    Traceback (most recent call last):
    ValueError: n=0 is not a whole number from 1 up
    """
    legal = f"from {minimum} up" if maximum is None else f"from {minimum} to {maximum}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}={shorten(value)} is not a whole number {legal}")
    number = int(value)
    if number < minimum or (maximum is not None and number > maximum):
        raise ValueError(f"{name}={shorten(value)} is not a whole number {legal}")
    return number


def check_bool(name: str, value: object) -> bool:
    """Return True or False; raise TypeError for anything else."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}={shorten(value)} is not True or False")
    return bool(value)


def check_choice(name: str, value: Any, legal: Iterable[Any]) -> Any:
    """Return the legal value that a value equals; a bool equals no number, and a NumPy str equals its str.

    Raises
    ------
    ValueError
        With the legal values.

    Examples
    --------
    >>> check_choice("errors", "ignore", ("warn", "coerce", "raise"))
    Traceback (most recent call last):
    ValueError: errors='ignore' is not one of 'warn', 'coerce', 'raise'
    """
    legal = list(legal)
    for item in legal:
        same_type = isinstance(value, type(item)) and isinstance(value, bool) is isinstance(item, bool)
        if same_type and value == item:
            return item
    raise ValueError(f"{name}={shorten(value)} is not one of {', '.join(map(repr, legal))}")


def check_path(name: str, value: Any, expected: str) -> str:
    """Return a path or a URL as text; raise a TypeError or ValueError with the expected form.

    Examples
    --------
    >>> check_path("to", "thumbs", "a folder such as 'thumbs'")
    'thumbs'
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{name}={shorten(value)} is not {expected}")
    text = to_user_path(value)
    if not text.strip() or "\0" in text:
        raise ValueError(f"{name}={text!r} is not {expected}")
    return text


def check_nbytes(name: str, value: Any, example: str) -> int:
    """Return a number of bytes, at least one, from an int or a text; raise a ValueError for anything else.

    Examples
    --------
    >>> check_nbytes("max_bytes", "500 MB", "500 MB")
    500000000
    """
    from dask.utils import parse_bytes

    try:
        nbytes = parse_bytes(value) if isinstance(value, str) else value
        if isinstance(nbytes, bool) or not isinstance(nbytes, int) or nbytes < 1:
            raise ValueError
    except ValueError:
        raise ValueError(f"{name}={shorten(value)} is not a number of bytes, or a text such as {example!r}") from None
    return int(nbytes)
