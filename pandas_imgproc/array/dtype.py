"""The dtype of an image column, and its name."""

from __future__ import annotations

import builtins
import functools
import re
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pandas as pd
from pandas.api.extensions import ExtensionDtype, register_extension_dtype

from pandas_imgproc.array.scalar import ImageCell, validate_image_shape, validate_pixel_dtype

if TYPE_CHECKING:
    import numpy as np

    from pandas_imgproc.array.array import ImageArray

_NAME = re.compile(r"image\[(\w+), \((\d+), (\d+), (\d+)\)\]")


@register_extension_dtype
class ImageDtype(ExtensionDtype):
    """The dtype of an image column: all its images have this shape and these numbers.

    Parameters
    ----------
    dtype : str or numpy.dtype, default "uint8"
        Any of numpy's numeric dtypes.
    shape : tuple of int
        (height, width, channels), numpy's order; 1, 3 or 4 channels.

    Raises
    ------
    TypeError
        When the dtype is not numeric.
    ValueError
        When the shape is no image's.

    Examples
    --------
    >>> dtype = ImageDtype("uint8", (64, 64, 3))
    >>> dtype.name
    'image[uint8, (64, 64, 3)]'
    >>> dtype == "image[uint8, (64, 64, 3)]"
    True
    """

    _metadata = ("subtype", "shape")
    type: ClassVar[builtins.type[ImageCell]] = ImageCell
    # Set where the array is defined: it needs the dtype, and imports go one way.
    array_type: ClassVar[builtins.type[ImageArray]]

    def __init__(self, dtype: Any = "uint8", shape: Any = ()) -> None:
        self._subtype = validate_pixel_dtype(dtype)
        self._shape = validate_image_shape(shape)

    @property
    def subtype(self) -> np.dtype[Any]:
        """The numpy dtype of the pixels."""
        return self._subtype

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels), numpy's order."""
        return self._shape

    @property
    def name(self) -> str:  # type: ignore[override]  # a property, as pandas' own dtypes with parameters have
        """The name that `construct_from_string` parses back."""
        return f"image[{self.subtype.name}, {self.shape}]"

    @property
    def na_value(self) -> Any:
        """pandas.NA."""
        return pd.NA

    def __repr__(self) -> str:
        return self.name

    @classmethod
    def construct_array_type(cls) -> builtins.type[ImageArray]:
        """Return the class of the array."""
        return cls.array_type

    @classmethod
    def construct_from_string(cls, string: str) -> Self:
        """Return the dtype of this name.

        Raises
        ------
        TypeError
            When it is the name of another dtype, or of an image that cannot be.

        Examples
        --------
        >>> ImageDtype.construct_from_string("image[float32, (4, 6, 1)]").shape
        (4, 6, 1)
        """
        if not isinstance(string, str):
            message = f"'construct_from_string' expects a string, got {builtins.type(string)}"
            raise TypeError(message)
        match = _NAME.fullmatch(string)
        try:
            if match:
                return cls(match[1], tuple(map(int, match.groups()[1:])))
        except ValueError as exc:
            raise TypeError(str(exc)) from exc
        message = f"Cannot construct a 'ImageDtype' from '{string}': expected 'image[uint8, (64, 64, 3)]'"
        raise TypeError(message)

    def __from_arrow__(self, array: Any) -> ImageArray:
        return self.array_type.from_arrow(array, dtype=self)

    def __dask_tokenize__(self) -> object:
        return "pandas_imgproc.ImageDtype", self.name


@functools.lru_cache(maxsize=64)
def cached_dtype(subtype: np.dtype[Any], shape: tuple[int, ...]) -> ImageDtype:
    """Return the dtype of pixels, made once: pandas asks for it many times in every operation."""
    return ImageDtype(subtype, shape)
