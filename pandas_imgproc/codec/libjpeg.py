"""Warnings of libjpeg, which Pillow drops: read with simplejpeg, whose strict mode raises them."""

from __future__ import annotations

import re
from typing import Any

from pandas_imgproc.codec.engine import import_package
from pandas_imgproc.errors import MissingExtraError

# The wrapper of libjpeg cannot read the file, which Pillow may well: rare subsamplings and color spaces.
_NOT_JUDGED = re.compile(r"tj\w+\(\): |Unsupported (?!marker)|could not create")
# Of the metadata, not of the pixels. libjpeg reports only its first warning, so that one of these hides the others.
_METADATA_WARNING = re.compile("Warning: unknown JFIF|Corrupt JPEG data: bad ICC")
_START_OF_SCAN = 0xDA
_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xff])")  # libjpeg skips all bytes before it
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xDA)}
JPEG_LS = 0xF7
"""Marker of the frame of a JPEG-LS file."""

FRAMES = {*range(0xC0, 0xD0), JPEG_LS} - {0xC4, 0xC8, 0xCC}
"""Markers of frames."""

READABLE_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA}
"""Markers of the frames that libjpeg decodes."""

_LOSSY_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_METADATA_MARKERS = {*range(0xE0, 0xEE), 0xEF, 0xFE}  # APPn and COM; APP14, Adobe's, has the color space


def require_simplejpeg() -> Any:
    """Return the module; raise a MissingExtraError if it is not installed."""
    return import_package("simplejpeg", "strict=True")


def can_be_strict() -> bool:
    """Return whether simplejpeg is installed.

    Examples
    --------
    >>> can_be_strict()
    True
    """
    try:
        require_simplejpeg()
    except MissingExtraError:
        return False
    return True


def is_lossless(data: Any) -> bool:
    """Return whether a JPEG file is of a lossless kind, which libjpeg decodes at full size and in its own colors only.

    At a smaller scale, Pillow calls the file broken, and simplejpeg writes beyond its buffer.

    Examples
    --------
    >>> is_lossless((getfixture("photos") / "blue.jpg").read_bytes())
    False
    """
    marker = frame_marker(data)
    return marker in FRAMES and marker not in _LOSSY_FRAMES


def frame_marker(data: Any) -> int | None:
    """Return the second byte of the marker of a JPEG file's first frame, None if there is none before the pixels.

    Examples
    --------
    >>> hex(frame_marker((getfixture("photos") / "blue.jpg").read_bytes()))
    '0xc0'
    """
    position = 2
    while found := _NEXT_MARKER.search(data, position):
        marker, position = found[1][0], found.end()
        if marker in FRAMES:
            return marker
        if marker == _START_OF_SCAN:
            break
        if marker not in _WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2], "big")
    return None  # an error of libjpeg, before it decodes


def libjpeg_warning(data: Any) -> str | None:
    """Return the first warning or error of libjpeg about the pixels of a JPEG file.

    Parameters
    ----------
    data : buffer
        The file; bytes after its end marker are ignored.

    Returns
    -------
    str or None
        Empty if there is none; None if the file is of a variant that simplejpeg cannot read.

    Examples
    --------
    >>> data = (getfixture("photos") / "blue.jpg").read_bytes()
    >>> libjpeg_warning(data), libjpeg_warning(data[:-20] + data[-2:])
    ('', 'Corrupt JPEG data: premature end of data segment')
    """
    if is_lossless(data):
        return None
    message = _first_message(data)
    if _METADATA_WARNING.match(message):
        message = _first_message(_without_metadata(bytes(data)))
    return None if _NOT_JUDGED.match(message) else message


def _first_message(data: Any) -> str:
    # All of the data is read at any scale, and gray at an eighth is the cheapest: half the time of Pillow's decode.
    try:
        require_simplejpeg().decode_jpeg(data, "GRAY", min_height=1, min_width=1, strict=True)
    except (ValueError, RuntimeError) as exc:
        return str(exc)
    return ""


def _without_metadata(data: bytes) -> bytes:
    """Return a JPEG file without the segments before its first scan that do not concern the pixels."""
    start, segments = 2, [data[:2]]
    while start + 4 <= len(data) and data[start] == 0xFF and data[start + 1] != _START_OF_SCAN:
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if data[start + 1] not in _METADATA_MARKERS:
            segments.append(data[start:end])
        start = end
    return b"".join([*segments, data[start:]])
