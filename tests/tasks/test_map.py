"""Task `map`: the input of the function, its results as columns, and its exceptions as failures."""

from __future__ import annotations

import functools
import re
import sys
import threading

import cloudpickle
import dask
import dask.dataframe as dd
import image_factory
import numba
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_factory import row_image, row_of
from PIL import Image

import pandas_imgproc
from pandas_imgproc import UserFunctionError, UserFunctionWarning

cloudpickle.register_pickle_by_value(image_factory)
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("map")
    for row in range(40):
        row_image(row, (24, 16)).save(folder / f"{row}.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def frame(folder):
    names = [f"{row}.png" for row in range(40)]
    return pd.DataFrame({"image_path": [str(folder / name) for name in names]}, index=np.arange(40) % 7)


def test_numbers_become_column_with_frame_index(frame):
    rows = frame.img.map("image_path", row_of)
    pd.testing.assert_series_equal(rows, pd.Series(range(40), index=frame.index, name="row_of"))


def test_integers_become_nullable_where_rows_are_missing(frame, folder):
    paths = [*frame["image_path"][:3], None, str(folder / "broken.png")]
    rows = pd.Series(paths).img.map(row_of, errors="coerce")
    pd.testing.assert_series_equal(rows, pd.Series([0, 1, 2, None, None], dtype="Int64", name="row_of"))
    assert rows.img.failures["kind"].to_dict() == {4: "unidentified"}


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(True, "boolean"), (1.5, "float64"), (np.float32(1.5), "float32"), (np.uint8(3), "UInt8"), (None, "object")],
)
def test_result_dtype_with_missing_row_is_nullable(frame, value, dtype):
    result = pd.Series([frame["image_path"].iloc[0], None]).img.map(lambda pixels: value)
    assert result.dtype == dtype
    assert pd.isna(result[1])


def test_texts_that_are_not_utf8_become_objects(frame):
    def name(pixels):
        return f"{row_of(pixels)}\udcff"

    numbers = [name for name in frame.img.map("image_path", name, errors="coerce") if isinstance(name, str)]
    assert numbers
    assert all(text.endswith("\udcff") for text in numbers)
    texts = frame.img.map("image_path", lambda pixels: {"name": name(pixels), "n": row_of(pixels)}, errors="coerce")
    assert texts["name"].dropna().tolist() == numbers
    assert texts["n"].dtype.kind in "iu"


def test_texts_and_timestamps_become_columns(frame):
    result = frame[:2].img.map("image_path", lambda pixels: f"{pixels.shape}")
    assert result.tolist() == ["(16, 24, 3)"] * 2
    when = pd.Timestamp("2020-01-01")
    assert frame[:2].img.map("image_path", lambda pixels: when).dtype.kind == "M"


def test_dict_becomes_frame(frame, folder):
    def facts(pixels):
        row = row_of(pixels)
        return {"row": row, "mean": float(pixels.mean()), "odd": "yes"} if row % 2 else {"row": row, "mean": 0.0}

    paths = pd.Series([*frame["image_path"][:4], str(folder / "broken.png")])
    result = paths.img.map(facts, errors="coerce")
    assert result["row"].tolist() == [0, 1, 2, 3, pd.NA]
    assert result["odd"].isna().tolist() == [True, False, True, False, True]
    assert result.dtypes["mean"] == "float64"
    assert result.img.failures.index.tolist() == [4]


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_vector_becomes_frame(frame, kind):
    result = frame.img.map("image_path", lambda pixels: kind([row_of(pixels), 7]))
    assert result.columns.tolist() == ["0", "1"]
    assert result["0"].tolist() == list(range(40))
    assert result.index.equals(frame.index)


@pytest.mark.parametrize("is_large", [False, True])
def test_image_becomes_image_column(frame, folder, is_large):
    paths = [*frame["image_path"], str(folder / "broken.png"), None] * (30 if is_large else 1)
    column = pd.Series(paths).img.map(lambda pixels: pixels[:, ::-1].astype("float32"), errors="coerce")
    assert str(column.dtype) == "image[float32, (16, 24, 3)]"
    assert column.isna().tolist() == [k % 42 > 39 for k in range(len(paths))]
    for k in (0, 7, 39):
        assert np.array_equal(column[k], np.asarray(Image.open(paths[k]))[:, ::-1])
    assert column.img.failures["kind"].unique().tolist() == ["unidentified"]


@pytest.mark.parametrize("func", [lambda pixels: pixels[:, :, 0], lambda pixels: Image.fromarray(pixels).convert("L")])
def test_2d_array_and_pil_image_become_image_column(frame, func):
    assert frame[:2].img.map("image_path", func).dtype.shape == (16, 24, 1)


def test_function_may_modify_its_pixels(frame):
    def darken(pixels):
        pixels[:] = 0
        return pixels

    assert frame[:3].img.map("image_path", darken).img.to_numpy().max() == 0


def test_pixels_with_size_and_mode_equal_load_resized(frame):
    column = frame.img.map("image_path", lambda pixels: pixels, size=(8, 6), mode="L")
    expected = frame.img.load_resized("image_path", size=(8, 6), mode="L")
    assert np.array_equal(column.img.to_numpy(), expected.img.to_numpy())


@numba.njit
def total(pixels):
    result = 0
    for value in pixels.ravel():
        result += value
    return result


def test_numba_closure_and_partial_functions_run(frame):
    frame = frame[:8]
    expected = [int(np.asarray(Image.open(path)).sum()) for path in frame["image_path"]]
    assert frame.img.map("image_path", total, npartitions=1).tolist() == expected  # one worker compiles it
    factor = 3
    assert frame.img.map("image_path", lambda pixels: factor * int(pixels.sum()))[0].iloc[0] == 3 * expected[0]
    assert frame.img.map("image_path", functools.partial(np.sum, dtype="int64")).tolist() == expected


class Panic(BaseException):
    """Exception like the panics of Rust code, and those of pytest and asyncio."""


def fails(pixels):
    row = row_of(pixels)
    if row == 7:
        raise Panic("unwrapped nothing")
    if row == 3:
        raise ValueError("three is too many")
    if row == 5:
        sys.exit("no more")
    if row == 9:
        raise GeneratorExit
    if row == 11:
        raise KeyboardInterrupt
    return row


def test_function_that_raises_costs_its_row(frame):
    with pytest.warns(UserFunctionWarning, match=r"5 of 40 images gave no result .* \(5 function\)"):
        result = frame.reset_index(drop=True).img.map("image_path", fails)
    assert result.isna().sum() == 5
    failures = result.img.failures
    assert failures.index.tolist() == [3, 5, 7, 9, 11]
    assert failures["message"].tolist() == [
        f"ValueError: three is too many (fails, line {fails.__code__.co_firstlineno + 5} of test_map.py)",
        f"SystemExit: no more (fails, line {fails.__code__.co_firstlineno + 7} of test_map.py)",
        f"{Panic.__module__}.Panic: unwrapped nothing (fails, line {fails.__code__.co_firstlineno + 3} of test_map.py)",
        f"GeneratorExit (fails, line {fails.__code__.co_firstlineno + 9} of test_map.py)",
        f"KeyboardInterrupt (fails, line {fails.__code__.co_firstlineno + 11} of test_map.py)",
    ]
    with pytest.raises(UserFunctionError, match="three is too many"):
        frame[:4].img.map("image_path", fails, errors="raise")


def ratio(pixels, by):
    return row_of(pixels) / by


def helped(pixels):
    return 1 + ratio(pixels, 0)


class Ratio:
    def __call__(self, pixels):
        return ratio(pixels, 0)


@pytest.mark.parametrize(
    ("func", "name", "line"),
    [
        (functools.partial(ratio, by=0), "ratio", ratio.__code__.co_firstlineno + 1),
        (helped, "helped", helped.__code__.co_firstlineno + 1),
        (Ratio(), "__call__", Ratio.__call__.__code__.co_firstlineno + 1),
        (lambda pixels: ratio(pixels, 0), "<lambda>", None),
    ],
)
@pytest.mark.parametrize("scheduler", ["threads", "distributed"])
def test_failure_names_file_of_function(frame, func, name, line, scheduler):
    message = rf"division by zero \({name}, line {line or r'[0-9]+'} of test_map.py\)"
    with dask.config.set(scheduler=scheduler), pytest.raises(UserFunctionError, match=message):
        frame[:2].img.map("image_path", func)


def test_failure_of_notebook_function_names_line_only(frame):
    func = eval(compile("lambda pixels: 1 / 0", "/tmp/ipykernel_12/34.py", "eval"))
    with pytest.raises(UserFunctionError, match=r"division by zero \(<lambda>, line 1\)"):
        frame[:2].img.map("image_path", func)


def test_function_that_always_fails_raises(frame):
    with pytest.raises(
        UserFunctionError,
        match=r"with the same error on all of the first 16 images: ZeroDivisionError: division by zero",
    ):
        frame.img.map("image_path", lambda pixels: 1 / 0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1, 2}, "it returned set; return a number"),
        (np.zeros((2, 2, 2)), r"it returned ndarray of shape \(2, 2, 2\)"),
        (np.zeros((2, 2, 3, 1)), r"ndarray of shape \(2, 2, 3, 1\)"),
        ({"a": [1]}, "a dict that holds list"),
        (np.array([None, 1]), "it returned ndarray"),
    ],
)
def test_result_of_unsupported_type_raises(frame, value, message):
    with pytest.raises(UserFunctionError, match=message):
        frame[:2].img.map("image_path", lambda pixels: value)


@pytest.mark.parametrize(
    ("func", "message"),
    [
        (lambda pixels: 1 if row_of(pixels) % 2 else {"a": 1}, "row 0 has a dict, row 1 a scalar"),
        (lambda pixels: np.zeros(2 + row_of(pixels)), r"row 0 has an array of shape \(2,\), row 1 an array"),
        (
            lambda pixels: pixels[row_of(pixels) % 8 :],
            r"row 0 has an image of uint8 and shape \(16, 24, 3\), row 1 an",
        ),
        (lambda pixels: pixels if row_of(pixels) % 2 else 1, "row 0 has a scalar, row 1 an image"),
    ],
)
@pytest.mark.parametrize("npartitions", [1, 4])
def test_results_without_a_form_of_most_raise(frame, func, message, npartitions):
    with pytest.raises(ValueError, match=message):
        frame[:20].img.map("image_path", func, npartitions=npartitions)


@pytest.mark.parametrize(("odd", "scheduler"), [(0, "synchronous"), (7, "synchronous"), (3, "distributed")])
@pytest.mark.parametrize(
    ("usual", "other", "message"),
    [
        (row_of, lambda _: [1, 2], r"an array of shape \(2,\), and most rows a scalar"),
        (row_of, lambda pixels: pixels, "an image of uint8.*, and most rows a scalar"),
        (lambda pixels: {"a": row_of(pixels)}, lambda _: 3, "a scalar, and most rows a dict"),
        (lambda pixels: pixels, lambda pixels: pixels[:5], "and most rows an image of uint8.*func must return"),
        (lambda pixels: pixels, lambda pixels: pixels.astype("float32"), "an image of float32"),
        (lambda pixels: pixels, lambda _: None, "no value, and most rows an image"),
    ],
)
def test_result_of_other_form_costs_its_row(frame, odd, scheduler, usual, other, message):
    paths = frame["image_path"][:8].reset_index(drop=True)
    with dask.config.set(scheduler="synchronous"):
        expected = paths.img.map(usual)
    with dask.config.set(scheduler=scheduler):
        result = paths.img.map(lambda pixels: (other if row_of(pixels) == odd else usual)(pixels), errors="coerce")
    failed = result.img.failures
    assert failed.index.tolist() == failed["position"].tolist() == [odd]
    assert re.search(message, failed["message"].iloc[0])
    assert failed["path"].iloc[0] == paths[odd]
    for k in set(range(8)) - {odd}:
        assert np.array_equal(np.asarray(result.iloc[k]), np.asarray(expected.iloc[k]))


def test_no_value_among_dicts_is_row_of_missing_values(frame):
    paths = frame["image_path"][:20]
    result = paths.img.map(lambda pixels: None if row_of(pixels) == 3 else {"a": row_of(pixels)})
    assert np.flatnonzero(result["a"].isna()).tolist() == [3]


MISFITS = [
    ("float64", 1.5, "x" * 10**6), ("uint8", 7, 300), ("uint8", 7, -1), ("int64", 7, 1.5), ("bool", True, 2),
    ("boolean", True, "maybe"), ("datetime64[ns]", pd.Timestamp(2020, 1, 1), "no date"), ("int64[pyarrow]", 7, "x"),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "usual", "other"), MISFITS)
@pytest.mark.parametrize("sink", ["memory", "columns", "parquet", "dask"])
def test_value_that_does_not_fit_dtype_costs_its_row(frame, tmp_path, dtype, usual, other, sink):
    paths = frame["image_path"][:8].reset_index(drop=True)

    def func(pixels):
        value = other if row_of(pixels) == 5 else usual
        return {"a": value} if sink == "columns" else value

    with dask.config.set(scheduler="synchronous"):
        if sink == "dask":
            result = dd.from_pandas(paths, npartitions=2).img.map(func, dtype=dtype, errors="coerce").compute()
        else:
            out = {"out": tmp_path / "x.parquet"} if sink == "parquet" else {}
            declared = {"a": dtype} if sink == "columns" else dtype
            result = paths.img.map(func, dtype=declared, errors="coerce", **out)
    if sink == "parquet":
        result = pandas_imgproc.read_result(tmp_path / "x.parquet")
    if sink != "dask":
        failed = result.img.failures
        assert failed.index.tolist() == [5]
        assert "cannot hold it" in failed["message"].iloc[0]
        assert len(failed["message"].iloc[0]) <= 300
    values = result["a"] if sink == "columns" else result
    assert np.flatnonzero(values.isna()).tolist() == [5]
    assert (values.dropna() == usual).all()


def test_no_value_is_missing_in_column_of_integers(frame):
    result = frame["image_path"][:4].img.map(lambda pixels: row_of(pixels) or None, dtype="int64")
    assert result.dtype == "Int64"
    assert np.flatnonzero(result.isna()).tolist() == [0]


def test_times_of_two_formats_fit(frame):
    times = frame["image_path"][:4].img.map(
        lambda pixels: "2020-01-31" if row_of(pixels) % 2 else "31 January 2020", dtype="datetime64[ns]"
    )
    assert (times == pd.Timestamp(2020, 1, 31)).all()


def test_result_has_declared_dtype(frame):
    assert frame.img.map("image_path", row_of, dtype="float32").dtype == "float32"
    missing = pd.Series([frame["image_path"].iloc[0], None])
    assert missing.img.map(row_of, dtype="int16").dtype == "Int16"
    facts = frame.img.map("image_path", lambda pixels: {"a": 1, "b": 2}, dtype={"a": "float32"})
    assert facts.dtypes.tolist() == ["float32", "int64"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"func": 3}, TypeError, "func=3 cannot be called"),
        ({"func": row_of, "dtype": "no"}, TypeError, "no"),
        ({"func": row_of, "size": "64"}, TypeError, "size"),
        ({"func": row_of, "sise": 64}, TypeError, "sise"),
        ({"func": threading.Lock().locked}, TypeError, "cannot be sent to another process.*lock"),
    ],
)
def test_map_with_wrong_arguments_raises(frame, arguments, error, message):
    with pytest.raises(error, match=message):
        frame.img.map("image_path", **arguments)


def test_map_of_empty_frame_is_empty(frame):
    assert len(frame[:0].img.map("image_path", row_of)) == 0
    assert frame[:0].img.map("image_path", row_of, dtype="int16").dtype == "int16"


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.one_of(st.none(), st.integers(0, 39)), max_size=30), npartitions=st.integers(1, 5))
def test_map_preserves_row_contract(folder, managed_cluster, order, npartitions):
    paths = pd.Series([None if k is None else str(folder / f"{k}.png") for k in order], dtype="str")
    paths.index = pd.Index(["same"] * len(order))
    result = paths.img.map(row_of, npartitions=npartitions)
    assert result.index.equals(paths.index)
    assert [None if pd.isna(value) else value for value in result] == order


def test_map_with_unknown_dtype_raises(frame):
    with pytest.raises(TypeError, match="dtype='intt' is no dtype of pandas"):
        frame.img.map("image_path", row_of, dtype={"a": "intt"})


def test_strict_failures_are_same_on_cluster(managed_cluster):
    whole = image_factory.encoded(image_factory.scene(64, 48), "JPEG")
    files = pd.Series([whole, whole[: len(whole) // 2] + b"\xff\xd9", whole], index=list("abc"))
    options = {"npartitions": 2, "errors": "coerce", "strict": True}
    results = [
        files.img.load_resized(4, **options),
        files.img.map(lambda pixels: float(pixels.mean()), dtype="float64", **options),
        files.img.augment(lambda pixels: pixels, n=1, size=4, **options),
        files.img.load_resized(4, errors="coerce", strict=True),
    ]
    reasons = {result.img.failures["message"].item() for result in [*results, files.img.verify(npartitions=2)]}
    assert len(reasons) == 1
    assert "premature end of data segment" in reasons.pop()
    for result in results:
        assert result.isna().tolist() == [False, True, False]
    assert files.img.load_resized(4, npartitions=2).notna().all()


@pytest.mark.parametrize("scheduler", ["synchronous", "distributed"])
def test_function_that_damages_pillow_does_not_fail_later_rows(frame, scheduler):
    def damage(pixels):
        Image.open = None
        del Image.fromarray
        return row_of(pixels)

    paths = frame["image_path"][:4]
    with dask.config.set(scheduler=scheduler):
        assert paths.img.map(damage).tolist() == [0, 1, 2, 3]
        assert paths.img.map(row_of).tolist() == [0, 1, 2, 3]
    assert callable(Image.open)
    assert callable(Image.fromarray)


def test_prefix_begins_names_of_dicts_too(frame):
    mean = frame.img.map("image_path", lambda pixels: {"mean": pixels.mean(), 7: 1}, prefix="x_", dtype={"x_7": "int8"})
    assert (mean.columns.tolist(), mean["x_7"].dtype) == (["x_7", "x_mean"], "int8")
    batch = frame.img.map_batches("image_path", lambda p: {"mean": p.mean(axis=(1, 2, 3))}, size=4, prefix="x_")
    assert batch.columns.tolist() == ["x_mean"]


MASKED = np.ma.masked_array(np.zeros((4, 4, 3), np.uint8), mask=np.eye(4, 4)[:, :, None] * [1, 1, 1])


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (pd.DataFrame({"a": [1]}), r"returned DataFrame of shape \(1, 1\)"),
        (MASKED, r": it returned a masked array of shape \(4, 4, 3\); return array\.filled"),
        (np.ma.masked, "masked array"),
        (MASKED[0, 0], "masked array"),
    ],
)
def test_table_or_masked_array_is_no_result(frame, result, message):
    with pytest.raises(UserFunctionError, match=message):
        frame.img.map("image_path", lambda _: result)


def test_masked_batch_is_no_result_and_unmasked_one_is(frame):
    def masked(pixels):
        return np.ma.masked_array(pixels.mean(axis=(1, 2)), mask=pixels.mean(axis=(1, 2)) >= 0)

    with pytest.raises(UserFunctionError, match=": it returned a masked array"):
        frame.img.map_batches("image_path", masked, size=4)
    assert frame.img.map("image_path", lambda pixels: np.ma.masked_array([1.0, 2.0])).shape == (40, 2)
