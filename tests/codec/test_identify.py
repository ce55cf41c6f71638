"""Identification: allowed formats, limits on pixels, PNG checksums."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import tracemalloc

import numpy as np
import pytest
from decoding import kind_of, pixels
from image_factory import bomb, encoded, icon_around, image_bytes, not_images, png, scene
from PIL import Image, ImageFile

from pandas_imgproc import codec
from pandas_imgproc.errors import UnreadableImageError


def test_postscript_named_jpg_starts_no_process(monkeypatch, tmp_path):
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


def test_formats_limit_readable_files():
    data = encoded(scene(20, 20), "PCX")
    with pytest.raises(UnreadableImageError, match="PCX, which formats= does not allow"):
        pixels(data)
    assert pixels(data, formats=(*codec.FORMATS, "pcx")).shape == (20, 20, 3)
    with pytest.raises(UnreadableImageError, match="PNG, which formats= does not allow"):
        pixels(encoded(scene(20, 20)), formats="jpg")
    assert pixels(encoded(scene(20, 20), "MPO"), formats="MPO").shape == (20, 20, 3)
    assert pixels(encoded(scene(20, 20), "TGA"), formats=["TGA"]).shape == (20, 20, 3)


def test_missing_plugin_leaves_other_formats_readable():
    options = dataclasses.replace(codec.decode_options(8), formats=("HEIF", *codec.FORMATS))
    assert codec.load(image_bytes(5), options).size == (8, 8)


def test_broken_ico_is_not_identified_as_tga():
    assert kind_of(b"\0\0\1\0\xff\xff" + bytes(6) + b"\4\0\4\0\x18" + bytes(40)) in ("corrupt", "truncated")


def test_max_pixels_refuses_before_decoding():
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


def test_max_pixels_cannot_raise_pillow_limit():
    data = encoded(scene(60, 50), "JPEG")
    with codec.pillow_settings(codec.PillowSettings(1000, False)):
        assert kind_of(data, max_pixels=10**9) == "too_large"
    with codec.pillow_settings(codec.PillowSettings(1500, False)):
        assert pixels(data, 4).shape == (4, 4, 3)
    assert kind_of(bomb(20000, 9000)) == "too_large"


def test_max_pixels_applies_to_frame():
    small, large = Image.new("RGB", (10, 10)), Image.new("RGB", (100, 100))
    data = encoded(small, "TIFF", save_all=True, append_images=[large])
    assert pixels(data, 4, max_pixels=500).shape == (4, 4, 3)
    assert kind_of(data, 4, max_pixels=500, frame=1) == "too_large"


@pytest.mark.parametrize("image", [np.zeros((30, 40, 3), np.uint8), Image.new("P", (40, 30))], ids=["array", "image"])
def test_max_pixels_applies_to_image_in_memory(image):
    assert pixels(image, 4, max_pixels=1200).shape == (4, 4, 3)
    assert kind_of(image, max_pixels=1199) == "too_large"
    with pytest.raises(UnreadableImageError, match="max_pixels=1199"):
        codec.read_header(image, codec.decode_options(max_pixels=1199))


def test_png_with_wrong_checksum_is_corrupt(monkeypatch):
    data = bytearray(encoded(scene(40, 30), "PNG"))
    start = data.index(b"IDAT")
    length = int.from_bytes(data[start - 4 : start], "big")
    data[start + 4 + length] ^= 1
    with pytest.raises(UnreadableImageError, match="checksum"):
        codec.load(bytes(data), codec.decode_options(8))
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert codec.load(bytes(data), codec.decode_options(8)).size == (8, 8)
