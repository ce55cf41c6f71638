"""Scalar of an image column: one image."""
# ruff: noqa: RUF001, RUF002  the multiplication sign is meant

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

Pixels = np.ndarray[Any, np.dtype[Any]]

CHANNELS = (1, 3, 4)


def readonly(array: Pixels) -> Pixels:
    """Return a read-only view of an array; the flag of the array itself is unchanged."""
    view = array.view(np.ndarray)
    view.flags.writeable = False
    return view


def validate_pixel_dtype(dtype: Any) -> np.dtype[Any]:
    """Return a numeric or boolean dtype in native byte order."""
    try:
        subtype: np.dtype[Any] = np.dtype(dtype).newbyteorder("=")
    except TypeError:
        subtype = np.dtype(object)
    if subtype.kind not in "buifc":
        raise TypeError(f"dtype must be one of numpy's numeric dtypes, such as 'uint8', got {dtype!r}")
    return subtype


def validate_image_shape(shape: Any) -> tuple[int, int, int]:
    """Return the shape (height, width, channels) of an image as a tuple of int."""
    lengths = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    valid = all(isinstance(length, (int, np.integer)) and length > 0 for length in lengths)
    if not (valid and len(lengths) == 3 and lengths[2] in CHANNELS):
        raise ValueError(
            "shape must be (height, width, channels), positive integers with 1, 3 or 4 channels, "
            f"such as (64, 64, 3), got {shape!r}"
        )
    return int(lengths[0]), int(lengths[1]), int(lengths[2])


def raise_unordered(*_: object, **__: object) -> NoReturn:
    """Raise the TypeError of an ordering of images."""
    raise TypeError("images have no order: sort by another column, or by a number computed from the pixels")


class ImageCell:
    """Scalar of `ImageDtype`: one read-only image, such as ``series.iloc[0]`` of an image column.

    Two cells are equal, and hash alike, when dtype, shape and every byte of their pixels are.

    Parameters
    ----------
    pixels : array-like of numbers, shape (height, width, channels) or (height, width)
        An array is not copied: a later write to it changes the cell.

    Raises
    ------
    ValueError
        When the shape is no image's.
    TypeError
        When the dtype is not numeric.

    Notes
    -----
    It has ``__array_interface__`` and not ``__array__``: numpy, Pillow and matplotlib read its pixels, while
    pandas takes it for the scalar that it is, so that ``pd.isna(cell)`` is False and not an array.

    Examples
    --------
    >>> import numpy as np
    >>> cell = ImageCell(np.zeros((48, 64, 3), dtype="uint8"))
    >>> cell
    <image 64×48×3 uint8>
    >>> np.asarray(cell).shape
    (48, 64, 3)
    >>> cell.to_pil().size
    (64, 48)
    """

    __slots__ = ("__weakref__", "_pixels")

    def __init__(self, pixels: Any) -> None:
        array = np.asarray(pixels)
        array = array.astype(validate_pixel_dtype(array.dtype), copy=False)
        array = array[:, :, None] if array.ndim == 2 else array
        validate_image_shape(array.shape)
        self._pixels = readonly(np.ascontiguousarray(array))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (height, width, channels), in NumPy's order."""
        height, width, channels = self._pixels.shape
        return height, width, channels

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of the pixels."""
        return self._pixels.dtype

    @property
    def __array_interface__(self) -> dict[str, Any]:
        # NumPy references this cell, and with it the pixels, as the base of the array.
        return self._pixels.__array_interface__

    def to_pil(self) -> Image.Image:
        """Return the image as a Pillow image.

        Returns
        -------
        PIL.Image.Image
            Of mode L, RGB or RGBA for uint8; other dtypes where Pillow has a mode for them.

        Raises
        ------
        TypeError
            If Pillow has no mode for this dtype and number of channels.

        Examples
        --------
        >>> import numpy as np
        >>> ImageCell(np.zeros((48, 64, 1), dtype="uint8")).to_pil().mode
        'L'
        """
        pixels = self._pixels[:, :, 0] if self.shape[2] == 1 else self._pixels
        try:
            return Image.fromarray(pixels)
        except TypeError as exc:
            raise TypeError(f"Pillow has no mode for {self}: scale np.asarray(cell) to uint8") from exc

    def _repr_png_(self) -> bytes | None:
        # None makes a notebook fall back to the text.
        if self.dtype != np.uint8:
            return None
        file = io.BytesIO()
        self.to_pil().save(file, "PNG")
        return file.getvalue()

    def _identity(self) -> tuple[str, tuple[int, int, int], bytes]:
        return self.dtype.str, self.shape, self._pixels.tobytes()

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, ImageCell):
            return NotImplemented
        return self._identity() == other._identity()

    # Where pandas falls back to comparing cells, the message still names the alternative.
    __lt__ = __le__ = __gt__ = __ge__ = raise_unordered

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        height, width, channels = self.shape
        return f"<image {width}×{height}×{channels} {self.dtype}>"

    def __reduce__(self) -> tuple[Callable[..., ImageCell], tuple[Pixels]]:
        return ImageCell, (self._pixels,)

    def __dask_tokenize__(self) -> object:
        return "pandas_imgproc.ImageCell", *self._identity()

    def toDict(self) -> dict[str, Any]:  # noqa: N802  the name that pandas' to_json looks for
        """Return the JSON of an image in `pandas.DataFrame.to_json`: its dtype and shape, no pixels."""
        return {"dtype": str(self.dtype), "shape": list(self.shape)}


def _from_readonly(pixels: Pixels) -> ImageCell:
    """Return a cell over pixels that are already validated, contiguous and read-only."""
    cell = ImageCell.__new__(ImageCell)
    cell._pixels = pixels
    return cell


def is_missing(value: object) -> bool:
    """Return whether a value denotes a missing image: None, NA or NaN."""
    return value is None or value is pd.NA or (isinstance(value, (float, np.floating)) and bool(np.isnan(value)))


def is_image_like(value: Any) -> bool:
    """Return whether a value is one image, even of a wrong shape, rather than a sequence of images."""
    if isinstance(value, np.ndarray):
        return value.dtype != object and value.ndim < 4
    return hasattr(value, "__array_interface__")


def validate_image(value: Any, subtype: np.dtype[Any], shape: tuple[int, ...]) -> Pixels:
    """Return the pixels of a cell, an array or a Pillow image of this dtype and shape, never converted or scaled."""
    if not (isinstance(value, np.ndarray) or hasattr(value, "__array_interface__")):
        raise TypeError(
            f"an image column holds arrays of shape {shape} and dtype {subtype}, cells and missing values, "
            f"got {value!r} of type {type(value).__name__}"
        )
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError("a masked array has no pixels where it is masked; array.filled(0) replaces them")
    pixels = np.asarray(value)
    if pixels.ndim == 2 and shape[2] == 1:
        pixels = pixels[:, :, None]
    if pixels.shape != shape:
        raise ValueError(f"an image of shape {pixels.shape} does not fit into an image column of shape {shape}")
    if pixels.dtype.newbyteorder("=") != subtype:
        raise TypeError(
            f"an image of dtype {pixels.dtype} and shape {pixels.shape} does not fit into an image column "
            f"of dtype {subtype} and shape {shape}: convert it first"
        )
    return pixels
