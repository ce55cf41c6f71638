"""Encoding of pixels to a file that opens everywhere: baseline JPEG, plain PNG, with the color profile."""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc._timing import timed
from pandas_imgproc._validation import check_choice, check_int
from pandas_imgproc.codec.options import FORMAT_ALIASES
from pandas_imgproc.errors import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from PIL import Image

# Modes that files of a format can hold. CMYK is left out: half of the programs show such JPEG files in false colors.
MODES_OF: dict[str, tuple[str, ...]] = {
    "JPEG": ("RGB", "L"),
    "PNG": ("RGB", "RGBA", "L", "P"),
    "WEBP": ("RGB", "RGBA", "L"),
    "AVIF": ("RGB", "RGBA", "L"),
    "TIFF": ("RGB", "RGBA", "L", "P"),
    "BMP": ("RGB", "L", "P"),
    "GIF": ("RGB", "L", "P"),
    "JPEG2000": ("RGB", "RGBA", "L"),
    "PPM": ("RGB", "L"),
}
SUFFIX_OF: dict[str, str] = {
    "JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "AVIF": ".avif", "TIFF": ".tif", "BMP": ".bmp", "GIF": ".gif",
    "JPEG2000": ".jp2", "PPM": ".ppm",
}  # fmt: skip
FORMAT_OF: dict[str, str] = {
    **{suffix: name for name, suffix in SUFFIX_OF.items()},
    ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".tiff": "TIFF", ".pgm": "PPM", ".pnm": "PPM",
}  # fmt: skip
READ_SUFFIXES: frozenset[str] = frozenset(FORMAT_OF) | {
    ".mpo", ".pbm", ".dib", ".apng", ".avifs", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c", ".ico", ".tga", ".heic", ".heif",
}  # fmt: skip
_MAX_SIDES = {"JPEG": 65_500, "GIF": 65_535}  # beyond them libjpeg prints a message and gives no reason
_LOSSY_FORMATS = ("JPEG", "WEBP", "AVIF")
_PROFILE_SPACES = {"RGB": b"RGB ", "RGBA": b"RGB ", "L": b"GRAY"}
_ENCODER_ERRORS = (OSError, ValueError, SyntaxError, RuntimeError, LookupError, struct.error, OverflowError)


@dataclass(frozen=True)
class EncodeOptions:
    """Options of encoding, built by `encode_options`.

    Attributes
    ----------
    format : str or None
        Pillow's name; None follows the suffix of the file.
    quality : int
        1 to 100, for the lossy formats.
    """

    format: str | None
    quality: int


def encode_options(format: Any, quality: Any) -> EncodeOptions:  # noqa: A002  Pillow's word
    """Check the arguments and return the normalized options.

    Raises
    ------
    ValueError, TypeError
        Names the argument, the value and the legal ones.

    Examples
    --------
    >>> encode_options("jpg", 75)
    EncodeOptions(format='JPEG', quality=75)
    """
    quality = check_int("quality", quality, 1, 100)
    if format is None:
        return EncodeOptions(None, quality)
    if not isinstance(format, str):
        raise TypeError(f"format={format!r} is not the name of a format such as 'JPEG'")
    name = format.upper().removeprefix(".")
    return EncodeOptions(check_choice("format", FORMAT_ALIASES.get(name, name), MODES_OF), quality)


def format_of(name: str) -> str | None:
    """Return the format of a file name's suffix; None if no such files are written.

    Examples
    --------
    >>> format_of("a.JPG"), format_of("a.txt")
    ('JPEG', None)
    """
    return FORMAT_OF.get(os.path.splitext(name)[1].lower())


def check_modes(formats: Iterable[str], mode: str) -> None:
    """Raise a ValueError if files of a format cannot hold images of a mode."""
    for name in formats:
        if mode not in MODES_OF[name]:
            capable = ", ".join(other for other, modes in MODES_OF.items() if mode in modes)
            advice = f"formats that can: {capable}" if capable else "use mode='RGB'"
            raise ValueError(f"{name} files cannot hold mode={mode!r}; {advice}")


def encode(image: Image.Image, options: EncodeOptions, name: str) -> bytes:
    r"""Encode an image to the bytes of a file.

    Parameters
    ----------
    image : PIL.Image.Image
        As returned by `load`; of its ``info``, only the color profile is written.
    options : EncodeOptions
    name : str
        Name of the file, whose suffix gives the format where `options` do not.

    Raises
    ------
    UnreadableImageError
        Of kind "unsupported", if the format cannot hold the image.

    Examples
    --------
    >>> from PIL import Image
    >>> encode(Image.new("RGB", (4, 4), "red"), EncodeOptions(None, 75), "a.png")[:4]
    b'\x89PNG'
    """
    format_name = options.format or format_of(name)
    if format_name is None:
        raise UnreadableImageError("unsupported", f"the suffix of {name!r} names no format")
    _check_sides(image, format_name)
    params: dict[str, Any] = {"quality": options.quality} if format_name in _LOSSY_FORMATS else {}
    profile = image.info.get("icc_profile")
    # A profile describes the colors of the input file: that of a CMYK file does not describe RGB.
    if profile and profile[16:20] == _PROFILE_SPACES.get(image.mode):
        params["icc_profile"] = profile
    image.info = {}
    if format_name == "GIF":
        params["optimize"] = False  # a smaller palette has other numbers
    if image.mode == "P":
        _complete_palette(image)
    buffer = io.BytesIO()
    with timed("encode"):
        # Measured: simplejpeg encodes a thumbnail of 128 pixels in 0.03 ms less, two percent of its whole way, without
        # the profile and to other bytes.
        try:
            image.save(buffer, format_name, **params)
        except _ENCODER_ERRORS as exc:
            message = f"an image of {image.width} x {image.height} pixels cannot be written as {format_name}: {exc}"
            raise UnreadableImageError("unsupported", message) from exc
    return buffer.getvalue()


def _check_sides(image: Image.Image, format_name: str) -> None:
    """Raise an UnreadableImageError if an image is larger than its format allows."""
    limit = _MAX_SIDES.get(format_name)
    if limit is not None and max(image.size) > limit:
        size = f"{image.width} x {image.height}"
        message = f"an image of {size} pixels cannot be written as {format_name}: its sides have at most {limit}"
        raise UnreadableImageError("unsupported", message)


def _complete_palette(image: Image.Image) -> None:
    """Give a palette that is shorter than the largest pixel more colors, gray: the encoder would cut its bits."""
    palette, n_colors = image.getpalette() or [], int(np.asarray(image).max()) + 1
    if 3 * n_colors > len(palette):
        image.putpalette([*palette, *(level for level in range(len(palette) // 3, 256) for _ in range(3))])
