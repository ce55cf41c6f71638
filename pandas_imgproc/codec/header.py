"""Image headers: size, mode and metadata, read without decoding."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from PIL.ExifTags import IFD, Base

from pandas_imgproc.codec.identify import check_max_pixels, open_image
from pandas_imgproc.codec.limits import png_chunks
from pandas_imgproc.codec.orientation import BROKEN_EXIF, EXIF_KEYS, check_exif
from pandas_imgproc.custom_files import CustomFile
from pandas_imgproc.regions import RegionData

if TYPE_CHECKING:
    from pandas_imgproc.codec.options import DecodeOptions

_MEMORY_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Header:
    """Header of an image, known before it is decoded.

    Attributes
    ----------
    width, height : int
        Pixels of the upright image: after its EXIF orientation.
    mode : str
        Pillow's mode of the stored image: "RGB", "L", "P", "I;16", ...
    channels : int
        Bands of that mode.
    format : str or None
        Pillow's name; None for an image in memory.
    n_frames : int or None
        Images in the file; None if they cannot be counted.
    file_size : int or None
        Bytes.
    orientation : int or None
        EXIF orientation, 1 to 8.
    has_alpha : bool
        Whether pixels can be transparent.
    has_icc : bool
        Whether it carries a color profile.
    camera : str or None
        EXIF maker and model.
    taken_at : datetime or None
        EXIF time of the exposure, by the camera's clock.
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


def read_header(data: Any, options: DecodeOptions) -> Header:
    """Read the header; no pixel is decoded (an ICO file excepted: Pillow decodes it when it opens it).

    Parameters
    ----------
    data : bytes, PIL.Image.Image, ndarray of uint8, shape (height, width, channels), RegionData or CustomFile
        As in `load`; of a region that of its file.
    options : DecodeOptions
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
    source = data.data if isinstance(data, RegionData) else data
    data = source.read(options.frame) if isinstance(source, CustomFile) else source
    if isinstance(data, np.ndarray):
        height, width, channels = data.shape
        check_max_pixels((width, height), options.max_pixels)
        mode = "I;16" if data.dtype == np.uint16 and channels == 1 else _MEMORY_MODES[channels]
        file_size = len(source.data) if isinstance(source, CustomFile) else None
        return Header(width, height, mode, channels, has_alpha=channels in (2, 4), file_size=file_size)
    image = data if isinstance(data, Image.Image) else open_image(data, options, all_frames=True)
    check_max_pixels(image.size, options.max_pixels)
    exif = _exif(image, data, options)
    orientation = _orientation(exif)
    width, height = _upright_size(image, orientation)
    return Header(
        width=width, height=height, mode=image.mode, channels=len(image.getbands()), format=image.format,
        n_frames=_n_frames(image), file_size=None if image is data else len(data), orientation=orientation,
        has_alpha=image.has_transparency_data, has_icc=bool(image.info.get("icc_profile")),
        camera=_camera(exif), taken_at=_taken_at(exif),
    )  # fmt: skip


def read_upright_size(data: Any, options: DecodeOptions) -> tuple[int, int]:
    """Return width and height of an image as `load` shows it without a size; no pixel is decoded.

    Examples
    --------
    >>> from pandas_imgproc.codec import decode_options
    >>> read_upright_size((getfixture("photos") / "blue.jpg").read_bytes(), decode_options())
    (20, 30)
    """
    frame = options.frame
    if isinstance(data, RegionData):
        data, frame = data.data, frame if data.region.frame is None else data.region.frame
    if isinstance(data, CustomFile):
        data = data.read(frame)
    if isinstance(data, np.ndarray):
        return data.shape[1], data.shape[0]
    image = data if isinstance(data, Image.Image) else open_image(data, options, frame)
    return _upright_size(image, _orientation(_exif(image, data, options)) if options.exif_transpose else None)


def _upright_size(image: Image.Image, orientation: int | None) -> tuple[int, int]:
    width, height = image.size
    # Pillow gives the oriented size of a TIFF file.
    return (height, width) if orientation in (5, 6, 7, 8) and image.format != "TIFF" else (width, height)


def _exif(image: Image.Image, data: bytes, options: DecodeOptions) -> Image.Exif:
    if image.format == "PNG" and "exif" not in image.info:
        # the block may follow the pixels, which Pillow has not read yet
        block = next((bytes(data[start:end]) for name, start, end in png_chunks(data) if name == b"eXIf"), None)
        if block:
            image.info["exif"] = b"Exif\0\0" + block
    if image.format != "TIFF" and EXIF_KEYS.isdisjoint(image.info):
        return Image.Exif()
    check_exif(image, options.limits)
    try:
        # The PNG plugin's getexif() decodes the image, to reach the chunks after the pixels.
        return Image.Image.getexif(image)
    except BROKEN_EXIF:
        return Image.Exif()


def _orientation(exif: Image.Exif) -> int | None:
    orientation = exif.get(Base.Orientation)
    return int(orientation) if isinstance(orientation, int) and 1 <= orientation <= 8 else None


def _n_frames(image: Image.Image) -> int | None:
    try:
        return int(getattr(image, "n_frames", 1))
    except BROKEN_EXIF:  # counting may walk through the whole file
        return None


def _camera(exif: Image.Exif) -> str | None:
    make, model = _clean_text(exif.get(Base.Make)), _clean_text(exif.get(Base.Model))
    # "Canon" and "Canon EOS 5D", and "NIKON CORPORATION" and "NIKON D750": most models repeat the maker.
    if make and model and model.lower().startswith(make.split()[0].lower()):
        return model
    return " ".join(filter(None, (make, model))) or None


def _clean_text(value: object) -> str:
    """Return a text without control characters, empty for any other type."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "ignore")
    if not isinstance(value, str):
        return ""
    return " ".join("".join(char if char.isprintable() else " " for char in value).split())


def _taken_at(exif: Image.Exif) -> datetime | None:
    try:
        ifd = exif.get_ifd(IFD.Exif)
    except BROKEN_EXIF:
        ifd = {}
    for value in (ifd.get(Base.DateTimeOriginal), ifd.get(Base.DateTimeDigitized), exif.get(Base.DateTime)):
        try:
            return datetime.strptime(_clean_text(value)[:19], "%Y:%m:%d %H:%M:%S")
        except ValueError:  # cameras without a clock write zeros or blanks
            continue
    return None
