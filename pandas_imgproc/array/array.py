"""Dtype and array of an image column: the interface of an extension array over a `PixelStorage`."""
# ruff: noqa: RUF002  the multiplication sign is meant

from __future__ import annotations

import builtins
import functools
import hashlib
import re
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionDtype, no_default, register_extension_dtype

from pandas_imgproc.array import arrow
from pandas_imgproc.array.algorithms import AlgorithmsMixin
from pandas_imgproc.array.pixel_format import pixel_format
from pandas_imgproc.array.scalar import (
    ImageCell,
    Pixels,
    is_missing,
    readonly,
    validate_image_shape,
    validate_pixel_dtype,
)
from pandas_imgproc.array.storage import (
    MISSING,
    PixelStorage,
    concat_failures,
    prune_failures,
    storage_from_images,
    validate_pixels,
    validate_status,
)
from pandas_imgproc.array.unsupported import UnsupportedOpsMixin
from pandas_imgproc.errors import FAILURE_KINDS, Failure, MissingImagesError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_NAME = re.compile(r"image\[(\w+), \((\d+), (\d+), (\d+)\)\]")


@register_extension_dtype
class ImageDtype(ExtensionDtype):
    """Dtype of an image column: all its images have this shape and this NumPy dtype.

    Parameters
    ----------
    dtype : str or numpy.dtype, default "uint8"
        Any of NumPy's numeric dtypes.
    shape : tuple of int
        (height, width, channels), in NumPy's order; 1, 3 or 4 channels.

    Raises
    ------
    TypeError
        If the dtype is not numeric.
    ValueError
        If the shape is not that of an image.

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

    def __init__(self, dtype: Any = "uint8", shape: Any = ()) -> None:
        self._subtype = validate_pixel_dtype(dtype)
        self._shape = validate_image_shape(shape)

    @property
    def subtype(self) -> np.dtype[Any]:
        """NumPy dtype of the pixels."""
        return self._subtype

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (height, width, channels), in NumPy's order."""
        return self._shape

    @property
    def name(self) -> str:  # type: ignore[override]  # a property, as in pandas' parametrized dtypes
        """Name that `construct_from_string` parses back."""
        return f"image[{self.subtype.name}, {self.shape}]"

    @property
    def na_value(self) -> Any:
        """Missing value: `pandas.NA`."""
        return pd.NA

    def __repr__(self) -> str:
        return self.name

    @classmethod
    def construct_array_type(cls) -> builtins.type[ImageArray]:
        """Return `ImageArray`."""
        return ImageArray

    @classmethod
    def construct_from_string(cls, string: str) -> Self:
        """Return the dtype with this name.

        Raises
        ------
        TypeError
            If it is the name of another dtype, or of an invalid shape.

        Examples
        --------
        >>> ImageDtype.construct_from_string("image[float32, (4, 6, 1)]").shape
        (4, 6, 1)
        """
        if not isinstance(string, str):
            raise TypeError(f"'construct_from_string' expects a string, got {builtins.type(string)}")
        match = _NAME.fullmatch(string)
        try:
            if match:
                return cls(match[1], tuple(map(int, match.groups()[1:])))
        except ValueError as exc:
            raise TypeError(str(exc)) from exc
        raise TypeError(f"Cannot construct a 'ImageDtype' from '{string}': expected 'image[uint8, (64, 64, 3)]'")

    def __from_arrow__(self, array: Any) -> ImageArray:
        return ImageArray.from_arrow(array, dtype=self)

    def __dask_tokenize__(self) -> object:
        return "pandas_imgproc.ImageDtype", self.name


@functools.lru_cache(maxsize=64)
def cached_dtype(subtype: np.dtype[Any], shape: tuple[int, ...]) -> ImageDtype:
    """Return the dtype of pixels from a cache: pandas requests it many times in every operation."""
    return ImageDtype(subtype, shape)


class ImageArray(AlgorithmsMixin, UnsupportedOpsMixin):
    """Array of images of one shape in one block of pixels, with a status for each.

    Parameters
    ----------
    pixels : ndarray of numbers, shape (n, height, width, channels)
        Not copied, and never written: the first write copies them.
    status : ndarray of int32, shape (n,), optional
        0: an image, -1: missing, k > 0: missing because of ``failures[k - 1]``. All images by default.
    failures : sequence of dict, optional
        Reasons of missing images: position, path, kind and message each. They follow their rows through
        filters, sorts and concatenation.

    Raises
    ------
    ValueError, TypeError
        If pixels, status and failures do not match.

    Notes
    -----
    ``copy()`` shares the pixels and slices are views of them, so that pandas may copy as often as it likes.
    Pixels and cells that were returned never change afterwards.

    Examples
    --------
    >>> import numpy as np
    >>> ImageArray(np.zeros((2, 48, 64, 3), dtype="uint8"), status=[0, -1])
    <ImageArray>
    [<image 64×48×3 uint8>, <NA>]
    Length: 2, dtype: image[uint8, (48, 64, 3)]
    """

    def __init__(self, pixels: Any, status: Any = None, failures: Sequence[Failure] = ()) -> None:
        pixels = validate_pixels(pixels)
        table = tuple(failures)
        self._storage = PixelStorage(readonly(pixels), readonly(validate_status(status, len(pixels), table)), table)
        self._rows = range(len(pixels))

    # ---- Pixels, status and failures

    @property
    def pixels(self) -> Pixels:
        """Pixels of all rows, zeros where missing: read-only ndarray, shape (n, height, width, channels)."""
        self._storage.mark_shared()
        return readonly(self._pixels)

    @property
    def status(self) -> Pixels:
        """Status of each row, read-only ndarray of int32: 0 an image, -1 missing, k > 0 ``failures[k - 1]``."""
        self._storage.mark_shared()
        return readonly(self._status)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Failures that `status` refers to; may include failures of rows that were filtered out."""
        return self._storage.failures

    def failure_rows(self) -> tuple[Pixels, list[Failure]]:
        """Return the positions of the rows with a failure, and the failures.

        Returns
        -------
        positions : ndarray of intp, shape (k,)
            In this array, ascending. The position in a failure is that in the frame that was read.
        failures : list of dict, length k

        Examples
        --------
        >>> import numpy as np
        >>> failure = {"position": 7, "path": "a.jpg", "kind": "empty", "message": "no bytes"}
        >>> array = ImageArray(np.zeros((3, 2, 2, 1), dtype="uint8"), [0, 1, -1], [failure])
        >>> array.failure_rows()
        (array([1]), [{'position': 7, 'path': 'a.jpg', 'kind': 'empty', 'message': 'no bytes'}])
        """
        positions = np.flatnonzero(self._status > 0)
        return positions, [self.failures[k - 1] for k in self._status[positions]]

    def failure_kinds(self) -> pd.Categorical[Any]:
        """Return the failure kind of each row, NA where there is none.

        Returns
        -------
        pandas.Categorical
            Length n; the categories are all failure kinds.
        """
        kinds = [FAILURE_KINDS.index(failure["kind"]) for failure in self.failures]
        codes = np.array([-1, *kinds])[np.maximum(self._status, 0)]
        return pd.Categorical.from_codes(codes, categories=pd.Index(FAILURE_KINDS))

    def to_pixels(self, dtype: Any = None, copy: bool = False, na_value: Any = no_default, **pixel_form: Any) -> Pixels:
        """Return the pixels of all images as one array.

        Parameters
        ----------
        dtype : numpy dtype, optional
            Convert the pixels: one copy.
        copy : bool, default False
            Return a writable array, as torch requires.
        na_value : number or array, optional
            Fill value of missing images; copies if there are any.
        **pixel_form
            ``scale``, ``mean``, ``std``, ``channels`` of `Series.img.to_numpy`: one copy.

        Returns
        -------
        ndarray, shape (n, height, width, channels)
            A read-only view unless dtype, copy, a missing image or another form requires a copy.

        Raises
        ------
        MissingImagesError
            If images are missing and na_value is not given.

        Examples
        --------
        >>> import numpy as np
        >>> array = ImageArray(np.full((2, 1, 1, 1), 9, dtype="uint8"), [0, -1])
        >>> array.to_pixels(na_value=0).ravel()
        array([9, 0], dtype=uint8)
        """
        missing = self.isna()
        if na_value is no_default and missing.any():
            raise MissingImagesError(
                f"{missing.sum()} of {len(self)} images are missing: drop their rows with "
                "df.dropna(subset=['image']), fill them with na_value=0, or see why in series.img.failures"
            )
        form = pixel_format(self.dtype.subtype, self.dtype.shape[2], dtype=dtype, **pixel_form)
        if form.is_identity(self.dtype.subtype) and not (copy or missing.any()):
            return self.pixels
        pixels = form.convert(self._pixels)
        if missing.any():
            pixels[missing] = na_value
        return pixels

    # ---- Interface of an extension array

    @property
    def dtype(self) -> ImageDtype:
        """`ImageDtype` of the images."""
        return cached_dtype(self._storage.pixels.dtype, self._storage.pixels.shape[1:])

    @classmethod
    def _concat_same_type(cls, to_concat: Iterable[Any]) -> Self:
        arrays = list(to_concat)
        dtypes = {str(array.dtype) for array in arrays}
        if len(dtypes) > 1:
            raise ValueError(f"image columns of different dtypes cannot be concatenated: {', '.join(sorted(dtypes))}")
        statuses, failures = concat_failures((array._status, array.failures) for array in arrays)
        pixels = np.concatenate([array._pixels for array in arrays])
        return cls._simple_new(PixelStorage(pixels, np.concatenate(statuses), failures))

    @classmethod
    def _from_sequence(cls, scalars: Any, *, dtype: Any = None, copy: bool = False) -> Self:
        image_dtype: Any = None if dtype is None else pd.api.types.pandas_dtype(dtype)
        values: Any = scalars.array if isinstance(scalars, (pd.Series, pd.Index)) else scalars
        if isinstance(values, np.ndarray) and values.ndim == 4:
            # The caller may write to this array later: unlike the pixels of an ImageArray, it cannot be shared.
            values, copy = cls(values.copy() if copy else values), False
        if arrow.is_image_dtype(getattr(values, "dtype", None)):
            values = cls.from_arrow(values.__arrow_array__())
        if isinstance(values, cls):
            array: Self = values.copy() if copy else values
            return array if image_dtype is None else array._astype_image(image_dtype)
        images = list(values)
        image_dtype = _infer_dtype(images) if image_dtype is None else image_dtype
        return cls._simple_new(storage_from_images(images, image_dtype.subtype, image_dtype.shape))

    @classmethod
    def _from_factorized(cls, values: Any, original: Self) -> Self:
        return cls._from_sequence(values, dtype=original.dtype)

    def _astype_image(self, dtype: ImageDtype) -> Self:
        if dtype == self.dtype:
            return self
        if dtype.shape != self.dtype.shape:
            raise ValueError(
                f"images of shape {self.dtype.shape} cannot be converted to shape {dtype.shape}: resize them"
            )
        return self._simple_new(PixelStorage(self._pixels.astype(dtype.subtype), self.status, self.failures))

    def __reduce__(self) -> tuple[Callable[..., ImageArray], tuple[Pixels, Pixels, tuple[Failure, ...]]]:
        status, failures = prune_failures(self.status, self.failures)
        return ImageArray, (np.ascontiguousarray(self.pixels), status, failures)

    def _formatter(self, boxed: bool = False) -> Callable[[Any], str]:  # noqa: ARG002  pandas' signature
        return str

    # ---- Arrow and Dask

    def __arrow_array__(self, type: Any = None) -> Any:  # noqa: A002  pyarrow's signature
        array = arrow.to_arrow(self.pixels, self.isna())
        if type is None or type == array.type:
            return array
        return array.storage.cast(type)

    @classmethod
    def from_arrow(cls, array: Any, dtype: ImageDtype | str | None = None) -> Self:
        """Return the images of an Arrow array, without a copy if it has one chunk.

        Parameters
        ----------
        array : pyarrow.Array or pyarrow.ChunkedArray
            Of `ImageArrowType`, of ``fixed_shape_tensor`` with the shape (height, width) or (height, width,
            channels), or of ``fixed_size_binary``.
        dtype : ImageDtype or its name, optional
            Required for ``fixed_size_binary``, which has no dtype and shape.

        Returns
        -------
        ImageArray
            Missing where the Arrow array has nulls.

        Raises
        ------
        TypeError
            If the Arrow type holds no images, or images of another dtype.

        Examples
        --------
        >>> import pyarrow as pa
        >>> stored = pa.array([b"abc", None], pa.binary(3))
        >>> ImageArray.from_arrow(stored, "image[uint8, (1, 1, 3)]")
        <ImageArray>
        [<image 1×1×3 uint8>, <NA>]
        Length: 2, dtype: image[uint8, (1, 1, 3)]
        """
        expected: Any = None if dtype is None else pd.api.types.pandas_dtype(dtype)
        pixels, missing = arrow.from_arrow(array, *(() if expected is None else (expected.subtype, expected.shape)))
        return cls(pixels, np.where(missing, np.int32(MISSING), np.int32(0)))

    def __dask_tokenize__(self) -> object:
        status, failures = prune_failures(self._status, self.failures)
        digest = hashlib.blake2b(np.ascontiguousarray(self._pixels).data, digest_size=16)
        table = tuple(tuple(failure.items()) for failure in failures)
        return "pandas_imgproc.ImageArray", self.dtype.name, digest.hexdigest(), status.tobytes(), table


def _infer_dtype(images: list[Any]) -> ImageDtype:
    first = next((image for image in images if not is_missing(image)), None)
    if first is None:
        raise ValueError("an image column without an image needs dtype=ImageDtype(...)")
    cell = first if isinstance(first, ImageCell) else ImageCell(first)
    return ImageDtype(cell.dtype, cell.shape)
