"""Decoding, compared with Pillow where Pillow is exact, and with computed values where it is not."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from decoding import BICUBIC, assert_single_line, kind_of, loaded, opened, pixels, psnr
from hypothesis import given, settings
from hypothesis import strategies as st
from image_factory import broken, encoded, every_image, image_bytes, in_mode, marked, mutated, oriented, row_of, scene
from PIL import Image, ImageOps

from pandas_imgproc import codec
from pandas_imgproc._timing import collect_timings
from pandas_imgproc.codec.encode import EncodeOptions, encode
from pandas_imgproc.codec.option_values import FITS
from pandas_imgproc.errors import FAILURE_KINDS, UnreadableImageError

RESAMPLES = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


IMAGES = list(every_image())


@pytest.mark.parametrize("name", ["JPEG", "PNG", "BMP", "WEBP"])
@pytest.mark.parametrize("resample", RESAMPLES)
def test_exact_resize_equals_pillow(name, resample):
    data = encoded(scene(211, 97), name)
    image, method = opened(data).convert("RGB"), Image.Resampling[resample.upper()]
    options = {"resample": resample, "reducing_gap": None}
    assert np.array_equal(pixels(data, (64, 48), **options), image.resize((64, 48), method))
    assert np.array_equal(pixels(data, (40, 60), fit="crop", **options), ImageOps.fit(image, (40, 60), method))
    expected = ImageOps.pad(image, (40, 60), method, color="tan")
    assert np.array_equal(pixels(data, (40, 60), fit="pad", background="tan", **options), expected)
    assert np.array_equal(pixels(data), image)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_exact_resize_of_oriented_image_equals_pillow(orientation, fit):
    data = oriented(scene(90, 61), orientation)
    image = ImageOps.exif_transpose(opened(data))
    expected = {
        "stretch": lambda: image.resize((30, 50), BICUBIC),
        "crop": lambda: ImageOps.fit(image, (30, 50), BICUBIC),
        "pad": lambda: ImageOps.pad(image, (30, 50), BICUBIC, color="white"),
    }
    assert np.array_equal(pixels(data, (30, 50), fit=fit, reducing_gap=None), expected[fit]())


@settings(max_examples=60, deadline=None)
@given(*[st.integers(1, 70)] * 4, st.sampled_from(FITS), st.sampled_from([None, 1.0, 2.0, 3.5]))
def test_resize_between_any_sizes_gives_requested_shape(width, height, to_width, to_height, fit, gap):
    data = encoded(marked(width, height), "JPEG")
    got = pixels(data, (to_width, to_height), fit=fit, reducing_gap=gap)
    assert got.shape == (to_height, to_width, 3)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_gray_jpeg_equals_pillow(mode):
    data = encoded(scene(80, 60).convert("L"), "JPEG")
    assert np.array_equal(pixels(data, 20, mode=mode, reducing_gap=None), opened(data).convert(mode).resize((20, 20)))


def test_decode_into_slice_leaves_other_rows_unchanged():
    block = np.full((3, 24, 32, 3), 7, np.uint8)
    codec.decode_into(image_bytes(1234), codec.decode_options((32, 24)), block[1])
    assert row_of(block[1]) == 1234
    assert (block[[0, 2]] == 7).all()
    with pytest.raises(OSError, match="truncated"):
        codec.decode_into(image_bytes(5)[:-100], codec.decode_options((32, 24)), block[2])
    assert (block[2] == 7).all()


def test_decode_into_times_its_stages():
    with collect_timings() as seconds:
        codec.decode_into(image_bytes(1), codec.decode_options(8), np.empty((8, 8, 3), np.uint8))
    assert set(seconds) == {"decode", "resize"}


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_decoded_color_at_eight_pixels_identifies_row(name):
    rows = range(0, 4096, 97)
    assert [row_of(pixels(image_bytes(row, name), 8)) for row in rows] == list(rows)


@pytest.mark.parametrize(("name", "mode", "data"), IMAGES, ids=[f"{f}-{m}" for f, m, _ in IMAGES])
def test_every_mode_of_every_format_decodes(name, mode, data):
    reference = scene(40, 30) if name != "ICO" else scene(40, 30).resize((32, 32))
    if mode in ("RGBA", "LA"):
        flat = in_mode(reference, mode).convert("RGBA")
        reference = Image.alpha_composite(Image.new("RGBA", flat.size, "white"), flat).convert("RGB")
    elif mode not in ("RGB", "CMYK", "YCbCr", "LAB", "P"):
        reference = reference.convert("L").convert("RGB")
    got = pixels(data)
    assert got.shape == np.asarray(reference).shape
    # one bit a pixel is dithered: only its mean can be compared
    expected = np.asarray(reference)
    assert psnr(got, expected) > 22 if mode != "1" else abs(got.mean() - expected.mean()) < 8
    for target, channels in codec.CHANNELS.items():
        if target != "P":
            options = codec.decode_options((10, 12), mode=target)
            out = np.empty(options.shape, np.uint8)
            codec.decode_into(data, options, out)
            assert out.shape == (12, 10, channels)
            assert codec.load(data, options).mode == target


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_frame_of_animation_is_decoded(name):
    frames = [Image.new("RGB", (40, 30), color) for color in ("red", "lime", "blue")]
    data = encoded(frames[0], name, save_all=True, append_images=frames[1:])
    for i in range(3):
        middle = pixels(data, 8, frame=i)[4, 4]
        assert middle.argmax() == i
        assert middle.max() > 240
    assert kind_of(data, frame=3) == "region"
    assert kind_of(encoded(frames[0]), frame=1) == "region"


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_image_in_memory_equals_its_file(channels):
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    image = in_mode(scene(40, 30), mode)
    pixels = np.asarray(image).reshape(30, 40, channels)
    for options in (
        codec.decode_options(8),
        codec.decode_options((9, 7), fit="crop", mode="L"),
        codec.decode_options((9, 7), fit="pad"),
    ):
        assert codec.load(pixels, options).tobytes() == codec.load(encoded(image, "PNG"), options).tobytes()


def assert_pixels_or_failure(data: bytes, options: codec.DecodeOptions) -> None:
    try:
        image = loaded(data, options)
    except (Exception, SystemExit) as exc:
        kind, message = codec.classify_error(exc)
        assert kind in FAILURE_KINDS
        assert_single_line(message)
    else:
        assert options.size is None or image.size == options.size


OPTIONS = [
    codec.decode_options(16),
    codec.decode_options((20, 10), fit="pad", mode="RGBA"),
    codec.decode_options(),
    codec.decode_options(16, mode="L", fit="crop"),
    codec.decode_options(9, mode="P"),
    codec.decode_options(16, reducing_gap=None, exif_transpose=False, background=None, mode="CMYK"),
    codec.decode_options(16, frame=1, scale_depth=False, max_pixels=100_000),
]


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(lambda image, body: image[2][:24] + body, st.sampled_from(IMAGES), st.binary(max_size=200)),
    ),
    st.sampled_from(OPTIONS),
)
def test_any_bytes_give_pixels_or_failure(data, options):
    assert_pixels_or_failure(data, options)


def test_damaged_files_give_pixels_or_failure():
    rng = random.Random(7)
    for i, (_, data) in enumerate(broken(seed=3, n=1500)):
        assert_pixels_or_failure(data, OPTIONS[i % len(OPTIONS)])
    rotated = [oriented(marked(40, 30), k, f) for k in range(1, 9) for f in ("JPEG", "PNG", "WEBP", "TIFF")]
    for _ in range(500):
        _, data = mutated(rng.choice(rotated), rng.choice(rotated), rng)
        assert_pixels_or_failure(data, rng.choice(OPTIONS))


def gif_patch(first_box=(1, 0, 2, 2), transparent=False):
    """Return a GIF file of 3 x 2 pixels whose frame has the color 1, white, in a box only; the background is red."""
    colors = bytes([255, 0, 0, 255, 255, 255])
    control = b"!\xf9\4\1\0\0\0\0" if transparent else b""
    left, top, right, bottom = first_box
    frame = b"," + struct.pack("<HHHHB", left, top, right - left, bottom - top, 0)
    return b"GIF89a" + struct.pack("<HHBBB", 3, 2, 0x80, 0, 0) + colors + control + frame + b"\2\2\x4c\x0a\0;"


@pytest.mark.parametrize("transparent", [False, True])
def test_canvas_around_the_first_frame_of_a_gif_is_empty(transparent):
    data = gif_patch(transparent=transparent)
    alpha = pixels(data, mode="RGBA")[:, :, 3]
    assert alpha.tolist() == [[0, 255, 0]] * 2
    assert (pixels(data, background="#204060")[:, [0, 2]] == [0x20, 0x40, 0x60]).all()
    assert pixels(data, mode="P").tolist() == [[0, 1, 0]] * 2
    assert pixels(data, mode="L").tolist() == [[255, 255, 255]] * 2


@pytest.mark.parametrize(("name", "side"), [("JPEG", 65_501), ("GIF", 65_536)])
def test_limit_of_a_format_is_named(name, side):
    with pytest.raises(UnreadableImageError, match=f"cannot be written as {name}: its sides have at most {side - 1}"):
        encode(Image.new("L", (side, 1)), EncodeOptions(name, 75), "image")
    encode(Image.new("L", (side - 1, 1)), EncodeOptions(name, 75), "image")
