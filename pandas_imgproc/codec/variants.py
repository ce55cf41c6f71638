"""Variants of formats that Pillow cannot decode: an intact file of one of them is no broken file."""

from __future__ import annotations

import io
import struct
from typing import Any

from PIL import TiffImagePlugin
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    COMPRESSION_INFO,
    MAX_SAMPLESPERPIXEL,
    PHOTOMETRIC_INTERPRETATION,
    SAMPLESPERPIXEL,
    TILEOFFSETS,
    TILEWIDTH,
    YCBCRSUBSAMPLING,
)

from pandas_imgproc.codec.libjpeg import JPEG_LS, READABLE_FRAMES, frame_marker, is_lossless
from pandas_imgproc.errors import UnreadableImageError

_MAX_BITS, _MAX_BANDS = 64, 1024
_COLOR_SPACES = {0: "gray", 1: "gray", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "Lab", 32803: "sensor data"}
_YCBCR, _JPEG = 6, (6, 7)
_TAG_ERRORS = (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error)
_SIZ = b"\xff\x4f\xff\x51"  # beginning of a JPEG 2000 codestream
_JPEG2000_COLOR_SPACES = {0, 12, 15, 16, 17, 18}  # bilevel, CMYK, sRGB, gray, sYCC, as the "colr" box numbers them
_MAX_AVIF_PIXELS = 16384 * 16384  # of libavif


def variant_error(data: bytes, reason: object) -> UnreadableImageError | None:
    r"""Return the error for a file of a variant that Pillow cannot decode; None if its variant is a common one.

    Parameters
    ----------
    data : bytes
        The whole file, which Pillow could not open or decode.
    reason : object
        Exception of Pillow, which the message quotes.

    Examples
    --------
    >>> png = b"\x89PNG\r\n\x1a\n"
    >>> variant_error(png + b"\0\0\0\4CgBI", "broken data stream").kind
    'unsupported'
    >>> variant_error(png + b"\0\0\0\rIHDR", "broken data stream")
    """
    head = bytes(data[:16])
    if head[4:8] == b"ftyp":
        return _avif_error(data)
    if head[:4] == b"\x89PNG" and head[12:16] == b"CgBI":
        text = "a PNG file as Xcode rewrites it for iOS (CgBI)"
    elif head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        text = _rare_tiff(data)
    elif head[:3] == b"\xff\xd8\xff":
        text = _rare_jpeg(data)
    elif head[4:8] == b"jP  " or head[:4] == _SIZ:
        text = _rare_jpeg2000(data)
    else:
        return None
    return UnreadableImageError("unsupported", f"{text} that Pillow cannot decode: {reason}") if text else None


def tiff_layout(data: bytes) -> str:
    """Return the bands and bits of a TIFF file's first page, in words; empty if its tags cannot be read."""
    try:
        return _layout(_tiff_tags(data))
    except _TAG_ERRORS:
        return ""


def _tiff_tags(data: bytes) -> Any:
    file = io.BytesIO(data)
    header = file.read(8)
    tags = TiffImagePlugin.ImageFileDirectory_v2(header + file.read(8 if header[2:4] in (b"+\0", b"\0+") else 0))
    file.seek(tags.next)
    tags.load(file)
    return tags


def _layout(tags: Any) -> str:
    bits = sorted({int(depth) for depth in tags.get(BITSPERSAMPLE, (1,))})
    n_bands, compression = int(tags.get(SAMPLESPERPIXEL, 1)), tags.get(COMPRESSION, 1)
    photometric = int(tags.get(PHOTOMETRIC_INTERPRETATION, 0))
    color_space = _COLOR_SPACES.get(photometric, f"photometric interpretation {photometric}")
    depth = f" of {' and '.join(map(str, bits))} bits" if 0 < bits[0] <= bits[-1] <= _MAX_BITS else ""
    return f" with {n_bands} band{'s' if n_bands != 1 else ''}{depth} ({color_space}, compression {compression})"


def _rare_tiff(data: bytes) -> str:
    """Return a description of a TIFF file of a compression or an arrangement that Pillow does not know, else empty."""
    try:
        tags = _tiff_tags(data)
        layout = f"a TIFF file{_layout(tags)}"
        compression = tags.get(COMPRESSION, 1)
        if compression not in COMPRESSION_INFO or MAX_SAMPLESPERPIXEL < tags.get(SAMPLESPERPIXEL, 1) <= _MAX_BANDS:
            return layout
        if TILEWIDTH in tags and TILEOFFSETS not in tags:
            return f"{layout}, whose tiles are listed as strips,"
        is_reduced = tuple(tags.get(YCBCRSUBSAMPLING, (2, 2))) != (1, 1)
        is_ycbcr = tags.get(PHOTOMETRIC_INTERPRETATION) == _YCBCR and compression not in _JPEG
    except _TAG_ERRORS:
        return ""
    return f"{layout} and colors at a reduced resolution" if is_ycbcr and is_reduced else ""


def _rare_jpeg(data: bytes) -> str:
    """Return a description of a JPEG file of a kind that libjpeg does not decode, else empty."""
    marker = frame_marker(data)
    if marker is not None and marker not in READABLE_FRAMES:
        return "a JPEG-LS file" if marker == JPEG_LS else f"a JPEG file of a rare kind (SOF{marker - 0xC0})"
    # A file with a JFIF segment is of YCbCr, which libjpeg does not convert without losses.
    return "a lossless JPEG file" if is_lossless(data) and data[6:10] == b"JFIF" else ""


def _rare_jpeg2000(data: bytes) -> str:
    """Return a description of a JPEG 2000 file of a component size or color space that Pillow does not know."""
    start = data.find(_SIZ)
    n = int.from_bytes(data[start + 40 : start + 42], "big") if start >= 0 else 0
    steps = [tuple(data[i + 1 : i + 3]) for i in range(start + 42, start + 42 + 3 * n, 3)]
    if n in (1, 2) and any(step != (1, 1) for step in steps):
        return f"a JPEG 2000 file of {n} component{'s' if n > 1 else ''} at a reduced resolution"
    colr = data.find(b"colr\1", 0, max(start, 0))
    color_space = int.from_bytes(data[colr + 7 : colr + 11], "big") if colr >= 0 else 16
    return "" if color_space in _JPEG2000_COLOR_SPACES else f"a JPEG 2000 file of color space {color_space}"


def _avif_error(data: bytes) -> UnreadableImageError | None:
    """Return the error for an image of more pixels than libavif reads, whose own message names no limit."""
    start = data.find(b"ispe", 0, 1 << 16)
    width, height = (int.from_bytes(data[start + k : start + k + 4], "big") for k in (8, 12)) if start >= 0 else (0, 0)
    if width * height <= _MAX_AVIF_PIXELS:
        return None
    return UnreadableImageError(
        "too_large", f"{width} x {height} = {width * height} pixels are more than libavif's limit of {_MAX_AVIF_PIXELS}"
    )
