"""Samples as a file stores them: Pillow widens few levels to 8 or 16 bits, and forgets at load how many there were."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import ImageFile

_WIDENED = re.compile(r"L;([124])?(I?)R?")
_PHOTOMETRIC_INTERPRETATION, _WHITE_IS_ZERO = 262, 0
_SIZ = b"\xff\x4f\xff\x51"  # beginning of a JPEG 2000 codestream, whose header has the depth of the first component
_SSIZ = 42  # offset in bytes


@dataclass(frozen=True, slots=True)
class StoredSamples:
    """Form of the samples in an image file, read from its header before ``load()``.

    Parameters
    ----------
    raw_mode : str
        Pillow's raw mode: "L;4", "RGB;16B", "I;12".
    max_level : int or None
        Level of white of a PPM file, to which Pillow stretches all levels.
    depth : int or None
        Bits of a sample of a gray JPEG 2000 file.
    is_signed : bool
        Whether Pillow adds half of the range to the samples, of a JPEG 2000 file.
    is_negative : bool
        Whether zero is white in a TIFF file that Pillow does not invert: it inverts up to 8 bits.
    """

    raw_mode: str = ""
    max_level: int | None = None
    depth: int | None = None
    is_signed: bool = False
    is_negative: bool = False

    @classmethod
    def from_header(cls, image: ImageFile.ImageFile, data: Any) -> StoredSamples:
        """Return the form of the samples of an open file that is not loaded."""
        args: Any = image.tile[0][3] if image.tile else ""
        raw_mode = args[0] if isinstance(args, tuple) and args else args
        raw_mode = raw_mode if isinstance(raw_mode, str) else ""
        if image.format == "PPM" and isinstance(args, tuple) and len(args) == 2:
            return cls(raw_mode, max_level=args[1])
        if image.format == "JPEG2000" and image.mode in ("L", "I;16"):
            ssiz = _jpeg2000_ssiz(data)
            return cls(raw_mode, depth=(ssiz & 0x7F) + 1, is_signed=ssiz > 0x7F)
        tags = getattr(image, "tag_v2", None)
        if tags is not None and tags.get(_PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
            return cls(raw_mode, is_negative=image.mode not in ("1", "L"))
        return cls(raw_mode)

    def restore(self, levels: NDArray[Any]) -> NDArray[Any]:
        """Return the levels as the file has them, for an image of mode "L", "I" or "I;16".

        Examples
        --------
        >>> StoredSamples("L;4").restore(np.array([0, 17, 255], np.uint8))
        array([ 0,  1, 15], dtype=uint8)
        """
        if self.max_level is not None:
            white = 255 if levels.dtype == np.uint8 else 65535
            return ((levels.astype(np.int64) * self.max_level + white // 2) // white).astype(levels.dtype)
        if self.depth is not None:
            levels = levels >> (8 * levels.dtype.itemsize - self.depth)
            return levels.astype(np.int32) - 2 ** (self.depth - 1) if self.is_signed else levels
        widened = _WIDENED.fullmatch(self.raw_mode)
        if widened is None:
            return levels
        white = 2 ** int(widened[1] or 8) - 1
        levels = levels // (255 // white)
        return white - levels if widened[2] else levels


def _jpeg2000_ssiz(data: Any) -> int:
    start = bytes(data).find(_SIZ) + _SSIZ
    return int(data[start]) if _SSIZ <= start < len(data) else 7
