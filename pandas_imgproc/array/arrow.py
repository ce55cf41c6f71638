"""Arrow extension type of images, for Parquet and Feather: fixed-size binary with dtype and shape as metadata.

`fixed_size_binary` because Arrow's `fixed_shape_tensor` is over ten times slower to write and, before pyarrow 26,
could not be read back from Parquet with a null; both are read. A process that does not import this library reads
plain binary values.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pandas_imgproc.array.scalar import Pixels, validate_image_shape, validate_pixel_dtype


class ImageArrowType(pa.ExtensionType):  # type: ignore[misc]  # pyarrow has no types
    """Arrow type ``pandas_imgproc.image``: the bytes of one image, with dtype and shape as metadata.

    Parameters
    ----------
    dtype : str or numpy.dtype
        Numeric dtype of the pixels.
    shape : tuple of int
        (height, width, channels).

    Examples
    --------
    >>> ImageArrowType("uint8", (4, 4, 3)).storage_type
    FixedSizeBinaryType(fixed_size_binary[48])
    """

    def __init__(self, dtype: Any, shape: Any) -> None:
        self.subtype = validate_pixel_dtype(dtype)
        self.shape = validate_image_shape(shape)
        super().__init__(pa.binary(self.subtype.itemsize * int(np.prod(self.shape))), "pandas_imgproc.image")

    def __arrow_ext_serialize__(self) -> bytes:
        return json.dumps({"dtype": self.subtype.name, "shape": list(self.shape)}).encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> ImageArrowType:
        fields = json.loads(serialized)
        return cls(fields["dtype"], fields["shape"])

    def __eq__(self, other: object) -> bool:
        # pyarrow compares name and storage only: 2 by 3 and 3 by 2 pixels would be the same type.
        if not isinstance(other, ImageArrowType):
            return False
        return (self.subtype, self.shape) == (other.subtype, other.shape)

    def __ne__(self, other: object) -> bool:
        # pyarrow defines __ne__, which does not call __eq__.
        return not self == other

    def __hash__(self) -> int:
        return hash((self.extension_name, self.subtype, self.shape))

    def to_pandas_dtype(self) -> Any:
        """Return the `ImageDtype` of these images."""
        return pd.api.types.pandas_dtype(f"image[{self.subtype.name}, {self.shape}]")


def register() -> None:
    """Register the type with Arrow; a second call is harmless."""
    try:
        pa.register_extension_type(ImageArrowType("uint8", (1, 1, 1)))
    except pa.ArrowKeyError:
        # A reload of this module: the registered class must be the current one.
        pa.unregister_extension_type("pandas_imgproc.image")
        pa.register_extension_type(ImageArrowType("uint8", (1, 1, 1)))


def is_image_dtype(dtype: Any) -> bool:
    """Return whether a dtype is pandas' own for Arrow's images: that of ``read_parquet(dtype_backend="pyarrow")``.

    Examples
    --------
    >>> is_image_dtype(pd.ArrowDtype(ImageArrowType("uint8", (4, 4, 3))))
    True
    """
    return isinstance(dtype, pd.ArrowDtype) and isinstance(dtype.pyarrow_dtype, ImageArrowType)


def to_arrow(pixels: Pixels, missing: Pixels) -> Any:
    """Return a `pyarrow.ExtensionArray` over pixels, null where missing, without a copy if they are contiguous."""
    arrow_type = ImageArrowType(pixels.dtype, pixels.shape[1:])
    valid = pa.py_buffer(np.packbits(~missing, bitorder="little")) if missing.any() else None
    data = pa.py_buffer(np.ascontiguousarray(pixels).reshape(-1).view(np.uint8))
    storage = pa.Array.from_buffers(arrow_type.storage_type, len(pixels), [valid, data])
    return pa.ExtensionArray.from_storage(arrow_type, storage)


def from_arrow(array: Any, dtype: Any = None, shape: Any = None) -> tuple[Pixels, Pixels]:
    """Return the pixels and the mask of missing rows of an Arrow array, without a copy if there is one chunk.

    `dtype` and `shape` are required for plain ``fixed_size_binary``; for the other types they are the expected ones.
    """
    image_type = _resolve_arrow_type(array.type, dtype, shape)
    if shape is not None and image_type != ImageArrowType(dtype, shape):
        raise TypeError(f"the Arrow array holds {image_type.to_pandas_dtype()}, not image[{dtype}, {shape}]")
    chunks = [chunk for chunk in getattr(array, "chunks", [array]) if len(chunk)]
    if not chunks:
        return np.zeros((0, *image_type.shape), dtype=image_type.subtype), np.zeros(0, dtype=bool)
    arrays = [_chunk_to_pixels(chunk, image_type) for chunk in chunks]
    pixels = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    missing = np.concatenate([np.asarray(chunk.is_null()) for chunk in chunks])
    return _zero_nulls(pixels, missing), missing


def _resolve_arrow_type(arrow_type: Any, dtype: Any, shape: Any) -> ImageArrowType:
    if isinstance(arrow_type, ImageArrowType):
        return arrow_type
    # Arrow's booleans are bits, NumPy's are bytes.
    if isinstance(arrow_type, pa.FixedShapeTensorType) and arrow_type.value_type != pa.bool_():
        axes = arrow_type.permutation or range(len(arrow_type.shape))
        shape = [arrow_type.shape[axis] for axis in axes]
        return ImageArrowType(arrow_type.value_type.to_pandas_dtype(), [*shape, 1] if len(shape) == 2 else shape)
    if pa.types.is_fixed_size_binary(arrow_type) and shape is not None:
        expected = ImageArrowType(dtype, shape)
        if expected.storage_type == arrow_type:
            return expected
    raise TypeError(
        f"the Arrow type {arrow_type} is no image column: it must be {ImageArrowType.__name__}, "
        "fixed_shape_tensor, or, with dtype=ImageDtype(...), fixed_size_binary of as many bytes as one image"
    )


def _chunk_to_pixels(chunk: Any, image_type: ImageArrowType) -> Pixels:
    storage = chunk.storage if isinstance(chunk.type, pa.BaseExtensionType) else chunk
    offset, shape = storage.offset, image_type.shape
    if isinstance(chunk.type, pa.FixedShapeTensorType):
        # The values of a tensor are a child array, whose offset counts values and not rows.
        shape, storage = tuple(chunk.type.shape), storage.values
        offset += storage.offset // int(np.prod(shape))
    data = storage.buffers()[1]
    if data is None:
        return np.zeros((len(chunk), *image_type.shape), dtype=image_type.subtype)
    size = int(np.prod(image_type.shape))
    start = offset * size * image_type.subtype.itemsize
    pixels = np.frombuffer(data, image_type.subtype, len(chunk) * size, start).reshape(len(chunk), *shape)
    if isinstance(chunk.type, pa.FixedShapeTensorType) and chunk.type.permutation:
        pixels = pixels.transpose(0, *(axis + 1 for axis in chunk.type.permutation))
    return np.ascontiguousarray(pixels).reshape(len(chunk), *image_type.shape)


def _zero_nulls(pixels: Pixels, missing: Pixels) -> Pixels:
    # The bytes of a null are undefined in Arrow: another program's pixels would be shown.
    if pixels[missing].any():
        pixels = pixels.copy()
        pixels[missing] = 0
    return pixels


register()
