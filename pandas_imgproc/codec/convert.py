"""Any image in the mode that is asked for: 16 bits scaled, transparency on its background, classes kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pandas_imgproc.errors import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from PIL import ImageFile

    from pandas_imgproc.codec.options import DecodeOptions

_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
_VIA_RGB_MODES = ("LAB", "HSV", "YCbCr", "RGBX")  # Pillow converts these to nothing else


def convert_mode(image: Image.Image, decode_options: DecodeOptions, raw: str) -> Image.Image:
    """Return an image in the mode of the recipe, or in one that `resizing.finish` makes that of."""
    if decode_options.mode == "P":
        return _classes(image)
    image = _eight_bits(image, decode_options, raw)
    if not image.has_transparency_data:
        if image.mode == "L" and decode_options.mode in ("RGB", "RGBA"):
            return image  # a third of the work, and the same pixels: _finish repeats the channel
    else:
        image = _flat(image, decode_options, raw)
    if image.mode == decode_options.mode:
        return image
    if image.mode in _VIA_RGB_MODES:
        image = image.convert("RGB")
    return image.convert(decode_options.mode)


def raw_mode(image: ImageFile.ImageFile) -> str:
    """Return how the samples are stored, before load() forgets it: "L;4", "RGB;16B", "I;12"."""
    args: Any = image.tile[0][3] if image.tile else ""
    raw = args[0] if isinstance(args, tuple) and args else args
    return raw if isinstance(raw, str) else ""


def _eight_bits(image: Image.Image, decode_options: DecodeOptions, raw: str) -> Image.Image:
    """Return "L" or "LA" for an image of 16-bit grey levels, any other as it is."""
    if image.mode == "F" and decode_options.scale_depth:
        _check_range("F", np.asarray(image), 255, above=1)
    if not (image.mode.startswith("I;16") or (image.mode == "I" and decode_options.scale_depth)):
        return image
    levels = np.asarray(image)
    if decode_options.scale_depth:
        _check_range(image.mode, levels, 65535)
    grey = _scaled(levels, 4095 if "12" in raw else 65535) if decode_options.scale_depth else image.convert("L")
    transparent = image.info.get("transparency")
    if decode_options.background is None and decode_options.mode != "RGBA":
        transparent = None
    if transparent is None:
        return grey
    # Pillow compares after clipping, which makes the whole image transparent.
    alpha = np.where(levels == transparent, 0, 255).astype(np.uint8)
    return Image.merge("LA", (grey, Image.fromarray(alpha)))


def _check_range(mode: str, levels: NDArray[Any], top: int, above: float = -1) -> None:
    """Refuse levels whose white is nowhere written and cannot be meant: what was shown would be black or clipped."""
    low, high = float(levels.min()), float(levels.max())
    if not (low >= 0 and above < high <= top):
        raise UnreadableImageError(
            "unsupported",
            f"an image of mode {mode} with levels from {low:g} to {high:g}: what is white in it is not known; "
            "scale_depth=False clips it as Pillow does",
        )


def _scaled(levels: NDArray[Any], top: int) -> Image.Image:
    # The range of a 32-bit image is nowhere written: within 16 bits it is read as 16 bits, as most writers mean it.
    wide = np.clip(levels, 0, top).astype(np.uint32)
    wide *= 255
    wide += top // 2
    wide //= top
    return Image.fromarray(wide.astype(np.uint8))


# Pillow widens these samples to 8 bits and leaves the transparent level as the file has it.
_TRANSPARENT_LEVEL: dict[str, Callable[[int], int]] = {
    "1": lambda level: 255 if level else 0,
    "L;2": lambda level: (level & 3) * 85,
    "L;4": lambda level: (level & 15) * 17,
    "RGB;16B": lambda level: level >> 8,
}


def _flat(image: Image.Image, decode_options: DecodeOptions, raw: str) -> Image.Image:
    """Return the image in "RGBA" if that is wanted, else on its background, else without its alpha."""
    if image.mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[image.mode])
    if decode_options.mode != "RGBA" and decode_options.background is None:
        return image.convert("RGB") if image.mode == "RGBA" else image
    level, widen = image.info.get("transparency"), _TRANSPARENT_LEVEL.get(raw)
    if widen is not None and level is not None:
        image.info["transparency"] = tuple(map(widen, level)) if isinstance(level, tuple) else widen(level)
    if image.mode != "RGBA":  # convert() would copy
        image = image.convert("RGBA")
    if decode_options.mode == "RGBA":
        return image
    ground = Image.new("RGB", image.size, decode_options.background)
    # Before the resize: the colours hidden below transparency would bleed into the edges.
    ground.paste(image, mask=image)
    return ground


def _classes(image: Image.Image) -> Image.Image:
    """Return an image whose pixels are the numbers of a mask's classes."""
    if image.mode in ("P", "L"):
        return image
    if image.mode == "1":
        return image.convert("L").point([0] + [1] * 255)
    if image.mode == "PA":
        return image.getchannel("P")
    if image.mode.startswith("I"):
        numbers = np.asarray(image)
        if int(numbers.min()) >= 0 and int(numbers.max()) <= 255:
            return Image.fromarray(numbers.astype(np.uint8))
        raise UnreadableImageError(
            "unsupported",
            f"mode='P' holds class numbers up to 255, this image has {numbers.min()} to {numbers.max()}",
        )
    raise UnreadableImageError(
        "unsupported",
        "mode='P' wants a palette or grey image, whose pixels are class numbers; "
        f"this one is {image.mode}: use mode='RGB'",
    )
