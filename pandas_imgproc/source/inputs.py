"""Inputs: values of a column as plain Python values, and images in memory."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from pandas_imgproc._text import INTERRUPTS, format_exception, shorten
from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source.data_uri import decode_data_uri, holds_data_uris, is_data_uri
from pandas_imgproc.source.redaction import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandas_imgproc.errors import FailureKind

_PLAIN_TYPES = frozenset({str, bytes, int, float, bool, type(None)})
"""Types that any process can unpickle, and whose methods are Python's own."""

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

_IMAGE_INFO = ("transparency", "icc_profile", "exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
"""Metadata of a PIL image that decides its pixels."""

_image_locks = [threading.Lock() for _ in range(64)]
"""Locks of PIL images, by identity: several rows may hold the same one, and it decodes its file when first used."""


def _reset_after_fork() -> None:
    """Replace the locks in a forked child: a thread of the parent may have held one."""
    _image_locks[:] = [threading.Lock() for _ in _image_locks]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


@dataclass(frozen=True)
class FailedInput:
    """Input that cannot be read: a missing value of an image column, or a value that is neither path nor image."""

    path: str
    kind: FailureKind
    message: str


@dataclass(frozen=True)
class RowInputs:
    """Inputs of a row of several image columns."""

    values: tuple[Any, ...]


class ArrowTexts(Sequence[Any]):
    """Texts of an Arrow array, None where missing, which become Python's when they are taken.

    The text of ten million paths is a gigabyte of Python objects, beside the column.

    Examples
    --------
    >>> texts = ArrowTexts(pa.chunked_array([["a.jpg", None], ["c.jpg"]]))
    >>> texts[2], texts[1:], list(texts)
    ('c.jpg', [None, 'c.jpg'], ['a.jpg', None, 'c.jpg'])
    """

    _BLOCK_ROWS = 2**16

    def __init__(self, texts: pa.ChunkedArray) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, slice):
            return self._texts[key].as_py()
        values: list[Any] = self._texts[key].to_numpy(zero_copy_only=False).tolist()
        return values

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), self._BLOCK_ROWS):
            yield from self[start : start + self._BLOCK_ROWS]


def images_of(value: Any) -> tuple[Any, ...]:
    """Return the inputs of a row, one for each image column."""
    return value.values if isinstance(value, RowInputs) else (value,)


def column_values(column: pd.Series[Any]) -> Sequence[Any]:
    """Return the values of a column as plain Python values, None where missing.

    Images in memory, bytearrays and memoryviews stay as they are; a value that is neither a path nor an image, or
    whose own methods raise, becomes a `FailedInput`.

    Examples
    --------
    >>> from pathlib import Path
    >>> column_values(pd.Series([Path("a.jpg"), None, float("nan"), 7], dtype=object))
    ['a.jpg', None, None, 7]
    """
    if holds_data_uris(column):
        return [_to_bytes(value) for value in column]
    if isinstance(column.dtype, pd.StringDtype) and column.dtype.storage == "pyarrow":
        return ArrowTexts(pa.chunked_array(pa.array(column.array)))
    values = column.to_numpy(dtype=object, copy=True)
    missing = _isna(column, values)
    if isinstance(column.dtype, pd.StringDtype):  # text only: a check of every value would cost more than the rest
        values[missing] = None
        return values.tolist()
    return [None if na else _to_plain(value) for value, na in zip(values.tolist(), missing.tolist(), strict=True)]


def _to_bytes(value: Any) -> Any:
    """Return the bytes of a data URI, and any other value as a plain Python value."""
    try:
        return decode_data_uri(value) if is_data_uri(value) else None if _is_na(value) else _to_plain(value)
    except UnreadableImageError as exc:
        return FailedInput(_redacted(value), exc.kind, exc.message)


def paths_to_series(paths: Sequence[str] | np.ndarray[Any, Any], index: Any = None) -> pd.Series[Any]:
    """Return paths as a column of str, or of objects if Arrow cannot store one: a file name of any bytes."""
    try:
        return pd.Series(paths, index=index, dtype="str")
    except UnicodeEncodeError:
        return pd.Series(paths, index=index, dtype=object)


def is_encoded(value: Any) -> bool:
    """Return whether an input holds an image, rather than the name of one."""
    if isinstance(value, Mapping):
        return value.get("bytes") is not None
    return isinstance(value, bytes | bytearray | memoryview) or is_pixel_array(value)


def is_pixel_array(value: Any) -> bool:
    """Return whether an input is an image in memory."""
    # Of the type: the attribute of a PIL image decodes it.
    return hasattr(type(value), "__array_interface__") and not isinstance(value, np.generic)


def path_or_bytes(value: Any) -> Any:
    """Return the bytes of a ``{bytes, path}`` mapping, its path if there are none, and any other input as is."""
    if not isinstance(value, str) and isinstance(value, Mapping):  # text first: the second check is slow
        return value.get("path") if value.get("bytes") is None else value["bytes"]
    return value


def describe_input(value: Any) -> str:
    """Return the name of an input that has no path, for messages: the file of a PIL image, else its type or value.

    Examples
    --------
    >>> describe_input(np.zeros((2, 3, 3), np.uint8)), describe_input(b"")
    ('<array of shape (2, 3, 3)>', '<bytes>')
    """
    if isinstance(value, np.ndarray):
        return f"<array of shape {value.shape}>"
    if isinstance(value, Image.Image):
        name = getattr(value, "filename", "")
        return name if type(name) is str and name else f"<{type(value).__name__}>"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "<bytes>"
    return f"<{type(value).__name__}>" if is_pixel_array(value) else _redacted(value)


def read_in_memory(value: Any) -> bytes | np.ndarray[Any, np.dtype[np.uint8]] | Image.Image:
    """Return bytes, or the image of an input in memory, as a copy that any process can unpickle.

    Returns
    -------
    bytes, ndarray of uint8, shape (height, width, 1 to 4), or PIL.Image.Image

    Raises
    ------
    UnreadableImageError
        "empty" or "unsupported", for an array that is no image.
    Exception
        Any error of the decoder of a PIL image that was opened and not decoded yet.

    Examples
    --------
    >>> read_in_memory(np.zeros((2, 3), np.uint8)).shape
    (2, 3, 1)
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, Image.Image):
        return _copy_image(value)
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        text = "a masked array has no pixels where it is masked; array.filled(0) replaces them"
        raise UnreadableImageError("unsupported", text)
    return _check_pixels(np.asarray(value))


def content_bytes(value: Any) -> bytes:
    """Return the bytes that tell an image in memory from another: its own, or the message of its failure."""
    try:
        data = read_in_memory(value)
        return data if isinstance(data, bytes) else np.asarray(data).tobytes()
    except INTERRUPTS:
        raise
    except BaseException as exc:
        return format_exception(exc).encode(errors="surrogatepass")


def _copy_image(image: Image.Image) -> Image.Image:
    with _image_locks[id(image) // 64 % len(_image_locks)]:
        try:
            copy = image.copy()
        except ValueError as exc:
            # A closed image raises one and the same exception each time. Its traceback would keep all that the frames
            # of this call hold: the column has the image, and the garbage collector does not look into its array.
            exc.__traceback__ = None
            raise ValueError(*exc.args) from None
    if copy.mode in ("P", "PA") and copy.palette is not None and copy.palette.mode not in ("RGB", "L"):
        copy = copy.convert("RGBA")  # a pickle holds palettes of RGB only
    plain = Image.Image()._new(copy.im)
    plain.palette = copy.palette
    plain.info = {name: copy.info[name] for name in _IMAGE_INFO if _is_plain(copy.info.get(name, ...))}
    return plain


def _is_plain(value: Any) -> bool:
    return type(value) in _PLAIN_TYPES or (type(value) is tuple and all(map(_is_plain, value)))


def _check_pixels(pixels: np.ndarray[Any, Any]) -> bytes | np.ndarray[Any, np.dtype[np.uint8]]:
    """Return an array of shape (height, width, channels), or the bytes of one dimension: those of a file.

    Raises
    ------
    UnreadableImageError
        With the form of an array that is neither.
    """
    if pixels.dtype != np.uint8:
        text = f"arrays of {pixels.dtype!s:.60} are not images; only those of uint8 are"
        raise UnreadableImageError("unsupported", text)
    if not pixels.size:
        raise UnreadableImageError("empty", f"the array, of shape {pixels.shape}, has no pixels")
    if pixels.ndim == 1:
        return pixels.tobytes()
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    if pixels.ndim != 3 or pixels.shape[2] > 4:
        text = f"an array of shape {pixels.shape} is no image; one of (height, width) or (height, width, 1 to 4) is"
        if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and min(pixels.shape[1:]) > 4:
            text += "; its channels come first: np.moveaxis(array, 0, -1) puts them last"
        raise UnreadableImageError("unsupported", text)
    return pixels


def _isna(column: pd.Series[Any], values: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    try:
        return column.isna().to_numpy()
    except INTERRUPTS:
        raise
    except BaseException:
        return np.array([type(value) in _PLAIN_TYPES and bool(pd.isna(value)) for value in values], dtype=bool)


def _to_plain(value: Any) -> Any:
    if type(value) is str:  # nearly always
        return value
    try:
        return _convert(value)
    except INTERRUPTS:
        raise
    except BaseException as exc:
        text = f"a path, URL or bytes was expected, not {type(value).__name__}, which raised {format_exception(exc)}"
        return FailedInput(_redacted(value), "invalid_path", redact_url(text))


def _convert(value: Any) -> Any:
    if type(value) in _PLAIN_TYPES or isinstance(value, (bytearray, memoryview, FailedInput)) or is_pixel_array(value):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return memoryview(value).tobytes()
    if isinstance(value, Mapping):
        return _convert_mapping(value)
    if isinstance(value, os.PathLike):
        return str.__str__(os.fsdecode(os.fspath(value)))
    if hasattr(type(value), "as_py"):  # of Arrow
        return _convert(value.as_py())
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, (float, np.floating)) else _not_a_path(value)


def _convert_mapping(value: Mapping[Any, Any]) -> Any:
    """Return a plain ``{bytes, path}`` dict, or None if the image is missing."""
    if "bytes" not in value and "path" not in value:
        return _not_a_mapping(value)
    data, path = value.get("bytes"), value.get("path")
    if _is_na(data):
        return None if _is_na(path) else {"bytes": None, "path": _convert(path)}
    data = _convert(data)
    if isinstance(data, FailedInput) or not is_encoded(data):
        return _not_a_path(data)
    path = _convert(path)
    return {"bytes": data, "path": path.path if isinstance(path, FailedInput) else path}


def _is_na(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _not_a_mapping(value: Mapping[Any, Any]) -> FailedInput:
    text, keys = _redacted(value), shorten(list(value))
    message = f"a mapping needs the key 'bytes' or 'path'; this one has {keys if value else 'none'}"
    return FailedInput(text, "invalid_path", message)


def _not_a_path(value: Any) -> FailedInput:
    if isinstance(value, FailedInput):
        return value
    text = _redacted(value)
    message = f"a path, URL or bytes was expected, not {type(value).__name__} {text}"
    return FailedInput(text, "invalid_path", message)


def _redacted(value: Any) -> str:
    # Without the address: it differs in the next call, which may resume this one.
    return redact_url(_ADDRESS.sub("", shorten(value)))
