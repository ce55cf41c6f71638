"""Pixels to the bytes of a file that opens everywhere: baseline JPEG, plain PNG, the colour profile kept."""

from __future__ import annotations

import io
import numbers
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pandas_imgproc._timing import timed
from pandas_imgproc.errors import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from PIL import Image

# What files of each format can hold. CMYK is left out: half of the programs show such JPEG files in false colours.
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
_OTHER_NAMES = {"JPG": "JPEG", "TIF": "TIFF", "JP2": "JPEG2000"}
_WITH_QUALITY = ("JPEG", "WEBP", "AVIF")
_PROFILED = {"RGB": b"RGB ", "RGBA": b"RGB ", "L": b"GRAY"}
_ENCODER_ERRORS = (OSError, ValueError, SyntaxError, RuntimeError, LookupError, struct.error, OverflowError)


@dataclass(frozen=True)
class EncodeOptions:
    """How pixels become a file; make one with `encode_options`.

    Attributes
    ----------
    format : str or None
        Pillow's name; None: what the file's suffix says.
    quality : int
        1 to 100, of the formats that lose something.
    """

    format: str | None
    quality: int


def encode_options(format: Any, quality: Any) -> EncodeOptions:  # noqa: A002  Pillow's word
    """Check the arguments and return what they mean.

    Raises
    ------
    ValueError, TypeError
        Names the argument, the value and the legal ones.

    Examples
    --------
    >>> encode_options("jpg", 75)
    Encoding(format='JPEG', quality=75)
    """
    if isinstance(quality, bool) or not isinstance(quality, numbers.Integral):
        raise TypeError(f"quality={quality!r} is not a whole number from 1 to 100")
    if not 1 <= int(quality) <= 100:
        raise ValueError(f"quality={quality!r} is not from 1 to 100")
    if format is not None and not isinstance(format, str):
        raise TypeError(f"format={format!r} is not the name of a format such as 'JPEG'")
    name = None if format is None else format.upper().removeprefix(".")
    name = None if name is None else _OTHER_NAMES.get(name, name)
    if name is not None and name not in MODES_OF:
        raise ValueError(f"format must be one of {', '.join(map(repr, MODES_OF))}, got {format!r}")
    return EncodeOptions(name, int(quality))


def format_of(name: str) -> str | None:
    """Return the format that the suffix of a file's name stands for; None if it is none that is written.

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
            able = ", ".join(other for other, modes in MODES_OF.items() if mode in modes)
            advice = f"formats that can: {able}" if able else "use mode='RGB'"
            raise ValueError(f"{name} files cannot hold mode={mode!r}; {advice}")


def encode(image: Image.Image, how: EncodeOptions, name: str) -> bytes:
    r"""Return an image as the bytes of a file.

    Parameters
    ----------
    image : PIL.Image.Image
        As `load` returns it: of what stands in its ``info``, the colour profile is kept.
    how : EncodeOptions
    name : str
        Of the file; its suffix says the format where `how` does not.

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
    target = how.format or format_of(name)
    if target is None:
        raise UnreadableImageError("unsupported", f"the name {name!r} does not say the format of the file")
    options: dict[str, Any] = {"quality": how.quality} if target in _WITH_QUALITY else {}
    profile = image.info.get("icc_profile")
    # A profile speaks of the colours that were in the file: of CMYK it says nothing about RGB.
    if profile and profile[16:20] == _PROFILED.get(image.mode):
        options["icc_profile"] = profile
    image.info = {}
    buffer = io.BytesIO()
    with timed("encode"):
        try:
            image.save(buffer, target, **options)
        except _ENCODER_ERRORS as exc:
            message = f"an image of {image.width} x {image.height} pixels cannot be written as {target}: {exc}"
            raise UnreadableImageError("unsupported", message) from exc
    return buffer.getvalue()
