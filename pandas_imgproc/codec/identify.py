"""Which image is it: identify a file, read its header, refuse what is too large, before anything is decoded."""

from __future__ import annotations

import functools
import io
import struct
import zlib

from PIL import Image, ImageFile, UnidentifiedImageError

from pandas_imgproc.codec.diagnose import ico_entries, is_truncated, matches_signature, unidentified_error
from pandas_imgproc.codec.options import FORMATS, import_plugins
from pandas_imgproc.errors import UnreadableImageError

Size = tuple[int, int]

_CHUNK = struct.Struct(">I4s")  # the head of a part of a PNG file: its length and its name
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, RuntimeError, LookupError, struct.error)


def open_image(
    data: bytes,
    formats: tuple[str, ...] = FORMATS,
    *,
    max_pixels: int | None = None,
    frame: int = 0,
    plugins: tuple[str, ...] = (),
) -> ImageFile.ImageFile:
    """Read the header of an image: nothing is decoded, and nothing but an allowed format is opened.

    Parameters
    ----------
    data : bytes
        The whole file.
    formats : tuple of str
        The formats that may be opened.
    max_pixels : int, optional
        More than these (width times height) are refused. Pillow's own limit, twice
        ``PIL.Image.MAX_IMAGE_PIXELS``, always holds.
    frame : int, default 0
    plugins : tuple of str
        Modules that teach Pillow those of the formats that it does not know by itself.

    Returns
    -------
    PIL.ImageFile.ImageFile
        Not yet loaded (an ICO file excepted: Pillow decodes it at once).

    Raises
    ------
    UnreadableImageError
        Of kind "empty", "unidentified", "truncated", "corrupt", "too_large" or "unsupported".

    Examples
    --------
    >>> open_image(b"%!PS-Adobe-3.0 EPSF-3.0")
    Traceback (most recent call last):
    pandas_imgproc.errors.UnreadableImageError: a file of format EPS, which formats= does not allow \
[unidentified]
    """
    if not len(data):
        raise UnreadableImageError("empty", "the file has no bytes")
    if max_pixels is not None and bytes(data[:4]) == b"\0\0\1\0":
        _check_pixels(_icon_size(data), max_pixels)
    with report_truncation(data):
        image = _identify(data, formats, plugins)
        if frame:
            _seek(image, frame)
    _check_pixels(image.size, max_pixels)
    return image


def preinit() -> None:
    """Import what Pillow would import with the first image."""
    Image.preinit()


def _identify(data: bytes, formats: tuple[str, ...], plugins: tuple[str, ...]) -> ImageFile.ImageFile:
    signed = _signed(formats)
    buffer = io.BytesIO(data)
    try:
        return Image.open(buffer, formats=signed)
    except KeyError:
        # a format of a plugin that this process has not imported
        import_plugins(plugins)
        signed = tuple(name for name in signed if name in Image.OPEN)
    except UnidentifiedImageError:
        pass
    # Files without a signature look like TGA now and then: it is asked only when nobody else claims the file.
    claimed = [name for name in signed if matches_signature(name, data)]
    try:
        return Image.open(buffer, formats=signed if claimed or "TGA" not in formats else ("TGA",))
    except UnidentifiedImageError:
        raise unidentified_error(data, formats, claimed) from None


@functools.lru_cache(maxsize=64)
def _signed(formats: tuple[str, ...]) -> tuple[str, ...]:
    # Pillow reads MPO through its JPEG plugin and knows no opener of that name.
    names = ["JPEG" if name == "MPO" else name for name in formats if name != "TGA"]
    return tuple(dict.fromkeys(names))


def _seek(image: ImageFile.ImageFile, frame: int) -> None:
    try:
        image.seek(frame)
    except EOFError:
        frames = getattr(image, "n_frames", 1)
        raise UnreadableImageError(
            "unsupported", f"there is no frame {frame}: the image has {frames}, counted from 0"
        ) from None


class report_truncation:  # noqa: N801  reads as a statement
    """Name the reason that most decoders do not: they only say "broken" of a file that is shorter than it says."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        told = isinstance(error, UnreadableImageError)
        if isinstance(error, _DECODER_ERRORS) and not told and is_truncated(self.data):
            raise UnreadableImageError("truncated", f"the file ends too early: {error}") from error


def _check_pixels(size: Size, max_pixels: int | None) -> None:
    pixels = size[0] * size[1]
    if max_pixels is not None and pixels > max_pixels:
        raise UnreadableImageError(
            "too_large", f"{size[0]} x {size[1]} = {pixels} pixels are more than max_pixels={max_pixels}"
        )
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and pixels > 2 * limit:  # not every plugin asks again after seek()
        raise Image.DecompressionBombError(
            f"{size[0]} x {size[1]} = {pixels} pixels are more than Pillow's limit of {2 * limit}"
        )


def verify_png_crc(data: bytes) -> None:
    """Compare the checksums of a PNG file's pixels, which Pillow leaves out: what a flipped bit shows is no image."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        return
    start = 8
    while start + 12 <= len(data):
        length, name = _CHUNK.unpack_from(data, start)
        end = start + 8 + length
        if name == b"IDAT" and end + 4 <= len(data):
            told = int.from_bytes(data[end : end + 4], "big")
            if zlib.crc32(memoryview(data)[start + 4 : end]) != told:
                raise UnreadableImageError("corrupt", "the checksum of its pixels is wrong")
        start = end + 4


def _icon_size(data: bytes) -> Size:
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
