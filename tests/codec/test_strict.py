"""Strict decoding: a warning of the decoder is a failure, and files without one decode as before."""

from __future__ import annotations

import dataclasses
import random
import re
import struct
import sys
import zlib

import numpy as np
import pandas as pd
import pytest
from decoding import kind_of, loaded, pixels
from image_factory import chunk, encoded, every_image, mutated, oriented, png, scene
from PIL import Image, ImageFile

from pandas_imgproc import JournalError, MissingExtraError, codec, load_image, read_result
from pandas_imgproc.accessor.load import _log_missing_simplejpeg
from pandas_imgproc.codec.libjpeg import libjpeg_warning
from pandas_imgproc.errors import UnreadableImageError

SIZE = (96, 64)
VARIANTS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "RGB": {"keep_rgb": True},
    "restart markers": {"restart_marker_blocks": 2},
    "profile": {"icc_profile": bytes(70_000)},
    "EXIF": {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"},
    "gray": {"mode": "L"},
    "CMYK": {"mode": "CMYK"},
    "gray progressive": {"mode": "L", "progressive": True},
}


def jpeg(variant="baseline", seed=0):
    options = dict(VARIANTS[variant])
    return encoded(scene(*SIZE, seed=seed).convert(options.pop("mode", "RGB")), "JPEG", quality=90, **options)


def scan_of(data):
    """Return the start and the end of the first scan's data, and the offset of its frame header."""
    start = data.index(b"\xff\xda")
    frame = data.index(b"\xff\xc2" if b"\xff\xc2" in data[:start] else b"\xff\xc0")
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big"), data.index(b"\xff\xd9", start), frame


def with_size(data, width, height):
    frame = scan_of(data)[2]
    return data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]


def half(data, part=0.5):
    start, end, _ = scan_of(data)
    return data[: start + int((end - start) * part)] + b"\xff\xd9"


def hole(data):
    start, end, _ = scan_of(data)
    middle = (start + end) // 2
    return data[:middle] + bytes(300) + data[middle + 300 :]


def before_end(data, extra):
    end = data.index(b"\xff\xd9", scan_of(data)[0])
    return data[:end] + extra + data[end:]


DAMAGES = {
    "half": (half, "truncated"),
    "nearly whole": (lambda data: half(data, 0.95), "truncated"),
    "no data": (lambda data: half(data, 0), "truncated"),
    "taller": (lambda data: with_size(data, SIZE[0], 2 * SIZE[1]), None),
    "wider": (lambda data: with_size(data, 3 * SIZE[0], SIZE[1]), None),
    "lower": (lambda data: with_size(data, SIZE[0], SIZE[1] // 2), "corrupt"),
    "hole": (hole, None),
    "garbage before the end": (lambda data: before_end(data, b"garbage" * 9), "corrupt"),
}


def assert_reported(data, kind=None, **options):
    """Assert that strict decoding and `verify` fail alike, with the words of libjpeg, and return the message."""
    strict = codec.decode_options(**options, strict=True)
    with pytest.raises(UnreadableImageError) as raised:
        loaded(data, strict)
    with pytest.raises(UnreadableImageError) as verified:
        codec.verify(data, strict)
    assert verified.value.args == raised.value.args
    assert raised.value.kind in ((kind,) if kind else ("truncated", "corrupt"))
    return raised.value.message


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("variant", [name for name in VARIANTS if "progressive" not in name])
def test_broken_jpeg_that_pillow_accepts_fails_strictly(variant, damage):
    break_, kind = DAMAGES[damage]
    data = break_(jpeg(variant))
    pixels(data)
    message = assert_reported(data, kind)
    assert "libjpeg reports: Corrupt JPEG data: " in message or (damage == "hole" and "zero bytes" in message)
    assert_reported(data, kind, size=4)  # libjpeg reads all of the data at any scale


@pytest.mark.parametrize("variant", ["progressive", "gray progressive"])
def test_broken_progressive_jpeg_fails_strictly(variant):
    data = jpeg(variant)
    for break_, kind in (DAMAGES[name] for name in ("no data", "taller", "wider", "lower", "garbage before the end")):
        assert_reported(break_(data), kind)
    scans = [found.start() for found in re.finditer(b"\xff\xda", data)]
    assert_reported(data[: scans[-1] + 40] + b"\xff\xd9", "truncated")


@pytest.mark.parametrize("n", [64, 300, 1000])
def test_hole_of_zeros_is_found_anywhere(n):
    data = encoded(scene(320, 240), "JPEG", quality=90, optimize=bool(n % 3))
    start, end, _ = scan_of(data)
    for offset in range(start, end - n, (end - start) // 25):
        broken = data[:offset] + bytes(n) + data[offset + n :]
        pixels(broken, 8)
        assert_reported(broken, size=8)


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}, {"quality": 100, "optimize": True}])
def test_flat_or_regular_image_has_no_hole(options):
    y, x = np.indices((400, 600))
    levels = [0 * x, x * 255 // 599, y * 255 // 399, (x + y) % 2 * 255, (y % 16 < 8) * 255, (x // 8 + y // 8) % 2 * 255]
    for mode in ("L", "RGB", "CMYK"):
        for level in levels:
            data = encoded(Image.fromarray(level.astype(np.uint8)).convert("RGB").convert(mode), "JPEG", **options)
            codec.verify(data + bytes(5000), codec.decode_options(strict=True))


def test_zeros_outside_of_pixels_are_no_hole():
    data = jpeg()
    segment = b"\xff\xe5" + struct.pack(">H", 5002) + bytes(5000)
    for file in (data + bytes(5000), data[:2] + segment + data[2:], data + data[:40] + bytes(5000)):
        codec.verify(file, codec.decode_options(strict=True))


def test_header_of_169_megapixels_over_a_small_image_is_truncated():
    with codec.pillow_settings(codec.PillowSettings.current()):  # Pillow warns of so many pixels
        assert_reported(with_size(jpeg(), 13000, 13000), "truncated", size=8)


def test_wrong_restart_markers_fail_strictly():
    data = jpeg("restart markers")
    markers = [found.start() for found in re.finditer(b"\xff[\xd0-\xd7]", data)]
    for broken in (
        re.sub(b"\xff[\xd0-\xd7]", b"", data),  # none
        data[: markers[1]] + data[markers[1] + 2 :],  # one is missing
        data[: markers[1]] + data[markers[2] :],  # and the data before it
    ):
        pixels(broken)
        assert_reported(broken, "corrupt")


@pytest.mark.parametrize("variant", VARIANTS)
def test_intact_jpeg_decodes_strictly_to_same_pixels(variant):
    data = jpeg(variant)
    for file in (data, data + bytes(100), data + b"trailer of a phone" * 99, data + data, data + half(data)):
        for options in ({}, {"size": 8}, {"size": (20, 10), "mode": "L", "reducing_gap": None}):
            assert np.array_equal(pixels(file, **options, strict=True), pixels(file, **options))
        codec.verify(file, codec.decode_options(strict=True))


def test_every_format_and_mode_decodes_strictly_to_same_pixels():
    for name, mode, data in every_image():
        options = codec.decode_options(8, scale_depth=False, strict=True)
        strict = np.asarray(loaded(data, options))
        assert np.array_equal(strict, pixels(data, 8, scale_depth=False)), (name, mode)
        codec.verify(data, options)


@pytest.mark.parametrize(("old", "new"), [(b"JFIF\0\x01", b"JFIF\0\x07"), (b"ICC_PROFILE\0\x01", b"ICC_PROFILE\0\x07")])
def test_warning_of_metadata_neither_fails_nor_hides_that_of_pixels(old, new):
    data = jpeg("profile").replace(old, new, 1)
    assert pixels(data, strict=True).shape == (*SIZE[::-1], 3)
    assert_reported(half(data), "truncated")


def test_unknown_adobe_transform_is_corrupt():
    data = jpeg("CMYK")
    start = data.index(b"Adobe")
    assert_reported(data[: start + 11] + b"\x09" + data[start + 12 :], "corrupt")


def test_variant_that_simplejpeg_cannot_read_is_left_to_pillow():
    data = jpeg("4:4:4")
    frame = scan_of(data)[2]
    rare = data[: frame + 11] + b"\x31" + data[frame + 12 :]  # three horizontal samples
    assert pixels(rare, strict=True).shape == (*SIZE[::-1], 3)
    codec.verify(rare, codec.decode_options(strict=True))


def lossless_jpeg(width=256, height=256):
    """Return a gray JPEG file of the lossless kind: each difference is zero, and its code one bit."""
    table = b"\xff\xc4\0\x14\0" + bytes([1, *[0] * 15]) + b"\0"
    frame = b"\xff\xc3\0\x0b\x08" + struct.pack(">HH", height, width) + b"\1\1\x11\0"
    scan = b"\xff\xda\0\x08\1\1\0\1\0\0" + bytes(width * height // 8)
    return b"\xff\xd8" + table + frame + scan + b"\xff\xd9"


@pytest.mark.parametrize("before", [b"", b"\xff", b"\xff\xd0"])
def test_lossless_jpeg_is_read_at_full_size(before):
    # libjpeg decodes it at full size whatever the scale: simplejpeg wrote beyond its buffer, and the process died.
    data = lossless_jpeg()
    data = data[:2] + before + data[2:]
    assert libjpeg_warning(data) is None
    assert (pixels(data, 8, strict=True) == 128).all()
    assert (pixels(data, 8, mode="L") == 128).all()
    codec.verify(data, codec.decode_options(strict=True))


def test_lossless_jpeg_after_stray_bytes_is_not_decoded():
    data = lossless_jpeg()
    assert libjpeg_warning(data[:2] + b"stray" + data[2:]) is None


def test_frame_of_mpo_is_judged_by_itself():
    first, second = scene(*SIZE), scene(*SIZE, seed=1)
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    start = data.index(b"\xff\xd8\xff", 20)
    middle = start + (len(data) - start) // 2
    broken = data[:middle] + bytes(200) + data[middle + 200 :]
    assert np.array_equal(pixels(broken, strict=True), pixels(data))
    assert np.array_equal(pixels(data, frame=1, strict=True), pixels(data, frame=1))
    pixels(broken, frame=1)
    assert_reported(broken, frame=1)


def test_error_of_pillow_is_same_strictly():
    data = jpeg()
    for broken in (data[: len(data) // 2], data[:300], data[:100], b"\xff\xd8\xff" + bytes(400)):
        for strict in (True, False):
            with pytest.raises(Exception) as raised:  # noqa: PT011  of any class
                codec.verify(broken, codec.decode_options(strict=strict))
            if strict:
                expected = codec.classify_error(raised.value)
        assert codec.classify_error(raised.value) == expected


def test_random_damage_never_passes_strictly_what_pillow_refuses():
    rng, files = random.Random(3), [jpeg("baseline"), jpeg("progressive"), jpeg("restart markers")]
    outcomes = []
    for k in range(150):
        _, data = mutated(files[k % 3], files[(k + 1) % 3], rng)
        results = []
        for decode, strict in ((loaded, False), (loaded, True), (codec.verify, True)):
            try:
                decode(data, codec.decode_options(strict=strict))
                results.append(None)
            except Exception as exc:
                results.append(codec.classify_error(exc))
        lenient, strictly, verified = results
        assert strictly == verified
        assert lenient in (None, strictly)
        outcomes.append((lenient is None, strictly is None))
    assert {(True, True), (True, False), (False, False)} == set(outcomes)


def test_truncated_images_setting_does_not_apply_strictly(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for data in (jpeg()[:-300], encoded(scene(*SIZE))[:-300]):
        assert pixels(data).shape == (*SIZE[::-1], 3)
        assert kind_of(data, strict=True) == "truncated"
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def adam7(levels):
    """Return an interlaced PNG file of gray levels, uncompressed rows first."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    parts = [levels[y::dy, x::dx] for x, y, dx, dy in passes]
    return b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)


def png_of(raw, header):
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(("width", "height"), [(37, 21), (1, 1), (3, 9), (8, 8)])
def test_png_with_too_few_rows_is_truncated(width, height):
    levels = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    plain = b"".join(b"\0" + row.tobytes() for row in levels)
    for raw, interlace in ((plain, 0), (adam7(levels), 1)):
        header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlace)
        whole = png_of(raw, header)
        assert np.array_equal(pixels(whole, mode="L", strict=True), levels[:, :, None].squeeze(2))
        for part in (raw[: -width - 1], raw[: len(raw) // 2]):
            assert kind_of(png_of(part, header), strict=True) == "truncated"
    taller = png(levels, 8, 0, size=(width, height + 30))
    pixels(taller)
    assert_reported(taller, "truncated")


@pytest.mark.parametrize(
    ("depth", "color", "channels"), [(1, 0, 1), (2, 3, 1), (4, 0, 1), (16, 2, 3), (8, 4, 2), (8, 6, 4)]
)
def test_png_of_any_depth_is_complete_strictly(depth, color, channels):
    levels = np.zeros((5, 7, channels) if channels > 1 else (5, 7), np.uint16)
    palette = bytes(12) if color == 3 else None
    assert pixels(png(levels, depth, color, palette=palette), strict=True).shape == (5, 7, 3)
    with pytest.raises(UnreadableImageError, match=r"of \d+ bytes"):
        pixels(png(levels, depth, color, palette=palette, size=(7, 6)), strict=True)


def test_png_without_end_is_truncated_strictly():
    data = encoded(scene(*SIZE))[:-12]
    assert pixels(data).shape == (*SIZE[::-1], 3)
    assert_reported(data, "truncated")


def test_tiff_with_too_few_strips_is_truncated_strictly():
    data = bytearray(encoded(scene(*SIZE), "TIFF"))
    ifd = int.from_bytes(data[4:8], "little")
    for entry in range(ifd + 2, ifd + 2 + 12 * data[ifd], 12):
        if int.from_bytes(data[entry : entry + 2], "little") == 257:
            data[entry + 8 : entry + 10] = (2 * SIZE[1]).to_bytes(2, "little")
    assert pixels(bytes(data)).shape == (2 * SIZE[1], SIZE[0], 3)
    assert_reported(bytes(data), "truncated")


@pytest.mark.parametrize("compression", [None, "jpeg", "tiff_adobe_deflate", "tiff_lzw", "packbits"])
def test_intact_tiff_decodes_strictly_in_any_orientation(compression):
    options = {} if compression is None else {"compression": compression}
    for mode in ("RGB", "L"):
        for orientation in range(1, 9):
            data = oriented(scene(*SIZE).convert(mode), orientation, "TIFF", **options)
            assert np.array_equal(pixels(data, strict=True), pixels(data))
    pages = encoded(scene(*SIZE), "TIFF", save_all=True, append_images=[scene(40, 90)], **options)
    assert np.array_equal(pixels(pages, frame=1, strict=True), pixels(pages, frame=1))


@pytest.mark.parametrize("compression", ["jpeg", "tiff_adobe_deflate"])
def test_hole_in_compressed_tiff_fails_strictly(compression):
    data = encoded(scene(160, 120), "TIFF", compression=compression)
    middle = len(data) // 2
    data = data[:middle] + bytes(400) + data[middle + 400 :]
    pixels(data)
    assert_reported(data)


def test_message_is_bounded():
    assert len(codec.classify_error(UnreadableImageError("corrupt", "libjpeg reports: " + "x" * 999))[1]) <= 300


def test_without_simplejpeg_strict_raises_and_verify_logs_once(monkeypatch, caplog):
    strict = codec.decode_options(strict=True)
    monkeypatch.setitem(sys.modules, "simplejpeg", None)  # the import raises, as on a platform without a wheel
    _log_missing_simplejpeg.cache_clear()
    files = pd.Series([jpeg(), jpeg()[:-300], half(jpeg())])
    for _ in range(2):
        report = files.img.verify()
        assert report["kind"].isna().tolist() == [True, False, True]
    assert [record.levelname for record in caplog.records if "pip install simplejpeg" in record.message] == ["WARNING"]
    assert files.img.load_resized(4, errors="coerce").notna().tolist() == [True, False, True]
    codec.verify(half(jpeg()), strict)  # on a worker that lacks it
    with pytest.raises(MissingExtraError):
        codec.load(jpeg(), strict)
    for call in (files.img.load_resized, lambda *a, **k: load_image(files[0], *a, **k)):
        with pytest.raises(MissingExtraError, match=r"strict=True needs simplejpeg.*pip install simplejpeg"):
            call(4, strict=True)


def test_methods_that_decode_inline_take_strict(tmp_path):
    files = pd.Series([jpeg(), half(jpeg())])
    img, options = files.img, {"errors": "coerce", "strict": True}
    results = [
        img.load_resized(4, **options),
        img.features(["brightness"], **options)["brightness"],
        img.hash("phash", **options),
        img.duplicate_groups(**options),
        img.issues(["is_dark"], **options)["is_dark"],
        img.save_resized(f"{tmp_path}/{{position}}.png", 8, **options),
        img.save_thumbnails(f"{tmp_path}/{{position}}_t.png", 8, **options),
    ]
    for result in results:
        assert result.isna().tolist() == [False, True]
    assert img.verify()["kind"].tolist() == [np.nan, "truncated"]
    for method in (img.metadata, img.verify, img.show, img.download):
        with pytest.raises(TypeError, match="strict"):
            method(**({"to": tmp_path} if method == img.download else {}), strict=True)
    with pytest.raises(UnreadableImageError, match="libjpeg reports"):
        load_image(half(jpeg()), 4, strict=True)


def test_job_does_not_continue_with_other_strict(tmp_path):
    path = tmp_path / "x.npy"
    files = pd.Series([jpeg(), half(jpeg())])
    assert files.img.load_resized(4, out=path).notna().all()
    with pytest.raises(JournalError, match="strict was False and is True"):
        files.img.load_resized(4, out=path, strict=True, errors="coerce")
    files.img.load_resized(4, out=path, strict=True, errors="coerce", overwrite=True)
    assert read_result(path).isna().tolist() == [False, True]


def test_strict_is_checked_and_part_of_options():
    options = codec.decode_options(8)
    assert options.strict is False
    assert codec.decode_options(8, strict=np.True_) == dataclasses.replace(options, strict=True)
    assert "strict=True" in repr(codec.decode_options(8, strict=True))
    with pytest.raises(TypeError, match="strict='yes' is not True or False"):
        codec.decode_options(8, strict="yes")
