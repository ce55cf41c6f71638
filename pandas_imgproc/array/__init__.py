"""Image column: a dtype, its array over one block of pixels, its scalar, and its Arrow type.

Imports inside this package go one way: `scalar` and `pixel_format`; then `storage`, `indexing`, `hashing`,
`unsupported` and `arrow`, which do not import each other; then `base`, `algorithms` and `array`.
"""

from pandas_imgproc.array.array import ImageArray, ImageDtype
from pandas_imgproc.array.arrow import ImageArrowType, is_image_dtype
from pandas_imgproc.array.pixel_format import PixelFormat, pixel_format
from pandas_imgproc.array.scalar import ImageCell

__all__ = [
    "ImageArray",
    "ImageArrowType",
    "ImageCell",
    "ImageDtype",
    "PixelFormat",
    "is_image_dtype",
    "pixel_format",
]
