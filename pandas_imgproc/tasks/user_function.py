"""Calls of a user's function: its input, its result and its errors."""

from __future__ import annotations

import os
import threading
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc import codec
from pandas_imgproc._text import INTERRUPTS, MAX_MESSAGE_CHARS, format_exception, truncate
from pandas_imgproc._user_traceback import user_traceback
from pandas_imgproc.errors import UserFunctionError

if TYPE_CHECKING:
    from types import TracebackType


class user_code:  # noqa: N801  reads as a statement: with user_code()
    """Context that turns any exception of a user's function, also ``sys.exit``, into a UserFunctionError.

    Raises
    ------
    UserFunctionError
        With the last line of the traceback, and the line of the user's code; the exception itself is its cause.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, exc: BaseException | None, tb: TracebackType | None) -> None:
        codec.restore_functions()
        # Ctrl-C reaches the main thread alone: in any other, KeyboardInterrupt was raised by the function.
        is_interrupt = isinstance(exc, INTERRUPTS) and threading.current_thread() is threading.main_thread()
        if exc is not None and type(exc) is not UserFunctionError and not is_interrupt:
            last, tb = format_exception(exc), user_traceback(tb)
            location = "" if tb is None else f" ({_describe(traceback.extract_tb(tb, limit=1)[0])})"
            text = truncate(last, MAX_MESSAGE_CHARS - len(location)) + location
            raise UserFunctionError(text) from exc.with_traceback(tb)


def _describe(frame: traceback.FrameSummary) -> str:
    """Return function, line and file of a frame; the file of a notebook's cell has no name that users know."""
    is_file = os.path.isfile(frame.filename) and "ipykernel" not in frame.filename
    file = f" of {truncate(os.path.basename(frame.filename), 60)}" if is_file else ""
    return f"{truncate(frame.name, 60)}, line {frame.lineno}{file}"


def load_pixels(data: Any, decode_options: codec.DecodeOptions) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return an image as a writable ndarray of uint8, shape (height, width, channels)."""
    pixels = np.array(codec.load(data, decode_options))
    return pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]


def check_unmasked(value: Any) -> None:
    """Raise a UserFunctionError for a masked array: its mask would be lost, and the values below it are arbitrary."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        text = f"a masked array of shape {np.shape(value)}; return array.filled(value), or np.nan where it is masked"
        raise UserFunctionError(f"it returned {text}")


def as_image_array(result: Any) -> np.ndarray[Any, Any] | None:
    """Return the pixels of a function's result, or None if the result is not an image.

    Parameters
    ----------
    result : ndarray, PIL.Image.Image, torch.Tensor or anything with ``__array__``
        Of two dimensions, or three with 1, 3 or 4 channels: the last dimension, or the first of a tensor.

    Returns
    -------
    ndarray, shape (height, width, channels)
    """
    check_unmasked(result)
    if not (hasattr(result, "__array__") or hasattr(result, "__array_interface__")):
        return None
    if isinstance(result, pd.DataFrame):  # a table, which may have any shape
        return None
    pixels = np.asarray(result)
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    if pixels.ndim != 3 or pixels.dtype.kind not in "buif" or 0 in pixels.shape:
        return None
    if type(result).__module__.partition(".")[0] in ("torch", "torchvision"):
        pixels = np.moveaxis(pixels, 0, 2)  # a tensor is (channels, height, width)
    return np.ascontiguousarray(pixels) if pixels.shape[2] in (1, 3, 4) else None


def store_result(out: np.ndarray[Any, Any], i: int, result: Any) -> None:
    """Write a result into ``out[i]``.

    Raises
    ------
    UserFunctionError
        If `out` has a declared dtype and shape, and the result has another.
    """
    if out.dtype != object:
        dtype, shape = (result.dtype, result.shape) if isinstance(result, np.ndarray) else (type(result).__name__, ())
        if (dtype, shape) != (out.dtype, out.shape[1:]):
            raise UserFunctionError(f"it returned {dtype} of shape {shape}, not {out.dtype} of shape {out.shape[1:]}")
    out[i] = result
