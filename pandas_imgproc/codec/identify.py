"""Identification of image files: the format, the header and the limits, before anything is decoded."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from typing import TYPE_CHECKING

from PIL import Image, ImageFile, UnidentifiedImageError

from pandas_imgproc.codec.diagnose import ico_entries, is_truncated, matches_signature, unidentified_error
from pandas_imgproc.codec.libtiff_log import take_libtiff_message
from pandas_imgproc.codec.limits import check_header, png_chunks
from pandas_imgproc.codec.options import import_plugins
from pandas_imgproc.codec.variants import variant_error
from pandas_imgproc.errors import UnreadableImageError

if TYPE_CHECKING:
    from pandas_imgproc.codec.option_values import Size
    from pandas_imgproc.codec.options import DecodeOptions

_DECODER_ERRORS = (OSError, SyntaxError, ValueError, RuntimeError, LookupError, struct.error)


def open_image(data: bytes, options: DecodeOptions, frame: int = 0, *, all_frames: bool = False) -> ImageFile.ImageFile:
    """Open an image without decoding it (an ICO file excepted: Pillow decodes it at once).

    Formats, plugins and limits are those of the options. Twice ``PIL.Image.MAX_IMAGE_PIXELS``, Pillow's limit, always
    holds besides ``max_pixels``. With `all_frames` the limits hold for reading the headers of all frames.

    Raises
    ------
    UnreadableImageError
        Of kind "empty", "unidentified", "truncated", "corrupt", "too_large" or "unsupported".

    Examples
    --------
    >>> from pandas_imgproc.codec import decode_options
    >>> open_image(b"%!PS-Adobe-3.0 EPSF-3.0", decode_options())
    Traceback (most recent call last):
    pandas_imgproc.errors.UnreadableImageError: a file of format EPS, which formats= does not allow \
[unidentified]
    """
    if not len(data):
        raise UnreadableImageError("empty", "the file has no bytes")
    if options.max_pixels is not None and bytes(data[:4]) == b"\0\0\1\0":
        check_pixels(_max_ico_size(data), options.max_pixels)
    check_header(data, options.limits, all_frames=all_frames or frame > 0)
    with explain_errors(data):
        image = _identify(data, options.formats, options.plugins)
        if frame:
            seek(image, frame, data)
    check_pixels(image.size, options.max_pixels)
    return image


def preinit() -> None:
    """Import the plugins that Pillow would import with the first image."""
    Image.preinit()


def _identify(data: bytes, formats: tuple[str, ...], plugins: tuple[str, ...]) -> ImageFile.ImageFile:
    names = _formats_with_signature(formats)
    buffer = io.BytesIO(data)
    try:
        return Image.open(buffer, formats=names)
    except KeyError:
        # a format of a plugin that this process has not imported
        import_plugins(plugins)
        names = tuple(name for name in names if name in Image.OPEN)
    except UnidentifiedImageError:
        pass
    # Files without a signature look like TGA now and then: it is tried only when no other format claims the file.
    claimed = [name for name in names if matches_signature(name, data)]
    try:
        return Image.open(buffer, formats=names if claimed or "TGA" not in formats else ("TGA",))
    except UnidentifiedImageError:
        raise unidentified_error(data, formats, claimed) from None


@functools.lru_cache(maxsize=64)
def _formats_with_signature(formats: tuple[str, ...]) -> tuple[str, ...]:
    # Pillow reads MPO through its JPEG plugin and knows no opener of that name.
    names = ["JPEG" if name == "MPO" else name for name in formats if name != "TGA"]
    return tuple(dict.fromkeys(names))


def seek(image: ImageFile.ImageFile, frame: int, data: bytes) -> None:
    """Go to a frame of an open image; raise an UnreadableImageError of kind "region" if there is none."""
    try:
        if frame < 0:
            raise EOFError
        image.seek(frame)
    except EOFError:
        text = f"there is no frame {frame}: the image has {_count_frames(data, image)}, counted from 0"
        raise UnreadableImageError("region", text) from None


def _count_frames(data: bytes, image: ImageFile.ImageFile) -> int:
    """Return the number of frames: of the file opened again, since Pillow miscounts after a wrong number."""
    with Image.open(io.BytesIO(data), formats=_formats_with_signature((image.format or "",))) as again:
        return int(getattr(again, "n_frames", 1))


class explain_errors:  # noqa: N801  reads as a statement
    """Context manager that reports a truncated or rare file as such: most decoders only call it broken."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __enter__(self) -> None:
        take_libtiff_message()

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not isinstance(error, _DECODER_ERRORS) or isinstance(error, UnreadableImageError):
            return
        if is_truncated(self.data):
            raise UnreadableImageError("truncated", f"the file ends too early: {error}") from error
        message = take_libtiff_message()
        reason = OSError(f"{error}: {message}") if message else error
        variant = variant_error(self.data, reason)
        if variant is not None or message:
            raise variant or reason from error


def check_max_pixels(size: Size, max_pixels: int | None) -> None:
    """Raise an UnreadableImageError of kind "too_large" if an image has more pixels than an argument allows."""
    pixels = size[0] * size[1]
    if max_pixels is not None and pixels > max_pixels:
        raise UnreadableImageError(
            "too_large", f"{size[0]} x {size[1]} = {pixels} pixels are more than max_pixels={max_pixels}"
        )


def check_pixels(size: Size, max_pixels: int | None) -> None:
    """Raise the error of an image of more pixels than an argument, or Pillow's limit, allows."""
    check_max_pixels(size, max_pixels)
    limit, pixels = Image.MAX_IMAGE_PIXELS, size[0] * size[1]
    if limit is not None and pixels > 2 * limit:  # not every plugin checks again after seek()
        raise Image.DecompressionBombError(
            f"{size[0]} x {size[1]} = {pixels} pixels are more than Pillow's limit of {2 * limit}"
        )


def verify_png_crc(data: bytes) -> None:
    """Check the checksums of a PNG file's pixels, as Pillow does not: a flipped bit gives another image."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        return
    for name, start, end in png_chunks(data):
        if name == b"IDAT" and end + 4 <= len(data):
            expected = int.from_bytes(data[end : end + 4], "big")
            if zlib.crc32(memoryview(data)[start - 4 : end]) != expected:
                raise UnreadableImageError("corrupt", "the checksum of its pixels is wrong")


def _max_ico_size(data: bytes) -> Size:
    # The directory has one byte per side, the images inside may be any size, and Pillow decodes in open.
    largest = (0, 0)
    for offset, _ in ico_entries(data):
        inner = data[offset : offset + 24]
        if inner[:4] == b"\x89PNG":
            size = int.from_bytes(inner[16:20], "big"), int.from_bytes(inner[20:24], "big")
        else:
            size = int.from_bytes(inner[4:8], "little"), int.from_bytes(inner[8:12], "little") // 2
        largest = max(largest, size, key=lambda pair: pair[0] * pair[1])
    return largest
