"""Mode conversion: 16 bits scaled to 8, transparency composited on the background, class ids unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pandas_imgproc.codec.raster import Raster, to_image
from pandas_imgproc.errors import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pandas_imgproc.codec.color_profile import ToSRGB
    from pandas_imgproc.codec.options import DecodeOptions
    from pandas_imgproc.codec.stored_samples import StoredSamples

_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
_VIA_RGB_MODES = ("LAB", "HSV", "YCbCr", "RGBX")  # Pillow converts these to nothing else


def convert_mode(
    image: Image.Image | Raster, options: DecodeOptions, samples: StoredSamples, to_srgb: ToSRGB | None = None
) -> tuple[Image.Image | Raster, ToSRGB | None]:
    """Convert an image to the requested mode, except that gray is left to `resize_and_orient`.

    Returns
    -------
    image : PIL.Image.Image or Raster
    to_srgb : ToSRGB or None
        The conversion, if it is left to `resize_and_orient` too: a transparent image is converted here, before its
        background is added.
    """
    if isinstance(image, Raster):  # of a JPEG file, without transparency: nearly always in that mode
        if to_srgb is not None or image.mode == options.mode or _is_gray_of_color(image, options):
            return image, to_srgb
        image = to_image(image)
    if options.mode == "P":
        return _to_class_ids(image, samples), None
    image = _to_8bit(image, options, samples)
    if image.has_transparency_data:
        image = _composite_background(image, options, samples, to_srgb)
        keeps_alpha = options.mode == "RGBA" or options.background is not None
        to_srgb = None if keeps_alpha else to_srgb
    elif _is_gray_of_color(image, options):
        return image, to_srgb  # a third of the work, and the same pixels: the channel is repeated after the resize
    if to_srgb is not None:
        return to_srgb.prepare(image), to_srgb
    return _to_mode(image, options.mode), None


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode:
        return image
    return (image.convert("RGB") if image.mode in _VIA_RGB_MODES else image).convert(mode)


def _is_gray_of_color(image: Image.Image | Raster, options: DecodeOptions) -> bool:
    return image.mode == "L" and options.mode in ("RGB", "RGBA")


def _to_8bit(image: Image.Image, options: DecodeOptions, samples: StoredSamples) -> Image.Image:
    """Return "L" or "LA" for an image of 16-bit gray levels, any other unchanged, but positive."""
    if image.mode in ("P", "PA") and image.palette is None:
        raise UnreadableImageError("corrupt", "its pixels are numbers of colors, and it has no palette")
    if image.mode == "F" and options.scale_depth:
        _check_range("F", np.asarray(image), 255, above=1)
    if samples.is_negative:
        image = _invert(image)
    if not (image.mode.startswith("I;16") or (image.mode == "I" and options.scale_depth)):
        return image
    levels = np.asarray(image)
    if options.scale_depth:
        _check_range(image.mode, levels, 65535)
        gray = _rescale(levels, 4095 if "12" in samples.raw_mode else 65535)
    else:
        gray = image.convert("L")
    transparent = image.info.get("transparency")
    if transparent is None or (options.background is None and options.mode != "RGBA"):
        return gray
    # Pillow compares after clipping, which makes the whole image transparent.
    alpha = np.where(levels == transparent, 0, 255).astype(np.uint8)
    return Image.merge("LA", (gray, Image.fromarray(alpha)))


def _invert(image: Image.Image) -> Image.Image:
    """Return the positive of an image of 16 bits, or of floats as Pillow reads them, from 0 to 255."""
    levels, info = np.asarray(image), image.info
    image = Image.fromarray((255 if image.mode == "F" else 65535) - levels)
    image.info = info
    return image


def _check_range(mode: str, levels: NDArray[Any], top: int, above: float = -1) -> None:
    """Refuse levels without a known white: the image would come out black or clipped."""
    low, high = float(levels.min()), float(levels.max())
    if not (low >= 0 and above < high <= top):
        raise UnreadableImageError(
            "unsupported",
            f"an image of mode {mode} with levels from {low:g} to {high:g}: its white level is unknown; "
            "scale_depth=False clips it as Pillow does",
        )


def _rescale(levels: NDArray[Any], top: int) -> Image.Image:
    # No file states the range of a 32-bit image: within 16 bits it is read as 16 bits, as most writers mean it.
    wide = np.clip(levels, 0, top).astype(np.uint32)
    wide *= 255
    wide += top // 2
    wide //= top
    return Image.fromarray(wide.astype(np.uint8))


# Pillow widens these samples to 8 bits and leaves the transparent level as it is in the file.
_WIDEN_LEVEL: dict[str, Callable[[int], int]] = {
    "1": lambda level: 255 if level else 0,
    "L;2": lambda level: (level & 3) * 85,
    "L;4": lambda level: (level & 15) * 17,
    "RGB;16B": lambda level: level >> 8,
}


def _composite_background(
    image: Image.Image, options: DecodeOptions, samples: StoredSamples, to_srgb: ToSRGB | None
) -> Image.Image:
    """Return the image in "RGBA" if requested, else on its background, else without its alpha."""
    if image.mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[image.mode])
    if options.mode != "RGBA" and options.background is None:
        return image.convert("RGB") if image.mode == "RGBA" else image
    level, widen = image.info.get("transparency"), _WIDEN_LEVEL.get(samples.raw_mode)
    if widen is not None and level is not None:
        image.info["transparency"] = tuple(map(widen, level)) if isinstance(level, tuple) else widen(level)
    if image.mode != "RGBA":  # convert() would copy
        image = image.convert("RGBA")
    if to_srgb is not None:
        image = to_srgb.with_alpha(image)
    if options.mode == "RGBA":
        return image
    canvas = Image.new("RGB", image.size, options.background)
    # Before the resize: the colors hidden below transparency would bleed into the edges.
    canvas.paste(image, mask=image)
    return canvas


def _to_class_ids(image: Image.Image, samples: StoredSamples) -> Image.Image:
    """Return a mask with its class ids, the numbers in the file, as pixels, in mode "P" or "L".

    A bilevel image has colors, not numbers: black is 0, white is 1. Writers choose the stored bit by the compression.
    """
    if image.mode == "P":
        return image
    if image.mode == "1":
        return image.convert("L").point([0] + [1] * 255)
    if image.mode == "PA":
        return image.getchannel("P")
    if image.mode != "L" and not image.mode.startswith("I"):
        message = f"whose pixels are class ids; this one is {image.mode}: convert its colors to ids, or use mode='RGB'"
        raise UnreadableImageError("unsupported", f"mode='P' needs a palette or gray image, {message}")
    levels = np.asarray(image)
    ids = samples.restore(levels)
    if ids is levels and image.mode == "L":
        return image
    if int(ids.min()) < 0 or int(ids.max()) > 255:
        message = f"mode='P' holds class ids up to 255, this image has {ids.min()} to {ids.max()}"
        raise UnreadableImageError("unsupported", message)
    return Image.fromarray(ids.astype(np.uint8))
