"""Hashes: bit for bit those of other packages."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest
from feature_images import SCENES
from image_factory import encoded, every_image, scene
from PIL import Image

from pandas_imgproc import codec
from pandas_imgproc.features import hashes


def symmetric(n):
    half = np.asarray(scene(40, 60, n))
    return Image.fromarray(np.concatenate([half, half[:, ::-1]], axis=1))


def hashed_images():
    yield from ((name, Image.fromarray(array)) for name, array in SCENES.items())
    # Half of their frequencies are zero except for rounding: the last bit of the transform decides.
    yield from ((f"symmetric {n}", symmetric(n)) for n in range(12))
    yield from ((f"level {level}", Image.new("RGB", (37, 23), (level, level, level))) for level in range(0, 256, 15))
    for name, mode, data in every_image((90, 70), 3):
        if mode != "F":  # its white level is not known
            yield f"{name} {mode}", codec.load(data, codec.decode_options())


def test_hashes_equal_imagehash():
    imagehash = pytest.importorskip("imagehash")
    functions = {"phash": imagehash.phash, "dhash": imagehash.dhash, "ahash": imagehash.average_hash}
    for name, image in hashed_images():
        gray = np.asarray(image.convert("L"))
        for kind, function in functions.items():
            assert getattr(hashes, kind)(gray) == int(str(function(image)), 16), f"{kind} of {name}"


def test_dct2_is_bit_exact_to_scipy():
    fftpack = pytest.importorskip("scipy.fftpack")
    rng = np.random.default_rng(0)
    for rows in rng.integers(0, 256, (50, 32, 32)).astype(float):
        assert np.array_equal(hashes.dct2(rows), fftpack.dct(rows, axis=1))


def test_md5_and_pixel_md5_equal_those_of_files(tmp_path):
    image = scene(40, 30)
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.bmp")
    image.save(tmp_path / "c.ppm")
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "d.png")
    paths = pd.Series([str(tmp_path / name) for name in ("a.png", "b.bmp", "c.ppm", "d.png")])
    files = [hashlib.md5((tmp_path / name).read_bytes()).hexdigest() for name in ("a.png", "b.bmp", "c.ppm", "d.png")]
    assert paths.img.hash("md5").tolist() == files
    pixel = paths.img.hash("pixel_md5").tolist()
    assert pixel[0] == pixel[1] == pixel[2] == files[2]
    assert pixel[3] != pixel[0]


def test_pixel_md5_of_black_images_differs_by_shape():
    black = [encoded(Image.new("RGB", size), "PNG") for size in ((20, 10), (10, 20))]
    assert pd.Series(black).img.hash("pixel_md5").nunique() == 2
