"""A user's own function on pixels: what it is given, and what may come of it."""

from __future__ import annotations

import os
import threading
import traceback
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc import codec

if TYPE_CHECKING:
    from types import TracebackType

    from pandas_imgproc.errors import FailureKind

LONGEST = 300
"""Characters of a failure's message."""

_PACKAGE_DIR = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


class UserFunctionError(Exception):
    """A user's function raised, or returned what cannot be used."""


class user_code:  # noqa: N801  reads as a statement: with called()
    """Tell what a user's function raises from what reading the image raises; ``sys.exit`` is one of them.

    Raises
    ------
    UserFunctionError
        With the last line of the traceback, and the line of the user's code.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, exc: BaseException | None, tb: TracebackType | None) -> None:
        # Ctrl-C reaches the main thread alone: what looks like it elsewhere is the function's own.
        is_stop = isinstance(exc, codec.INTERRUPTS) and threading.current_thread() is threading.main_thread()
        if exc is not None and not is_stop:
            last = traceback.format_exception_only(exc)[-1].strip()
            frames = [frame for frame in traceback.extract_tb(tb) if not frame.filename.startswith(_PACKAGE_DIR)]
            where = f" ({_said(frames[0])})" if frames else ""
            raise UserFunctionError(last[: LONGEST - len(where)] + where) from exc


def _said(frame: traceback.FrameSummary) -> str:
    """Return a place in the user's code; a cell of a notebook has no file that anybody knows."""
    is_file = os.path.isfile(frame.filename) and "ipykernel" not in frame.filename
    return f"{frame.name}, line {frame.lineno}" + (f" of {os.path.basename(frame.filename)}" if is_file else "")


def explain(exc: BaseException) -> tuple[FailureKind, str]:
    """Return the kind and the message of what a user's function, or reading its image, raised.

    Examples
    --------
    >>> classify_error(UserFunctionError("ZeroDivisionError: division by zero (ratio, line 2)"))
    ('function', 'ZeroDivisionError: division by zero (ratio, line 2)')
    """
    return ("function", str(exc)) if isinstance(exc, UserFunctionError) else codec.classify_error(exc)


def load_pixels(data: Any, decode_options: codec.DecodeOptions) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return an image's pixels, which the function may change.

    Returns
    -------
    ndarray of uint8, shape (height, width, channels)
    """
    pixels = np.array(codec.load(data, decode_options))
    return pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]


def as_image_array(result: Any) -> np.ndarray[Any, Any] | None:
    """Return the pixels of what a function returned, or None if it is no image.

    Parameters
    ----------
    result : ndarray, PIL.Image.Image, torch.Tensor or anything with ``__array__``
        Of two dimensions, or three with 1, 3 or 4 channels: the last, or the first of a tensor's.

    Returns
    -------
    ndarray, shape (height, width, channels)
    """
    if not (hasattr(result, "__array__") or hasattr(result, "__array_interface__")):
        return None
    pixels = np.asarray(result)
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    if pixels.ndim != 3 or pixels.dtype.kind not in "buif" or 0 in pixels.shape:
        return None
    if type(result).__module__.partition(".")[0] == "torch":
        pixels = np.moveaxis(pixels, 0, 2)  # (channels, height, width) there
    return np.ascontiguousarray(pixels) if pixels.shape[2] in (1, 3, 4) else None


def store_result(out: np.ndarray[Any, Any], row: int, answer: Any) -> None:
    """Put an answer where it belongs.

    Raises
    ------
    UserFunctionError
        If the form of all answers is known, and this one has another.
    """
    if out.dtype != object:
        found = (answer.dtype, answer.shape) if isinstance(answer, np.ndarray) else (type(answer).__name__, ())
        if found != (out.dtype, out.shape[1:]):
            raise UserFunctionError(f"it gave {found[0]} of shape {found[1]}, not {out.dtype} of shape {out.shape[1:]}")
    out[row] = answer
