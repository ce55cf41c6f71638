"""Registry of features: the decorator, the inputs and the failures of a user's features."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from image_factory import encoded, scene
from PIL import Image

import pandas_imgproc
from pandas_imgproc.features import HASH_FEATURES, HEADER_FEATURES, feature_names


@pytest.fixture
def unregistered():
    """Unregister the feature "corner" after the test."""
    yield
    pandas_imgproc.unregister_feature("corner")


def test_user_feature_is_column_like_others(unregistered):
    @pandas_imgproc.register_feature("corner", "corner_g", dtype="Int64")
    def corner(pixels):
        assert pixels.flags.c_contiguous
        return pixels[0, 0, 0], None

    frame = pd.Series([encoded(Image.new("RGB", (400, 8), (9, 8, 7)), "PNG")]).img.features(["corner_g", "corner"])
    assert frame.dtypes.astype(str).tolist() == ["Int64", "Int64"]
    assert frame["corner"].tolist() == [9]
    assert frame["corner_g"].isna().all()
    assert feature_names()[-2:] == ("corner", "corner_g")


@pytest.mark.parametrize(
    ("kind", "received"),
    [
        ("pixels", (102, 256, 3)),
        ("grey", (102, 256)),
        ("full", (400, 1000, 3)),
        ("full_grey", (400, 1000)),
        ("bytes", "bytes"),
        ("header", "Header"),
    ],
)
def test_feature_function_receives_its_input(unregistered, kind, received):
    @pandas_imgproc.register_feature("corner", dtype="string", input=kind)
    def corner(value):
        return str(value.shape) if isinstance(value, np.ndarray) else type(value).__name__

    data = encoded(Image.new("RGB", (1000, 400)), "PNG")
    assert pd.Series([data]).img.features("corner")["corner"].tolist() == [str(received)]


@pytest.mark.parametrize(
    ("function", "dtype", "message"),
    [
        (lambda _: 1 / 0, "float64", "ZeroDivisionError: division by zero (<lambda>, line"),
        (lambda pixels: pixels, "float64", "array of shape"),
        (lambda _: 2.5, "Int64", "no whole number"),
        (lambda _: -1, "UInt64", "OverflowError"),
        (lambda _: "red", "float64", "could not convert"),
    ],
)
def test_user_feature_that_raises_costs_row_with_kind_function(unregistered, function, dtype, message):
    pandas_imgproc.register_feature("corner", dtype=dtype)(function)
    frame = pd.Series([encoded(scene(8, 8)), None]).img.features(["width", "corner"], errors="coerce")
    assert frame.isna().all(axis=None)
    assert frame.img.failures["kind"].tolist() == ["function"]
    assert message in frame.img.failures["message"].iloc[0]


def test_user_feature_failure_names_file(unregistered):
    pandas_imgproc.register_feature("corner")(lambda _: 1 / 0)
    frame = pd.Series([encoded(scene(8, 8)), None]).img.features(["corner"], errors="coerce", npartitions=1)
    message = frame.img.failures["message"].iloc[0]
    assert re.fullmatch(r"ZeroDivisionError: division by zero \(<lambda>, line \d+ of test_registry.py\)", message)


def test_text_feature_is_truncated_between_characters(unregistered):
    pandas_imgproc.register_feature("corner", dtype="string", max_bytes=4)(lambda _: "aéé")
    assert pd.Series([encoded(scene(8, 8))]).img.features("corner")["corner"].tolist() == ["aé"]


def test_user_feature_is_pickled_with_its_module(unregistered, managed_cluster, tmp_path, monkeypatch):
    (tmp_path / "user_features.py").write_text(
        "import pandas_imgproc\nLEVEL = 7\ndef twice(x): return 2 * x\n"
        "@pandas_imgproc.register_feature('corner', dtype='Int64')\ndef corner(pixels): return twice(LEVEL)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)  # of this process: the workers have started already and cannot import it
    import user_features  # noqa: F401

    frame = pd.Series([encoded(scene(8, 8, n)) for n in range(4)]).img.features(["corner", "width"], npartitions=2)
    assert frame["corner"].tolist() == [14] * 4
    assert frame["width"].tolist() == [8] * 4


@pytest.mark.parametrize(
    ("names", "options", "error", "message"),
    [
        ((), {}, TypeError, "names of columns"),
        (("corner", "corner"), {}, ValueError, "twice"),
        (("blur",), {}, ValueError, "a built-in feature"),
        (("corner",), {"dtype": "complex"}, ValueError, "dtype='complex' is not one of"),
        (("corner",), {"input": "file"}, ValueError, "input='file' is not one of"),
        (("corner",), {"max_bytes": 0}, ValueError, "max_bytes=0"),
    ],
)
def test_register_feature_with_wrong_arguments_raises(names, options, error, message):
    with pytest.raises(error, match=message):
        pandas_imgproc.register_feature(*names, **options)


def test_register_feature_on_non_function_raises():
    with pytest.raises(TypeError, match="decorates a function"):
        pandas_imgproc.register_feature("corner")(7)


def test_unregister_feature_of_builtin_raises():
    with pytest.raises(ValueError, match="built-in feature"):
        pandas_imgproc.unregister_feature("blur")


def test_feature_names_list_all_builtin_features():
    assert set(HEADER_FEATURES) | set(HASH_FEATURES) < set(feature_names())
    assert feature_names()[:3] == ("width", "height", "area")
    assert len(feature_names()) == 45
