"""Resizing: draft against the exact way, crop and pad geometry."""

from __future__ import annotations

import numpy as np
import pytest
from decoding import opened, pixels, psnr
from image_factory import encoded, marked, oriented, scene
from PIL import Image, ImageFile

from pandas_imgproc.codec.option_values import FITS


def test_reducing_gap_equals_thumbnail_with_pillow():
    data = encoded(scene(640, 480), "JPEG", quality=90)
    image = opened(data)
    image.thumbnail((80, 60))
    assert np.array_equal(pixels(data, (80, 60), engine="pillow"), image)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_draft_is_close_to_exact(fit, orientation, mode):
    data = oriented(scene(1003, 761), orientation, quality=92)
    exact = pixels(data, (64, 48), fit=fit, mode=mode, reducing_gap=None)
    assert psnr(pixels(data, (64, 48), fit=fit, mode=mode), exact) > 34


@pytest.mark.parametrize("orientation", range(1, 9))
def test_draft_resizes_fractional_box(orientation):
    # 801 = 100 * 8 + 1: seven eighths of the last column of the draft lie outside of the image
    data = oriented(marked(801, 633), orientation, quality=95, subsampling=0)
    exact = pixels(data, (20, 16), reducing_gap=None).astype(int)
    assert np.abs(pixels(data, (20, 16)) - exact).max() <= 3


def test_nearest_and_masks_never_draft(monkeypatch):
    data = encoded(scene(900, 700), "JPEG")
    drafted = []
    original = ImageFile.ImageFile.draft
    monkeypatch.setattr(type(opened(data)), "draft", lambda self, *args: drafted.append(args) or original(self, *args))
    pixels(data, 20, resample="nearest")
    pixels(data, 20, reducing_gap=None)
    pixels(encoded(scene(900, 700).convert("L"), "JPEG"), 20, mode="P")
    assert not drafted
    pixels(data, 20)
    assert drafted


def test_draft_scale_follows_fit(monkeypatch):
    sizes = []
    original = ImageFile.ImageFile.load_prepare
    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", lambda self: sizes.append(self.size) or original(self))
    data = encoded(scene(1600, 400), "JPEG")
    for fit in FITS:
        pixels(data, 50, fit=fit, engine="pillow")
    assert sizes == [(400, 100), (400, 100), (200, 50)]
    sizes.clear()
    pixels(oriented(scene(400, 1600), 6), (25, 100), engine="pillow")  # stored 1600 x 400
    assert sizes == [(200, 50)]


def test_crop_takes_center():
    got = pixels(encoded(marked(300, 100)), (50, 50), fit="crop")
    assert abs(int(got[25, 0, 0]) - 85) < 4
    assert abs(int(got[25, -1, 0]) - 170) < 4
    assert got[0, 25, 1] < 4
    assert got[-1, 25, 1] > 251


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("RGB", (10, 200, 30)), ("RGBA", (10, 200, 30, 255)), ("L", 124), ("CMYK", (245, 55, 225, 0)), ("P", 124)],
)
def test_pad_fills_background_in_every_mode(mode, expected):
    image = marked(300, 100).convert("L") if mode == "P" else marked(300, 100)
    got = pixels(encoded(image), (60, 60), fit="pad", background=(10, 200, 30), mode=mode)
    assert (got[:20] == expected).all()
    assert (got[40:] == expected).all()
    assert not (got[20:40] == expected).all(axis=None)
    black = pixels(encoded(image), (60, 60), fit="pad", background=None, mode=mode)
    assert not black[:20].any()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pad_of_one_pixel_high_image_preserves_one_row(orientation):
    got = pixels(oriented(Image.new("RGB", (2000, 1)), orientation, "PNG"), 16, fit="pad")
    assert (got[[0, -1]] == 255).all()
    assert (got == 0).any()
