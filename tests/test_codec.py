"""Bytes to pixels: against Pillow itself where it is right, against numbers computed by hand where it is not."""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import random
import struct
import subprocess
import threading
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_factory import (
    bomb,
    broken,
    chunk,
    encoded,
    every_image,
    icon_around,
    image_bytes,
    in_mode,
    marked,
    mutated,
    not_images,
    oriented,
    png,
    row_of,
    scene,
)
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from pandas_imgproc import codec
from pandas_imgproc._timing import collect_timings
from pandas_imgproc.errors import FAILURE_KINDS, UnreadableImageError

BICUBIC = Image.Resampling.BICUBIC
RESAMPLES = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


def pixels(data: bytes, size=None, **options) -> np.ndarray:
    """Decode as the kernel does, with Pillow's warnings silenced."""
    return np.asarray(loaded(data, codec.decode_options(size, **options)))


def loaded(data: bytes, decode_options: codec.DecodeOptions) -> Image.Image:
    with codec.pillow_settings(codec.PillowSettings.current()):
        return codec.load(data, decode_options)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / max(1e-9, np.mean((one.astype(float) - other) ** 2)))


def kind_of(data: bytes, size=8, **options) -> str:
    with pytest.raises((Exception, SystemExit)) as caught:
        pixels(data, size, **options)
    return codec.classify_error(caught.value)[0]


# ---- exact


@pytest.mark.parametrize("name", ["JPEG", "PNG", "BMP", "WEBP"])
@pytest.mark.parametrize("resample", RESAMPLES)
def test_exact_is_what_pillow_does(name, resample):
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
def test_exact_after_orientation(orientation, fit):
    data = oriented(scene(90, 61), orientation)
    image = ImageOps.exif_transpose(opened(data))
    by_hand = {
        "stretch": lambda: image.resize((30, 50), BICUBIC),
        "crop": lambda: ImageOps.fit(image, (30, 50), BICUBIC),
        "pad": lambda: ImageOps.pad(image, (30, 50), BICUBIC, color="white"),
    }
    assert np.array_equal(pixels(data, (30, 50), fit=fit, reducing_gap=None), by_hand[fit]())


@settings(max_examples=60, deadline=None)
@given(*[st.integers(1, 70)] * 4, st.sampled_from(codec.FITS), st.sampled_from([None, 1.0, 2.0, 3.5]))
def test_any_size_to_any_size(width, height, to_width, to_height, fit, gap):
    data = encoded(marked(width, height), "JPEG")
    got = pixels(data, (to_width, to_height), fit=fit, reducing_gap=gap)
    assert got.shape == (to_height, to_width, 3)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_grey_files(mode):
    data = encoded(scene(80, 60).convert("L"), "JPEG")
    assert np.array_equal(pixels(data, 20, mode=mode, reducing_gap=None), opened(data).convert(mode).resize((20, 20)))


def test_the_gap_is_what_thumbnail_does():
    data = encoded(scene(640, 480), "JPEG", quality=90)
    image = opened(data)
    image.thumbnail((80, 60))
    assert np.array_equal(pixels(data, (80, 60)), image)


def test_decode_into_a_slice_of_a_block():
    block = np.full((3, 24, 32, 3), 7, np.uint8)
    codec.decode_into(image_bytes(1234), codec.decode_options((32, 24)), block[1])
    assert row_of(block[1]) == 1234
    assert (block[[0, 2]] == 7).all()
    with pytest.raises(OSError, match="truncated"):
        codec.decode_into(image_bytes(5)[:-100], codec.decode_options((32, 24)), block[2])
    assert (block[2] == 7).all()


def test_stages_are_timed():
    with collect_timings() as seconds:
        codec.decode_into(image_bytes(1), codec.decode_options(8), np.empty((8, 8, 3), np.uint8))
    assert set(seconds) == {"decode", "resize"}


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_every_row_has_its_colour_at_eight_pixels(name):
    rows = range(0, 4096, 97)
    assert [row_of(pixels(image_bytes(row, name), 8)) for row in rows] == list(rows)


# ---- draft


@pytest.mark.parametrize("fit", codec.FITS)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_draft_is_close_to_exact(fit, orientation, mode):
    data = oriented(scene(1003, 761), orientation, quality=92)
    exact = pixels(data, (64, 48), fit=fit, mode=mode, reducing_gap=None)
    assert psnr(pixels(data, (64, 48), fit=fit, mode=mode), exact) > 34


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_fractional_box_of_a_draft_is_kept(orientation):
    # 801 = 100 * 8 + 1: seven eighths of the last column of the draft lie outside of the image
    data = oriented(marked(801, 633), orientation, quality=95, subsampling=0)
    exact = pixels(data, (20, 16), reducing_gap=None).astype(int)
    assert np.abs(pixels(data, (20, 16)) - exact).max() <= 3


def test_nearest_and_masks_never_use_draft(monkeypatch):
    data = encoded(scene(900, 700), "JPEG")
    drafted = []
    plain = ImageFile.ImageFile.draft
    monkeypatch.setattr(type(opened(data)), "draft", lambda self, *args: drafted.append(args) or plain(self, *args))
    pixels(data, 20, resample="nearest")
    pixels(data, 20, reducing_gap=None)
    pixels(encoded(scene(900, 700).convert("L"), "JPEG"), 20, mode="P")
    assert not drafted
    pixels(data, 20)
    assert drafted


def test_draft_saves_memory_and_asks_for_the_scale_that_each_fit_needs(monkeypatch):
    sizes = []
    plain = ImageFile.ImageFile.load_prepare
    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", lambda self: sizes.append(self.size) or plain(self))
    data = encoded(scene(1600, 400), "JPEG")
    for fit in codec.FITS:
        pixels(data, 50, fit=fit)
    assert sizes == [(400, 100), (400, 100), (200, 50)]
    sizes.clear()
    pixels(oriented(scene(400, 1600), 6), (25, 100))  # stored 1600 x 400
    assert sizes == [(200, 50)]


# ---- geometry


def test_crop_takes_the_middle():
    got = pixels(encoded(marked(300, 100)), (50, 50), fit="crop")
    assert abs(int(got[25, 0, 0]) - 85) < 4
    assert abs(int(got[25, -1, 0]) - 170) < 4
    assert got[0, 25, 1] < 4
    assert got[-1, 25, 1] > 251


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("RGB", (10, 200, 30)), ("RGBA", (10, 200, 30, 255)), ("L", 124), ("CMYK", (245, 55, 225, 0)), ("P", 124)],
)
def test_the_background_of_a_padded_image(mode, expected):
    image = marked(300, 100).convert("L") if mode == "P" else marked(300, 100)
    got = pixels(encoded(image), (60, 60), fit="pad", background=(10, 200, 30), mode=mode)
    assert (got[:20] == expected).all()
    assert (got[40:] == expected).all()
    assert not (got[20:40] == expected).all(axis=None)
    black = pixels(encoded(image), (60, 60), fit="pad", background=None, mode=mode)
    assert not black[:20].any()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_very_flat_image_can_be_padded(orientation):
    got = pixels(oriented(Image.new("RGB", (2000, 1)), orientation, "PNG"), 16, fit="pad")
    assert (got[[0, -1]] == 255).all()
    assert (got == 0).any()


# ---- orientation


@pytest.mark.parametrize("size", [(96, 64), (64, 96)])
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(size, name, orientation):
    upright = marked(*size)
    options = {} if name in ("PNG", "TIFF") else {"quality": 95}
    data = oriented(upright, orientation, name, **options)
    assert psnr(pixels(data), np.asarray(upright)) > 30
    for fit in codec.FITS:
        for gap in (None, 2.0):
            expected = pixels(encoded(upright), (24, 30), fit=fit, reducing_gap=gap)
            assert psnr(pixels(data, (24, 30), fit=fit, reducing_gap=gap), expected) > 30


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_can_be_switched_off(name, orientation):
    upright = marked(48, 32)
    stored = opened(oriented(upright, orientation, "PNG"))
    options = {} if name in ("PNG", "TIFF") else {"quality": 95}
    data = oriented(upright, orientation, name, **options)
    assert psnr(pixels(data, exif_transpose=False), np.asarray(stored)) > 30
    small = pixels(data, (24, 30), exif_transpose=False, fit="crop")
    assert psnr(small, pixels(encoded(stored), (24, 30), fit="crop")) > 30


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP"])
def test_orientation_in_xmp(name):
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
def test_a_broken_exif_block_keeps_the_pixels(name, exif):
    image = marked(32, 24)
    plain = encoded(image, name)
    data = encoded(image, name, exif=exif)
    assert np.array_equal(pixels(data), pixels(plain))


def test_xmp_that_is_no_text_keeps_the_pixels():
    assert pixels(encoded(marked(32, 24), "JPEG", xmp=b"\xff\xfe\xff tiff:Orientation=9")).shape == (24, 32, 3)


# ---- transparency


def composite(colour, alpha, background):
    """Flatten in double precision: the definition of "over"."""
    share = np.asarray(alpha, float)[..., None] / 255
    return np.asarray(colour, float) * share + np.asarray(background, float) * (1 - share)


@pytest.mark.parametrize("background", ["white", "black", (10, 200, 30)])
@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_alpha_is_composited(background, name):
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (32, 40, 4), dtype=np.uint8)
    data = encoded(Image.fromarray(levels), name)
    ground = codec.decode_options(background=background).background
    expected = composite(levels[..., :3], levels[..., 3], ground)
    assert np.abs(pixels(data, background=background) - expected).max() <= 1
    grey = rng.integers(0, 256, (32, 40, 2), dtype=np.uint8)
    expected = composite(np.repeat(grey[..., :1], 3, -1), grey[..., 1], ground)
    assert np.abs(pixels(encoded(Image.fromarray(grey), name), background=background) - expected).max() <= 1


@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_no_hidden_colour_bleeds_into_the_edges(fit):
    levels = np.zeros((64, 64, 4), np.uint8)
    levels[:, :32] = (255, 0, 0, 0)  # hidden red beside opaque white
    levels[:, 32:] = 255
    assert (pixels(encoded(Image.fromarray(levels)), 7, fit=fit) == 255).all()
    kept = pixels(encoded(Image.fromarray(levels)), 7, fit=fit, mode="RGBA")
    assert (kept[kept[..., 3] > 0][:, :3] == 255).all()


def test_rgba_is_resized_premultiplied_as_pillow_does():
    image = in_mode(scene(90, 70), "RGBA")
    data = encoded(image)
    assert np.array_equal(pixels(data, 30, mode="RGBA", reducing_gap=None), image.resize((30, 30)))
    assert psnr(pixels(data, 10, mode="RGBA"), np.asarray(image.resize((10, 10)))) > 34


def test_alpha_can_be_dropped():
    image = in_mode(scene(40, 30), "RGBA")
    assert np.array_equal(pixels(encoded(image), background=None), image.convert("RGB"))
    image = in_mode(scene(40, 30), "LA")
    assert np.array_equal(pixels(encoded(image), background=None, mode="L"), image.convert("L"))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_a_transparent_grey_level(depth, mode):
    top = 2**depth - 1
    levels = np.linspace(0, top, 64).round().astype(np.uint16).reshape(8, 8)
    transparent = int(levels[2, 3])
    data = png(levels, depth, 0, trns=struct.pack(">H", transparent))
    got, clear = pixels(data, mode=mode, background=(9, 9, 9)), levels == transparent
    grey = np.round(levels * 255.0 / top)
    if mode == "RGBA":
        assert np.array_equal(got[..., 3] == 0, clear)
        assert set(np.unique(got[..., 3])) == {0, 255}
    else:
        assert (got[clear] == 9).all()
    opaque = got[~clear].reshape(clear.size - clear.sum(), -1)[:, 0]
    assert np.array_equal(opaque, grey[~clear])


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour(depth):
    levels = (np.arange(8 * 8 * 3).reshape(8, 8, 3) * (1 if depth == 8 else 300)).astype(np.uint16)
    data = png(levels, depth, 2, trns=levels[2, 3].astype(">u2").tobytes())
    clear = np.zeros((8, 8), bool)
    clear[2, 3] = True
    assert np.array_equal((pixels(data) == 255).all(-1), clear)
    assert np.array_equal(pixels(data, mode="RGBA")[..., 3] == 0, clear)
    assert not (pixels(data, background=None) == 255).all(-1).any()


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("alphas", [b"\0", b"\xff\0", b"\x40\x80"])
def test_a_palette_with_alpha(depth, alphas):
    palette = np.array([(250, 0, 0), (0, 0, 250)] + [(0, 90, 0)] * (2**depth - 2), np.uint8)
    levels = np.arange(64).reshape(8, 8) % 2
    got = pixels(png(levels, depth, 3, palette=palette.tobytes(), trns=alphas), background="white")
    alpha = np.array([*alphas, *[255] * 256])[levels]
    assert np.abs(got - composite(palette[levels], alpha, (255, 255, 255))).max() <= 1


@pytest.mark.parametrize("mode", ["P", "1", "LA", "PA"])
def test_what_pillow_resizes_by_nearest_is_converted_first(mode):
    if mode == "PA":
        data = encoded(in_mode(scene(90, 70), "RGBA").quantize(), "TIFF")
    else:
        data = encoded(in_mode(scene(90, 70), mode))
    got = pixels(data, 13, background="white", reducing_gap=None)
    ground = Image.new("RGBA", (90, 70), "white")
    flat = Image.alpha_composite(ground, opened(data).convert("RGBA")).convert("RGB")
    assert np.abs(got - np.asarray(flat.resize((13, 13))).astype(int)).max() <= 1


# ---- depth


def test_sixteen_bits_are_scaled():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.round(levels / 257).astype(np.uint8)
    for data in (
        encoded(Image.fromarray(levels)),
        encoded(Image.fromarray(levels), "TIFF"),
        encoded(Image.fromarray(levels.astype(np.int32)), "TIFF"),
        b"P5\n256 256\n65535\n" + levels.astype(">u2").tobytes(),
    ):
        assert np.array_equal(pixels(data, mode="L"), expected)
        assert np.array_equal(pixels(data)[..., 1], expected)
        clipped = np.asarray(opened(data).convert("RGB"))
        assert np.array_equal(pixels(data, scale_depth=False), clipped)


def test_sixteen_bits_of_colour():
    levels = np.random.default_rng(0).integers(0, 65536, (16, 16, 3))
    assert np.abs(pixels(png(levels, 16, 2)) - levels / 257).max() <= 1


def test_twelve_bits():
    # Two levels of 12 bits in three bytes; Pillow reads them, and does not say that they end at 4095.
    levels = np.arange(16 * 16).reshape(16, 16) * 16
    pairs = levels.reshape(-1, 2)
    body = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], -1)
    tags = [(256, 16), (257, 16), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 16), (279, body.size)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, n) for tag, n in tags)
    data = b"II*\0" + struct.pack("<I", 8 + body.size) + body.astype(np.uint8).tobytes() + directory + bytes(4)
    assert np.array_equal(pixels(data, mode="L"), np.round(levels * 255 / 4095))


def test_floats_are_clipped_as_pillow_does():
    levels = np.linspace(-50, 400, 64).astype(np.float32).reshape(8, 8)
    data = encoded(Image.fromarray(levels), "TIFF")
    assert np.array_equal(pixels(data, scale_depth=False), opened(data).convert("L").convert("RGB"))
    within = encoded(Image.fromarray(np.clip(levels, 0, 255)), "TIFF")
    assert np.array_equal(pixels(within), opened(within).convert("L").convert("RGB"))


# ---- modes


IMAGES = list(every_image())


@pytest.mark.parametrize(("name", "mode", "data"), IMAGES, ids=[f"{f}-{m}" for f, m, _ in IMAGES])
def test_every_mode_of_every_format(name, mode, data):
    reference = scene(40, 30) if name != "ICO" else scene(40, 30).resize((32, 32))
    if mode in ("RGBA", "LA"):
        flat = in_mode(reference, mode).convert("RGBA")
        reference = Image.alpha_composite(Image.new("RGBA", flat.size, "white"), flat).convert("RGB")
    elif mode not in ("RGB", "CMYK", "YCbCr", "LAB", "P"):
        reference = reference.convert("L").convert("RGB")
    got = pixels(data)
    assert got.shape == np.asarray(reference).shape
    # one bit a pixel is dithered: only its mean can be compared
    wanted = np.asarray(reference)
    assert psnr(got, wanted) > 22 if mode != "1" else abs(got.mean() - wanted.mean()) < 8
    for target, channels in codec.CHANNELS.items():
        if target != "P":
            decode_options = codec.decode_options((10, 12), mode=target)
            out = np.empty(decode_options.shape, np.uint8)
            codec.decode_into(data, decode_options, out)
            assert out.shape == (12, 10, channels)
            assert codec.load(data, decode_options).mode == target


def test_cmyk_is_inverted_as_adobe_does():
    data = encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=95)
    red, green, blue = pixels(data)[8, 8]
    assert red < 10
    assert green > 245
    assert blue > 245


def test_masks_keep_their_numbers():
    numbers = np.random.default_rng(0).integers(0, 200, (48, 64), dtype=np.uint8)
    mask = Image.fromarray(numbers)
    painted = mask.convert("P")
    painted.putpalette(np.random.default_rng(1).integers(0, 256, 768, dtype=np.uint8).tobytes())
    expected = np.asarray(mask.resize((16, 12), Image.Resampling.NEAREST))
    wide = Image.fromarray(numbers.astype(np.uint16))
    for image in (mask, painted, wide):
        got = codec.load(encoded(image), codec.decode_options((16, 12), mode="P"))
        assert np.array_equal(got, expected)
    assert got.mode in ("P", "L")
    bits = Image.fromarray(numbers > 99)
    assert set(np.unique(pixels(encoded(bits), (16, 12), mode="P"))) == {0, 1}
    assert set(np.unique(pixels(encoded(painted), (16, 16), mode="P", fit="pad", background=255)[:2])) == {255}
    assert codec.load(encoded(painted), codec.decode_options(16, mode="P")).getpalette() == painted.getpalette()
    small = numbers[:3, :4]
    assert np.array_equal(pixels(png(small % 4, 2, 3, palette=bytes(12)), mode="P"), small % 4)


def test_an_image_is_no_mask():
    assert kind_of(encoded(scene(20, 20)), mode="P") == "unsupported"
    assert kind_of(encoded(Image.fromarray(np.full((8, 8), 300, np.uint16))), mode="P") == "unsupported"


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
def test_a_frame_of_an_animation(name):
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "lime", "blue")]
    data = encoded(frames[0], name, save_all=True, append_images=frames[1:])
    for number in range(3):
        middle = pixels(data, 8, frame=number)[4, 4]
        assert middle.argmax() == number
        assert middle.max() > 240
    assert kind_of(data, frame=3) == "unsupported"
    assert kind_of(encoded(frames[0]), frame=1) == "unsupported"


# ---- formats


def test_postscript_named_jpg_starts_nothing(monkeypatch, tmp_path):
    marker = tmp_path / "started"
    for name in ("gs", "gswin64c", "djpeg"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ntouch {marker}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: marker.touch())
    Image.init()
    data = not_images()["postscript.jpg"]
    assert kind_of(data) == "unidentified"
    assert kind_of(data[:11] + b"\xff\xd8\xff" + data[11:]) == "unidentified"
    assert not marker.exists()


def test_formats_can_be_added_and_taken_away():
    data = encoded(scene(20, 20), "PCX")
    with pytest.raises(UnreadableImageError, match="PCX, which formats= does not allow"):
        pixels(data)
    assert pixels(data, formats=(*codec.FORMATS, "pcx")).shape == (20, 20, 3)
    with pytest.raises(UnreadableImageError, match="PNG, which formats= does not allow"):
        pixels(encoded(scene(20, 20)), formats="jpg")
    assert pixels(encoded(scene(20, 20), "MPO"), formats="MPO").shape == (20, 20, 3)
    assert pixels(encoded(scene(20, 20), "TGA"), formats=["TGA"]).shape == (20, 20, 3)


def test_a_plugin_that_this_process_lacks_does_not_cost_the_others():
    decode_options = dataclasses.replace(codec.decode_options(8), formats=("HEIF", *codec.FORMATS))
    assert codec.load(image_bytes(5), decode_options).size == (8, 8)


def test_a_broken_icon_is_not_taken_for_tga():
    assert kind_of(b"\0\0\1\0\xff\xff" + bytes(6) + b"\4\0\4\0\x18" + bytes(40)) in ("corrupt", "truncated")


# ---- limits


def test_more_pixels_than_allowed_are_never_decoded():
    data = bomb()
    tracemalloc.start()
    assert kind_of(data, max_pixels=1_000_000) == "too_large"
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    giant = png(np.zeros((8, 8)), 8, 0, size=(3000, 3000))
    assert kind_of(icon_around(giant), max_pixels=1_000_000) == "too_large"
    with pytest.raises(UnreadableImageError, match=r"max_pixels=1199 "):
        pixels(encoded(scene(40, 30), "JPEG"), 2, max_pixels=1199)
    assert pixels(encoded(scene(40, 30), "JPEG"), 2, max_pixels=1200).shape == (2, 2, 3)


def test_pillows_own_limit_holds_and_cannot_be_raised():
    data = encoded(scene(60, 50), "JPEG")
    with codec.pillow_settings(codec.PillowSettings(1000, False)):
        assert kind_of(data, max_pixels=10**9) == "too_large"
    with codec.pillow_settings(codec.PillowSettings(1500, False)):
        assert pixels(data, 4).shape == (4, 4, 3)
    assert kind_of(bomb(20000, 9000)) == "too_large"


def test_the_limit_is_that_of_the_frame():
    small, large = Image.new("RGB", (10, 10)), Image.new("RGB", (100, 100))
    data = encoded(small, "TIFF", save_all=True, append_images=[large])
    assert pixels(data, 4, max_pixels=500).shape == (4, 4, 3)
    assert kind_of(data, 4, max_pixels=500, frame=1) == "too_large"


# ---- why it was no image

SAID = {
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


@pytest.mark.parametrize("name", SAID)
def test_the_reason_is_said(name):
    kind, words = SAID[name]
    with pytest.raises((Exception, SystemExit)) as caught:
        pixels(not_images()[name], 8)
    got, message = codec.classify_error(caught.value)
    assert (got, words in message) == (kind, True), message


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "TGA"])
def test_half_a_file_is_truncated(name):
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
def test_explain(exc, kind):
    got, message = codec.classify_error(exc)
    assert got == kind
    assert_one_line(message)


def assert_one_line(message: str) -> None:
    assert message
    assert len(message) <= 300
    assert message.isprintable()
    assert "\\x" not in message
    assert "object at" not in message


def assert_pixels_or_reason(data: bytes, decode_options: codec.DecodeOptions) -> None:
    try:
        image = loaded(data, decode_options)
    except (Exception, SystemExit) as exc:
        kind, message = codec.classify_error(exc)
        assert kind in FAILURE_KINDS
        assert_one_line(message)
    else:
        assert decode_options.size is None or image.size == decode_options.size


RECIPES = [
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
    st.sampled_from(RECIPES),
)
def test_any_bytes_give_pixels_or_a_reason(data, decode_options):
    assert_pixels_or_reason(data, decode_options)


def test_damaged_files_give_pixels_or_a_reason():
    rng = random.Random(7)
    for number, (_, data) in enumerate(broken(seed=3, n=1500)):
        assert_pixels_or_reason(data, RECIPES[number % len(RECIPES)])
    turned = [oriented(marked(40, 30), k, f) for k in range(1, 9) for f in ("JPEG", "PNG", "WEBP", "TIFF")]
    for _ in range(500):
        _, data = mutated(rng.choice(turned), rng.choice(turned), rng)
        assert_pixels_or_reason(data, rng.choice(RECIPES))


# ---- arguments


@pytest.mark.parametrize("size", [64, np.int64(64), (64, 64), [64, 64], np.array([64, 64])])
def test_parse_size(size):
    parsed = codec.parse_size(size)
    assert parsed == (64, 64)
    assert [type(side) for side in parsed] == [int, int]


@pytest.mark.parametrize(
    ("size", "error", "words"),
    [
        ((480, 640, 3), ValueError, "a shape is"),
        ("64", TypeError, "without quotes"),
        (True, TypeError, "got True"),
        (64.0, TypeError, "got 64.0"),
        (None, TypeError, "got None"),
        ((64, 2.5), TypeError, r"got \(64, 2.5\)"),
        (0, ValueError, "1 is the least"),
        ((64, -1), ValueError, r"got \(64, -1\)"),
        ((64,), ValueError, r"got \(64,\)"),
        ((), ValueError, r"got \(\)"),
        ({64, 32}, TypeError, "size must be an int"),
    ],
)
def test_parse_size_refuses(size, error, words):
    with pytest.raises(error, match=words):
        codec.parse_size(size)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"mode": "rgb"}, ValueError, "mode must be one of 'RGB', 'L'"),
        ({"fit": "cover"}, ValueError, "fit must be one of 'stretch', 'crop', 'pad', got 'cover'"),
        ({"resample": "cubic"}, ValueError, "resample must be one of 'nearest'"),
        ({"resample": 3}, ValueError, "got 3"),
        ({"reducing_gap": 0.5}, ValueError, "at least 1.0, got 0.5"),
        ({"reducing_gap": float("nan")}, ValueError, "got nan"),
        ({"reducing_gap": "2"}, TypeError, "got '2'"),
        ({"reducing_gap": True}, TypeError, "got True"),
        ({"background": "whitte"}, ValueError, "got 'whitte'"),
        ({"background": (1, 2)}, ValueError, r"got \(1, 2\)"),
        ({"background": (1, 2, 300)}, ValueError, "300"),
        ({"background": (1, 2, 0.5)}, TypeError, "0.5"),
        ({"background": "#ffffff80"}, ValueError, "mode='RGBA'"),
        ({"exif_transpose": 1}, TypeError, "exif_transpose must be True or False, got 1"),
        ({"scale_depth": None}, TypeError, "scale_depth"),
        ({"frame": -1}, ValueError, "frame .* 0 is the least"),
        ({"frame": "first"}, TypeError, "frame"),
        ({"max_pixels": 0}, ValueError, "max_pixels"),
        ({"max_pixels": 1e6}, TypeError, "max_pixels"),
        ({"formats": "XYZ"}, ValueError, "XYZ.*Known: AVIF"),
        ({"formats": ()}, TypeError, "formats"),
        ({"formats": 5}, TypeError, "formats"),
        ({"formats": ["JPEG", "JXL"]}, ValueError, "pillow_heif"),
    ],
)
def test_recipe_refuses(options, error, words):
    with pytest.raises(error, match=words):
        codec.decode_options(64, **options)


def test_equal_recipes():
    decode_options = codec.decode_options(64, formats=["tif", "PNG", "png"], reducing_gap=2)
    assert decode_options == codec.decode_options(
        (64, 64), background="#fff", formats=("PNG", "TIFF"), resample=BICUBIC
    )
    assert decode_options == pickle.loads(pickle.dumps(decode_options))
    assert hash(decode_options) == hash(pickle.loads(pickle.dumps(decode_options)))
    assert repr(decode_options) == repr(codec.decode_options(np.int64(64), formats=iter(["TIFF", "PNG"])))
    assert codec.decode_options(8, resample="nearest") == codec.decode_options(8, resample="nearest", reducing_gap=3)
    with pytest.raises(ValueError, match="no one shape"):
        _ = codec.decode_options().shape


# ---- Pillow's globals


def test_settings_are_put_back(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    before, filters = codec.PillowSettings.current(), list(warnings.filters)
    with codec.pillow_settings(codec.PillowSettings(None, True)):
        assert codec.PillowSettings.current() == codec.PillowSettings(None, True)
        with codec.pillow_settings(codec.PillowSettings(70, False)):
            assert Image.MAX_IMAGE_PIXELS == 70
        assert codec.PillowSettings.current() == codec.PillowSettings(None, True)
    assert codec.PillowSettings.current() == before
    assert warnings.filters == filters


def test_what_the_user_sets_meanwhile_stays(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    with codec.pillow_settings(codec.PillowSettings.current()):
        Image.MAX_IMAGE_PIXELS = 6000
    assert Image.MAX_IMAGE_PIXELS == 6000


def test_threads_enter_and_leave_in_any_order():
    before, filters = codec.PillowSettings.current(), list(warnings.filters)
    started, errors = threading.Barrier(8), []
    data = encoded(scene(60, 50), "JPEG")

    def work(seed):
        rng = random.Random(seed)
        started.wait()
        for _ in range(50):
            with codec.pillow_settings(before):
                try:
                    assert pixels(data, rng.choice([4, 8])).shape[2] == 3
                except BaseException as error:  # a thread's failure would pass unseen
                    errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert codec.PillowSettings.current() == before
    assert warnings.filters == filters


def test_warnings_of_pillow_are_silent_and_no_others():
    palette = encoded(in_mode(scene(40, 30), "RGBA").quantize(), "PNG")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with codec.pillow_settings(codec.PillowSettings(1000, False)):
            pixels(palette, 8, background=None)
            warnings.warn("mine", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in seen] == ["mine"]


def test_truncated_images_are_the_users_choice():
    data = encoded(scene(60, 50), "JPEG")[:-300]
    assert kind_of(data) == "truncated"
    with codec.pillow_settings(codec.PillowSettings(None, True)):
        assert pixels(data, 8).shape == (8, 8, 3)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


# ---- what Pillow leaves out


def test_a_png_whose_pixels_have_a_wrong_checksum_is_corrupt(monkeypatch):
    data = bytearray(encoded(scene(40, 30), "PNG"))
    where = data.index(b"IDAT")
    length = int.from_bytes(data[where - 4 : where], "big")
    data[where + 4 + length] ^= 1
    with pytest.raises(UnreadableImageError, match="checksum"):
        codec.load(bytes(data), codec.decode_options(8))
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert codec.load(bytes(data), codec.decode_options(8)).size == (8, 8)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_image_in_memory_is_resized_as_its_file_would_be(channels):
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    image = in_mode(scene(40, 30), mode)
    pixels = np.asarray(image).reshape(30, 40, channels)
    for decode_options in (
        codec.decode_options(8),
        codec.decode_options((9, 7), fit="crop", mode="L"),
        codec.decode_options((9, 7), fit="pad"),
    ):
        assert (
            codec.load(pixels, decode_options).tobytes() == codec.load(encoded(image, "PNG"), decode_options).tobytes()
        )


def test_an_image_of_floats_in_memory_is_refused():
    with pytest.raises(UnreadableImageError, match="float64"):
        codec.load(np.zeros((3, 3, 3)), codec.decode_options(8))


@pytest.mark.parametrize(
    ("levels", "mode"),
    [(np.linspace(0, 1, 64, dtype=np.float32), "F"), (np.linspace(0, 9e6, 64).astype(np.int32), "I")],
)
def test_an_image_whose_white_is_not_known_is_not_shown_black(levels, mode):
    data = encoded(Image.fromarray(np.tile(levels, (64, 1))), "TIFF")
    with pytest.raises(UnreadableImageError, match=f"mode {mode} with levels from 0 to"):
        codec.load(data, codec.decode_options(8))
    assert codec.load(data, codec.decode_options(8, scale_depth=False)).size == (8, 8)
