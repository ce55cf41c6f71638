"""Mode conversion: transparency, bit depth, color spaces and masks, compared with computed values."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from decoding import kind_of, opened, pixels, psnr
from image_factory import encoded, in_mode, png, scene
from PIL import Image

from pandas_imgproc import codec
from pandas_imgproc.errors import UnreadableImageError


def composite(color, alpha, background):
    """Flatten in double precision: the definition of "over"."""
    share = np.asarray(alpha, float)[..., None] / 255
    return np.asarray(color, float) * share + np.asarray(background, float) * (1 - share)


@pytest.mark.parametrize("background", ["white", "black", (10, 200, 30)])
@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_alpha_is_composited_on_background(background, name):
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (32, 40, 4), dtype=np.uint8)
    data = encoded(Image.fromarray(levels), name)
    color = codec.decode_options(background=background).background
    expected = composite(levels[..., :3], levels[..., 3], color)
    assert np.abs(pixels(data, background=background) - expected).max() <= 1
    gray = rng.integers(0, 256, (32, 40, 2), dtype=np.uint8)
    expected = composite(np.repeat(gray[..., :1], 3, -1), gray[..., 1], color)
    assert np.abs(pixels(encoded(Image.fromarray(gray), name), background=background) - expected).max() <= 1


@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_hidden_color_does_not_bleed_into_edges(fit):
    levels = np.zeros((64, 64, 4), np.uint8)
    levels[:, :32] = (255, 0, 0, 0)  # hidden red beside opaque white
    levels[:, 32:] = 255
    assert (pixels(encoded(Image.fromarray(levels)), 7, fit=fit) == 255).all()
    rgba = pixels(encoded(Image.fromarray(levels)), 7, fit=fit, mode="RGBA")
    assert (rgba[rgba[..., 3] > 0][:, :3] == 255).all()


def test_rgba_resize_is_premultiplied():
    image = in_mode(scene(90, 70), "RGBA")
    data = encoded(image)
    assert np.array_equal(pixels(data, 30, mode="RGBA", reducing_gap=None), image.resize((30, 30)))
    assert psnr(pixels(data, 10, mode="RGBA"), np.asarray(image.resize((10, 10)))) > 34


def test_background_none_drops_alpha():
    image = in_mode(scene(40, 30), "RGBA")
    assert np.array_equal(pixels(encoded(image), background=None), image.convert("RGB"))
    image = in_mode(scene(40, 30), "LA")
    assert np.array_equal(pixels(encoded(image), background=None, mode="L"), image.convert("L"))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_transparent_gray_level_is_composited(depth, mode):
    top = 2**depth - 1
    levels = np.linspace(0, top, 64).round().astype(np.uint16).reshape(8, 8)
    transparent = int(levels[2, 3])
    data = png(levels, depth, 0, trns=struct.pack(">H", transparent))
    got, clear = pixels(data, mode=mode, background=(9, 9, 9)), levels == transparent
    gray = np.round(levels * 255.0 / top)
    if mode == "RGBA":
        assert np.array_equal(got[..., 3] == 0, clear)
        assert set(np.unique(got[..., 3])) == {0, 255}
    else:
        assert (got[clear] == 9).all()
    opaque = got[~clear].reshape(clear.size - clear.sum(), -1)[:, 0]
    assert np.array_equal(opaque, gray[~clear])


@pytest.mark.parametrize("depth", [8, 16])
def test_transparent_color_is_composited(depth):
    levels = (np.arange(8 * 8 * 3).reshape(8, 8, 3) * (1 if depth == 8 else 300)).astype(np.uint16)
    data = png(levels, depth, 2, trns=levels[2, 3].astype(">u2").tobytes())
    clear = np.zeros((8, 8), bool)
    clear[2, 3] = True
    assert np.array_equal((pixels(data) == 255).all(-1), clear)
    assert np.array_equal(pixels(data, mode="RGBA")[..., 3] == 0, clear)
    assert not (pixels(data, background=None) == 255).all(-1).any()


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("alphas", [b"\0", b"\xff\0", b"\x40\x80"])
def test_palette_with_alpha_is_composited(depth, alphas):
    palette = np.array([(250, 0, 0), (0, 0, 250)] + [(0, 90, 0)] * (2**depth - 2), np.uint8)
    levels = np.arange(64).reshape(8, 8) % 2
    got = pixels(png(levels, depth, 3, palette=palette.tobytes(), trns=alphas), background="white")
    alpha = np.array([*alphas, *[255] * 256])[levels]
    assert np.abs(got - composite(palette[levels], alpha, (255, 255, 255))).max() <= 1


@pytest.mark.parametrize("mode", ["P", "1", "LA", "PA"])
def test_palette_and_alpha_modes_are_converted_before_resize(mode):
    if mode == "PA":
        data = encoded(in_mode(scene(90, 70), "RGBA").quantize(), "TIFF")
    else:
        data = encoded(in_mode(scene(90, 70), mode))
    got = pixels(data, 13, background="white", reducing_gap=None)
    canvas = Image.new("RGBA", (90, 70), "white")
    flat = Image.alpha_composite(canvas, opened(data).convert("RGBA")).convert("RGB")
    assert np.abs(got - np.asarray(flat.resize((13, 13))).astype(int)).max() <= 1


def test_16_bit_gray_is_scaled():
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


def test_16_bit_rgb_is_scaled():
    levels = np.random.default_rng(0).integers(0, 65536, (16, 16, 3))
    assert np.abs(pixels(png(levels, 16, 2)) - levels / 257).max() <= 1


def test_12_bit_gray_is_scaled():
    # Two levels of 12 bits in three bytes; Pillow reads them, and does not report that they end at 4095.
    levels = np.arange(16 * 16).reshape(16, 16) * 16
    pairs = levels.reshape(-1, 2)
    body = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], -1)
    tags = [(256, 16), (257, 16), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 16), (279, body.size)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, n) for tag, n in tags)
    data = b"II*\0" + struct.pack("<I", 8 + body.size) + body.astype(np.uint8).tobytes() + directory + bytes(4)
    assert np.array_equal(pixels(data, mode="L"), np.round(levels * 255 / 4095))


def test_float_levels_are_clipped():
    levels = np.linspace(-50, 400, 64).astype(np.float32).reshape(8, 8)
    data = encoded(Image.fromarray(levels), "TIFF")
    assert np.array_equal(pixels(data, scale_depth=False), opened(data).convert("L").convert("RGB"))
    within = encoded(Image.fromarray(np.clip(levels, 0, 255)), "TIFF")
    assert np.array_equal(pixels(within), opened(within).convert("L").convert("RGB"))


@pytest.mark.parametrize(
    ("levels", "mode"),
    [(np.linspace(0, 1, 64, dtype=np.float32), "F"), (np.linspace(0, 9e6, 64).astype(np.int32), "I")],
)
def test_unknown_white_level_fails(levels, mode):
    data = encoded(Image.fromarray(np.tile(levels, (64, 1))), "TIFF")
    with pytest.raises(UnreadableImageError, match=f"mode {mode} with levels from 0 to"):
        codec.load(data, codec.decode_options(8))
    assert codec.load(data, codec.decode_options(8, scale_depth=False)).size == (8, 8)


def test_cmyk_jpeg_is_inverted():
    data = encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=95)
    red, green, blue = pixels(data)[8, 8]
    assert red < 10
    assert green > 245
    assert blue > 245


def test_mask_preserves_class_ids():
    ids = np.random.default_rng(0).integers(0, 200, (48, 64), dtype=np.uint8)
    mask = Image.fromarray(ids)
    painted = mask.convert("P")
    painted.putpalette(np.random.default_rng(1).integers(0, 256, 768, dtype=np.uint8).tobytes())
    expected = np.asarray(mask.resize((16, 12), Image.Resampling.NEAREST))
    wide = Image.fromarray(ids.astype(np.uint16))
    for image in (mask, painted, wide):
        got = codec.load(encoded(image), codec.decode_options((16, 12), mode="P"))
        assert np.array_equal(got, expected)
    assert got.mode in ("P", "L")
    bits = Image.fromarray(ids > 99)
    assert set(np.unique(pixels(encoded(bits), (16, 12), mode="P"))) == {0, 1}
    assert set(np.unique(pixels(encoded(painted), (16, 16), mode="P", fit="pad", background=255)[:2])) == {255}
    assert codec.load(encoded(painted), codec.decode_options(16, mode="P")).getpalette() == painted.getpalette()
    small = ids[:3, :4]
    assert np.array_equal(pixels(png(small % 4, 2, 3, palette=bytes(12)), mode="P"), small % 4)


def test_rgb_image_and_wide_ids_are_refused_as_mask():
    assert kind_of(encoded(scene(20, 20)), mode="P") == "unsupported"
    assert kind_of(encoded(Image.fromarray(np.full((8, 8), 300, np.uint16))), mode="P") == "unsupported"
