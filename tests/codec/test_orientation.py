"""EXIF orientation: every tag in every format, and broken EXIF blocks."""

from __future__ import annotations

import numpy as np
import pytest
from decoding import opened, pixels, psnr
from image_factory import chunk, encoded, marked, oriented, png

from pandas_imgproc.codec.option_values import FITS


@pytest.mark.parametrize("size", [(96, 64), (64, 96)])
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_transposed_upright(size, name, orientation):
    upright = marked(*size)
    options = {} if name in ("PNG", "TIFF") else {"quality": 95}
    data = oriented(upright, orientation, name, **options)
    assert psnr(pixels(data), np.asarray(upright)) > 30
    for fit in FITS:
        for gap in (None, 2.0):
            expected = pixels(encoded(upright), (24, 30), fit=fit, reducing_gap=gap)
            assert psnr(pixels(data, (24, 30), fit=fit, reducing_gap=gap), expected) > 30


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_transpose_false_gives_stored_orientation(name, orientation):
    upright = marked(48, 32)
    stored = opened(oriented(upright, orientation, "PNG"))
    options = {} if name in ("PNG", "TIFF") else {"quality": 95}
    data = oriented(upright, orientation, name, **options)
    assert psnr(pixels(data, exif_transpose=False), np.asarray(stored)) > 30
    small = pixels(data, (24, 30), exif_transpose=False, fit="crop")
    assert psnr(small, pixels(encoded(stored), (24, 30), fit="crop")) > 30


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
def test_orientation_in_xmp_is_applied(name):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    stored = marked(48, 32)
    if name == "PNG":
        itxt = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp
        data = png(np.asarray(stored), 8, 2, extra=chunk(b"iTXt", itxt))
    else:
        data = encoded(stored, name, xmp=xmp, quality=95)
    assert pixels(data).shape == (48, 32, 3)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0MM\0*",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0" + b"garbage" * 9,
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x09\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x0c\0\0\0\x01" * 4,
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0",
    ],
)
@pytest.mark.parametrize("name", ["JPEG", "WEBP", "PNG"])
def test_broken_exif_does_not_lose_image(name, exif):
    image = marked(32, 24)
    plain = encoded(image, name)
    data = encoded(image, name, exif=exif)
    assert np.array_equal(pixels(data), pixels(plain))


def test_broken_xmp_does_not_lose_image():
    assert pixels(encoded(marked(32, 24), "JPEG", xmp=b"\xff\xfe\xff tiff:Orientation=9")).shape == (24, 32, 3)
