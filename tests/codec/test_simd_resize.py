"""Resizing by cykooz-resizer, compared with the convolution in float64 and with Pillow."""

from __future__ import annotations

import concurrent.futures
import threading

import numpy as np
import pytest
from convolution import convolved, psnr_to
from decoding import pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from image_factory import encoded, in_mode, scene
from PIL import Image, ImageOps

from pandas_imgproc.codec import simd_resize
from pandas_imgproc.codec.raster import Raster, to_image, to_raster

FILTERS = {name: Image.Resampling[name.upper()] for name in ("bilinear", "bicubic", "lanczos")}
MODES = ("RGB", "L", "RGBA")


def resized(image, size, resample="bicubic", box=None):
    assert simd_resize.covers(image, size, resample)
    return np.asarray(to_image(simd_resize.resize(image, size, resample, box)))


def premultiplied(levels):
    """Return colors weighted by alpha, and alpha: what an observer can see."""
    levels = levels.astype(float)
    if levels.ndim == 2 or levels.shape[2] != 4:
        return levels
    return np.concatenate([levels[..., :3] * levels[..., 3:] / 255, levels[..., 3:]], -1)


@pytest.mark.parametrize("resample", FILTERS)
@pytest.mark.parametrize("mode", MODES)
def test_fidelity_is_at_least_that_of_pillow(mode, resample):
    image = in_mode(scene(353, 277), mode)
    boxes = (None, (10.25, 3.5, 340.75, 250.125), (0, 0, 352.5, 276.25))
    ours, pillows = [], []
    for size in ((20, 20), (64, 48), (224, 224), (400, 300)):
        for box in boxes if size[0] < 300 else boxes[:1]:
            exact = premultiplied(np.clip(convolved(np.asarray(image), size, resample, box), 0, 255))
            ours.append(psnr_to(exact, premultiplied(resized(image, size, resample, box))))
            pillows.append(psnr_to(exact, premultiplied(np.asarray(image.resize(size, FILTERS[resample], box)))))
    assert min(ours) > 52
    assert np.mean(ours) >= np.mean(pillows) - 0.1  # of 57 dB: rounding either way
    assert min(a - b for a, b in zip(ours, pillows, strict=True)) > -0.7


@pytest.mark.parametrize("resample", FILTERS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_levels_are_pillows_up_to_rounding_where_no_overshoot_is_clipped(mode, resample):
    """Each rounds twice, Pillow first along the rows and this along the columns: rarely that adds up to two levels."""
    levels = np.asarray(scene(301, 203).convert(mode)) // 2 + 64  # far from black and white
    image = Image.fromarray(levels)
    for size in ((16, 12), (100, 100), (301, 90), (450, 400)):
        expected = np.asarray(image.resize(size, FILTERS[resample])).astype(int)
        difference = np.abs(resized(image, size, resample) - expected)
        assert difference.max() <= 2
        assert np.mean(difference > 1) < 5e-4


@pytest.mark.parametrize("resample", FILTERS)
def test_one_color_stays_that_color(resample):
    for size in ((1, 1), (7, 3), (500, 2), (3000, 5), (100_000, 1), (1, 100_000)):
        for color in ((255, 0, 77), (1, 254, 128)):
            for to in ((1, 1), (3, 3), (64, 48)):
                assert (resized(Image.new("RGB", size, color), to, resample) == color).all()
    for color in ((255, 0, 77, 255), (0, 0, 0, 0)):
        assert (resized(Image.new("RGBA", (50, 40), color), (9, 7), resample) == color).all()


def test_hidden_colors_do_not_bleed():
    levels = np.zeros((40, 40, 4), np.uint8)
    levels[:, :20] = (255, 0, 0, 0)
    levels[:, 20:] = 255
    got = resized(Image.fromarray(levels), (7, 7))
    assert (got[got[..., 3] > 0][:, :3] == 255).all()


@settings(max_examples=150, deadline=None)
@given(
    *[st.integers(1, 60)] * 4,
    *[st.floats(0, 1)] * 4,
    st.sampled_from(MODES),
    st.sampled_from(sorted(FILTERS)),
)
def test_any_box_gives_the_size(width, height, to_width, to_height, left, top, right, bottom, mode, resample):
    """Also a box of nearly no pixel, and one that is outside of the image by a rounding."""
    x, y = sorted((left, right)), sorted((top, bottom))
    box = (x[0] * width, y[0] * height, x[1] * width * (1 + 2e-16), y[1] * height * (1 + 2e-16))
    if box[2] - box[0] < 1e-6 or box[3] - box[1] < 1e-6 or x[0] == 1 or y[0] == 1:
        return
    image = in_mode(Image.new("RGB", (width, height), (90, 120, 200)), mode)
    got = resized(image, (to_width, to_height), resample, box)
    assert got.shape[:2] == (to_height, to_width)
    if mode != "RGBA":
        assert (got == np.asarray(image)[0, 0]).all()


@pytest.mark.parametrize("mode", MODES)
def test_every_pixel_of_an_enlarged_part_uses_the_right_columns_and_rows(mode):
    """Also if the first or the last center falls on that of a pixel: the next to it then uses more of the image."""
    levels = np.random.default_rng(3).integers(64, 192, (16, 16, len(mode)), np.uint8).squeeze()
    if mode == "RGBA":
        levels[..., 3] = 255
    image = Image.fromarray(levels)
    for n in (4, 5, 8, 20):
        for start in range(9):
            for side in range(1, 15 - start):  # in pixels of the result, from a center of the image or to one
                left, extent = start + 0.5, (side + 0.5) * n / (n - 0.5)
                for box in ((left - extent / n / 2, 0), (left + side - extent * (1 - 0.5 / n), 0), (0, 0)):
                    left, right = box[0], box[0] + extent
                    if left < 0 or right > 16 or extent > n:
                        continue
                    for box, size in (((left, 2, right, 14.5), (n, 9)), ((2, left, 14.5, right), (9, n))):
                        expected = np.asarray(image.resize(size, Image.Resampling.BICUBIC, box)).astype(int)
                        assert np.abs(resized(image, size, box=box) - expected).max() <= 2, (box, size)


@pytest.mark.parametrize("resample", FILTERS)
def test_much_larger_images_are_as_exact_as_with_pillow(resample):
    image = scene(1950, 650)
    for size, box in (((1, 1), None), ((3, 2), None), ((20, 7), None), ((18, 6), (100.5, 50.25, 1900.5, 630.75))):
        exact = np.clip(convolved(np.asarray(image), size, resample, box), 0, 255)
        errors = [
            np.abs(exact - got)
            for got in (resized(image, size, resample, box), image.resize(size, FILTERS[resample], box))
        ]
        assert errors[0].max() < 2.5
        assert errors[0].mean() < errors[1].mean() + 0.1


def test_images_of_the_size_are_untouched():
    raster = to_raster(scene(30, 20))
    assert simd_resize.resize(raster, (30, 20), "bicubic", None) is raster


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("resample", ["nearest", "box", "hamming"])
def test_other_filters_are_pillows(fit, resample):
    for data in (encoded(scene(640, 470), "JPEG"), encoded(scene(300, 200))):
        simd, pillow = (pixels(data, (60, 50), fit=fit, resample=resample, engine=e) for e in ("simd", "pillow"))
        assert np.array_equal(simd, pillow)


def test_default_resize_is_that_of_the_whole_image():
    """Of formats without a reduced scale: no mean of whole pixels comes first."""
    image = scene(640, 480)
    for data in (encoded(image), encoded(image, "BMP")):
        difference = np.abs(pixels(data, (80, 60)).astype(int) - np.asarray(image.resize((80, 60))))
        assert difference.max() <= 2
        crop = ImageOps.fit(image, (50, 50), Image.Resampling.BICUBIC)
        assert np.abs(pixels(data, 50, fit="crop").astype(int) - np.asarray(crop)).max() <= 2


@pytest.mark.parametrize("extension", ["sse4_1", "none"])
def test_bytes_do_not_depend_on_the_processor(extension, monkeypatch):
    import cykooz_resizer

    def all_resized():
        return [
            resized(in_mode(scene(301, 203), mode), size, resample, box)
            for mode in MODES
            for resample in FILTERS
            for size in ((31, 17), (224, 224), (401, 300))
            for box in (None, (1.5, 2.25, 290.125, 200))
        ]

    expected = all_resized()
    tools = simd_resize._Tools(cykooz_resizer.Resizer(), cykooz_resizer.AlphaMulDiv())
    tools.resizer.cpu_extensions = tools.alpha.cpu_extensions = cykooz_resizer.CpuExtensions[extension]
    monkeypatch.setattr(simd_resize._threads, "tools", tools, raising=False)
    assert all(np.array_equal(a, b) for a, b in zip(all_resized(), expected, strict=True))
    assert simd_resize._threads.tools is tools


@pytest.mark.parametrize("mode", MODES)
def test_threads_resize_concurrently_and_alike(mode):
    image, n_threads = in_mode(scene(301, 203), mode), 8
    expected, barrier = resized(image, (64, 64)), threading.Barrier(n_threads)

    def work(_):
        barrier.wait()
        return all(np.array_equal(resized(image, (64, 64)), expected) for _ in range(20))

    with concurrent.futures.ThreadPoolExecutor(n_threads) as pool:
        assert all(pool.map(work, range(n_threads)))


def test_resizer_is_replaced_after_an_error(monkeypatch):
    class Panicking:
        def resize(self, *_):
            raise BaseException("panic")

    tools = simd_resize._Tools(Panicking(), None)
    monkeypatch.setattr(simd_resize._threads, "tools", tools, raising=False)
    image = scene(30, 20)
    with pytest.raises(BaseException, match="panic"):
        resized(image, (4, 4))
    assert resized(image, (4, 4)).shape == (4, 4, 3)


def test_too_large_images_are_not_covered():
    raster = Raster("L", (2**16, 2**14), b"")
    assert not simd_resize.covers(raster, (8, 8), "bicubic")
    assert not simd_resize.covers(Image.new("L", (8, 8)), (2**16, 2**14), "bicubic")
    assert not simd_resize.covers(Image.new("L", (2**11, 2**11 + 1)), (8, 8), "bicubic")  # two copies would be dear
    assert simd_resize.covers(Raster("L", (2**11, 2**11 + 1), b""), (8, 8), "bicubic")
    assert not simd_resize.covers(Image.new("L", (0, 8)), (8, 8), "bicubic")
    assert not simd_resize.covers(Image.new("CMYK", (8, 8)), (4, 4), "bicubic")
    with pytest.raises(MemoryError):
        simd_resize._check_memory(2**60)
