"""Which way up an image stands, by its EXIF block."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from PIL import ImageFile

    from pandas_imgproc.codec.options import DecodeOptions

_UPRIGHT: dict[Any, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BACK: dict[Any, Image.Transpose] = {**_UPRIGHT, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
SIDEWAYS = {_UPRIGHT[tag] for tag in (5, 6, 7, 8)}
ORIENTATION = 0x0112
EXIF_KEYS = frozenset({"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"})
BROKEN_EXIF = (SyntaxError, ValueError, TypeError, LookupError, OSError, ArithmeticError, struct.error)
# Of these the turn must be known before load(): draft needs it, or Pillow turns (and forgets) by itself.
ORIENTED_BEFORE_LOAD = ("JPEG", "MPO", "TIFF")


def exif_transpose_op(image: ImageFile.ImageFile, decode_options: DecodeOptions) -> Image.Transpose | None:
    """Return what makes an image stand upright, None where nothing need be done."""
    if image.format == "TIFF":
        # Pillow turns it upright in load(): nothing is left to do, or all of it to undo.
        return None if decode_options.exif_transpose else _by_tag(image, _BACK)
    # getexif() is dear, and most images have nothing to tell
    if not decode_options.exif_transpose or EXIF_KEYS.isdisjoint(image.info):
        return None
    return _by_tag(image, _UPRIGHT)


def _by_tag(image: ImageFile.ImageFile, turns: dict[Any, Image.Transpose]) -> Image.Transpose | None:
    try:
        return turns.get(image.getexif().get(ORIENTATION))
    except BROKEN_EXIF:
        return None  # a broken EXIF block is no reason to lose a readable image
