"""What the header of a file says of its image, without a pixel decoded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pandas_imgproc.codec.identify import open_image
from pandas_imgproc.codec.orientation import BROKEN_EXIF, EXIF_KEYS, ORIENTATION

if TYPE_CHECKING:
    from PIL import ImageFile

    from pandas_imgproc.codec.options import DecodeOptions

_MAKE, _MODEL, _CHANGED = 0x010F, 0x0110, 0x0132
_EXIF_IFD, _TAKEN, _DIGITISED = 0x8769, 0x9003, 0x9004
_MEMORY_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded.

    Attributes
    ----------
    width, height : int
        Pixels of the image as it is seen: after its EXIF orientation.
    mode : str
        Pillow's mode of what is stored: "RGB", "L", "P", "I;16", ...
    channels : int
        Of that mode.
    format : str or None
        Pillow's name; None for an image that is in memory already.
    n_frames : int or None
        Images in the file; None if they cannot be counted.
    file_size : int or None
        Bytes.
    orientation : int or None
        The EXIF orientation, 1 to 8.
    has_alpha : bool
        Whether anything in it can be transparent.
    has_icc : bool
        Whether it carries a colour profile.
    camera : str or None
        Maker and model, by EXIF.
    taken_at : datetime or None
        When it was taken by the camera's clock, by EXIF.
    """

    width: int
    height: int
    mode: str
    channels: int
    format: str | None = None
    n_frames: int | None = 1
    file_size: int | None = None
    orientation: int | None = None
    has_alpha: bool = False
    has_icc: bool = False
    camera: str | None = None
    taken_at: datetime | None = None


def read_header(data: Any, decode_options: DecodeOptions) -> Header:
    """Return what the header says; no pixel is decoded (an ICO file excepted: Pillow decodes it when it opens it).

    Parameters
    ----------
    data : bytes, or ndarray of uint8, shape (height, width, channels)
        As in `load`.
    decode_options : DecodeOptions
        Its formats, limits and plugins.

    Raises
    ------
    UnreadableImageError
        As `open_image`.

    Examples
    --------
    >>> from pandas_imgproc.codec import decode_options
    >>> header = read_header((getfixture("photos") / "blue.jpg").read_bytes(), decode_options())
    >>> header.width, header.height, header.format
    (20, 30, 'JPEG')
    """
    if hasattr(data, "__array_interface__"):
        height, width, channels = np.asarray(data).shape
        return Header(width, height, _MEMORY_MODES[channels], channels, has_alpha=channels in (2, 4))
    image = open_image(
        data, decode_options.formats, max_pixels=decode_options.max_pixels, plugins=decode_options.plugins
    )
    exif = _exif(image, data)
    orientation = _orientation(exif)
    width, height = image.size
    if orientation in (5, 6, 7, 8) and image.format != "TIFF":  # the size of a TIFF file is turned already
        width, height = height, width
    return Header(
        width=width, height=height, mode=image.mode, channels=len(image.getbands()), format=image.format,
        n_frames=_frames(image), file_size=len(data), orientation=orientation,
        has_alpha=image.has_transparency_data, has_icc=bool(image.info.get("icc_profile")),
        camera=_camera(exif), taken_at=_taken_at(exif),
    )  # fmt: skip


def _exif(image: ImageFile.ImageFile, data: bytes) -> Image.Exif:
    if image.format == "PNG" and "exif" not in image.info:
        late = _exif_of_png(data)
        if late:
            image.info["exif"] = b"Exif\0\0" + late
    if image.format != "TIFF" and EXIF_KEYS.isdisjoint(image.info):
        return Image.Exif()
    try:
        # The PNG plugin's own getexif() decodes the image, to see what follows the pixels.
        return Image.Image.getexif(image)
    except BROKEN_EXIF:
        return Image.Exif()


def _exif_of_png(data: bytes) -> bytes | None:
    """Return the EXIF block of a PNG file, which may follow the pixels."""
    view, start = memoryview(data), 8
    while start + 12 <= len(data):
        end = start + 8 + int.from_bytes(view[start : start + 4], "big")
        if bytes(view[start + 4 : start + 8]) == b"eXIf":
            return bytes(view[start + 8 : end])
        start = end + 4
    return None


def _orientation(exif: Image.Exif) -> int | None:
    found = exif.get(ORIENTATION)
    return int(found) if isinstance(found, int) and 1 <= found <= 8 else None


def _frames(image: ImageFile.ImageFile) -> int | None:
    try:
        return int(getattr(image, "n_frames", 1))
    except BROKEN_EXIF:  # counting may walk through the whole file
        return None


def _camera(exif: Image.Exif) -> str | None:
    make, model = _words(exif.get(_MAKE)), _words(exif.get(_MODEL))
    # "Canon" and "Canon EOS 5D", but "NIKON CORPORATION" and "NIKON D750": most models name the maker again.
    if make and model and model.lower().startswith(make.split()[0].lower()):
        return model
    return " ".join(filter(None, (make, model))) or None


def _words(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "ignore")
    if not isinstance(value, str):
        return ""
    return " ".join("".join(char if char.isprintable() else " " for char in value).split())


def _taken_at(exif: Image.Exif) -> datetime | None:
    try:
        inner = exif.get_ifd(_EXIF_IFD)
    except BROKEN_EXIF:
        inner = {}
    for value in (inner.get(_TAKEN), inner.get(_DIGITISED), exif.get(_CHANGED)):
        try:
            return datetime.strptime(_words(value)[:19], "%Y:%m:%d %H:%M:%S")
        except ValueError:  # cameras without a clock write zeros or blanks
            continue
    return None
