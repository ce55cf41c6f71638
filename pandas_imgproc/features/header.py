"""What the header tells: nothing is decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas_imgproc.features.registry import _builtin_feature

if TYPE_CHECKING:
    from datetime import datetime


@_builtin_feature("width", "height", "area", dtype="Int64", input="header")
def size(header: Any) -> tuple[int, int, int]:
    """Width, height (pixels, as seen: after EXIF orientation) and their product."""
    return header.width, header.height, header.width * header.height


@_builtin_feature("aspect_ratio", input="header")
def aspect_ratio(header: Any) -> float:
    """Width / height; above 1 it is a landscape."""
    return float(header.width / header.height)


@_builtin_feature("mode", dtype="category", input="header", max_bytes=8)
def mode(header: Any) -> str:
    """Pillow's mode of what is stored: "RGB", "L", "P", "I;16", ..."""
    return str(header.mode)


@_builtin_feature("channels", dtype="Int64", input="header")
def channels(header: Any) -> int:
    """Channels of that mode; 1 for a palette."""
    return int(header.channels)


@_builtin_feature("format", dtype="category", input="header", max_bytes=16)
def format_(header: Any) -> str | None:
    """Pillow's name of the format; missing for an image that is in memory already."""
    found: str | None = header.format
    return found


@_builtin_feature("n_frames", dtype="Int64", input="header")
def n_frames(header: Any) -> int | None:
    """Images in the file: frames of an animation, pages of a TIFF file."""
    found: int | None = header.n_frames
    return found


@_builtin_feature("file_size", dtype="Int64", input="header")
def file_size(header: Any) -> int | None:
    """Bytes of the file; missing for an image that is in memory already."""
    found: int | None = header.file_size
    return found


@_builtin_feature("bytes_per_pixel", input="header")
def bytes_per_pixel(header: Any) -> float | None:
    """Bytes of the file / area: how hard the image was to compress, or how hard it was compressed."""
    return None if header.file_size is None else float(header.file_size / (header.width * header.height))


@_builtin_feature("orientation", dtype="Int64", input="header")
def orientation(header: Any) -> int | None:
    """EXIF orientation, 1 to 8; missing where the file does not say."""
    found: int | None = header.orientation
    return found


@_builtin_feature("has_alpha", "has_icc", dtype="boolean", input="header")
def has(header: Any) -> tuple[bool, bool]:
    """Whether anything in the image can be transparent, and whether it carries a colour profile."""
    return bool(header.has_alpha), bool(header.has_icc)


@_builtin_feature("camera", dtype="category", input="header", max_bytes=64)
def camera(header: Any) -> str | None:
    """Maker and model by EXIF; the maker is left out where the model begins with it."""
    found: str | None = header.camera
    return found


@_builtin_feature("taken_at", dtype="datetime64[s]", input="header")
def taken_at(header: Any) -> datetime | None:
    """When it was taken, by the camera's clock and EXIF (DateTimeOriginal, else DateTimeDigitized, else DateTime)."""
    found: datetime | None = header.taken_at
    return found
