"""Images in Arrow, hence in Parquet and Feather: fixed-size binary under an extension type.

`fixed_size_binary` because Arrow's own `fixed_shape_tensor` is over ten times slower to write and could for
long not come back from Parquet with a null; both are read. A process that does not import this library sees
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
    """The Arrow type ``pandas_imgproc.image``: the bytes of one image, with dtype and shape as metadata.

    Parameters
    ----------
    dtype : str or numpy.dtype
        The numeric dtype of the pixels.
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
        # pyarrow compares name and storage only: images of 2 by 3 and of 3 by 2 would be the same type.
        if not isinstance(other, ImageArrowType):
            return False
        return (self.subtype, self.shape) == (other.subtype, other.shape)

    def __ne__(self, other: object) -> bool:
        # pyarrow has an own one, which would not ask __eq__.
        return not self == other

    def __hash__(self) -> int:
        return hash((self.extension_name, self.subtype, self.shape))

    def to_pandas_dtype(self) -> Any:
        """Return the `ImageDtype` of these images."""
        return pd.api.types.pandas_dtype(f"image[{self.subtype.name}, {self.shape}]")


def register() -> None:
    """Make Arrow know the type by its name; a second time is harmless."""
    try:
        pa.register_extension_type(ImageArrowType("uint8", (1, 1, 1)))
    except pa.ArrowKeyError:
        # A reload of this module: the class that is registered must be the one that is used.
        pa.unregister_extension_type("pandas_imgproc.image")
        pa.register_extension_type(ImageArrowType("uint8", (1, 1, 1)))


def to_arrow(block: Pixels, missing: Pixels) -> Any:
    """Return an Arrow array over a block, without a copy when it is contiguous.

    Parameters
    ----------
    block : ndarray, shape (n, height, width, channels)
    missing : ndarray of bool, shape (n,)
        Which rows become null.

    Returns
    -------
    pyarrow.ExtensionArray
    """
    arrow_type = ImageArrowType(block.dtype, block.shape[1:])
    valid = pa.py_buffer(np.packbits(~missing, bitorder="little")) if missing.any() else None
    pixels = pa.py_buffer(np.ascontiguousarray(block).reshape(-1).view(np.uint8))
    storage = pa.Array.from_buffers(arrow_type.storage_type, len(block), [valid, pixels])
    return pa.ExtensionArray.from_storage(arrow_type, storage)


def from_arrow(array: Any, dtype: Any = None, shape: Any = None) -> tuple[Pixels, Pixels]:
    """Return the pixels of an Arrow array, without a copy when there is one chunk.

    Parameters
    ----------
    array : pyarrow.Array or pyarrow.ChunkedArray
        Images of this library, ``fixed_shape_tensor`` of two or three dimensions, or ``fixed_size_binary``.
    dtype, shape : optional
        What the bytes of plain ``fixed_size_binary`` mean; for the others, what is expected.

    Returns
    -------
    block : ndarray, shape (n, height, width, channels)
    missing : ndarray of bool, shape (n,)

    Raises
    ------
    TypeError
        When the Arrow type holds no images, or others than expected.
    """
    found = _pixels_in(array.type, dtype, shape)
    if shape is not None and (found.subtype, found.shape) != (validate_pixel_dtype(dtype), validate_image_shape(shape)):
        message = f"the Arrow array holds {found.to_pandas_dtype()}, not image[{dtype}, {shape}]"
        raise TypeError(message)
    chunks = [chunk for chunk in getattr(array, "chunks", [array]) if len(chunk)]
    blocks = [_chunk_pixels(chunk, found) for chunk in chunks]
    if not blocks:
        return np.zeros((0, *found.shape), dtype=found.subtype), np.zeros(0, dtype=bool)
    block = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    missing = np.concatenate([np.asarray(chunk.is_null()) for chunk in chunks])
    return _black_where(block, missing), missing


def _pixels_in(arrow_type: Any, dtype: Any, shape: Any) -> ImageArrowType:
    if isinstance(arrow_type, ImageArrowType):
        return arrow_type
    # Arrow's booleans are bits, numpy's are bytes.
    if isinstance(arrow_type, pa.FixedShapeTensorType) and arrow_type.value_type != pa.bool_():
        axes = arrow_type.permutation or range(len(arrow_type.shape))
        sides = [arrow_type.shape[axis] for axis in axes]
        return ImageArrowType(arrow_type.value_type.to_pandas_dtype(), [*sides, 1] if len(sides) == 2 else sides)
    if pa.types.is_fixed_size_binary(arrow_type) and shape is not None:
        expected = ImageArrowType(dtype, shape)
        if expected.storage_type == arrow_type:
            return expected
    message = (
        f"the Arrow type {arrow_type} is no image column: it must be {ImageArrowType.__name__}, "
        "fixed_shape_tensor, or, with dtype=ImageDtype(...), fixed_size_binary of as many bytes as one image"
    )
    raise TypeError(message)


def _chunk_pixels(chunk: Any, found: ImageArrowType) -> Pixels:
    storage = chunk.storage if isinstance(chunk.type, pa.BaseExtensionType) else chunk
    first, sides = storage.offset, found.shape
    if isinstance(chunk.type, pa.FixedShapeTensorType):
        # The tensor's numbers are a child of their own, whose offset counts numbers and not rows.
        sides = tuple(chunk.type.shape)
        values = storage.values
        first, storage = first + values.offset // int(np.prod(sides)), values
    data = storage.buffers()[1]
    if data is None:
        return np.zeros((len(chunk), *found.shape), dtype=found.subtype)
    size = int(np.prod(found.shape))
    numbers = np.frombuffer(
        data, dtype=found.subtype, count=len(chunk) * size, offset=first * size * found.subtype.itemsize
    )
    block = numbers.reshape(len(chunk), *sides)
    if isinstance(chunk.type, pa.FixedShapeTensorType) and chunk.type.permutation:
        block = block.transpose(0, *(axis + 1 for axis in chunk.type.permutation))
    return np.ascontiguousarray(block).reshape(len(chunk), *found.shape)


def _black_where(block: Pixels, missing: Pixels) -> Pixels:
    # What lies under a null is undefined in Arrow: another program's pixels would show in the block.
    if block[missing].any():
        block = block.copy()
        block[missing] = 0
    return block


register()
