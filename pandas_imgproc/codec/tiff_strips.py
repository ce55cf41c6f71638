"""Strips and tiles of TIFF files: libtiff stops at the last pixel, before a checksum, and JPEG data only warns."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from PIL.TiffImagePlugin import (
    COMPRESSION,
    JPEGTABLES,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    TILEBYTECOUNTS,
    TILEOFFSETS,
)

from pandas_imgproc.codec.diagnose import decoder_message_error
from pandas_imgproc.codec.libjpeg import libjpeg_warning
from pandas_imgproc.errors import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_JPEG, _DEFLATE = 7, (8, 32946)
_INFLATE_NBYTES = 1 << 18


def check_tiff_strips(data: bytes, tags: Mapping[int, Any]) -> None:
    """Raise for the first strip or tile of a TIFF image that its decoder reads with a warning.

    Parameters
    ----------
    data : bytes
        The whole file.
    tags : mapping of int to value
        Tags of the image, ``tag_v2`` of Pillow.

    Raises
    ------
    UnreadableImageError
        Of kind "truncated" or "corrupt".
    """
    compression = tags.get(COMPRESSION)
    offsets = tags.get(STRIPOFFSETS) or tags.get(TILEOFFSETS) or ()
    lengths = tags.get(STRIPBYTECOUNTS) or tags.get(TILEBYTECOUNTS) or ()
    for offset, length in zip(offsets, lengths, strict=False):
        strip = memoryview(data)[offset : offset + length]
        if compression == _JPEG:
            _check_jpeg(strip, tags.get(JPEGTABLES, b""))
        elif compression in _DEFLATE:
            _check_deflate(strip)


def _check_jpeg(strip: memoryview, tables: bytes) -> None:
    # The tables that strips share are a JPEG file without an image: its end marker and the strip's start are left out.
    stream = tables[:-2] + bytes(strip[2:]) if tables else bytes(strip)
    message = libjpeg_warning(stream)
    if message:
        raise decoder_message_error(message)


def _check_deflate(strip: memoryview) -> None:
    inflate, rest = zlib.decompressobj(), bytes(strip)
    try:
        while rest and not inflate.eof:
            inflate.decompress(rest, _INFLATE_NBYTES)
            rest = inflate.unconsumed_tail
    except zlib.error as exc:
        raise UnreadableImageError("corrupt", f"the data of its pixels is damaged: {exc}") from exc
