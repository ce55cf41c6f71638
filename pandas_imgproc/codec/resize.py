"""Resizing: decoding at a reduced scale, cropping or padding, filtering, transposing."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from PIL import Image

from pandas_imgproc.codec.libjpeg import is_lossless
from pandas_imgproc.codec.options import FILTERS
from pandas_imgproc.codec.orientation import oriented_size, transpose_box
from pandas_imgproc.codec.raster import Raster, to_image
from pandas_imgproc.codec.simd_resize import Box, covers
from pandas_imgproc.codec.simd_resize import resize as simd_resize

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import ImageFile

    from pandas_imgproc.codec.color_profile import ToSRGB
    from pandas_imgproc.codec.option_values import Size
    from pandas_imgproc.codec.options import DecodeOptions

Sides = tuple[float, float]

_DRAFT_FORMATS = ("JPEG", "MPO")  # their decoder can give a smaller image for less work


def can_draft(image: ImageFile.ImageFile, data: Any, options: DecodeOptions) -> bool:
    """Return whether an image may be decoded at a reduced scale."""
    if options.size is None or options.reducing_gap is None or image.format not in _DRAFT_FORMATS:
        return False
    return not is_lossless(data)


def draft(image: ImageFile.ImageFile, options: DecodeOptions, min_size: Size, *, in_color: bool = False) -> Box | None:
    """Request a reduced scale, of a least size, from the JPEG decoder; return the visible box of the draft.

    With `in_color` the colors are decoded for a gray image too.
    """
    # A JPEG file stores gray as a channel of its own: nothing else need be decoded.
    drafted = image.draft("L" if options.mode == "L" and not in_color else None, min_size)
    return None if drafted is None else drafted[1]


def resize_and_orient(
    image: Image.Image | Raster,
    options: DecodeOptions,
    transpose: Image.Transpose | None,
    full_size: Sides,
    box: Box | None,
    to_srgb: ToSRGB | None = None,
) -> Image.Image | Raster:
    """Resize, convert to sRGB, transpose and pad an image.

    The exact way transposes first, as a user of Pillow does; else transposing the small result is cheaper, and
    draft's fractional box need not be transposed. Colors are converted after the resize, as in an editor, which resizes
    in the color space of the file, unless that has more pixels; and before the background is added, which is in sRGB.
    """
    if transpose is not None and (options.size is None or options.reducing_gap is None):
        box = box and transpose_box(box, image.size, transpose)
        image, full_size, transpose = to_image(image).transpose(transpose), oriented_size(full_size, transpose), None
    if options.size is not None:
        if options.fit == "crop":
            box = _crop_box(box or (0.0, 0.0, *image.size), oriented_size(options.size, transpose))
        image = _resize_in_srgb(image, target_size(full_size, options, transpose), options, box, to_srgb)
    elif to_srgb is not None:
        image = to_srgb(image)
    if transpose is not None:
        image = to_image(image).transpose(transpose)
    if options.mode != "P" and image.mode != options.mode:
        image = to_image(image).convert(options.mode)
    if options.fit == "pad" and options.size is not None and image.size != options.size:
        return _pad(to_image(image), options.size, options)
    return image


def _resize_in_srgb(
    image: Image.Image | Raster, size: Size, options: DecodeOptions, box: Box | None, to_srgb: ToSRGB | None
) -> Image.Image | Raster:
    """Resize an image, and convert its colors where there are fewer pixels."""
    if to_srgb is not None and math.prod(image.size) < math.prod(size):
        return _resize(to_srgb(image), size, options, box)
    resized = _resize(image, size, options, box)
    return resized if to_srgb is None else to_srgb(resized)


def _resize(image: Image.Image | Raster, size: Size, options: DecodeOptions, box: Box | None) -> Image.Image | Raster:
    if options.engine == "simd" and covers(image, size, options.resample):
        return simd_resize(image, size, options.resample, box)
    image = to_image(image)
    resample, reducing_gap = FILTERS[options.resample], options.reducing_gap
    if image.mode == "RGBA" and reducing_gap is not None:
        # resize() does the same by itself, but forgot the gap before Pillow 12
        return image.convert("RGBa").resize(size, resample, box, reducing_gap).convert("RGBA")
    return image.resize(size, resample, box, reducing_gap)


def target_size(full_size: Sides, options: DecodeOptions, transpose: Image.Transpose | None) -> Size:
    """Return the size of the resized image, without padding and before the transpose."""
    assert options.size is not None
    size, keep_aspect = options.size, _KEEP_ASPECT.get(options.fit)
    if keep_aspect is not None:  # of the upright image: rounding is not the same for both sides
        size = keep_aspect(oriented_size(full_size, transpose), size)
    return oriented_size(size, transpose)


def _contain(full_size: Sides, size: Size) -> Size:
    """Return the largest size of the same aspect within `size`, as `PIL.ImageOps.contain`."""
    (width, height), aspect, max_aspect = size, full_size[0] / full_size[1], size[0] / size[1]
    if aspect > max_aspect:
        return width, max(1, round(full_size[1] / full_size[0] * width))
    if aspect < max_aspect:
        return max(1, round(full_size[0] / full_size[1] * height)), height
    return size


def resized_geometry(full_size: Size, options: DecodeOptions) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the scale and the offset in x and y by which a point of the upright image moves when it is resized.

    Examples
    --------
    >>> from pandas_imgproc.codec import decode_options
    >>> resized_geometry((200, 100), decode_options(50, fit="pad"))
    ((0.25, 0.25), (0, 12))
    """
    if options.size is None:
        return (1.0, 1.0), (0.0, 0.0)
    width, height = options.size
    if options.fit == "crop":
        left, top, right, bottom = _crop_box((0.0, 0.0, *full_size), options.size)
        scale = width / (right - left), height / (bottom - top)
        return scale, (-left * scale[0], -top * scale[1])
    inner = target_size(full_size, options, None)
    offset = round((width - inner[0]) * 0.5), round((height - inner[1]) * 0.5)
    return (inner[0] / full_size[0], inner[1] / full_size[1]), offset


def _thumbnail(full_size: Sides, size: Size) -> Size:
    """Return the largest size of the same aspect within `size`, never enlarged, as `PIL.Image.Image.thumbnail`."""
    (width, height), aspect = size, full_size[0] / full_size[1]
    if width >= full_size[0] and height >= full_size[1]:
        return max(1, round(full_size[0])), max(1, round(full_size[1]))
    if width / height >= aspect:
        return _round_keeping_aspect(height * aspect, lambda side: abs(aspect - side / height)), height
    return width, _round_keeping_aspect(width / aspect, lambda side: abs(aspect - width / side) if side else 0)


def _round_keeping_aspect(side: float, error: Callable[[int], float]) -> int:
    """Return the neighboring integer with the smaller error of the aspect, at least 1."""
    return max(min(math.floor(side), math.ceil(side), key=error), 1)


_KEEP_ASPECT: dict[str, Callable[[Sides, Size], Size]] = {
    "pad": _contain,
    "contain": _contain,
    "thumbnail": _thumbnail,
}


def _crop_box(visible: Box, size: Size) -> Box:
    """Return the central part of a box of the size's aspect, as `PIL.ImageOps.fit`, to the last bit."""
    full_width, full_height = width, height = visible[2] - visible[0], visible[3] - visible[1]
    aspect = size[0] / size[1]
    if width / height > aspect:
        width = aspect * height
    elif width / height < aspect:
        height = width / aspect
    left, top = visible[0] + (full_width - width) * 0.5, visible[1] + (full_height - height) * 0.5
    return left, top, min(left + width, visible[2]), min(top + height, visible[3])


def _pad(image: Image.Image, size: Size, options: DecodeOptions) -> Image.Image:
    canvas = Image.new(image.mode, size, background_color(options.background, options.mode))
    copy_palette(image, canvas)
    canvas.paste(image, (round((size[0] - image.width) * 0.5), round((size[1] - image.height) * 0.5)))
    return canvas


def copy_palette(image: Image.Image, canvas: Image.Image) -> None:
    """Copy the palette of an image, if it has one, to another of the same mode."""
    palette = image.getpalette() if image.mode == "P" else None
    if palette is not None:
        canvas.putpalette(palette)


@functools.lru_cache(maxsize=64)
def background_color(background: tuple[int, ...] | None, mode: str) -> Any:
    """Return a color in the mode of an image, black for None."""
    if background is None:
        return 0
    color = Image.new("RGBA" if len(background) == 4 else "RGB", (1, 1), background)
    return color.convert("L" if mode == "P" else mode).getpixel((0, 0))
