"""Cropping of decoded images to a box: in the pixels of the upright image, before it is resized."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from pandas_imgproc.codec.identify import check_pixels
from pandas_imgproc.codec.orientation import inverse, oriented_size, transpose_box
from pandas_imgproc.codec.raster import Raster, to_image
from pandas_imgproc.codec.resize import background_color, copy_palette, target_size
from pandas_imgproc.errors import UnreadableImageError

if TYPE_CHECKING:
    from pandas_imgproc.codec.color_profile import ToSRGB
    from pandas_imgproc.codec.option_values import Size
    from pandas_imgproc.codec.options import DecodeOptions
    from pandas_imgproc.codec.resize import Sides
    from pandas_imgproc.regions import Box, Region

IntBox = tuple[int, int, int, int]
_MAX_SIDE = 2**31 - 1  # of an image of Pillow


class Decoded(NamedTuple):
    """Decoded image in its mode, neither turned upright nor resized.

    Attributes
    ----------
    pixels : PIL.Image.Image or Raster
    transpose : Image.Transpose or None
        Transpose that turns it upright.
    full_size : tuple of (float, float)
        Width and height of the image as it is stored, of a crop to a fraction of a pixel.
    visible : tuple of float, optional
        Box of the pixels that shows the image, if it was decoded at a reduced scale.
    profile : bytes or None
        Color profile of the pixels, if they are not to be sRGB.
    to_srgb : callable, optional
        Conversion of the pixels to sRGB, after they are resized.
    """

    pixels: Image.Image | Raster
    transpose: Image.Transpose | None
    full_size: Sides
    visible: Box | None = None
    profile: bytes | None = None
    to_srgb: ToSRGB | None = None

    @property
    def upright_size(self) -> Sides:
        """Width and height of the upright image."""
        return oriented_size(self.full_size, self.transpose)

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels in memory."""
        if isinstance(self.pixels, Raster):
            return len(self.pixels.data)
        return math.prod(self.pixels.size) * (1 if self.pixels.mode in ("1", "L", "P") else 4)


def resolve_box(region: Region, size: Sides, options: DecodeOptions) -> Box:
    """Return the box of a region in the pixels of an upright image of a size, within it unless the region pads.

    Without a size of the result, the box has whole pixels.

    Raises
    ------
    UnreadableImageError
        Of kind "region" if the box has no area, or none in the image.

    Examples
    --------
    >>> from pandas_imgproc.codec import decode_options
    >>> from pandas_imgproc.regions import Region
    >>> resolve_box(Region((-5.0, 2.0, 8.0, 6.0)), (10, 10), decode_options(4))
    (0.0, 2.0, 8.0, 6.0)
    """
    assert region.box is not None
    width, height = size
    box = region.box
    if region.is_fraction:
        # x / width * width may differ from x in the last bit, and would have a part of one more pixel.
        left, top, right, bottom = (round(box[k] * size[k % 2], 6) for k in range(4))
        box = left, top, right, bottom
    if not all(map(math.isfinite, box)):
        raise _no_region(region, size, "is not finite")
    if not (box[2] > box[0] and box[3] > box[1]):
        raise _no_region(region, size, "has no area")
    inside = max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise _no_region(region, size, "is outside of the image")
    if region.pads and max(box[2] - box[0], box[3] - box[1]) > _MAX_SIDE:
        raise _no_region(region, size, "is larger than any image")
    box = box if region.pads else inside
    if options.size is not None:
        return box
    left, right = _round(box[0], box[2])
    top, bottom = _round(box[1], box[3])
    return left, top, right, bottom


def _round(start: float, stop: float) -> tuple[int, int]:
    """Return the nearest whole pixels, at least one."""
    first, last = round(start), round(stop)
    return (first, last) if last > first else (math.floor(start), math.floor(start) + 1)


def _no_region(region: Region, size: Sides, reason: str) -> UnreadableImageError:
    left, top, right, bottom = (f"{value:.6g}" for value in region.box or ())
    given = " in fractions" if region.is_fraction else ""
    box, pixels = f"the box from ({left}, {top}) to ({right}, {bottom}){given}", f"{size[0]} x {size[1]} pixels"
    return UnreadableImageError("region", f"{box} {reason}: the image has {pixels}")


def draft_size(box: Box, full_size: Size, options: DecodeOptions, transpose: Image.Transpose | None) -> Size:
    """Return the least size of the whole image, as it is stored, at which a crop is not too small to be resized."""
    assert options.reducing_gap is not None
    sides = oriented_size((box[2] - box[0], box[3] - box[1]), transpose)
    width, height = target_size(sides, options, transpose)
    gap = options.reducing_gap
    scale = full_size[0] / sides[0], full_size[1] / sides[1]
    return max(1, int(width * gap * scale[0])), max(1, int(height * gap * scale[1]))


def crop(decoded: Decoded, box: Box, options: DecodeOptions) -> Decoded:
    """Return a box of the upright image as an image of its own, with all pixels of which the box has a part.

    They are not turned upright, so that the work is that of the crop.
    """
    stored = transpose_box(box, decoded.upright_size, inverse(decoded.transpose))
    visible = decoded.visible or (0.0, 0.0, *decoded.full_size)
    scale = visible[2] / decoded.full_size[0], visible[3] / decoded.full_size[1]
    left, top, right, bottom = stored[0] * scale[0], stored[1] * scale[1], stored[2] * scale[0], stored[3] * scale[1]
    outer = math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)
    part = left - outer[0], top - outer[1], right - outer[0], bottom - outer[1]
    is_all = part == (0, 0, outer[2] - outer[0], outer[3] - outer[1])
    sides = stored[2] - stored[0], stored[3] - stored[1]
    cut = decoded._replace(full_size=sides, visible=None if is_all else part)
    width, height = decoded.pixels.size
    inside = max(outer[0], 0), max(outer[1], 0), min(outer[2], width), min(outer[3], height)
    cut = cut._replace(pixels=_cut(decoded.pixels, inside))
    return cut if inside == outer else _padded(cut, outer, inside, options)


def _cut(pixels: Image.Image | Raster, box: IntBox) -> Image.Image | Raster:
    width, height = pixels.size
    if box == (0, 0, width, height):
        return pixels
    if isinstance(pixels, Image.Image):
        return pixels.crop(box)
    rows = np.frombuffer(pixels.data, np.uint8).reshape(height, width, -1)
    data = rows[box[1] : box[3], box[0] : box[2]].tobytes()
    return Raster(pixels.mode, (box[2] - box[0], box[3] - box[1]), data)


def _padded(cut: Decoded, box: IntBox, inside: IntBox, options: DecodeOptions) -> Decoded:
    """Return the part inside of an image with the background around it, which is in sRGB."""
    size = box[2] - box[0], box[3] - box[1]
    check_pixels(size, options.max_pixels)
    image = to_image(cut.pixels if cut.to_srgb is None else cut.to_srgb(cut.pixels))
    if options.mode != "P" and image.mode != options.mode:  # gray, and a background in color
        image = image.convert(options.mode)
    canvas = Image.new(image.mode, size, background_color(options.background, options.mode))
    copy_palette(image, canvas)
    canvas.paste(image, (inside[0] - box[0], inside[1] - box[1]))
    return cut._replace(pixels=canvas, to_srgb=None)
