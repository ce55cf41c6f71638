"""Failure kinds and messages of unreadable files."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from decoding import assert_single_line, kind_of, pixels
from image_factory import encoded, not_images, scene, tiff
from PIL import Image, UnidentifiedImageError

from pandas_imgproc import codec
from pandas_imgproc.errors import UnreadableImageError

EXPECTED = {
    "empty.jpg": ("empty", "no bytes"),
    "zeros.jpg": ("unidentified", "zero bytes"),
    "text.jpg": ("unidentified", "text, not an image"),
    "page.jpg": ("unidentified", "HTML"),
    "drawing.png": ("unidentified", "SVG"),
    "umlauts.jpg": ("unidentified", "text, not an image"),
    "pointer.jpg": ("unidentified", "Git LFS"),
    "postscript.jpg": ("unidentified", "EPS, which formats="),
    "document.jpg": ("unidentified", "PDF"),
    "archive.jpg": ("unidentified", "ZIP"),
    "compressed.jpg": ("unidentified", "gzip"),
    "video.jpg": ("unidentified", "video"),
    "phone.jpg": ("unidentified", "pillow_heif"),
    "photoshop.jpg": ("unidentified", "PSD"),
    "array.jpg": ("unidentified", "NumPy"),
    "only_signature.jpg": ("truncated", "JPEG"),
    "only_signature.png": ("truncated", "PNG"),
    "text_mode.png": ("unidentified", "text mode"),
    "size_zero.png": ("corrupt", "header"),
    "no_pixels.png": ("corrupt", "no pixels"),
    "depth_3.png": ("corrupt", "checksum"),
    "header_lies.png": ("truncated", "truncated"),
    "two_billion.png": ("too_large", "limit"),
    "five_gigapixels.bmp": ("too_large", "limit"),
    "icon_of_a_giant.ico": ("too_large", "limit"),
    "half.jpg": ("truncated", "truncated"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_unreadable_file_has_kind_and_message(name):
    kind, words = EXPECTED[name]
    with pytest.raises((Exception, SystemExit)) as raised:
        pixels(not_images()[name], 8)
    got, message = codec.classify_error(raised.value)
    assert (got, words in message) == (kind, True), message


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "Canon"),
        (b"\0\0\0\x18ftypqt  \0\0\0\1qt  ", "video"),
        (b"FUJIFILMCCD-RAW 0201", "Fujifilm"),
        (b"SIMPLE  =                    T", "FITS"),
        (b"qoif\0\0\0\x08\0\0\0\x08\3\0", "QOI"),
        (b"\0\5\x16\7\0\2\0\0", "AppleDouble"),
        (b"P7\nWIDTH 8\n", "PAM"),
        (b"gimp xcf v011", "GIMP"),
    ],
)
def test_other_formats_are_called_by_their_names(head, words):
    with pytest.raises(UnreadableImageError, match=words) as raised:
        pixels(head.ljust(200, b" "), 8)
    assert raised.value.kind == "unidentified"


@pytest.mark.parametrize(
    ("n_bands", "photometric", "words"),
    [(5, 1, "5 bands of 8 bits .gray"), (2, 1, "2 bands of 8 bits .gray"), (4, 6, "4 bands of 8 bits .YCbCr")],
)
def test_whole_tiff_file_of_other_bands_is_unsupported(n_bands, photometric, words):
    levels = np.zeros((8, 8 * n_bands), np.uint8)
    data = tiff(levels, 8, photometric, n_bands=n_bands)
    with pytest.raises(UnreadableImageError, match=words) as raised:
        pixels(data, 8)
    assert raised.value.kind == "unsupported"


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "TGA"])
def test_cut_file_is_truncated(name):
    data = encoded(scene(60, 60), name)
    for part in (0.2, 0.5, 0.9):
        assert kind_of(data[: int(len(data) * part)]) == "truncated"


@pytest.mark.parametrize(
    ("exc", "kind"),
    [
        (OSError("image file is truncated (7 bytes not processed)"), "truncated"),
        (OSError("Truncated File Read"), "truncated"),
        (OSError("broken data stream when reading image file"), "corrupt"),
        (OSError("out of memory error when reading image file"), "too_large"),
        (SyntaxError("broken PNG file (chunk b'\\x00\\x00\\x00\\x00')"), "corrupt"),
        (struct.error("unpack requires a buffer of 4 bytes"), "truncated"),
        (IndexError("index out of range"), "truncated"),
        (EOFError(), "truncated"),
        (MemoryError(), "too_large"),
        (ZeroDivisionError("division by zero"), "corrupt"),
        (KeyError(320), "corrupt"),
        (RecursionError("maximum recursion depth exceeded"), "corrupt"),
        (zlib.error("Error -3"), "corrupt"),
        (UnicodeDecodeError("utf-8", b"\xff\xfe", 0, 1, "invalid start byte"), "corrupt"),
        (Image.DecompressionBombError("too many"), "too_large"),
        (Image.DecompressionBombWarning("many"), "too_large"),
        (UnidentifiedImageError("cannot identify image file <_io.BytesIO object at 0x7f00>"), "unidentified"),
        (NotImplementedError("that"), "unsupported"),
        (OSError("codec configuration error when reading image file"), "unsupported"),
        (ValueError("conversion from LAB to CMYK not supported"), "unsupported"),
        (SystemExit(3), "corrupt"),
        (FileNotFoundError(2, "No such file"), "missing"),
        (PermissionError(13, "Permission denied"), "permission"),
        (IsADirectoryError(21, "Is a directory"), "not_a_file"),
        (TimeoutError(), "timeout"),
        (UnreadableImageError("remote", "503"), "remote"),
        (ValueError("a\nb\0c" * 500), "corrupt"),
        (ValueError(), "corrupt"),
    ],
)
def test_classify_error_gives_kind_and_single_line(exc, kind):
    got, message = codec.classify_error(exc)
    assert got == kind
    assert_single_line(message)
