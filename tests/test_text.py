"""Texts of bounded length: messages, failures and warnings, whatever they quote."""

from __future__ import annotations

import warnings

import dask
import numpy as np
import pandas as pd
import pytest

from pandas_imgproc import UserFunctionError
from pandas_imgproc._text import exception_text, format_exception, shorten, truncate_path
from pandas_imgproc.errors import did_you_mean, failure, format_row

LONG = "x" * 1_000_000


@pytest.fixture(autouse=True)
def _inline():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.mark.parametrize("value", [LONG, LONG.encode(), [LONG] * 9, {LONG: LONG}, {1: [LONG]}, (LONG,), {LONG}])
def test_repr_is_short(value):
    assert len(shorten(value)) <= 100


def test_repr_that_raises_is_that_of_the_type():
    assert shorten(type("Evil", (), {"__repr__": lambda _: 1 / 0})()) == "<Evil>"


def test_exception_without_text_is_its_type():
    error = type("Evil", (Exception,), {"__str__": lambda _: 1 / 0})()
    assert (exception_text(error), format_exception(error)) == ("", f"{__name__}.Evil")


def test_path_keeps_its_name():
    assert truncate_path(f"/data/{LONG}/a.jpg").endswith("/a.jpg")


def test_failure_row_and_hint_are_short():
    failed = failure(0, LONG, "missing", LONG)
    assert (len(failed["path"]), len(failed["message"])) == (499, 300)
    assert len(format_row(3, (LONG, LONG))) < 300
    assert len(did_you_mean(LONG, [LONG, LONG + "y"])) < 700


def _raise(_):
    raise ValueError(LONG)


def _raise_of_long_name(_):
    raise type(LONG, (Exception,), {})(LONG)


@pytest.mark.parametrize("func", [_raise, _raise_of_long_name, lambda _: type(LONG, (), {})(), lambda _: {LONG: [1]}])
def test_messages_of_function_are_short(photos, func):
    paths = pd.Series([str(photos / "red.png")] * 2, index=[LONG, LONG + "y"])
    failed = paths.img.map(func, errors="coerce").img.failures
    assert failed["message"].str.len().max() <= 300
    for errors in ("warn", "raise"):
        with pytest.raises(UserFunctionError) as error:
            paths.img.map(func, errors=errors)
        assert len(str(error.value)) < 1600


@pytest.mark.parametrize("path", [LONG, "x" * 10_000 + ".jpg", f"http://{'h' * 10_000}/a.jpg", "a/" * 5000])
def test_messages_of_long_paths_are_short(photos, path):
    paths = pd.Series([path, str(photos / "red.png")])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = paths.img.load_resized(4)
    assert max(len(str(warning.message)) for warning in caught) < 1600
    failed = result.img.failures
    assert failed.map(lambda value: len(str(value))).to_numpy().max() <= 500
    assert paths.img.verify()["message"].str.len().max() <= 300


@pytest.mark.parametrize(
    "options", [{"root": LONG}, {"suffix": [LONG]}, {"errors": LONG}, {"schemes": LONG}, {"size": LONG}, {"mode": LONG},
                {"background": LONG}, {"formats": [LONG]}, {"out": LONG}, {LONG: 1}, {"npartitions": LONG}]
)  # fmt: skip
def test_usage_errors_are_short(photos, options):
    paths = pd.Series([str(photos / "red.png"), "gone.png"], name=LONG)
    with pytest.raises((OSError, ValueError, TypeError, KeyError)) as error:
        paths.img.load_resized(**{"size": 4, "errors": "raise", **options})
    assert len(str(error.value)) < 1600
    with pytest.raises((KeyError, TypeError)) as error:
        pd.DataFrame({LONG: [1]}).img.load_resized(LONG + "y", 4)
    assert len(str(error.value)) < 1600


def test_array_of_long_dtype_has_short_message():
    array = np.zeros((2, 2), dtype=[(f"field {k}", "u1") for k in range(1000)])
    column = pd.Series([array, None], dtype=object)
    assert column.img.load_resized(4, errors="coerce").img.failures["message"].str.len().max() <= 300
