"""Failure kinds and messages of unreadable files."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from decoding import assert_single_line, kind_of, pixels
from image_factory import chunk, encoded, not_images, png, scene, tiff
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
        (b"\x8bJNG\r\n\x1a\n", "JNG"),
        (b"\x8aMNG\r\n\x1a\n", "MNG"),
        (b"II\xbc\1\x08\0\0\0", "JPEG XR"),
        (b"SDPX\0\0\x08\0", "DPX"),
        (b"\x80\x2a\x5f\xd7\0\0\x08\0", "Cineon"),
        (b"II\x1a\0\0\0HEAPCCDR", "CRW"),
    ],
)
def test_other_formats_are_called_by_their_names(head, words):
    with pytest.raises(UnreadableImageError, match=words) as raised:
        pixels(head.ljust(200, b" "), 8)
    assert raised.value.kind == "unidentified"


@pytest.mark.parametrize(
    ("n_bands", "photometric", "words"),
    [
        (5, 1, "5 bands of 8 bits .gray"),
        (2, 1, "2 bands of 8 bits .gray"),
        (7, 1, "7 bands of 8 bits .gray"),
        (4, 6, "4 bands of 8 bits .YCbCr"),
    ],
)
def test_whole_tiff_file_of_other_bands_is_unsupported(n_bands, photometric, words):
    levels = np.zeros((8, 8 * n_bands), np.uint8)
    data = tiff(levels, 8, photometric, n_bands=n_bands)
    with pytest.raises(UnreadableImageError, match=words) as raised:
        pixels(data, 8)
    assert raised.value.kind == "unsupported"


def jpeg_of_frame(marker, head=b"", n_bands=1):
    """Return a JPEG file of 8 x 8 pixels whose frame has another marker."""
    bands = b"".join(bytes([k, 0x11, 0]) for k in range(1, n_bands + 1))
    frame = bytes([0xFF, marker]) + struct.pack(">HBHHB", 8 + len(bands), 8, 8, 8, n_bands) + bands
    table = b"\xff\xc4\0\x14\0" + bytes([1, *[0] * 15]) + b"\0"
    scan = b"".join(bytes([k, 0]) for k in range(1, n_bands + 1))
    scan = b"\xff\xda" + struct.pack(">HB", 6 + len(scan), n_bands) + scan + b"\1\0\0"
    return b"\xff\xd8" + head + table + frame + scan + bytes(64) + b"\xff\xd9"


JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"


def tiff_with(tag, kind, value):
    """Return a gray TIFF file of 8 bits in which a tag has another value."""
    data = bytearray(tiff(np.zeros((8, 8), np.uint8), 8, 1))
    start = struct.unpack_from("<I", data, 4)[0]
    for entry in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        if struct.unpack_from("<H", data, entry)[0] == tag:
            struct.pack_into("<HIHH", data, entry + 2, kind, 1, value, 0)
    return bytes(data)


def jpeg2000(n_bands, step, color_space=None):
    """Return a JPEG 2000 file of one component size, without a pixel."""
    bands = b"".join(bytes([7, step, 1]) for _ in range(n_bands))
    siz = struct.pack(">HHIIIIIIIIH", 38 + len(bands), 0, 8, 8, 0, 0, 8, 8, 0, 0, n_bands) + bands
    stream = b"\xff\x4f\xff\x51" + siz + b"\xff\x64\0\4\0\0\xff\xd9"
    if color_space is None:
        return stream
    header = struct.pack(">I4sIIHBBBB", 22, b"ihdr", 8, 8, n_bands, 7, 7, 0, 0)
    header += struct.pack(">I4sBBBI", 15, b"colr", 1, 0, 0, color_space)
    boxes = b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">I4s4sI4s", 20, b"ftyp", b"jp2 ", 0, b"jp2 ")
    boxes += struct.pack(">I4s", 8 + len(header), b"jp2h") + header
    return boxes + struct.pack(">I4s", 8 + len(stream), b"jp2c") + stream


PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
RARE = {
    "iOS": PNG_SIGNATURE
    + chunk(b"CgBI", bytes(4))
    + png(np.zeros((8, 8)), 8, 0)[8:33]
    + chunk(b"IDAT", b"c\0\1" * 9)
    + chunk(b"IEND", b""),
    "JPEG-LS": jpeg_of_frame(0xF7),
    "SOF5": jpeg_of_frame(0xC5),
    "lossless": jpeg_of_frame(0xC3, JFIF, 3),
    "compression 50013": tiff_with(259, 3, 50013),
    "WEBP": tiff_with(259, 3, 50001),
    "1 component at": jpeg2000(1, 2),
    "2 components at": jpeg2000(2, 4),
    "color space 24": jpeg2000(3, 1, 24),
}


@pytest.mark.parametrize("words", RARE)
def test_variant_that_pillow_cannot_decode_is_unsupported(words):
    with pytest.raises(Exception, match=words) as raised:
        pixels(RARE[words], 8)
    assert codec.classify_error(raised.value)[0] == "unsupported"


def test_avif_file_of_more_pixels_than_libavif_reads_is_too_large():
    data = bytearray(encoded(scene(8, 8), "AVIF"))
    start = data.index(b"ispe") + 8
    data[start : start + 8] = struct.pack(">II", 17000, 17000)
    assert kind_of(bytes(data)) == "too_large"


def test_palette_image_without_palette_is_corrupt_and_a_mask():
    data = png(np.arange(64, dtype=np.uint8).reshape(8, 8), 8, 3)  # no palette=
    with pytest.raises(UnreadableImageError, match="no palette") as raised:
        pixels(data, 8)
    assert raised.value.kind == "corrupt"
    assert pixels(data, 8, mode="P")[1, 2] == 10


def test_error_within_a_part_of_a_file_is_no_cut():
    data = encoded(scene(60, 60), "JPEG")
    segment = b"\xff\xe0\0\x07JFIF\0"
    assert kind_of(data[:2] + segment + data[20:]) == "corrupt"


def test_messages_of_libtiff_are_quoted():
    data = bytearray(encoded(scene(64, 64), "TIFF", compression="tiff_lzw"))
    data[60:100] = b"\xff" * 40
    with pytest.raises(OSError, match="libtiff: Using code not yet"):
        pixels(bytes(data), 8)


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
        (TypeError("unsupported operand type(s) for +: 'int' and 'str'"), "corrupt"),
        (ValueError("Decompressed data too large for PngImagePlugin.MAX_TEXT_CHUNK"), "too_large"),
        (
            OSError("decoder error -2: libtiff: TIFFFillStrip: Read error on strip 0; got 0 bytes, expected 9"),
            "truncated",
        ),
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
