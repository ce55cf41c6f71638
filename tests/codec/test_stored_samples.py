"""Stored samples: class ids are the numbers in the file, for all formats and depths, and zero may be white."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from decoding import pixels
from image_factory import encoded, png, tiff
from PIL import Image

from pandas_imgproc.codec.encode import MODES_OF, EncodeOptions, encode

IDS = np.zeros((8, 8), np.uint8)
IDS[0], IDS[1] = 1, 3  # with a gap

# Gray JPEG 2000 files of samples of 4 and 12 bits, which Pillow cannot write: rows of 3, of 9, and of 0.
JPEG2000 = {
    4: "/0//UQApAAAAAAAIAAAACAAAAAAAAAAAAAAACAAAAAgAAAAAAAAAAAABAwEB/1IADAAAAAEAAAQEAAH/XAAEQCD/ZAAlAAFDcmVhdGVkIGJ5"
    "IE9wZW5KUEVHIHZlcnNpb24gMi41LjT/kAAKAAAAAAAgAAH/k98g8AYxc1PjRrYMJirfvgQst//Z",
    12: "/0//UQApAAAAAAAIAAAACAAAAAAAAAAAAAAACAAAAAgAAAAAAAAAAAABCwEB/1IADAAAAAEAAAQEAAH/XAAEQGD/ZAAlAAFDcmVhdGVkIGJ5"
    "IE9wZW5KUEVHIHZlcnNpb24gMi41LjT/kAAKAAAAAABUAAH/k9/hDAYxc1aqwTyD0fjFsk7zm3euqGRQgmJSiX5FCCYlKJfkUIJiUol+RQgmJSiX"
    "6y+Bm6WLKfeNSqX/ZhAzdKjkvvGpVL//2Q==",
}


def ids_of(data):
    return pixels(data, mode="P")


def netpbm(magic, levels, white):
    header = b"%s\n8 8\n%d\n" % (magic, white)
    if magic == b"P2":
        return header + b" ".join(b"%d" % level for level in levels.ravel().tolist())
    return header + levels.astype(">u2" if white > 255 else "u1").tobytes()


@pytest.mark.parametrize("magic", [b"P2", b"P5"])
@pytest.mark.parametrize("white", [3, 7, 20, 200, 255, 256, 1000, 65534, 65535])
def test_class_ids_of_a_pgm_file_do_not_depend_on_its_white(magic, white):
    levels = np.arange(64).reshape(8, 8) % (min(white, 255) + 1)
    assert np.array_equal(ids_of(netpbm(magic, levels, white)), levels)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("photometric", [0, 1, 3])  # white is zero, black is zero, palette
@pytest.mark.parametrize("depth", [2, 4, 8, 16])
def test_class_ids_of_a_tiff_file_are_its_numbers(order, photometric, depth):
    if depth == 16 and (photometric == 3 or (photometric, order) == (0, ">")):
        pytest.skip("Pillow does not read it")
    assert np.array_equal(ids_of(tiff(IDS, depth, photometric, order)), IDS)


@pytest.mark.parametrize("depth", [2, 4, 8, 16])
@pytest.mark.parametrize("color", [0, 3])  # gray, palette
def test_class_ids_of_a_png_file_are_its_numbers(depth, color):
    if (depth, color) != (16, 3):
        palette = bytes(3 * 4) if color == 3 else None
        assert np.array_equal(ids_of(png(IDS, depth, color, palette=palette)), IDS)


@pytest.mark.parametrize("photometric", [0, 1])
def test_bilevel_image_has_black_and_white_as_ids(photometric):
    bits = IDS & 1
    assert np.array_equal(ids_of(tiff(bits, 1, photometric)), bits if photometric else 1 - bits)
    image = Image.fromarray(bits * 255).convert("1")
    for data in (encoded(image, "TIFF", compression="group4"), encoded(image, "PPM"), encoded(image)):
        assert np.array_equal(ids_of(data), bits)


@pytest.mark.parametrize("depth", [4, 12])
def test_class_ids_of_a_jpeg_2000_file_are_its_numbers(depth):
    assert ids_of(base64.b64decode(JPEG2000[depth]))[:3, 0].tolist() == [3, 9, 0]


@pytest.mark.parametrize("name", [name for name, modes in MODES_OF.items() if "P" in modes])
@pytest.mark.parametrize("palette", [None, 2, 256])
def test_written_class_ids_read_back_with_their_gaps(name, palette):
    ids = IDS * 60
    image = Image.fromarray(ids)
    if palette is not None:
        image = Image.frombytes("P", image.size, ids.tobytes())
        image.putpalette([7, 8, 9] * palette)
    data = encode(image, EncodeOptions(name, 75), "mask")
    assert np.array_equal(ids_of(data), ids)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), ids)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
def test_white_is_zero_at_every_depth_that_pillow_reads(order, compression):
    levels = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    expected = 255 - np.round(levels / 257.0)
    if order == "<":
        data = encoded(Image.fromarray(levels), "TIFF", compression=compression, tiffinfo={262: 0})
        assert Image.open(io.BytesIO(data)).tag_v2[262] == 0
        assert np.array_equal(pixels(data, mode="L"), expected)
    if compression == "raw":
        for depth in (2, 4, 8):
            small = levels >> (16 - depth)
            got = pixels(tiff(small, depth, 0, order), mode="L")
            assert np.array_equal(got, 255 - small * (255 // (2**depth - 1)))
        floats = (levels / 257).astype(np.float32)
        assert np.abs(pixels(tiff(floats, 32, 0, order), mode="L") - (255 - floats)).max() <= 1
