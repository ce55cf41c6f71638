"""Crops: equal to slices of the upright image, in every format and orientation, with and without a reduced scale."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from image_factory import encoded, oriented, scene
from PIL import Image

from pandas_imgproc import codec
from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.regions import Region, RegionData

WIDTH, HEIGHT = 310, 270


@functools.cache
def upright() -> np.ndarray:
    """Return an image in which the color of a pixel is its position."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([x % 256, y % 256, np.full_like(x, 7)], -1).astype(np.uint8)


def random_boxes(n, width=WIDTH, height=HEIGHT):
    rng = np.random.default_rng(n)
    left, top = rng.integers(0, width, n), rng.integers(0, height, n)
    right, bottom = (rng.integers(start + 1, stop + 1) for start, stop in ((left, width), (top, height)))
    return np.stack([left, top, right, bottom], axis=1).tolist()


def region_of(data, box, **options):
    return RegionData(data, Region(tuple(map(float, box)), **options), lambda _, function: function())


def load(data, box, size=None, *, region=None, **options):
    with codec.pillow_settings(codec.PillowSettings.current()):
        image = codec.load(region_of(data, box, **(region or {})), codec.decode_options(size, **options))
    return np.asarray(image)


def files():
    """Yield (name, data) of the image in each lossless format, and in each orientation."""
    image = Image.fromarray(upright())
    lossless = {"WEBP": {"lossless": True}}
    for name in ("PNG", "BMP", "PPM", "TGA", "TIFF", "WEBP", "JPEG2000"):
        yield name, encoded(image, name, **lossless.get(name, {}))
    for orientation in range(2, 9):
        for name in ("PNG", "TIFF", "WEBP"):
            yield f"{name} {orientation}", oriented(image, orientation, name, **lossless.get(name, {}))


@pytest.mark.parametrize(("name", "data"), list(files()), ids=lambda value: value if isinstance(value, str) else "")
def test_crop_equals_slice_of_upright_image(name, data):
    decoded = {}

    def memo(key, function):
        if key not in decoded:
            decoded[key] = function()
        return decoded[key]

    options = codec.decode_options(None)
    for left, top, right, bottom in random_boxes(1000 if name == "PNG" else 60):
        region = Region((left, top, right, bottom), is_shared=True)
        image = codec.load(RegionData(data, region, memo), options)
        assert np.array_equal(image, upright()[top:bottom, left:right]), (left, top, right, bottom)


@pytest.mark.parametrize("engine", ["simd", "pillow"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_crop_of_jpeg_equals_slice_of_decoded_image(orientation, engine):
    data = oriented(scene(160, 120), orientation, "JPEG")
    expected = np.asarray(codec.load(data, codec.decode_options(None, engine=engine)))
    for left, top, right, bottom in random_boxes(20, 160, 120):
        crop = load(data, (left, top, right, bottom), engine=engine, region={"is_shared": True})
        assert np.array_equal(crop, expected[top:bottom, left:right])


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_resized_crop_equals_slice_resized_alone(fit):
    data = oriented(Image.fromarray(upright()), 6, "PNG")
    for left, top, right, bottom in random_boxes(20):
        for gap in (None, 2.0):
            options = codec.decode_options((40, 30), fit=fit, reducing_gap=gap, engine="pillow")
            stored = codec.load(upright()[top:bottom, left:right], options)
            got = load(data, (left, top, right, bottom), (40, 30), fit=fit, reducing_gap=gap, engine="pillow")
            if gap is None:
                assert np.array_equal(got, stored)
            else:  # reduced before it is turned: other columns are taken together
                assert np.abs(got.astype(int) - np.asarray(stored)).mean() < 6


@pytest.mark.parametrize("engine", ["simd", "pillow"])
@pytest.mark.parametrize("orientation", [1, 6, 7])
@pytest.mark.parametrize("box", [(100, 60, 700, 500), (31.5, 20.25, 640.75, 560), (-50, -40, 600, 580)])
def test_crop_at_reduced_scale_is_close_to_exact_one(orientation, engine, box, monkeypatch):
    data = oriented(scene(800, 600), orientation, "JPEG", quality=95)
    scales = []
    draft = codec.decode.draft
    monkeypatch.setattr(codec.decode, "draft", lambda *args, **kw: scales.append(draft(*args, **kw)) or scales[-1])
    reduced = load(data, box, 48, engine=engine)
    assert scales[0][2] < 800
    exact = load(data, box, 48, reducing_gap=None)
    full = load(data, box, 48, engine=engine, region={"is_shared": True})
    for image in (reduced, full):
        assert 10 * np.log10(255**2 / np.mean((image.astype(float) - exact) ** 2)) > 38


@pytest.mark.parametrize("engine", ["simd", "pillow"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_box_of_all_pixels_gives_the_bytes_of_the_image(orientation, engine):
    data = oriented(scene(403, 301), orientation, "JPEG")
    for size in (None, 40, (90, 350)):
        expected = codec.load(data, codec.decode_options(size, engine=engine))
        assert np.array_equal(load(data, (0, 0, 403, 301), size, engine=engine), expected)


def test_fraction_of_pixel_counts_in_proportion():
    pixels = np.repeat(np.array([[0, 100, 200, 40]], np.uint8), 4, 0)[:, :, None]
    assert load(pixels, (0.5, 0, 1.5, 4), (1, 1), mode="L", resample="bilinear").tolist() == [[50]]
    assert load(pixels, (1, 1, 3, 3), (1, 1), mode="L", resample="bilinear").tolist() == [[150]]
    assert load(pixels, (0.6, 0.4, 2.2, 3.6), mode="L").shape == (4, 1)  # whole pixels: 1 to 2, 0 to 4


def test_box_in_fractions_has_same_pixels():
    data = encoded(Image.fromarray(upright()))
    for left, top, right, bottom in random_boxes(50):
        box = left / WIDTH, top / HEIGHT, right / WIDTH, bottom / HEIGHT
        got = load(data, box, (16, 12), region={"is_fraction": True})
        assert np.array_equal(got, load(data, (left, top, right, bottom), (16, 12)))


@pytest.mark.parametrize("orientation", [1, 8])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_box_partly_outside_is_clipped_or_padded(orientation, mode):
    gray = Image.fromarray(upright()[:, :, 0])
    data = oriented(gray, orientation, "PNG")
    image = np.asarray(gray.convert(mode) if mode != "P" else gray)
    assert np.array_equal(load(data, (-10, 200, 50, 300), mode=mode), image[200:270, 0:50])
    padded = load(data, (-10, 200, 50, 300), mode=mode, background=90, region={"pads": True})
    assert padded.shape[:2] == (100, 60)
    assert np.array_equal(padded[:70, 10:], image[200:270, 0:50])
    assert set(np.unique(padded[:, :10])) | set(np.unique(padded[70:])) == ({90} if mode != "RGBA" else {90, 255})


def test_palette_of_crop_is_that_of_the_image():
    mask = Image.frombytes("P", (8, 8), (np.arange(64, dtype=np.uint8) // 16).tobytes())
    mask.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    region = region_of(encoded(mask), (2, -2, 6, 8), pads=True)
    image = codec.load(region, codec.decode_options(None, mode="P", background=3))
    assert image.convert("RGB").getpixel((0, 6)) == (0, 255, 0)
    assert image.convert("RGB").getpixel((0, 0)) == (0, 0, 255)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((5, 5, 5, 9), "the box from (5, 5) to (5, 9) has no area: the image has 310 x 270 pixels"),
        ((5, 9, 9, 5), "has no area"),
        ((310, 0, 320, 10), "the box from (310, 0) to (320, 10) is outside of the image"),
        ((0, -20, 10, 0), "is outside of the image"),
        ((0, 0, float("inf"), 5), "is not finite"),
    ],
)
def test_box_without_pixels_is_a_failure(box, reason):
    data = encoded(Image.fromarray(upright()))
    for pads in (False, True):
        with pytest.raises(UnreadableImageError) as caught:
            load(data, box, 8, region={"pads": pads})
        assert caught.value.kind == "region"
        assert reason in caught.value.message


def test_padded_crop_is_limited_as_an_image_is():
    data = encoded(Image.fromarray(upright()))
    with pytest.raises(UnreadableImageError, match="max_pixels=200000"):
        load(data, (0, 0, 10_000, 10_000), 8, max_pixels=200_000, region={"pads": True})
