"""Calls of a user's readers: files of formats that Pillow does not know become images."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc._timing import timed
from pandas_imgproc.custom_files import CustomFile, find_reader
from pandas_imgproc.errors import UnreadableImageError, UserFunctionError
from pandas_imgproc.tasks.user_function import user_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas_imgproc.custom_files import Readers


def custom_file(readers: Readers, path: str, data: Any) -> Any:
    """Return the bytes of a file as a `CustomFile` if there is a reader for it, and else as they are."""
    function = find_reader(readers, path, data) if isinstance(data, bytes) else None
    if function is None:
        return data
    # A task may read the header and the pixels of one image.
    return CustomFile(data, functools.lru_cache(maxsize=1)(functools.partial(_read, function, data)))


def _read(function: Callable[..., Any], data: bytes, frame: int) -> np.ndarray[Any, Any]:
    """Call a reader, with the number of the frame if it has an argument of that name.

    Raises
    ------
    UserFunctionError
        If it raises, or returns no image.
    UnreadableImageError
        Of kind "region", if there is no such frame.
    """
    takes_frame = _takes_frame(function)
    if frame and not takes_frame:
        text = f"there is no frame {frame}: the function of readers= has no argument frame, and reads one image"
        raise UnreadableImageError("region", text)
    with timed("function"), user_code():
        result = function(data, frame=frame) if takes_frame else function(data)
    pixels = np.asarray(result)
    shape, dtype = pixels.shape, pixels.dtype
    if dtype not in (np.uint8, np.uint16) or not pixels.size or pixels.ndim not in (2, 3) or (*shape, 1)[2] > 4:
        raise UserFunctionError(
            f"a function of readers= returned {dtype!s:.60} of shape {shape}, and no array of uint8 or uint16 of shape "
            "(height, width) or (height, width, 1 to 4)"
        )
    return np.ascontiguousarray(pixels.reshape((*shape, 1)[:3]))


def _takes_frame(function: Callable[..., Any]) -> bool:
    try:
        return "frame" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # written in C
        return False
