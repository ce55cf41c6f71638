"""Color profiles (ICC): conversion of pixels to sRGB, the color space of files without a profile, by LittleCMS.

A profile is judged by the colors that it gives, not by its name: one that changes none by more than a level is sRGB.
"""

from __future__ import annotations

import functools
import io
import logging
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pandas_imgproc.codec.raster import Raster, to_image
from pandas_imgproc.errors import UnreadableImageError

if TYPE_CHECKING:
    from pandas_imgproc.codec.options import DecodeOptions
    from pandas_imgproc.codec.stored_samples import StoredSamples

logger = logging.getLogger("pandas_imgproc")

COLOR_PROFILES = ("srgb", "ignore")
# For the color space of a profile, by its letters in ICC: the mode that LittleCMS converts, and those of images that it
# describes. A gray image may have an RGB profile, as programs leave it: its levels are equal amounts of all three.
_MODES: dict[bytes, tuple[str, tuple[str, ...]]] = {
    b"RGB ": ("RGB", ("RGB", "RGBA", "RGBX", "RGBa", "YCbCr", "P", "PA", "L", "LA", "La")),
    b"GRAY": ("L", ("L", "LA", "La")),
    b"CMYK": ("CMYK", ("CMYK",)),
}
_SPACE, _SIGNATURE = slice(16, 20), slice(36, 40)  # of the header
_MAX_LEVELS = 1  # by which the colors of two profiles named sRGB differ: their numbers are rounded
_MAX_TRANSFORMS = 16  # in a process; a CMYK profile has a megabyte


@dataclass(frozen=True, slots=True)
class ToSRGB:
    """Conversion of the pixels of a profile to sRGB.

    Parameters
    ----------
    mode : {"RGB", "L", "CMYK"}
        Of the pixels that the profile describes.
    transform : PIL.ImageCms.ImageCmsTransform
        From that mode to "RGB". Threads may share it.
    gray : bytes
        The 256 levels of gray in sRGB; empty for CMYK.
    """

    mode: str
    transform: Any
    gray: bytes

    def prepare(self, image: Image.Image) -> Image.Image:
        """Return an opaque image in a mode that the conversion takes: a gray image stays gray."""
        mode = "L" if image.mode in ("L", "LA") else self.mode
        return image if image.mode == mode else image.convert(mode)

    def __call__(self, image: Image.Image | Raster) -> Image.Image | Raster:
        """Return a prepared image in sRGB; CMYK becomes RGB."""
        if image.mode != "L":
            return _apply(to_image(image), self.transform)
        if isinstance(image, Raster):
            return Raster(image.mode, image.size, image.data.translate(self.gray))
        return image.point(list(self.gray))

    def with_alpha(self, image: Image.Image) -> Image.Image:
        """Return an image of mode "RGBA" in sRGB, as transparent as before."""
        if self.mode == "L":
            return image.point([*self.gray * 3, *range(256)])
        red, green, blue = _apply(image.convert("RGB"), self.transform).split()
        return Image.merge("RGBA", (red, green, blue, image.getchannel("A")))


def find_conversion(image: Image.Image, options: DecodeOptions, samples: StoredSamples) -> ToSRGB | None:
    """Return the conversion of an image to sRGB; None where none is needed, possible or wanted.

    Class ids are no colors, CMYK stays CMYK if that is the requested mode, and 16 bits are measurements as often as
    colors.
    """
    profile = image.info.get("icc_profile")
    if not profile or options.color_profile == "ignore" or options.mode == "P" or not isinstance(profile, bytes):
        return None
    if "16" in samples.raw_mode or (profile[_SIGNATURE] == b"acsp" and not _describes(profile, image.mode)):
        return None
    return None if image.mode == options.mode == "CMYK" else _conversion(profile)


def _describes(profile: bytes, mode: str) -> bool:
    return profile[_SPACE] in _MODES and mode in _MODES[profile[_SPACE]][1]


@functools.lru_cache(maxsize=_MAX_TRANSFORMS)
def _conversion(profile: bytes) -> ToSRGB | None:
    """Return the conversion from a profile; None if it is sRGB itself, or broken, which is logged once."""
    cms, (mode, _) = _import_cms(), _MODES.get(profile[_SPACE], ("RGB", ()))
    try:
        source, srgb = cms.getOpenProfile(io.BytesIO(profile)), cms.createProfile("sRGB")
        transform = cms.buildTransform(source, srgb, mode, "RGB")
    except (cms.PyCMSError, OSError, ValueError, TypeError) as exc:
        _log_broken(zlib.crc32(profile), len(profile), str(exc))
        return None
    if mode == "CMYK":
        return ToSRGB(mode, transform, b"")
    levels = Image.frombytes("L", (256, 1), bytes(range(256)))
    gray = _apply(levels.convert(mode), transform).convert("L").tobytes()
    is_srgb = _is_identity(transform) if mode == "RGB" else _max_difference(gray, levels.tobytes()) <= _MAX_LEVELS
    return None if is_srgb else ToSRGB(mode, transform, gray)


@functools.lru_cache(maxsize=1024)
def _log_broken(crc: int, nbytes: int, reason: str) -> None:  # noqa: ARG001  each profile once
    logger.warning("a broken color profile of %d bytes is ignored: %s", nbytes, reason)


def _import_cms() -> Any:
    from PIL import ImageCms, features

    if not features.check("littlecms2"):
        message = "Pillow was built without LittleCMS, which converts color profiles; color_profile='ignore' keeps"
        raise UnreadableImageError("unsupported", f"{message} the numbers in the file")
    return ImageCms


def _apply(image: Image.Image, transform: Any) -> Image.Image:
    result: Image.Image = transform.apply(image)
    result.info = {}
    return result


def _is_identity(transform: Any) -> bool:
    """Return whether a transform from RGB to RGB changes no color of a grid by more than a rounding."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, len(levels), 3)
    return _max_difference(_apply(Image.fromarray(grid), transform).tobytes(), grid.tobytes()) <= _MAX_LEVELS


def _max_difference(levels: bytes, others: bytes) -> int:
    a, b = (np.frombuffer(data, np.uint8).astype(int) for data in (levels, others))
    return int(np.abs(a - b).max())
