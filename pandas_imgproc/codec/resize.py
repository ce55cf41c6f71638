"""Another size: decoded at a reduced scale, cropped or padded, filtered, turned."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from PIL import Image

from pandas_imgproc.codec.options import FILTERS
from pandas_imgproc.codec.orientation import SIDEWAYS

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import ImageFile

    from pandas_imgproc.codec.options import DecodeOptions

DRAFT_FORMATS = ("JPEG", "MPO")
"""Formats whose decoder can give a smaller image for less work."""

Box = tuple[float, float, float, float]
Size = tuple[int, int]


def draft(image: ImageFile.ImageFile, decode_options: DecodeOptions, turn: Image.Transpose | None) -> Box | None:
    """Let a JPEG be decoded at a reduced scale; return the part of it that shows the image."""
    if decode_options.size is None or decode_options.reducing_gap is None or image.format not in DRAFT_FORMATS:
        return None
    width, height = _target(image.size, decode_options, turn)
    wanted = int(width * decode_options.reducing_gap), int(height * decode_options.reducing_gap)
    # Grey is stored as it is in a JPEG file: nothing else need be decoded.
    drafted = image.draft("L" if decode_options.mode == "L" else None, wanted)
    return None if drafted is None else drafted[1]


def resize_and_orient(
    image: Image.Image, decode_options: DecodeOptions, turn: Image.Transpose | None, full: Size, box: Box | None
) -> Image.Image:
    """Resize, turn, pad.

    The exact way turns first, as one does by hand; else turning the small result is cheaper, and draft's
    fractional box need not be turned.
    """
    if turn is not None and (decode_options.size is None or decode_options.reducing_gap is None):
        image, full, turn = image.transpose(turn), oriented_size(full, turn), None
    if decode_options.size is not None:
        size = oriented_size(decode_options.size, turn)
        if decode_options.fit == "crop":
            box = _crop_box((box[2], box[3]) if box else image.size, size)
        image = _resized(image, _target(full, decode_options, turn), decode_options, box)
    if turn is not None:
        image = image.transpose(turn)
    if decode_options.mode != "P" and image.mode != decode_options.mode:
        image = image.convert(decode_options.mode)
    if decode_options.fit == "pad" and decode_options.size is not None and image.size != decode_options.size:
        return _padded(image, decode_options.size, decode_options)
    return image


def _resized(image: Image.Image, size: Size, decode_options: DecodeOptions, box: Box | None) -> Image.Image:
    resample, gap = FILTERS[decode_options.resample], decode_options.reducing_gap
    if image.mode == "RGBA" and gap is not None:
        # resize() does the same by itself, but forgot the gap before Pillow 12
        return image.convert("RGBa").resize(size, resample, box, gap).convert("RGBA")
    return image.resize(size, resample, box, gap)


def oriented_size(size: Size, turn: Image.Transpose | None) -> Size:
    """Return a size as it is before a turn."""
    return (size[1], size[0]) if turn in SIDEWAYS else size


def _target(full: Size, decode_options: DecodeOptions, turn: Image.Transpose | None) -> Size:
    """Return the size that the image itself is given before it is turned."""
    assert decode_options.size is not None
    # Of the upright image, as a person would reckon: rounding is not the same for both sides.
    return oriented_size(
        _KEEPING_ASPECT.get(decode_options.fit, _as_asked)(oriented_size(full, turn), decode_options.size), turn
    )


def _as_asked(full: Size, size: Size) -> Size:  # noqa: ARG001  the others need it
    return size


def _contained(full: Size, size: Size) -> Size:
    """Return the size of an image that lies within another, as `PIL.ImageOps.contain`."""
    (width, height), ratio, wanted = size, full[0] / full[1], size[0] / size[1]
    if ratio > wanted:
        return width, max(1, round(full[1] / full[0] * width))
    if ratio < wanted:
        return max(1, round(full[0] / full[1] * height)), height
    return size


def _as_thumbnail(full: Size, size: Size) -> Size:
    """Return the size of an image that lies within another and is never enlarged, as `PIL.Image.Image.thumbnail`."""
    (width, height), ratio = size, full[0] / full[1]
    if width >= full[0] and height >= full[1]:
        return full
    if width / height >= ratio:
        return _nearest(height * ratio, lambda side: abs(ratio - side / height)), height
    return width, _nearest(width / ratio, lambda side: abs(ratio - width / side) if side else 0)


def _nearest(side: float, error: Callable[[int], float]) -> int:
    """Return the whole number beside a length whose aspect is nearest, at least 1."""
    return max(min(math.floor(side), math.ceil(side), key=error), 1)


_KEEPING_ASPECT: dict[str, Callable[[Size, Size], Size]] = {
    "pad": _contained,
    "contain": _contained,
    "thumbnail": _as_thumbnail,
}


def _crop_box(live: tuple[float, float], size: Size) -> Box:
    """Return the middle of an image in the size's proportions, as `PIL.ImageOps.fit`, to the last bit."""
    width, height = live
    ratio = size[0] / size[1]
    if width / height > ratio:
        width = ratio * height
    elif width / height < ratio:
        height = width / ratio
    left, top = (live[0] - width) * 0.5, (live[1] - height) * 0.5
    return left, top, min(left + width, live[0]), min(top + height, live[1])


def _padded(image: Image.Image, size: Size, decode_options: DecodeOptions) -> Image.Image:
    canvas = Image.new(image.mode, size, _ground(decode_options.background, decode_options.mode))
    palette = image.getpalette() if image.mode == "P" else None
    if palette is not None:
        canvas.putpalette(palette)
    canvas.paste(image, (round((size[0] - image.width) * 0.5), round((size[1] - image.height) * 0.5)))
    return canvas


@functools.lru_cache(maxsize=64)
def _ground(background: tuple[int, ...] | None, mode: str) -> Any:
    if background is None:
        return 0
    colour = Image.new("RGBA" if len(background) == 4 else "RGB", (1, 1), background)
    return colour.convert("L" if mode == "P" else mode).getpixel((0, 0))
