"""What changes the pixels, checked and normalised."""

from __future__ import annotations

import importlib
import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, SupportsIndex, TypedDict

import numpy as np
from PIL import Image, ImageColor

from pandas_imgproc.config import setting

# The formats that Pillow imports first stand first: a folder of JPEG files never imports all forty plugins.
# TGA has no signature and stands last. EPS is left out for a reason: it starts Ghostscript.
FORMATS: tuple[str, ...] = (
    "JPEG", "MPO", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000", "ICO", "TGA",
)  # fmt: skip
CHANNELS: dict[str, int] = {"RGB": 3, "L": 1, "RGBA": 4, "P": 1, "CMYK": 4}
FITS: tuple[str, ...] = ("stretch", "crop", "pad")
FITS_OF_FILES: tuple[str, ...] = (*FITS, "contain", "thumbnail")
FILTERS: dict[str, Image.Resampling] = {
    name: Image.Resampling[name.upper()] for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
}
_ALIASES = {"JPG": "JPEG", "TIF": "TIFF", "JP2": "JPEG2000", "HEIC": "HEIF"}


@dataclass(frozen=True)
class DecodeOptions:
    """Everything that changes the pixels, checked and normalised: equal recipes give equal pixels.

    Make one with `decode_options`, which says what is wrong with an argument. Its ``repr`` is part of a job's
    fingerprint.

    Parameters
    ----------
    size : tuple of (int, int) or None
        Width and height in pixels, PIL's order; None is the image as large as it is.
    mode : {"RGB", "L", "RGBA", "P", "CMYK"}
    fit : {"stretch", "crop", "pad", "contain", "thumbnail"}
        The last two keep the aspect, so that images differ in shape.
    resample : {"nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"}
    reducing_gap : float or None
        None is exact; 2.0 is what ``Image.thumbnail`` does.
    background : tuple of int or None
        RGB (or RGBA in mode "RGBA") below transparent areas and around a padded image.
    exif_transpose : bool
        Turn the image upright.
    scale_depth : bool
        Scale 16 bits to 8; False clips them, as Pillow converts.
    frame : int
        Which frame of an animation or page of a TIFF file.
    max_pixels : int or None
        Larger images are refused before they are decoded.
    formats : tuple of str
        The formats that may be opened, by Pillow's names.
    plugins : tuple of str
        Modules that teach Pillow formats, imported wherever one of `formats` is not known.
    """

    size: tuple[int, int] | None
    mode: str = "RGB"
    fit: str = "stretch"
    resample: str = "bicubic"
    reducing_gap: float | None = 2.0
    background: tuple[int, ...] | None = (255, 255, 255)
    exif_transpose: bool = True
    scale_depth: bool = True
    frame: int = 0
    max_pixels: int | None = None
    formats: tuple[str, ...] = FORMATS
    plugins: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image, numpy's order.

        Examples
        --------
        >>> decode_options((640, 480), mode="L").shape
        (480, 640, 1)
        """
        if self.size is None or self.fit not in FITS:
            what = "size=None" if self.size is None else f"fit={self.fit!r}"
            raise ValueError(f"{what} keeps each image's own size: there is no one shape")
        return self.size[1], self.size[0], CHANNELS[self.mode]

    @property
    def nbytes(self) -> int:
        """Bytes of one image's pixels, as far as the size says; 0 where it says nothing.

        Examples
        --------
        >>> decode_options((640, 480)).nbytes, decode_options(None).nbytes
        (921600, 0)
        """
        if self.size is None or self.fit == "thumbnail":
            return 0
        width, height = self.size if self.fit in FITS else (min(self.size),) * 2
        return width * height * CHANNELS[self.mode]


class DecodeKwargs(TypedDict, total=False):
    """The keyword arguments of `decode_options`, for whoever hands them on."""

    mode: str
    fit: str
    resample: str | int
    reducing_gap: float | None
    background: str | int | tuple[int, ...] | None
    exif_transpose: bool
    scale_depth: bool
    frame: int
    max_pixels: int | None
    formats: str | Iterable[str]


def decode_options(
    size: Any = None,
    *,
    mode: str = "RGB",
    fit: str = "stretch",
    resample: str | int = "bicubic",
    reducing_gap: float | None = 2.0,
    background: str | int | tuple[int, ...] | None = "white",
    exif_transpose: bool = True,
    scale_depth: bool = True,
    frame: int = 0,
    max_pixels: int | None = None,
    formats: str | Iterable[str] = FORMATS,
    for_files: bool = False,
) -> DecodeOptions:
    """Check the arguments and return the `DecodeOptions` they mean.

    Parameters
    ----------
    size : int or tuple of (int, int), optional
        Pixels, one side of a square or (width, height); None keeps the image's own size.
    background : str, int, tuple or None, default "white"
        Any colour that Pillow knows, a grey level (in mode "P" the number of a class), an RGB tuple; None
        drops transparency as Pillow's ``convert`` does and pads with black.
    formats : str or iterable of str
        Names of formats that may be opened, for example ``(*FORMATS, "PSD")``; a plugin must be imported
        before its name is known.
    for_files : bool, default False
        Whether images may differ in shape, since each gets a file of its own.
    mode, fit, resample, reducing_gap, exif_transpose, scale_depth, frame, max_pixels
        See `DecodeOptions`. ``resample="nearest"`` and ``mode="P"`` are always exact.

    Returns
    -------
    DecodeOptions

    Raises
    ------
    ValueError, TypeError
        Names the argument, the value and the legal ones.

    Examples
    --------
    >>> decode_options(64).size
    (64, 64)
    >>> decode_options(64, background="white") == decode_options((64, 64), background=(255, 255, 255))
    True
    >>> decode_options(64, fit="cover")
    Traceback (most recent call last):
    ValueError: fit must be one of 'stretch', 'crop', 'pad', got 'cover'
    """
    mode = _one_of("mode", mode, CHANNELS)
    name = resample.name if isinstance(resample, Image.Resampling) else resample
    name = _one_of("resample", name.lower() if isinstance(name, str) else name, FILTERS)
    if mode == "P":
        name = "nearest"
    gap = _reducing_gap(reducing_gap)
    return DecodeOptions(
        size=None if size is None else parse_size(size),
        mode=mode,
        fit=_fit(fit, for_files=for_files),
        resample=name,
        # nearest takes no mean of pixels: to reduce first would only move its grid
        reducing_gap=None if name == "nearest" else gap,
        background=_colour(background, mode),
        exif_transpose=_boolean("exif_transpose", exif_transpose),
        scale_depth=_boolean("scale_depth", scale_depth),
        frame=_integer("frame", frame, least=0),
        max_pixels=None if max_pixels is None else _integer("max_pixels", max_pixels, least=1),
        formats=_formats(formats),
        plugins=tuple(setting("plugins")),
    )


def import_plugins(modules: tuple[str, ...]) -> None:
    """Import the modules that teach Pillow formats.

    Raises
    ------
    ImportError
        If one is not installed.
    """
    for name in modules:
        importlib.import_module(name)


def parse_size(size: Any) -> tuple[int, int]:
    """Return (width, height) in pixels from an int or a pair.

    Parameters
    ----------
    size : int or sequence of two int
        The side of a square, or (width, height), PIL's order.

    Raises
    ------
    TypeError
        It is not made of whole numbers.
    ValueError
        It has another length than two, or is smaller than one pixel.

    Examples
    --------
    >>> parse_size(64), parse_size((640, 480))
    ((64, 64), (640, 480))
    >>> parse_size((480, 640, 3))
    Traceback (most recent call last):
    ValueError: size must be an int or (width, height), got (480, 640, 3): a shape is (height, width, \
channels); the channels follow from mode=
    """
    expected = "size must be an int (a square) or (width, height) in pixels"
    if isinstance(size, (str, bytes)):
        raise TypeError(f"{expected}, got {size!r}: write the number without quotes")
    if isinstance(size, np.ndarray):
        size = size.tolist()
    if not isinstance(size, (tuple, list)):
        side = _integer("size", size, least=1, expected=expected)
        return side, side
    if len(size) == 3:
        raise ValueError(
            f"size must be an int or (width, height), got {tuple(size)!r}: a shape is (height, width, "
            "channels); the channels follow from mode="
        )
    if len(size) != 2:
        raise ValueError(f"{expected}, got {tuple(size)!r}")
    width, height = (_integer("size", side, least=1, expected=expected, whole=tuple(size)) for side in size)
    return width, height


def _one_of(name: str, value: Any, legal: Iterable[str]) -> str:
    legal = tuple(legal)
    if not isinstance(value, str) or value not in legal:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, legal))}, got {value!r}")
    return value


def _fit(value: Any, *, for_files: bool) -> str:
    if not for_files and value in FITS_OF_FILES[len(FITS) :]:
        raise ValueError(
            f"fit={value!r} keeps the aspect, so that images differ in shape and make no column: save_resized writes "
            "such files; fit='pad' keeps the aspect and gives one shape"
        )
    return _one_of("fit", value, FITS_OF_FILES if for_files else FITS)


def _integer(name: str, value: Any, *, least: int, expected: str = "", whole: Any = None) -> int:
    said = f"{expected or f'{name} must be a whole number'}, got {value if whole is None else whole!r}"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, SupportsIndex):
        raise TypeError(said)
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{said}: {least} is the least")
    return number


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def _reducing_gap(value: Any) -> float | None:
    if value is None:
        return None
    said = f"reducing_gap must be None (exact) or a number of at least 1.0, got {value!r}"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(said)
    if not (math.isfinite(value) and value >= 1.0):
        raise ValueError(said)
    return float(value)


def _colour(value: Any, mode: str) -> tuple[int, ...] | None:
    if value is None:
        return None
    said = f"background must be a colour like 'white', '#ffe0c0' or (255, 224, 192), or None, got {value!r}"
    if isinstance(value, str):
        try:
            colour: tuple[int, ...] = ImageColor.getrgb(value)
        except ValueError as error:
            raise ValueError(said) from error
    elif isinstance(value, (tuple, list)):
        colour = tuple(_integer("background", level, least=0, expected=said, whole=value) for level in value)
    else:
        colour = (_integer("background", value, least=0, expected=said),) * 3
    if len(colour) == 4 and mode != "RGBA":
        raise ValueError(f"background={value!r} is itself transparent; only mode='RGBA' can hold that")
    if len(colour) not in (3, 4) or max(colour) > 255:
        raise ValueError(said)
    return colour


def _formats(value: Any) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else [value]
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"formats must be names of formats like 'JPEG' or {FORMATS!r}, got {value!r}")
    wanted = {_ALIASES.get(name.upper(), name.upper()) for name in names}
    extra = sorted(wanted.difference(FORMATS))
    if extra:
        Image.init()
        import_plugins(tuple(setting("plugins")))
    unknown = [name for name in extra if name not in Image.OPEN]
    if unknown:
        raise ValueError(
            f"formats names {unknown!r}, which Pillow does not know; name the module that teaches it in Dask's "
            "configuration, such as dask.config.set({'pandas-imgproc.plugins': ['pillow_heif.HeifImagePlugin']}). "
            f"Known: {', '.join(sorted({*Image.OPEN, *FORMATS}))}"
        )
    # One order for one set, so that equal choices are equal recipes.
    return (*(name for name in FORMATS if name in wanted), *extra)
