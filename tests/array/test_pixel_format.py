"""Format of pixels for a model: values, dtype and order of the axes, and the memory that it takes."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from pandas_imgproc import ImageArray

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def column(pixels=PIXELS, **options):
    return pd.Series(ImageArray(pixels, **options))


def expected(pixels, channels):
    """Return the values as torchvision's ToTensor and Normalize define them, in double precision."""
    values = (pixels / 255 - np.array(MEAN)) / np.array(STD)
    return np.moveaxis(values, 3, 1) if channels == "first" else values


@pytest.mark.parametrize("channels", ["last", "first"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-3), ("float32", 1e-6), ("float64", 1e-12)])
def test_scaled_values_are_those_of_the_formula(channels, dtype, tolerance):
    values = column().img.to_numpy(dtype, scale=1 / 255, mean=MEAN, std=STD, channels=channels)
    assert values.dtype == dtype
    assert values.flags.c_contiguous
    assert values.flags.writeable
    np.testing.assert_allclose(values, expected(PIXELS, channels), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("source", ["uint8", "uint16", "int32", "float32", "bool"])
def test_every_dtype_of_pixels_is_scaled(source):
    pixels = PIXELS.astype(source)
    np.testing.assert_allclose(column(pixels).img.to_numpy(scale=0.5, mean=1), pixels * 0.5 - 1.0, rtol=1e-6)


def test_channels_first_keeps_dtype_and_order_of_rows():
    values = column(PIXELS[::2]).img.to_numpy(channels="first")
    assert values.dtype == np.uint8
    np.testing.assert_array_equal(values, PIXELS[::2].transpose(0, 3, 1, 2))


def test_missing_image_has_na_value_unscaled():
    values = column(status=[0, -1, 0, 0, 0]).img.to_numpy(na_value=-7, scale=1 / 255, channels="first")
    assert (values[1] == -7).all()
    assert values[0].max() <= 1


def test_default_is_a_view_still():
    assert np.shares_memory(column().img.to_numpy(), PIXELS)


def test_no_second_array_of_the_size_of_the_result():
    pixels = np.zeros((64, 64, 64, 3), np.uint8)
    images = column(pixels)
    tracemalloc.start()
    values = images.img.to_numpy(scale=1 / 255, mean=MEAN, std=STD, channels="first")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * values.nbytes


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"dtype": "uint8", "scale": 2.0}, ValueError, "dtype=uint8"),
        ({"scale": "1/255"}, TypeError, "scale='1/255'"),
        ({"mean": (0.5, 0.5)}, ValueError, "3 numbers, one for each channel"),
        ({"std": (1, 1, 0)}, ValueError, r"std=\(1, 1, 0\) is not above 0"),
        ({"mean": float("nan")}, ValueError, "mean=nan"),
        ({"channels": 1}, ValueError, "channels=1 is not one of 'last', 'first'"),
        ({"scael": 1}, TypeError, "did you mean 'scale'"),
    ],
)
def test_wrong_argument_is_named(options, error, words):
    with pytest.raises(error, match=words):
        column().img.to_numpy(**options)


@pytest.mark.parametrize("dtype", ["str", "object", "datetime64[s]"])
def test_dtype_of_no_numbers_is_refused(dtype):
    with pytest.raises(TypeError, match="no dtype of numbers"):
        ImageArray(np.zeros((1, 2, 2, 3), np.uint8)).to_pixels(dtype=dtype)
