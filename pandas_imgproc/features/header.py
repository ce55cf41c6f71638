"""Features of the header: nothing is decoded."""

from __future__ import annotations

import operator
from typing import Any

from pandas_imgproc.features.registry import _builtin_feature, feature_names


@_builtin_feature("width", "height", "area", dtype="Int64", input="header")
def size(header: Any) -> tuple[int, int, int]:
    """Return width and height in pixels, after EXIF orientation, and their product."""
    return header.width, header.height, header.width * header.height


@_builtin_feature("aspect_ratio", input="header")
def aspect_ratio(header: Any) -> float:
    """Return width / height; above 1 for a landscape."""
    return float(header.width / header.height)


def _attribute(*names: str, dtype: str, max_bytes: int = 64) -> None:
    """Register attributes of `codec.Header` as features; None is a missing value."""
    _builtin_feature(*names, dtype=dtype, input="header", max_bytes=max_bytes)(operator.attrgetter(*names))


_attribute("mode", dtype="category", max_bytes=8)  # Pillow's, of the stored image: "RGB", "L", "P", "I;16", ...
_attribute("channels", dtype="Int64")  # of that mode; 1 for a palette
_attribute("format", dtype="category", max_bytes=16)  # Pillow's name; None for an image in memory
_attribute("n_frames", dtype="Int64")  # frames of an animation, pages of a TIFF file
_attribute("file_size", dtype="Int64")  # bytes; None for an image in memory


@_builtin_feature("bytes_per_pixel", input="header")
def bytes_per_pixel(header: Any) -> float | None:
    """Return bytes of the file / area: high for an image that compresses badly, or that was compressed little."""
    return None if header.file_size is None else float(header.file_size / (header.width * header.height))


@_builtin_feature("orientation", dtype="Int64", input="header")
def orientation(header: Any) -> int:
    """Return the EXIF orientation, 1 to 8; 1 without a tag, which means the same."""
    return int(header.orientation or 1)


_attribute("has_alpha", "has_icc", dtype="boolean")  # transparency, color profile
_attribute("camera", dtype="category")  # make and model in EXIF; without the make where the model begins with it
_attribute("taken_at", dtype="datetime64[s]")  # DateTimeOriginal, else DateTimeDigitized, else DateTime of EXIF

HEADER_FEATURES = feature_names("header")
"""Names of the features of the header."""
