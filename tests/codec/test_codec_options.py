"""Checks of `decode_options` and `parse_size`."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from decoding import BICUBIC

from pandas_imgproc import codec
from pandas_imgproc.codec.option_values import parse_size


@pytest.mark.parametrize("size", [64, np.int64(64), (64, 64), [64, 64], np.array([64, 64])])
def test_parse_size_gives_two_ints(size):
    parsed = parse_size(size)
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
        parse_size(size)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"mode": "rgb"}, ValueError, "mode='rgb' is not one of 'RGB', 'L'"),
        ({"fit": "cover"}, ValueError, "fit='cover' is not one of 'stretch', 'crop', 'pad'"),
        ({"resample": "cubic"}, ValueError, "resample='cubic' is not one of 'nearest'"),
        ({"resample": 3}, ValueError, "resample=3 is not"),
        ({"reducing_gap": 0.5}, ValueError, "at least 1.0, got 0.5"),
        ({"reducing_gap": float("nan")}, ValueError, "got nan"),
        ({"reducing_gap": "2"}, TypeError, "got '2'"),
        ({"reducing_gap": True}, TypeError, "got True"),
        ({"background": "whitte"}, ValueError, "got 'whitte'"),
        ({"background": (1, 2)}, ValueError, r"got \(1, 2\)"),
        ({"background": (1, 2, 300)}, ValueError, "300.*from 0 to 255"),
        ({"background": (1, 2, 0.5)}, TypeError, "0.5"),
        ({"background": "#ffffff80"}, ValueError, "mode='RGBA'"),
        ({"exif_transpose": 1}, TypeError, "exif_transpose=1 is not True or False"),
        ({"scale_depth": None}, TypeError, "scale_depth"),
        ({"frame": -1}, ValueError, "frame=-1 is not a whole number from 0 up"),
        ({"frame": "first"}, TypeError, "frame"),
        ({"max_pixels": 0}, ValueError, "max_pixels"),
        ({"max_pixels": 1e6}, TypeError, "max_pixels"),
        ({"formats": "XYZ"}, ValueError, "XYZ.*Known: AVIF"),
        ({"formats": ()}, TypeError, "formats"),
        ({"formats": 5}, TypeError, "formats"),
        ({"formats": ["JPEG", "JXL"]}, ValueError, "pillow_heif"),
    ],
)
def test_decode_options_refuses(options, error, words):
    with pytest.raises(error, match=words):
        codec.decode_options(64, **options)


def test_decode_options_of_equal_arguments_are_equal():
    options = codec.decode_options(64, formats=["tif", "PNG", "png"], reducing_gap=2)
    assert options == codec.decode_options((64, 64), background="#fff", formats=("PNG", "TIFF"), resample=BICUBIC)
    assert options == pickle.loads(pickle.dumps(options))
    assert hash(options) == hash(pickle.loads(pickle.dumps(options)))
    assert repr(options) == repr(codec.decode_options(np.int64(64), formats=iter(["TIFF", "PNG"])))
    assert codec.decode_options(8, mode=np.str_("L"), scale_depth=np.True_) == codec.decode_options(8, mode="L")
    assert codec.decode_options(8, resample="nearest") == codec.decode_options(8, resample="nearest", reducing_gap=3)
    with pytest.raises(ValueError, match="no common shape"):
        _ = codec.decode_options().shape
