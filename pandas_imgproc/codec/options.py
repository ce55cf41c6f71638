"""Options of decoding, which determine the pixels: checked and normalized."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypedDict

from PIL import Image

from pandas_imgproc._validation import check_bool, check_choice, check_int
from pandas_imgproc.codec.color_profile import COLOR_PROFILES
from pandas_imgproc.codec.engine import resolve_engine
from pandas_imgproc.codec.libjpeg import require_simplejpeg
from pandas_imgproc.codec.limits import Limits, parse_limits
from pandas_imgproc.codec.option_values import (
    FITS,
    ColorProfile,
    Engine,
    Fit,
    Mode,
    Resample,
    Size,
    check_fit,
    check_reducing_gap,
    parse_background,
    parse_readers,
    parse_size,
)
from pandas_imgproc.config import setting

if TYPE_CHECKING:
    from pandas_imgproc.custom_files import Readers

# The formats that Pillow imports first come first: a folder of JPEG files never imports all forty plugins.
# TGA has no signature and comes last. EPS is left out on purpose: it starts Ghostscript.
FORMATS: tuple[str, ...] = (
    "JPEG", "MPO", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000", "ICO", "TGA",
)  # fmt: skip
CHANNELS: dict[str, int] = {"RGB": 3, "L": 1, "RGBA": 4, "P": 1, "CMYK": 4}
FILTERS: dict[str, Image.Resampling] = {
    name: Image.Resampling[name.upper()] for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
}
FORMAT_ALIASES = {"JPG": "JPEG", "TIF": "TIFF", "JP2": "JPEG2000", "HEIC": "HEIF"}


@dataclass(frozen=True)
class DecodeOptions:
    """Options of decoding, all that change the pixels: equal options give equal pixels.

    Built by `decode_options`, which checks the arguments. The ``repr`` is part of a job's fingerprint.

    Parameters
    ----------
    size : tuple of (int, int) or None
        Width and height in pixels, Pillow's order; None is the size of each image.
    mode : {"RGB", "L", "RGBA", "P", "CMYK"}
    fit : {"stretch", "crop", "pad", "contain", "thumbnail"}
        The last two keep the aspect, so that images differ in shape.
    resample : {"nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"}
    reducing_gap : float or None
        None is exact; 2.0 is the gap of ``Image.thumbnail``.
    background : tuple of int or None
        RGB (or RGBA in mode "RGBA") below transparent areas and around a padded image.
    exif_transpose : bool
        Turn the image upright.
    scale_depth : bool
        Scale 16 bits to 8; False clips them, as Pillow converts.
    frame : int
        Frame of an animation or page of a TIFF file, counted from 0.
    max_pixels : int or None
        Larger images are refused before they are decoded.
    limits : Limits
        Bounds of the work for one image, checked before it is decoded.
    formats : tuple of str
        Formats that may be opened, by Pillow's names.
    plugins : tuple of str
        Modules that register formats with Pillow, imported where one of `formats` is not known.
    strict : bool
        A warning of the decoder is an error.
    engine : {"simd", "pillow"}
        "simd" decodes and resizes with the SIMD packages what they cover, and with Pillow all else.
    color_profile : {"srgb", "ignore"}
        Whether colors are converted from the profile in the file to sRGB.
    readers : tuple of (str or (int, bytes), callable)
        Functions of the user that read files of these suffixes or signatures, before Pillow.
    """

    size: Size | None
    mode: str = "RGB"
    fit: str = "stretch"
    resample: str = "bicubic"
    reducing_gap: float | None = 2.0
    background: tuple[int, ...] | None = (255, 255, 255)
    exif_transpose: bool = True
    scale_depth: bool = True
    frame: int = 0
    max_pixels: int | None = None
    limits: Limits = field(default_factory=Limits)
    formats: tuple[str, ...] = FORMATS
    plugins: tuple[str, ...] = ()
    strict: bool = False
    engine: str = "pillow"
    color_profile: str = "srgb"
    readers: Readers = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of every image: (height, width, channels), NumPy's order.

        Raises
        ------
        ValueError
            If images differ in shape.

        Examples
        --------
        >>> decode_options((640, 480), mode="L").shape
        (480, 640, 1)
        """
        if self.size is None or self.fit not in FITS:
            cause = "size=None" if self.size is None else f"fit={self.fit!r}"
            raise ValueError(f"{cause}: images differ in size and have no common shape")
        return self.size[1], self.size[0], CHANNELS[self.mode]

    @property
    def nbytes(self) -> int:
        """Estimate of the bytes of an image's pixels; 0 if the options imply none.

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
    """Keyword arguments of `decode_options`, without the number of the frame, which may be another one in each row."""

    mode: Mode
    fit: Fit
    resample: Resample | int
    reducing_gap: float | None
    background: str | int | tuple[int, ...] | None
    exif_transpose: bool
    scale_depth: bool
    max_pixels: int | None
    limits: Mapping[str, Any] | None
    formats: str | Iterable[str]
    readers: Mapping[Any, Callable[..., Any]] | None
    strict: bool
    engine: Engine
    color_profile: ColorProfile


def decode_options(
    size: Any = None,
    *,
    mode: Mode = "RGB",
    fit: Fit = "stretch",
    resample: Resample | int = "bicubic",
    reducing_gap: float | None = 2.0,
    background: str | int | tuple[int, ...] | None = "white",
    exif_transpose: bool = True,
    scale_depth: bool = True,
    frame: int = 0,
    max_pixels: int | None = None,
    limits: Mapping[str, Any] | None = None,
    formats: str | Iterable[str] = FORMATS,
    readers: Mapping[Any, Callable[..., Any]] | None = None,
    strict: bool = False,
    engine: Engine = "auto",
    color_profile: ColorProfile = "srgb",
    allow_any_size: bool = False,
) -> DecodeOptions:
    """Check the arguments and return the normalized options.

    Parameters
    ----------
    size : int or tuple of (int, int), optional
        Pixels, the side of a square or (width, height); None keeps the size of each image.
    background : str, int, tuple or None, default "white"
        Any color that Pillow knows, a gray level (in mode "P" a class id), an RGB tuple; None
        drops transparency as Pillow's ``convert`` does and pads with black.
    limits : dict of str to int or None, optional
        Bounds of the work for one image, by the names of `Limits`; those that are not named keep their defaults, and
        None is unlimited.
    formats : str or iterable of str
        Names of formats that may be opened, for example ``(*FORMATS, "PSD")``; a plugin must be imported
        before its name is known.
    readers : dict of str or (int, bytes) to callable, optional
        Functions of the bytes of a file, by the suffix of its name or by a signature at an offset, that return ndarray
        of uint8 or uint16, shape (height, width) or (height, width, channels).
    engine : {"auto", "simd", "pillow"}, default "auto"
        "auto" is "simd" if its packages are installed, and "pillow" with ``reducing_gap=None``.
    allow_any_size : bool, default False
        Whether images may differ in shape, as files may and rows of a column may not.
    mode, fit, resample, reducing_gap, exif_transpose, scale_depth, frame, max_pixels, strict, color_profile
        See `DecodeOptions`. ``resample="nearest"`` and ``mode="P"`` are always exact.

    Returns
    -------
    DecodeOptions

    Raises
    ------
    ValueError, TypeError
        Names the argument, the value and the legal ones.
    MissingExtraError
        If a package is not installed: simplejpeg with ``strict=True``, or one of those for ``engine="simd"``.

    Examples
    --------
    >>> decode_options(64).size
    (64, 64)
    >>> decode_options(64, background="white") == decode_options((64, 64), background=(255, 255, 255))
    True
    >>> decode_options(64, fit="cover")
    Traceback (most recent call last):
    ValueError: fit='cover' is not one of 'stretch', 'crop', 'pad'
    """
    mode = check_choice("mode", mode, CHANNELS)
    filter_name = resample.name if isinstance(resample, Image.Resampling) else resample
    filter_name = filter_name.lower() if isinstance(filter_name, str) else filter_name
    filter_name = check_choice("resample", filter_name, FILTERS)
    if mode == "P":
        filter_name = "nearest"
    gap = check_reducing_gap(reducing_gap)
    return DecodeOptions(
        size=None if size is None else parse_size(size),
        mode=mode,
        fit=check_fit(fit, allow_any_size=allow_any_size),
        resample=filter_name,
        # nearest takes no mean of pixels: to reduce first would only move its grid
        reducing_gap=None if filter_name == "nearest" else gap,
        background=parse_background(background, mode),
        exif_transpose=check_bool("exif_transpose", exif_transpose),
        scale_depth=check_bool("scale_depth", scale_depth),
        frame=check_int("frame", frame, 0),
        max_pixels=None if max_pixels is None else check_int("max_pixels", max_pixels),
        limits=parse_limits(limits),
        formats=_parse_formats(formats),
        readers=parse_readers(readers),
        plugins=tuple(setting("plugins")),
        strict=_check_strict(strict),
        engine=resolve_engine(engine, gap),
        color_profile=check_choice("color_profile", color_profile, COLOR_PROFILES),
    )


def mask_options(options: DecodeOptions) -> DecodeOptions:
    """Return options with which the mask of an image has its size and shape, and class 0 where it is padded.

    Examples
    --------
    >>> mask_options(decode_options(64, fit="pad")).shape
    (64, 64, 1)
    """
    return replace(
        options, mode="P", resample="nearest", reducing_gap=None, background=(0, 0, 0), frame=0, color_profile="ignore"
    )


def import_plugins(modules: tuple[str, ...]) -> None:
    """Import the modules that register formats with Pillow; raise ImportError if one is not installed."""
    for name in modules:
        importlib.import_module(name)


def _check_strict(strict: Any) -> bool:
    if check_bool("strict", strict):
        require_simplejpeg()
    return bool(strict)


def _parse_formats(value: Any) -> tuple[str, ...]:
    """Return Pillow's names of formats, each once and in one order: equal choices are equal options."""
    names = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"formats must be names of formats like 'JPEG' or {FORMATS!r}, got {value!r}")
    requested = {FORMAT_ALIASES.get(name.upper(), name.upper()) for name in names}
    extra = sorted(requested.difference(FORMATS))
    if extra:
        Image.init()
        import_plugins(tuple(setting("plugins")))
    unknown = [name for name in extra if name not in Image.OPEN]
    if unknown:
        raise ValueError(
            f"formats names {unknown!r}, which Pillow does not know; name the module that adds it in Dask's "
            "configuration, such as dask.config.set({'pandas-imgproc.plugins': ['pillow_heif.HeifImagePlugin']}). "
            f"Known: {', '.join(sorted({*Image.OPEN, *FORMATS}))}"
        )
    return (*(name for name in FORMATS if name in requested), *extra)
