"""Reductions by pixel, of a column and of groups, compared with NumPy in double precision."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pandas_imgproc import ImageArray, ImageCell, ImageDtype
from pandas_imgproc.array import reductions

N = 40
HOWS = ["mean", "std", "var", "median", "min", "max"]


def expected_of(how, pixels):
    if how in ("std", "var"):
        return getattr(np, how)(pixels.astype(float), axis=0, ddof=1)
    return getattr(np, how)(pixels.astype(float), axis=0)


@pytest.fixture(params=["uint8", "int16", "float32", "float64", "bool"])
def frame(request):
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 2 if request.param == "bool" else 250, (N, 3, 4, 3)).astype(request.param)
    status = np.zeros(N, dtype=np.int32)
    status[[2, 7, 8, 30]] = -1
    labels = rng.choice(["a", "b", "c"], N).astype(object)
    labels[[5, 6]] = None  # in no group
    labels[[7, 8]] = "all missing"
    labels[9] = "one"
    return pd.DataFrame({"label": labels, "image": ImageArray(pixels, status)}, index=rng.permutation(N) % 5)


@pytest.fixture(params=[2**24, 1])
def block(request, monkeypatch):
    monkeypatch.setattr(reductions, "_BLOCK_NBYTES", request.param)  # a row, or a position, at a time


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("how", HOWS)
def test_reduction_of_groups_is_that_of_their_pixels(frame, how):
    result = getattr(frame.groupby("label")["image"], how)()
    assert result.index.tolist() == ["a", "all missing", "b", "c", "one"]
    pixels, valid = frame["image"].array.pixels, frame["image"].notna().to_numpy()
    for label in "abc":
        rows = valid & (frame["label"] == label).to_numpy()
        np.testing.assert_allclose(np.asarray(result[label]), expected_of(how, pixels[rows]), rtol=1e-6)
    assert result["all missing"] is pd.NA
    assert (result["one"] is pd.NA) == (how in ("std", "var"))
    subtype = frame["image"].dtype.subtype
    kept = how in ("min", "max") or subtype == "float64"
    assert result.dtype == ImageDtype(subtype if kept else "float32", (3, 4, 3))


@pytest.mark.parametrize("how", HOWS)
def test_reduction_of_a_column_is_one_image(frame, how):
    column = frame["image"]
    result = getattr(column, how)()
    assert isinstance(result, ImageCell)
    np.testing.assert_allclose(np.asarray(result), expected_of(how, column.dropna().array.pixels), rtol=1e-6)
    assert getattr(column, how)(skipna=False) is pd.NA
    assert getattr(column[:0], how)() is pd.NA
    assert isinstance(frame[["image"]].agg(how)["image"], ImageCell)


def test_sum_of_many_equal_images_keeps_its_digits():
    pixels = np.full((100_000, 1, 1, 1), 200.1, np.float32)
    column = pd.Series(ImageArray(pixels))
    assert np.asarray(column.mean()).item() == np.float32(200.1)
    assert np.asarray(column.var()).item() < 1e-9


def test_ways_of_grouping_and_their_options(frame):
    groups = frame.groupby("label")["image"]
    assert np.allclose(
        groups.std(ddof=0).img.to_numpy(na_value=0)[0] ** 2, groups.var(ddof=0).img.to_numpy(na_value=0)[0]
    )
    assert groups.std(ddof=0)["one"] is not pd.NA
    assert groups.min(min_count=2)["one"] is pd.NA
    assert groups.agg(["mean", "max"])["mean"].dtype == groups.mean().dtype
    assert frame.groupby("label").mean()["image"].equals(groups.mean())
    assert len(groups.transform("mean")) == N
    categories = frame["label"].astype("category").cat.set_categories(["b", "z"])
    assert frame.groupby(categories, observed=False)["image"].mean().isna().tolist() == [False, True]
    table = frame.pivot_table(index="label", values="image", aggfunc="mean")
    assert table["image"].dtype == groups.mean().dtype
    with pytest.raises(TypeError, match=r"support operation 'sum': .* pixel by pixel there are mean, std, .*, max\Z"):
        groups.sum()
