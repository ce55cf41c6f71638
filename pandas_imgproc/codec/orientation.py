"""EXIF orientation of an image, and the transpose that undoes it."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Any, TypeVar

from PIL import Image
from PIL.ExifTags import Base

from pandas_imgproc.codec.limits import check_tags

if TYPE_CHECKING:
    from pandas_imgproc.codec.limits import Limits
    from pandas_imgproc.codec.options import DecodeOptions
    from pandas_imgproc.regions import Box

T = TypeVar("T")

_TO_UPRIGHT: dict[Any, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TO_STORED: dict[Any, Image.Transpose] = {**_TO_UPRIGHT, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
SWAPS_AXES = {_TO_UPRIGHT[orientation] for orientation in (5, 6, 7, 8)}
EXIF_KEYS = frozenset({"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"})
BROKEN_EXIF = (SyntaxError, ValueError, TypeError, LookupError, OSError, ArithmeticError, struct.error)
# Their transpose must be known before load(): draft needs it, or Pillow transposes (and forgets) by itself.
ORIENTED_BEFORE_LOAD = ("JPEG", "MPO", "TIFF")


def oriented_size(size: tuple[T, T], transpose: Image.Transpose | None) -> tuple[T, T]:
    """Return a size as it is before (or after) a transpose."""
    return (size[1], size[0]) if transpose in SWAPS_AXES else size


def inverse(transpose: Image.Transpose | None) -> Image.Transpose | None:
    """Return the transpose that undoes another one."""
    rotations = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270)
    return rotations[transpose == rotations[0]] if transpose in rotations else transpose


def transpose_box(box: Box, size: tuple[float, float], transpose: Image.Transpose | None) -> Box:
    """Return left, top, right and bottom of a box, in an image of a size, after a transpose.

    Examples
    --------
    >>> transpose_box((1, 2, 4, 6), (10, 20), Image.Transpose.ROTATE_90)
    (2, 6, 6, 9)
    """
    (left, top, right, bottom), (width, height) = box, size
    flipped_x, flipped_y = (width - right, width - left), (height - bottom, height - top)
    x, y = {
        Image.Transpose.FLIP_LEFT_RIGHT: (flipped_x, (top, bottom)),
        Image.Transpose.ROTATE_180: (flipped_x, flipped_y),
        Image.Transpose.FLIP_TOP_BOTTOM: ((left, right), flipped_y),
        Image.Transpose.TRANSPOSE: ((top, bottom), (left, right)),
        Image.Transpose.ROTATE_90: ((top, bottom), flipped_x),
        Image.Transpose.ROTATE_270: (flipped_y, (left, right)),
        Image.Transpose.TRANSVERSE: (flipped_y, flipped_x),
        None: ((left, right), (top, bottom)),
    }[transpose]
    return x[0], y[0], x[1], y[1]


def exif_transpose_op(image: Image.Image, options: DecodeOptions) -> Image.Transpose | None:
    """Return the transpose that gives the requested orientation, None where none is needed."""
    if image.format == "TIFF":
        # Pillow turns it upright in load(): nothing is left to do, or all of it to undo.
        return None if options.exif_transpose else _transpose_for_tag(image, _TO_STORED, options)
    # getexif() is expensive, and most images have no EXIF block
    if not options.exif_transpose or EXIF_KEYS.isdisjoint(image.info):
        return None
    return _transpose_for_tag(image, _TO_UPRIGHT, options)


def _transpose_for_tag(
    image: Image.Image, transposes: dict[Any, Image.Transpose], options: DecodeOptions
) -> Image.Transpose | None:
    check_exif(image, options.limits)
    try:
        return transposes.get(image.getexif().get(Base.Orientation))
    except BROKEN_EXIF:
        return None  # a broken EXIF block is no reason to lose a readable image


def check_exif(image: Image.Image, limits: Limits) -> None:
    """Check the EXIF block of a PNG or WebP image, before it is read; that of a JPEG or TIFF file is in its header.

    Raises
    ------
    UnreadableImageError
        Of kind "too_large".
    """
    block = image.info.get("exif")
    if block is None and "Raw profile type exif" in image.info:  # ImageMagick's: lines of hexadecimal digits
        with contextlib.suppress(*BROKEN_EXIF):
            block = bytes.fromhex("".join(image.info["Raw profile type exif"].split("\n")[3:]))
    if block and image.format not in ORIENTED_BEFORE_LOAD:
        check_tags(block.removeprefix(b"Exif\0\0"), limits)
