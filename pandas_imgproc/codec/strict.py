"""Strict decoding: damage that a decoder warns of, or at which Pillow leaves pixels black without a warning."""

from __future__ import annotations

import contextlib
import zlib
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageFile

from pandas_imgproc.codec.diagnose import decoder_message_error, is_truncated
from pandas_imgproc.codec.jpeg_holes import has_hole
from pandas_imgproc.codec.libjpeg import libjpeg_warning
from pandas_imgproc.codec.limits import png_chunks
from pandas_imgproc.codec.pillow_globals import PillowSettings, pillow_settings
from pandas_imgproc.codec.tiff_strips import check_tiff_strips
from pandas_imgproc.errors import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

JPEG_FORMATS = ("JPEG", "MPO")
_INFLATE_NBYTES = 1 << 18


@contextlib.contextmanager
def complete_only(strict: bool) -> Iterator[None]:
    """Disable ``PIL.ImageFile.LOAD_TRUNCATED_IMAGES`` in the context if decoding is strict."""
    if strict and ImageFile.LOAD_TRUNCATED_IMAGES:
        with pillow_settings(PillowSettings(Image.MAX_IMAGE_PIXELS, load_truncated_images=False)):
            yield
    else:
        yield


def check_complete(data: Any, image: ImageFile.ImageFile, tiles: list[Any]) -> None:
    """Raise for a damage at which Pillow did not stop.

    Parameters
    ----------
    data : bytes
        The whole file.
    image : PIL.ImageFile.ImageFile
        The loaded image.
    tiles : list of tuple
        ``image.tile`` before it was loaded.

    Raises
    ------
    UnreadableImageError
        Of kind "truncated" or "corrupt".
    """
    if image.format in JPEG_FORMATS:
        _check_jpeg(_jpeg_of_frame(data, image))
    elif image.format == "PNG":
        _check_png(data)
    elif image.format == "TIFF" and tiles:
        # Their product, because load() has turned the image and its size.
        n_pixels = max(tile[1][2] for tile in tiles) * max(tile[1][3] for tile in tiles)
        if n_pixels < image.width * image.height:
            expected = image.width * image.height
            raise UnreadableImageError("truncated", f"its pixels end too early: they are {n_pixels} of {expected}")
        check_tiff_strips(data, getattr(image, "tag_v2", {}))


def decodes_without_warning(data: Any, image: ImageFile.ImageFile) -> bool:
    """Return whether a JPEG file is known to be intact, which is cheaper than to decode its pixels."""
    if image.format not in JPEG_FORMATS:
        return False
    jpeg = _jpeg_of_frame(data, image)
    return libjpeg_warning(jpeg) == "" and not has_hole(jpeg)


def check_holes(data: bytes) -> None:
    """Raise for a hole of zero bytes in a JPEG file that libjpeg reads without a warning.

    Raises
    ------
    UnreadableImageError
        Of kind "corrupt".
    """
    if has_hole(data):
        raise UnreadableImageError("corrupt", "there is a hole of zero bytes in the data of its pixels")


def _jpeg_of_frame(data: Any, image: ImageFile.ImageFile) -> bytes:
    """Return the file from the first byte of the image's frame on."""
    offset = getattr(image, "offset", 0) if image.format == "MPO" else 0
    return bytes(memoryview(data)[offset:]) if offset else bytes(data)


def _check_jpeg(data: bytes) -> None:
    message = libjpeg_warning(data)
    if message:
        raise decoder_message_error(message)
    check_holes(data)


def _check_png(data: Any) -> None:
    """Raise if a PNG file ends before its last chunk, or has fewer rows of pixels than its header has."""
    if is_truncated(data):
        raise UnreadableImageError("truncated", "the file ends too early: there is no IEND chunk")
    expected, n = _png_nbytes(bytes(data[16:29])), 0
    inflate = zlib.decompressobj()
    for name, start, end in png_chunks(data):
        rest: Any = memoryview(data)[start:end] if name == b"IDAT" else b""
        while len(rest) and not inflate.eof and n < expected:
            n += len(inflate.decompress(rest, _INFLATE_NBYTES))
            rest = inflate.unconsumed_tail
    n += len(inflate.flush()) if n < expected else 0
    if n < expected:
        raise UnreadableImageError("truncated", f"its pixels end too early: they are {n} of {expected} bytes")


_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # per pixel, by color type
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def _png_nbytes(header: bytes) -> int:
    """Return the bytes of all rows of a PNG file, uncompressed, by the body of its header."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    bits = header[8] * _SAMPLES.get(header[9], 0)
    passes = _ADAM7 if header[12] else ((0, 0, 1, 1),)
    sizes = [((width - x + dx - 1) // dx, (height - y + dy - 1) // dy) for x, y, dx, dy in passes]
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns > 0)
