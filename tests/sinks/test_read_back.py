"""Results of every method, read back from every place and compared with those in memory, for every kind of index."""

from __future__ import annotations

import datetime
import decimal
import enum
import os
import warnings

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from image_factory import row_image, row_of
from PIL import Image

from pandas_imgproc import read_result

N = 6
DAYS = pd.date_range("2026-01-01", periods=N)
NOT_UTF8 = ["a\udcff", "b\udcfe", "c\\udcfd", "d\ud83d\\", "日\udc80", "plain\\n"]


def objects(*labels):
    return pd.Index(list(labels), dtype=object, tupleize_cols=False)


INDEXES = {
    "range": pd.RangeIndex(20, 8, -2, name="r"),
    "int8": pd.Index(np.arange(N, dtype="int8")),
    "duplicates": pd.Index([0, 0, 0, 1, 1, 1]),
    "float": pd.Index([1.5, 2, np.nan, 4, 5, 6]),
    "str": pd.Index(["a", None, "c", "d", "e", "f"]),
    "string": pd.Index([*"abcde", None], dtype="string"),
    "objects": objects(*"abcdef"),
    "integers as objects": objects(1, None, 3, 4, 5, 6),
    "not UTF-8": objects(*NOT_UTF8),
    "bytes": objects(b"a", b"\xff", b"c", b"", b"e", b"f"),
    "decimals": objects(*map(decimal.Decimal, range(N))),
    "dates": objects(*(datetime.date(2026, 1, k + 1) for k in range(N))),
    "time zone": DAYS.tz_localize("Europe/Berlin"),
    "not a time": pd.DatetimeIndex([*DAYS[:3], pd.NaT, *DAYS[4:]], tz="UTC"),
    "timedelta": pd.timedelta_range("1h", periods=N),
    "period": pd.period_range("2026-01", periods=N, freq="W"),
    "interval": pd.interval_range(pd.Timestamp("2026-01-01"), periods=N, closed="left"),
    "categories": pd.CategoricalIndex(list("bbacab"), categories=list("cbaz")),
    "ordered categories": pd.CategoricalIndex([3, 1, 2, 3, 1, 2], categories=[3, 2, 1], ordered=True),
    "categories of intervals": pd.CategoricalIndex(pd.cut(range(N), 3)),
    "timedeltas as objects": objects(*(datetime.timedelta(k) for k in range(N))),
    "tuples": objects(("a", 1), ("b", 2.5), ("a", 1), (None, ("c", 2)), (pd.Timestamp("2026-01-01"), b"x"), ("d", 1)),
    "Int64": pd.Index([2**60 + 1, None, 3, 4, 5, 6], dtype="Int64"),
    "Arrow int": pd.Index(range(N), dtype="int64[pyarrow]"),
    "Arrow time": pd.Index(DAYS, dtype=pd.ArrowDtype(pa.timestamp("us", "UTC"))),
    "Arrow decimal": pd.Index([decimal.Decimal("1.50")] * N, dtype=pd.ArrowDtype(pa.decimal128(10, 2))),
    "complex": pd.Index([1j, 2, 1 / 3 + 1j, 4 + 1j, 5, 1e-300]),
    "levels": pd.MultiIndex.from_arrays([["a", None, "b", "b", "c", "c"], [1, 2, np.nan, 4, 5, 6]], names=["l", "l"]),
    "levels with integer names": pd.MultiIndex.from_arrays([objects(*NOT_UTF8), range(N)], names=[1, 0]),
    "levels of kinds": pd.MultiIndex.from_arrays([pd.CategoricalIndex(list("bbacab")), pd.interval_range(0, N)]),
    "one level": pd.MultiIndex.from_arrays([list("abcdef")], names=["only"]),
    **{
        f"name {name!r}": pd.Index(list("abcdef"), name=name)
        for name in (3, 1.5, ("a", 1), b"x", "image", "failure", "__index_level_0__")
    },
}
if int(pd.__version__.split(".")[0]) >= 3:  # before, pandas cannot convert them to Arrow, and an error says so
    INDEXES["interval of a time zone"] = pd.interval_range(pd.Timestamp("2026-01-01", tz="UTC"), periods=N)


def mean_and_number(pixels):
    return {"mean": float(pixels.mean()), "n": int(pixels[0, 0, 0])}


OPTIONS = {"errors": "coerce", "progress": False}
CALLS = {
    "load_resized": lambda paths, **o: paths.img.load_resized(4, **OPTIONS, **o),
    "features": lambda paths, **o: paths.img.features(["width", "camera", "brightness", "phash"], **OPTIONS, **o),
    "map": lambda paths, **o: paths.img.map(mean_and_number, dtype={"mean": "float64", "n": "int64"}, **OPTIONS, **o),
    "augment": lambda paths, **o: paths.img.augment(lambda pixels: pixels, n=2, size=4, **OPTIONS, **o),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of images, of which one has a camera in its header."""
    folder = tmp_path_factory.mktemp("images")
    exif = Image.Exif()
    exif[0x0110] = "Camera"
    for number in range(N):
        row_image(number, (24, 16)).save(folder / f"{number}.jpg", exif=exif if number == 5 else Image.Exif())
    (folder / "bad.jpg").write_text("no image")
    return folder


def paths_of(folder, index, names=("0.jpg", "bad.jpg", None, "3.jpg", "gone.jpg", "5.jpg")):
    """Return paths: by default with an unreadable, a missing and an absent one in each of two parts."""
    paths = [None if name is None else str(folder / name) for name in names]
    return pd.Series(paths, index=index, dtype=object)


def check_equal(result, expected):
    """Compare values, dtypes, index, names and failures."""
    assert_equal = pd.testing.assert_series_equal if isinstance(expected, pd.Series) else pd.testing.assert_frame_equal
    assert_equal(result, expected, check_index_type="equiv", check_freq=False)
    check_labels(result.index, expected.index)
    pd.testing.assert_frame_equal(result.img.failures, expected.img.failures, check_index_type="equiv")


def check_labels(index, expected):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*freq.*")  # that of a level
        pd.testing.assert_index_equal(index, expected, exact="equiv")
    assert type(index) is type(expected) or isinstance(expected, pd.RangeIndex)
    assert list(map(repr, index.names)) == list(map(repr, expected.names))


@pytest.mark.parametrize("kind", INDEXES)
@pytest.mark.filterwarnings("error::FutureWarning")
def test_result_read_back_equals_result_in_memory(folder, tmp_path, kind):
    paths = paths_of(folder, INDEXES[kind])
    with dask.config.set(scheduler="synchronous"):
        for method, suffix in (("load_resized", "npy"), ("features", "parquet"), ("augment", "parquet")):
            out, expected = tmp_path / f"{method}.{suffix}", CALLS[method](paths)
            CALLS[method](paths.iloc[:3], out=out)  # the second part has other rows and categories
            result = CALLS[method](paths, out=out)
            check_labels(result.index, expected.index)
            check_labels(result.img.failures.index, expected.img.failures.index)
            check_equal(read_result(out), expected)
            if suffix == "parquet":
                assert len(pd.read_parquet(out)) == len(expected)


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2]], ids=str)
@pytest.mark.parametrize(("method", "suffix"), [("load_resized", "npy"), ("features", "parquet")])
def test_index_of_nested_arrow_values_is_read_back(folder, tmp_path, value, method, suffix):
    paths = paths_of(folder, pd.Index(pd.arrays.ArrowExtensionArray(pa.chunked_array([[value] * N]))))
    with dask.config.set(scheduler="synchronous"):
        CALLS[method](paths, out=tmp_path / f"x.{suffix}")
        check_equal(read_result(tmp_path / f"x.{suffix}"), CALLS[method](paths))


def test_index_of_categories_that_are_not_utf8_is_read_back(folder, tmp_path):
    paths = paths_of(folder, pd.CategoricalIndex(objects(*NOT_UTF8)))
    with dask.config.set(scheduler="synchronous"):
        CALLS["load_resized"](paths.iloc[:3], out=tmp_path / "x.parquet")
        CALLS["load_resized"](paths, out=tmp_path / "x.parquet")
    index = read_result(tmp_path / "x.parquet").index
    # pandas itself cannot compare them.
    assert (index.tolist(), index.categories.tolist()) == (paths.index.tolist(), paths.index.categories.tolist())


def test_name_that_is_missing_is_read_back(folder, tmp_path):
    paths = paths_of(folder, pd.Index(range(N), name=pd.NA))
    with dask.config.set(scheduler="synchronous"):
        CALLS["augment"](paths, out=tmp_path / "x.parquet")
    assert read_result(tmp_path / "x.parquet").index.names == [pd.NA, "variant"]


class Color(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    ("index", "change"),
    [
        (objects("a", b"b", "c", "d", "e", "f"), "the label 'a' of row 0 would become b'a'"),
        (pd.RangeIndex(N, name=Color.RED), "the name <Color.RED: 1> would become 'Color.RED'"),
        (pd.MultiIndex.from_product([[1, 2], [1, 2, 3]], names=["a", frozenset([1])]), "the name frozenset"),
    ],
    ids=["texts and bytes", "a name", "the name of a level"],
)
@pytest.mark.parametrize("suffix", ["npy", "parquet"])
def test_labels_that_would_be_read_back_as_others_are_refused(folder, tmp_path, index, change, suffix):
    with pytest.raises(TypeError, match=change):
        CALLS["load_resized"](paths_of(folder, index), out=tmp_path / f"x.{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("suffix", ["npy", "parquet"])
def test_result_in_a_folder_of_any_name_is_read_back(folder, tmp_path, method, suffix):
    if suffix == "npy" and method in ("features", "map"):
        pytest.skip("they give tables")
    paths = paths_of(folder, objects(*NOT_UTF8))
    out = tmp_path / os.fsdecode(b"\xff\xe4") / f"x.{suffix}"
    out.parent.mkdir()
    with dask.config.set(scheduler="synchronous"):
        expected = CALLS[method](paths)
        result = CALLS[method](paths, out=out)
    check_equal(read_result(out), expected)
    if suffix == "parquet":
        assert {os.path.dirname(part) for part in result} == {str(out)}


@pytest.mark.parametrize("kind", INDEXES)
def test_failures_have_the_labels_of_their_rows(folder, tmp_path, kind):
    paths = paths_of(folder, INDEXES[kind])
    rows = np.array([1, 4])
    with dask.config.set(scheduler="synchronous"):
        features = paths.img.features(["width"], **OPTIONS)
        saved = paths.img.save_resized(tmp_path / "{position}.png", 4, **OPTIONS)
        files = paths.img.augment(lambda a: a, n=2, to=tmp_path / "{position}_{variant}.png", **OPTIONS)
        frame = paths.to_frame("image_path").img.augment(
            "image_path", lambda a: a, n=2, to=tmp_path / "{position}_{variant}.png", **OPTIONS
        )
    for result in (features, features.iloc[:3], saved):
        check_labels(result.img.failures.index, paths.index[rows])
    for result in (files, frame):
        check_labels(result.img.failures.index, result.index[[2, 3, 8, 9]])
        assert result.img.failures["position"].tolist() == [1, 1, 4, 4]
    assert len(features.reset_index(drop=True).img.failures) == 2


@pytest.mark.parametrize(
    "names",
    [
        ["0.jpg"] * 3 + ["5.jpg"] * 3,
        ["0.jpg"] * 3 + [None] * 3,
        [None] * 3 + ["5.jpg"] * 3,
        ["bad.jpg"] * 3 + ["5.jpg"] * 3,
        ["5.jpg"] * 3 + ["gone.jpg"] * 3,
        [None] * 6,
        ["gone.jpg"] * 6,
    ],
    ids=str,
)
@pytest.mark.filterwarnings("error::FutureWarning")
def test_parts_that_differ_are_read_back(folder, tmp_path, names):
    paths = paths_of(folder, None, names)
    with dask.config.set(scheduler="synchronous"):
        for method in ("features", "map"):
            call, out = CALLS[method], tmp_path / f"{method}.parquet"
            call(paths.iloc[:3], out=out)
            call(paths, out=out, retry="all")
            check_equal(read_result(out), call(paths))


def test_categories_of_a_rewritten_part_stay_categories(folder, tmp_path):
    paths = paths_of(folder, None, ["0.jpg", "late.jpg", "0.jpg", "5.jpg"])
    out = tmp_path / "x.parquet"
    CALLS["features"](paths, out=out)
    (folder / "late.jpg").write_bytes((folder / "5.jpg").read_bytes())
    CALLS["features"](paths, out=out)
    assert pd.read_parquet(out)["camera"].dtype == "category"
    check_equal(read_result(out), CALLS["features"](paths))
    (folder / "late.jpg").unlink()


@pytest.mark.parametrize(
    "dtype", [pd.CategoricalDtype(["b", "a"], ordered=True), "category", "complex128", "str", "int8", "Int64"], ids=str
)
def test_column_of_every_dtype_is_read_back(folder, tmp_path, dtype):
    def value(pixels):
        return "ba"[int(pixels[0, 0, 0]) % 2] if str(dtype) in ("category", "str") else int(pixels[0, 0, 0])

    paths = paths_of(folder, None, ["0.jpg", "3.jpg", "5.jpg", "3.jpg"])
    with dask.config.set(scheduler="synchronous"):
        paths.iloc[:2].img.map(value, dtype=dtype, out=tmp_path / "x.parquet", **OPTIONS)
        paths.img.map(value, dtype=dtype, out=tmp_path / "x.parquet", **OPTIONS)
        check_equal(read_result(tmp_path / "x.parquet"), paths.img.map(value, dtype=dtype, **OPTIONS))


@pytest.mark.parametrize("labels", [["a", "b"], ["b", "a"], [2, 1]], ids=str)
def test_categories_of_two_parts_are_joined(folder, tmp_path, labels):
    paths = paths_of(folder, None, ["0.jpg", "0.jpg", "5.jpg", None])
    label_of = lambda pixels: labels[row_of(pixels) == 5]  # noqa: E731
    with dask.config.set(scheduler="synchronous"):
        paths.iloc[:2].img.map(label_of, dtype="category", out=tmp_path / "x.parquet", **OPTIONS)
        paths.img.map(label_of, dtype="category", out=tmp_path / "x.parquet", **OPTIONS)
    result = read_result(tmp_path / "x.parquet")
    assert result.tolist()[:3] == [labels[0], labels[0], labels[1]]
    assert (result.cat.categories.tolist(), result.cat.codes.iloc[3]) == (sorted(labels), -1)


@pytest.mark.parametrize("suffix", ["npy", "parquet"])
@pytest.mark.parametrize(("n_rows", "n_variants"), [(0, 2), (0, 1), (N, 1)])
def test_index_of_no_row_and_of_one_variant_has_its_level(folder, tmp_path, suffix, n_rows, n_variants):
    paths = paths_of(folder, INDEXES["levels"])[:n_rows]
    augment = lambda **out: paths.img.augment(lambda a: a, n=n_variants, size=4, **OPTIONS, **out)  # noqa: E731
    with dask.config.set(scheduler="synchronous"):
        augment(out=tmp_path / f"x.{suffix}")
        check_equal(read_result(tmp_path / f"x.{suffix}"), augment())
