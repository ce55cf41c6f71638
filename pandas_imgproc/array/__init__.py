"""The image column: a dtype, its array over one block of pixels, its scalar, and its Arrow type.

Inside this room imports go one way: `cell`; then `dtype`, `storage`, `keys`, `sameness`, `refusals` and `arrow`,
which do not know each other; then `images`.
"""

from pandas_imgproc.array.array import ImageArray
from pandas_imgproc.array.arrow import ImageArrowType
from pandas_imgproc.array.dtype import ImageDtype
from pandas_imgproc.array.scalar import ImageCell

__all__ = ["ImageArray", "ImageArrowType", "ImageCell", "ImageDtype"]
