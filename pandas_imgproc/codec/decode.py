"""Decoding of bytes to pixels: identify, decode at a reduced scale, orient, convert the mode, resize."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pandas_imgproc._timing import timed
from pandas_imgproc.codec.color_profile import find_conversion
from pandas_imgproc.codec.convert import convert_mode
from pandas_imgproc.codec.crop import Decoded, crop, draft_size, resolve_box
from pandas_imgproc.codec.frames import hold_frame, open_frame
from pandas_imgproc.codec.gif_canvas import clear_outside, gif_frame_box
from pandas_imgproc.codec.identify import check_max_pixels, explain_errors, open_image, verify_png_crc
from pandas_imgproc.codec.jpeg_turbo import decode_exactly
from pandas_imgproc.codec.libjpeg import can_be_strict
from pandas_imgproc.codec.limits import check_decoding
from pandas_imgproc.codec.orientation import ORIENTED_BEFORE_LOAD, exif_transpose_op, oriented_size
from pandas_imgproc.codec.raster import Raster, to_image, to_raster
from pandas_imgproc.codec.resize import can_draft, draft, resize_and_orient
from pandas_imgproc.codec.stored_samples import StoredSamples
from pandas_imgproc.codec.strict import check_complete, check_holes, complete_only, decodes_without_warning
from pandas_imgproc.custom_files import CustomFile
from pandas_imgproc.regions import Region, RegionData

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import ImageFile

    from pandas_imgproc.codec.options import DecodeOptions
    from pandas_imgproc.regions import Box


def load(data: Any, options: DecodeOptions) -> Image.Image:
    """Decode an image: upright, on its background, resized.

    Parameters
    ----------
    data : bytes, PIL.Image.Image, ndarray of uint8, shape (height, width, channels), or RegionData
        The whole file, or an image in memory, or a region of either.
    options : DecodeOptions
        With ``size=None`` the image keeps its size.

    Returns
    -------
    PIL.Image.Image
        In ``options.mode``; in mode "P" a palette image keeps its palette and a gray one stays "L", the
        pixels are class ids either way. Of the file's metadata it has the color profile,
        ``info["icc_profile"]``, if its pixels were not converted from that to sRGB, and nothing else.

    Raises
    ------
    Exception
        Any error of a decoder at broken bytes, which is much more than OSError: see `classify_error`.

    Notes
    -----
    With ``reducing_gap=None`` a plain RGB file gives, byte for byte,
    ``ImageOps.exif_transpose(im).convert("RGB").resize(size)``, `PIL.ImageOps.fit` for "crop" and
    `PIL.ImageOps.pad` for "pad".
    """
    pixels, profile = _load(data, options)
    image = to_image(pixels)
    image.info = {"icc_profile": profile} if profile else {}
    return image


def _load(data: Any, options: DecodeOptions) -> tuple[Image.Image | Raster, bytes | None]:
    """Return the pixels of an image and their color profile."""
    if isinstance(data, RegionData):
        return _load_region(data, options)
    decoded = _decode_all(data, options)
    with timed("resize"):
        return _finish(decoded, options), decoded.profile


def _load_region(data: RegionData, options: DecodeOptions) -> tuple[Image.Image | Raster, bytes | None]:
    """Return the pixels of a region of an image and their color profile; it is decoded once for all of its regions."""
    region, frame = data.region, options.frame if data.region.frame is None else data.region.frame
    options = options if frame == options.frame else dataclasses.replace(options, frame=frame)
    # Pixels do not depend on the other rows of a partition: an image of several boxes is decoded at its full scale.
    reduced_for = None if region.box is not None and region.is_shared else region
    decoded = data.memo(frame, lambda: _decode_all(data.data, options, reduced_for, data.opened))
    with timed("resize"):
        if region.box is not None:
            decoded = crop(decoded, resolve_box(region, decoded.upright_size, options), options)
        return _finish(decoded, options), decoded.profile


def _finish(decoded: Decoded, options: DecodeOptions) -> Image.Image | Raster:
    return resize_and_orient(
        decoded.pixels, options, decoded.transpose, decoded.full_size, decoded.visible, decoded.to_srgb
    )


_FULL_IMAGE = Region()


def _decode_all(
    data: Any,
    options: DecodeOptions,
    reduced_for: Region | None = _FULL_IMAGE,
    opened: list[ImageFile.ImageFile] | None = None,
) -> Decoded:
    """Decode an image and convert its mode; at a reduced scale, if there is a region that needs no other.

    With `opened` a frame is decoded from the one before, which it holds, if that is an earlier one of the same file.
    """
    if isinstance(data, CustomFile):
        data = data.read(options.frame)
    if isinstance(data, (np.ndarray, Image.Image)):
        return _from_memory(data, options)
    with timed("decode"), complete_only(options.strict):
        image = open_image(data, options, options.frame) if opened is None else open_frame(data, options, opened)
        transpose = exif_transpose_op(image, options) if image.format in ORIENTED_BEFORE_LOAD else None
        full_size, samples = image.size, StoredSamples.from_header(image, data)
        to_srgb = find_conversion(image, options, samples)
        visible = _draft(image, data, options, transpose, reduced_for, in_color=to_srgb is not None)
        check_decoding(image, data, options.limits)
        frame_box = gif_frame_box(image)
        pixels = _decode(data, image, options)
        if opened is not None:
            pixels = hold_frame(image, pixels, opened)
    with timed("resize"):
        if image.format not in ORIENTED_BEFORE_LOAD:
            # PNG and WebP may carry EXIF after the pixels, and a TIFF file is turned by Pillow at load
            transpose, full_size = exif_transpose_op(image, options), image.size
        if frame_box is not None and options.mode != "P":
            pixels = clear_outside(to_image(pixels), frame_box)
        pixels, pending = convert_mode(pixels, options, samples, to_srgb)
        profile = None if to_srgb else image.info.get("icc_profile")
        return Decoded(pixels, transpose, full_size, visible, profile, pending)


def _draft(
    image: ImageFile.ImageFile,
    data: Any,
    options: DecodeOptions,
    transpose: Image.Transpose | None,
    region: Region | None,
    *,
    in_color: bool,
) -> Box | None:
    """Request a reduced scale at which a region can be resized; return the visible box, if the scale is reduced."""
    if region is None or not can_draft(image, data, options):
        return None
    size = oriented_size(image.size, transpose)
    box = (0.0, 0.0, *size) if region.box is None else resolve_box(region, size, options)
    return draft(image, options, draft_size(box, image.size, options, transpose), in_color=in_color)


def _decode(data: Any, image: ImageFile.ImageFile, options: DecodeOptions) -> Image.Image | Raster:
    """Return the pixels of an open file: by simplejpeg where they are Pillow's, else by Pillow."""
    raster = decode_exactly(data, image) if options.engine == "simd" else None
    if raster is None:
        return _decode_by_pillow(data, image, options)
    if options.strict:
        check_holes(data)
    return raster


def _decode_by_pillow(data: Any, image: ImageFile.ImageFile, options: DecodeOptions) -> Image.Image:
    if image.format == "PNG":
        verify_png_crc(data)
    # Pillow feeds a decoder 64 KB at a time and copies the remainder: quadratic in the width of a row,
    # and a file of one kilobyte whose header states eight million columns took 20 s.
    image.decodermaxblock = max(image.decodermaxblock, 4 * image.size[0])
    tiles = image.tile
    with explain_errors(data):
        image.load()
    if options.strict:
        check_complete(data, image, tiles)
    return image


def verify(data: Any, options: DecodeOptions) -> None:
    """Raise the error of `load` if an image is broken.

    Parameters
    ----------
    data : bytes, ndarray or PIL.Image.Image
        As in `load`.
    options : DecodeOptions
        With ``strict=True`` the pixels of an intact JPEG file are not computed: its data is read to the end.

    Examples
    --------
    >>> from pandas_imgproc.codec import decode_options
    >>> data = (getfixture("photos") / "blue.jpg").read_bytes()
    >>> verify(data, decode_options(strict=True))
    >>> verify(data[:-20] + data[-2:], decode_options(strict=True))
    Traceback (most recent call last):
    pandas_imgproc.errors.UnreadableImageError: the file ends too early: libjpeg reports: Corrupt JPEG data: \
premature end of data segment [truncated]
    """
    # A file that is not known to be intact is Pillow's to judge; and a worker may lack simplejpeg, unlike the caller.
    options = dataclasses.replace(options, engine="pillow", strict=options.strict and can_be_strict())
    if options.strict and not isinstance(data, (np.ndarray, Image.Image, CustomFile)):
        with timed("decode"), complete_only(strict=True):
            image = open_image(data, options, options.frame)
            check_decoding(image, data, options.limits)
            if decodes_without_warning(data, image):
                return
    load(data, options)


def _from_memory(data: NDArray[Any] | Image.Image, options: DecodeOptions) -> Decoded:
    with timed("resize"):
        image = data if isinstance(data, Image.Image) else _fromarray(data, options)
        check_max_pixels(image.size, options.max_pixels)
        transpose, samples = exif_transpose_op(image, options), StoredSamples()
        to_srgb = find_conversion(image, options, samples)
        pixels, pending = convert_mode(image, options, samples, to_srgb)
        profile = None if to_srgb else image.info.get("icc_profile")
        return Decoded(pixels, transpose, image.size, None, profile, pending)


def _fromarray(pixels: NDArray[Any], options: DecodeOptions) -> Image.Image:
    """Return the image of an array of uint8, or of uint16 from a reader: Pillow has images of 16 bits in gray only."""
    if pixels.shape[2] == 1:
        return Image.fromarray(pixels[:, :, 0])
    if pixels.dtype == np.uint16:
        levels = (pixels.astype(np.uint32) * 255 + 32767) // 65535 if options.scale_depth else np.minimum(pixels, 255)
        pixels = levels.astype(np.uint8)
    return Image.fromarray(pixels)


def decode_into(data: Any, options: DecodeOptions, out: NDArray[np.uint8]) -> None:
    """Decode an image into the caller's array, which may be a slice of a block.

    Parameters
    ----------
    data : bytes, PIL.Image.Image, or ndarray of uint8, shape (height, width, channels)
        As in `load`.
    options : DecodeOptions
    out : ndarray of uint8, shape (height, width, channels)
        ``options.shape``; untouched when an error is raised.

    Examples
    --------
    >>> import io
    >>> from pandas_imgproc.codec import decode_options
    >>> buffer = io.BytesIO()
    >>> Image.new("RGB", (40, 30), "red").save(buffer, "PNG")
    >>> out = np.zeros((2, 2, 3), np.uint8)
    >>> decode_into(buffer.getvalue(), decode_options(2), out)
    >>> out[0, 0].tolist()
    [255, 0, 0]
    """
    pixels, _ = _load(data, options)
    with timed("resize"):
        # Measured, for an image of Pillow: this copies twice and is still faster than Arrow's view of four bytes per
        # pixel, and within two percent of driving Pillow's private encoder into the slice.
        out[...] = np.frombuffer(to_raster(pixels).data, np.uint8).reshape(out.shape)
