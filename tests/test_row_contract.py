"""Row contract: row i of a result is the image of row i, for every index, column and execution."""

from __future__ import annotations

import dask
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_factory import row_image, row_of

import pandas_imgproc
from pandas_imgproc import UnreadableImageWarning

N = 40
INVALID = [
    "", " ", "gone.png", "a\0b", "\ud800", "..", "/", "/dev/zero", "x" * 5000, "http://", "text.png", 7.5, [], {},
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of N images with the color of their number, and one file that is no image."""
    folder = tmp_path_factory.mktemp("rows")
    for number in range(N):
        row_image(number, (24, 16)).save(folder / f"{number}.png")
    (folder / "text.png").write_text("no image")
    return folder


INDEXES = {
    "default": lambda n: pd.RangeIndex(n),
    "shuffled": lambda n: pd.Index(np.random.default_rng(0).permutation(n)),
    "duplicated": lambda n: pd.Index([k // 3 for k in range(n)]),
    "constant": lambda n: pd.Index([0] * n),
    "text": lambda n: pd.Index([f"row {k % 7}" for k in range(n)], name="id"),
    "missing": lambda n: pd.Index([None if k % 2 else float(k) for k in range(n)]),
    "dates": lambda n: pd.date_range("2026-01-01", periods=n, tz="UTC")[::-1],
    "levels": lambda n: pd.MultiIndex.from_arrays([[k % 3 for k in range(n)], ["x"] * n], names=["a", "b"]),
}


def check(column: pd.Series, inputs: list, index: pd.Index) -> None:
    """Check the length, index and order of a result, and the color of each row."""
    pd.testing.assert_index_equal(column.index, index, exact=True)
    assert len(column) == len(inputs)
    for value, image in zip(inputs, column.array, strict=True):
        number = int(value[:-4]) if isinstance(value, str) and value[:-4].isdigit() else None
        if number is None:
            assert image is pd.NA
        else:
            assert row_of(np.asarray(image)) == number


rows = st.lists(
    st.one_of(st.integers(0, N - 1).map("{}.png".format), st.none(), st.just(float("nan")), st.sampled_from(INVALID)),
    max_size=60,
)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(inputs=rows, kind=st.sampled_from(sorted(INDEXES)))
def test_inline_rows_preserve_position_and_index(folder, scheduler, inputs, kind):
    index = INDEXES[kind](len(inputs))
    frame = pd.DataFrame({"image_path": pd.Series(inputs, index=index, dtype=object)})
    with dask.config.set(scheduler=scheduler):
        column = frame.img.load_resized("image_path", size=8, root=folder, errors="coerce")
    check(column, inputs, index)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(inputs=rows, kind=st.sampled_from(sorted(INDEXES)), npartitions=st.sampled_from([1, 3, 60, 65]))
def test_cluster_rows_preserve_position_and_index(folder, managed_cluster, inputs, kind, npartitions):
    index = INDEXES[kind](len(inputs))
    frame = pd.DataFrame({"image_path": pd.Series(inputs, index=index, dtype=object)})
    column = frame.img.load_resized("image_path", size=8, root=folder, errors="coerce", npartitions=npartitions)
    check(column, inputs, index)
    with dask.config.set(scheduler="synchronous"):
        inline = frame.img.load_resized("image_path", size=8, root=folder, errors="coerce")
    pd.testing.assert_series_equal(column, inline)
    pd.testing.assert_frame_equal(column.img.failures, inline.img.failures)
    assert np.array_equal(column.array.pixels, inline.array.pixels)


@pytest.mark.parametrize("kind", sorted(INDEXES))
def test_column_assigned_to_its_frame_preserves_rows(folder, kind):
    inputs = [f"{k}.png" for k in range(N)]
    frame = pd.DataFrame({"image_path": inputs, "number": range(N)}, index=INDEXES[kind](N))
    frame["image"] = frame["image_path"].img.load_resized(8, root=folder)
    for _, row in frame.sample(frac=1, random_state=0).iterrows():
        assert row_of(np.asarray(row["image"])) == row["number"]


def test_failures_follow_rows_of_frame(folder):
    frame = pd.DataFrame({"image_path": ["0.png", "gone.png", "1.png", None, "text.png"]}, index=list("abcde"))
    with pytest.warns(UnreadableImageWarning, match=r"2 of 5 .*\(1 missing, 1 unidentified\)"):
        frame["image"] = frame.img.load_resized("image_path", size=8, root=folder)
    failures = frame["image"].img.failures
    assert failures.index.tolist() == ["b", "e"]
    assert failures["position"].tolist() == [1, 4]
    assert failures["path"].tolist() == ["gone.png", "text.png"]
    assert failures["kind"].tolist() == ["missing", "unidentified"]
    reversed_frame = frame.sort_index(ascending=False).query("index != 'b'")
    assert reversed_frame["image"].img.failures.index.tolist() == ["e"]
    assert reversed_frame["image"].img.failure_kind.tolist()[0] == "unidentified"
    assert frame["image"].img.failure_kind.isna().tolist() == [True, False, True, True, False]
    repeated = pd.concat([frame, reversed_frame])
    assert repeated["image"].img.failures.index.tolist() == ["b", "e", "e"]
    assert reversed_frame.reset_index(drop=True)["image"].img.failures.index.tolist() == [0]


def test_every_type_of_input_gives_same_pixels(folder):
    paths = [str(folder / f"{k}.png") for k in range(3)]
    data = [(folder / f"{k}.png").read_bytes() for k in range(3)]
    columns = {
        "str": paths,
        "path": [folder / f"{k}.png" for k in range(3)],
        "bytes": data,
        "struct": [{"bytes": blob, "path": None} for blob in data],
        "mixed": [paths[0], data[1], {"bytes": None, "path": paths[2]}],
    }
    expected = pd.Series(paths).img.load_resized(8).img.to_numpy()
    for inputs in columns.values():
        assert np.array_equal(pd.Series(inputs, dtype=object).img.load_resized(8).img.to_numpy(), expected)
    full = pd.Series(paths).img.load_resized((24, 16))
    assert np.array_equal(full.img.load_resized(8).img.to_numpy(), expected)


def test_integer_ids_with_suffix_are_paths(folder):
    frame = pd.DataFrame({"id": range(5)})
    column = frame.img.load_resized("id", size=8, root=folder, suffix=".png")
    check(column, [f"{k}.png" for k in range(5)], frame.index)
    with pytest.raises(TypeError, match=r"suffix='\.jpg'"):
        frame.img.load_resized("id", size=8, root=folder)


def test_load_image_equals_row_of_column(folder):
    path = str(folder / "7.png")
    expected = pd.Series([path]).img.load_resized((9, 5), fit="crop", mode="L").img.to_numpy()[0]
    assert np.array_equal(pandas_imgproc.load_image(path, (9, 5), fit="crop", mode="L"), expected)
    assert np.array_equal(
        pandas_imgproc.load_image((folder / "7.png").read_bytes(), (9, 5), fit="crop", mode="L"), expected
    )


@pytest.mark.parametrize("source", [None, 7, "", "gone.jpg"])
def test_load_image_of_invalid_input_raises(source):
    with pytest.raises((TypeError, OSError)):
        pandas_imgproc.load_image(source, 8)


def test_ids_with_missing_value_are_paths(folder):
    for dtype in ("float64", "Int64", "object", "category"):
        column = pd.Series([1, None, 3], dtype=dtype).img.load_resized(8, root=folder, suffix=".png")
        check(column, ["1.png", None, "3.png"], pd.RangeIndex(3))


def test_numpy_strings_are_paths(folder):
    column = pd.Series(list(np.array(["1.png", "2.png"])), dtype=object).img.load_resized(8, root=folder)
    check(column, ["1.png", "2.png"], pd.RangeIndex(2))
    assert row_of(pandas_imgproc.load_image(np.str_(folder / "3.png"), 8)) == 3


def test_failures_persist_when_image_column_is_resized(folder):
    column = pd.Series(["1.png", "gone.png", None]).img.load_resized(16, root=folder, errors="coerce")
    again = column.img.load_resized(8, errors="coerce")
    check(again, ["1.png", None, None], pd.RangeIndex(3))
    pd.testing.assert_frame_equal(again.img.failures, column.img.failures)
