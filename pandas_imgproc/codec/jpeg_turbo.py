"""JPEG files, decoded by simplejpeg where that gives exactly Pillow's pixels, in less time.

Both wrap libjpeg-turbo. Pillow's plugin still reads the header, and its decoder reads every file that simplejpeg does
not decode without a warning, so that failures and pixels of damaged files are Pillow's.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from PIL import JpegImagePlugin

from pandas_imgproc.codec.engine import import_package
from pandas_imgproc.codec.raster import Raster

if TYPE_CHECKING:
    from PIL import ImageFile

_COLOR_SPACES = {"L": "GRAY", "RGB": "RGB"}
_N_CHANNELS = {"L": 1, "RGB": 3}
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended and progressive: Huffman-coded, lossy
_BEFORE_FRAME = frozenset({0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE})  # tables, APPn, COM
_MIN_SIDE = 32  # of the longer one: below about half of it, two scales of the decoder can give one size


def decode_exactly(data: Any, image: ImageFile.ImageFile) -> Raster | None:
    """Decode a JPEG file to the pixels that Pillow would decode, without a warning.

    Parameters
    ----------
    data : bytes
        The whole file.
    image : PIL.ImageFile.ImageFile
        The file as opened by Pillow, not loaded; after ``draft`` of the reduced size.

    Returns
    -------
    Raster or None
        In the mode and size of `image`; None where Pillow must decide: not a JPEG file, a rare variant, a damaged file.

    Examples
    --------
    >>> from PIL import Image
    >>> data = (getfixture("photos") / "blue.jpg").read_bytes()
    >>> decode_exactly(data, Image.open(io.BytesIO(data))).size
    (20, 30)
    """
    if not _is_covered(image) or not _has_common_frame(data):
        return None
    width, height = image.size
    expected = height, width, _N_CHANNELS[image.mode]
    minimum = {"min_width": width, "min_height": height} if _scale(image) > 1 else {}
    # The resampler takes bytes: this decodes into those that getvalue() returns, without a copy.
    buffer = io.BytesIO(bytes(height * width * expected[2]))
    try:
        with buffer.getbuffer() as view:
            shape = import_package("simplejpeg", "engine='simd'").decode_jpeg(
                data, _COLOR_SPACES[image.mode], buffer=view, strict=True, **minimum
            ).shape  # fmt: skip
    except (ValueError, RuntimeError):  # a warning, an error, a variant that it cannot read, another size
        return None
    return Raster(image.mode, image.size, buffer.getvalue()) if shape == expected else None


def _is_covered(image: ImageFile.ImageFile) -> bool:
    # A plugin may have replaced Pillow's, and frames of an MPO file after the first begin later in the file.
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or image.mode not in _COLOR_SPACES or image.bits != 8:
        return False
    if len(image.tile) != 1 or image.tile[0][0] != "jpeg" or image.tile[0][2] != 0:
        return False
    return _scale(image) == 1 or max(image.size) * _scale(image) >= _MIN_SIDE


def _scale(image: ImageFile.ImageFile) -> int:
    """Return the denominator of the scale that ``draft`` has chosen."""
    config: tuple[int, ...] = image.decoderconfig
    return config[0] if config else 1


def _has_common_frame(data: Any) -> bool:
    """Return whether the first frame is of a common kind, with nothing unusual before it."""
    start = 2
    while start + 4 <= len(data) and data[start] == 0xFF:
        marker = data[start + 1]
        if marker in _FRAMES:
            return True
        if marker not in _BEFORE_FRAME:
            return False
        start += 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    return False
