"""Values of decode options, each checked and normalized alone."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import ImageColor

from pandas_imgproc._text import shorten
from pandas_imgproc._validation import check_choice, check_int

if TYPE_CHECKING:
    from pandas_imgproc.custom_files import Readers

Size = tuple[int, int]  # width and height in pixels, Pillow's order

# Legal values for editors and type checkers; the functions below check them.
Mode = Literal["RGB", "L", "RGBA", "P", "CMYK"]
Fit = Literal["stretch", "crop", "pad", "contain", "thumbnail"]
Resample = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Engine = Literal["auto", "simd", "pillow"]
ColorProfile = Literal["srgb", "ignore"]

FITS: tuple[str, ...] = ("stretch", "crop", "pad")
_FITS_OF_ANY_SIZE: tuple[str, ...] = ("contain", "thumbnail")


def parse_size(size: Any) -> Size:
    """Return (width, height) in pixels from an int or a pair.

    Parameters
    ----------
    size : int or sequence of two int
        The side of a square, or (width, height), Pillow's order.

    Raises
    ------
    TypeError
        If a side is not an integer.
    ValueError
        If there are not two sides, or one is smaller than a pixel.

    Examples
    --------
    >>> parse_size(64), parse_size((640, 480))
    ((64, 64), (640, 480))
    >>> parse_size((480, 640, 3))
    Traceback (most recent call last):
    ValueError: size must be an int or (width, height), got (480, 640, 3): a shape is (height, width, \
channels); the channels follow from mode=
    """
    expected = "size must be an int (a square) or (width, height) in pixels"
    if isinstance(size, (str, bytes)):
        raise TypeError(f"{expected}, got {size!r}: write the number without quotes")
    if isinstance(size, np.ndarray):
        size = size.tolist()
    size = tuple(size) if isinstance(size, list) else size
    sides = size if isinstance(size, tuple) else (size, size)
    if len(sides) == 3:
        raise ValueError(
            f"size must be an int or (width, height), got {size!r}: a shape is (height, width, channels); "
            "the channels follow from mode="
        )
    if len(sides) != 2:
        raise ValueError(f"{expected}, got {size!r}")
    width, height = _check_ints(sides, f"{expected}, got {size!r}", 1)
    return width, height


def _check_ints(values: Iterable[Any], message: str, minimum: int, maximum: int | None = None) -> tuple[int, ...]:
    """Return integers within bounds; the message names the whole argument."""
    try:
        return tuple(check_int("", value, minimum, maximum) for value in values)
    except TypeError as exc:
        raise TypeError(message) from exc
    except ValueError as exc:
        bounds = f"{minimum} is the least" if maximum is None else f"levels are from {minimum} to {maximum}"
        raise ValueError(f"{message}: {bounds}") from exc


def check_fit(fit: Any, *, allow_any_size: bool) -> str:
    """Return a legal fit; a column takes only those that give one shape."""
    if not allow_any_size and fit in _FITS_OF_ANY_SIZE:
        raise ValueError(
            f"fit={fit!r} keeps the aspect, so that images differ in shape and cannot form a column: save_resized "
            "writes such files; fit='pad' keeps the aspect and gives one shape"
        )
    return str(check_choice("fit", fit, (*FITS, *_FITS_OF_ANY_SIZE) if allow_any_size else FITS))


def check_reducing_gap(gap: Any) -> float | None:
    """Return a finite gap of at least 1.0, or None."""
    if gap is None:
        return None
    message = f"reducing_gap must be None (exact) or a number of at least 1.0, got {gap!r}"
    if isinstance(gap, bool) or not isinstance(gap, numbers.Real):
        raise TypeError(message)
    if not 1.0 <= float(gap) < math.inf:
        raise ValueError(message)
    return float(gap)


def parse_background(value: Any, mode: str) -> tuple[int, ...] | None:
    """Return the levels of a color, three or four."""
    if value is None:
        return None
    message = f"background must be a color like 'white', '#ffe0c0' or (255, 224, 192), or None, got {value!r}"
    levels = value if isinstance(value, (tuple, list)) else (value,) * 3
    if isinstance(value, str):
        try:
            levels = ImageColor.getrgb(value)
        except ValueError as exc:
            raise ValueError(message) from exc
    color = _check_ints(levels, message, 0, 255)
    if len(color) == 4 and mode != "RGBA":
        raise ValueError(f"background={value!r} is itself transparent; only mode='RGBA' can hold that")
    if len(color) not in (3, 4):
        raise ValueError(message)
    return color


def parse_readers(value: Any) -> Readers:
    """Return the keys of a mapping with their functions; suffixes in lower case."""
    if value is None:
        return ()
    expected = "readers must be a dict of functions by suffix or signature, {'.dcm': read} or {(128, b'DICM'): read}"
    if not isinstance(value, Mapping):
        raise TypeError(f"{expected}, got {shorten(value)}")
    for key, function in value.items():
        is_signature = isinstance(key, tuple) and list(map(type, key)) == [int, bytes] and key[0] >= 0 and bool(key[1])
        if not is_signature and not (isinstance(key, str) and key.startswith(".") and len(key) > 1):
            raise ValueError(f"{expected}, got the key {shorten(key)}")
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"{expected}; {shorten(function)} is no function of the bytes of a file")
    return tuple((key.lower() if isinstance(key, str) else key, function) for key, function in value.items())
