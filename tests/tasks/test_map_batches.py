"""Task `map_batches`: batches of the frame's rows, results as columns, and exceptions as failures of rows."""

from __future__ import annotations

import random
import sys

import cloudpickle
import dask
import dask.dataframe as dd
import image_factory
import numpy as np
import pandas as pd
import pytest
from image_factory import row_image, row_of

from pandas_imgproc import (
    BatchLengthError,
    ImageDtype,
    JournalError,
    UserFunctionError,
    read_result,
)

cloudpickle.register_pickle_by_value(image_factory)
cloudpickle.register_pickle_by_value(sys.modules[__name__])

N = 100
MISSING, BROKEN = 5, 17


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batches")
    for row in range(N):
        row_image(row, (24, 16)).save(folder / f"{row}.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture
def frame(folder):
    """Return a frame with duplicated labels, of which one row has no path and another one no image."""
    paths = [str(folder / f"{row}.png") for row in range(N)]
    frame = pd.DataFrame({"image_path": paths, "price": np.arange(N) / 2}, index=np.arange(N) % 7)
    frame.iloc[MISSING, 0], frame.iloc[BROKEN, 0] = None, str(folder / "broken.png")
    return frame


def inline():
    """Run the calls of a block in this process: a cluster would change nothing and cost time."""
    return dask.config.set(scheduler="threads")


VALID = np.setdiff1d(np.arange(N), [MISSING, BROKEN])


def rows_of(images):
    return np.array([row_of(image) for image in images])


def embedding(images):
    flat = images.reshape(len(images), -1).astype("float32")
    return np.stack([flat.mean(1), flat.std(1), flat.max(1)], 1)


def test_vector_becomes_columns_with_frame_index(frame):
    with inline():
        result = frame.img.map_batches("image_path", embedding, size=8, prefix="emb_", errors="coerce")
    assert result.columns.tolist() == ["emb_0", "emb_1", "emb_2"]
    assert result.dtypes.unique().tolist() == [np.dtype("float32")]
    assert result.index.equals(frame.index)
    assert np.flatnonzero(result.isna().any(axis=1)).tolist() == [MISSING, BROKEN]
    assert result.img.failures["kind"].tolist() == ["unidentified"]
    frame[result.columns] = result  # as the docs have it
    images = frame["image_path"].iloc[VALID].img.load_resized(8).img.to_numpy()
    np.testing.assert_allclose(result.to_numpy()[VALID], embedding(images), atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_batches_are_positions_of_the_frame_without_unreadable_rows(frame, batch_size):
    def batch(images):
        assert images.flags.writeable
        rows = rows_of(images)
        return np.stack([rows, np.full(len(rows), rows[0] // batch_size), np.full(len(rows), len(rows))], 1)

    with inline():
        result = frame.img.map_batches("image_path", batch, size=(24, 16), batch_size=batch_size, errors="coerce")
    sizes = pd.Series(VALID // batch_size).value_counts()
    assert result.iloc[VALID, 0].tolist() == VALID.tolist()
    assert result.iloc[VALID, 1].tolist() == (VALID // batch_size).tolist()
    assert result.iloc[VALID, 2].tolist() == [sizes[row // batch_size] for row in VALID]


def noisy(images):
    """Return numbers that depend on the batch, and on random numbers."""
    return images.mean(axis=(1, 2)) + images.std() + np.random.normal(size=3) + random.random()  # noqa: NPY002


@pytest.mark.parametrize("run_on", ["workers", "caller"])
def test_result_is_identical_for_any_execution(frame, managed_cluster, run_on):
    with inline():
        expected = frame.img.map_batches("image_path", noisy, size=8, batch_size=7, errors="coerce")
    for npartitions in (1, 3, 40):
        result = frame.img.map_batches(
            "image_path", noisy, size=8, batch_size=7, errors="coerce", npartitions=npartitions, run_on=run_on
        )
        pd.testing.assert_frame_equal(result, expected)
        assert result.img.failures.equals(expected.img.failures)


@pytest.mark.parametrize("run_on", ["workers", "caller"])
def test_image_on_which_the_function_raises_costs_its_row(frame, run_on):
    def picky(images):
        rows = rows_of(images)
        if 40 in rows:
            raise ValueError("row 40")
        return rows

    with inline():
        result = frame.img.map_batches("image_path", picky, size=(24, 16), errors="coerce", run_on=run_on)
    failures = result.img.failures.set_index("position")
    assert failures["kind"].to_dict() == {BROKEN: "unidentified", 40: "function"}
    assert failures["message"][40].startswith("ValueError: row 40 (picky, line ")
    good = np.setdiff1d(VALID, [40])
    assert result.iloc[good].tolist() == good.tolist()


IMAGE = "image[uint8, (16, 24, 3)]"
FORMS = {
    "float16": (lambda x: x.mean((1, 2, 3)).astype("float16"), ["float16"]),
    "scalars": (lambda x: x.mean((1, 2, 3)), ["float64"]),
    "integers": (rows_of, ["Int64"]),
    "flags": (lambda x: rows_of(x) > 3, ["boolean"]),
    "texts": (lambda x: [f"row {row}" for row in rows_of(x)], ["str"]),
    "vectors": (embedding, ["float32"] * 3),
    "integer vectors": (lambda x: embedding(x).astype("uint8"), ["UInt8"] * 3),
    "images": (lambda x: x[:, ::2], ["image[uint8, (8, 24, 3)]"]),
    "gray images": (lambda x: x[..., 0], ["image[uint8, (16, 24, 1)]"]),
    "dict": (lambda x: {"a": rows_of(x), "b": embedding(x), "c": x}, ["Int64", *["float32"] * 3, IMAGE]),
    "dict of texts": (lambda x: {"a": rows_of(x), "b": list(map(str, rows_of(x)))}, ["Int64", "str"]),
    "frame": (lambda x: pd.DataFrame({"a": rows_of(x), "b": 1.5}), ["Int64", "float64"]),
}  # fmt: skip


def dtypes(result):
    return [str(dtype) for dtype in ([result.dtype] if isinstance(result, pd.Series) else result.dtypes)]


@pytest.mark.parametrize("name", FORMS)
def test_result_has_the_form_of_the_arrays(frame, name):
    function, expected = FORMS[name]
    with inline():
        result = frame.img.map_batches("image_path", function, size=(24, 16), batch_size=9, errors="coerce")
    assert [dtype.replace("object", "str") for dtype in dtypes(result)] == expected
    assert np.flatnonzero(np.asarray(result.isna()).reshape(N, -1).any(axis=1)).tolist() == [MISSING, BROKEN]


def test_dict_names_its_columns(frame):
    with inline():
        result = frame.img.map_batches("image_path", FORMS["dict"][0], size=(24, 16), errors="coerce")
    assert result.columns.tolist() == ["a", "b_0", "b_1", "b_2", "c"]
    assert result["a"].iloc[VALID].tolist() == VALID.tolist()
    assert rows_of(result["c"].iloc[VALID].img.to_numpy()).tolist() == VALID.tolist()


@pytest.mark.parametrize("run_on", ["workers", "caller"])
@pytest.mark.parametrize(
    ("function", "numbers"),
    [
        (lambda x: x[1:], "first axis has length 19, and must have 20"),
        (lambda x: x.mean(axis=0)[:1, 0], "first axis has length 1, and must have 20"),  # a batch of one would do
        (lambda x: {"a": rows_of(x), "b": [1, 2]}, "for 'b' for a batch of 20 images: its first axis has length 2"),
    ],
)
def test_result_of_another_length_ends_the_call(frame, function, numbers, run_on):
    frame = frame.iloc[20:]
    with inline(), pytest.raises(BatchLengthError, match=numbers):
        frame.img.map_batches("image_path", function, size=(24, 16), batch_size=20, run_on=run_on)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: 5, "return an array with a row for each image"),
        (lambda x: np.zeros((len(x), 2, 2, 7)), r"return \(20,\), \(20, d\), or images"),
        (lambda x: {}, "an empty dict"),
    ],
)
def test_result_of_unsupported_form_raises(frame, function, message):
    with inline(), pytest.raises(UserFunctionError, match=message.replace("20", "1")):
        frame.iloc[20:].img.map_batches("image_path", function, size=(24, 16), batch_size=20)


@pytest.mark.parametrize("run_on", ["workers", "caller"])
def test_function_receives_other_columns_of_its_rows(frame, run_on):
    def priced(images, rows):
        assert isinstance(rows, pd.DataFrame)
        return rows_of(images) + rows["price"].to_numpy()

    with inline():
        result = frame.img.map_batches(
            "image_path", priced, size=(24, 16), batch_size=9, with_columns=["price"], errors="coerce", run_on=run_on
        )
        single = frame.img.map(
            "image_path", lambda pixels, row: row_of(pixels) + row["price"], with_columns=["price"], errors="coerce"
        )
    assert result.iloc[VALID].tolist() == (VALID * 1.5).tolist()
    assert single.iloc[VALID].tolist() == (VALID * 1.5).tolist()


@pytest.mark.parametrize("run_on", ["workers", "caller"])
def test_function_receives_an_array_for_each_image_column(frame, run_on):
    frame["back"] = frame["image_path"].to_numpy()[::-1]
    with inline():
        result = frame.img.map_batches(
            ["image_path", "back"], lambda a, b: rows_of(a) - rows_of(b), size=(24, 16), errors="coerce", run_on=run_on
        )
    good = np.setdiff1d(VALID, N - 1 - np.array([MISSING, BROKEN]))
    assert result.iloc[good].tolist() == (2 * good - N + 1).tolist()
    assert result.isna().sum() == N - len(good)
    failures = result.img.failures
    assert failures["position"].tolist() == [BROKEN, N - 1 - BROKEN]
    assert failures["path"].str.endswith("broken.png").all()


def test_image_column_needs_no_size(frame):
    with inline():
        images = frame["image_path"].img.load_resized((24, 16), errors="coerce")
        for run_on in ("workers", "caller"):
            result = images.img.map_batches(rows_of, errors="coerce", run_on=run_on)
            assert result.iloc[VALID].tolist() == VALID.tolist()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": None}, ValueError, "needs size="),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"run_on": "gpu"}, ValueError, "run_on"),
        ({"prefix": 5}, TypeError, "prefix=5"),
        ({"with_columns": "price"}, TypeError, "with_columns='price' is no list"),
        ({"with_columns": ["prize"]}, KeyError, "did you mean 'price'"),
        ({"n_columns": 3}, ValueError, "n_columns=3 needs dtype="),
        ({"out": "x.parquet"}, ValueError, "out= needs dtype="),
        ({"func": 5}, TypeError, "func=5 cannot be called"),
    ],
)
def test_wrong_arguments_raise(frame, arguments, error, message):
    with pytest.raises(error, match=message):
        frame.img.map_batches("image_path", **{"func": embedding, "size": 8} | arguments)


def test_class_without_call_is_a_function(frame):
    with inline():
        assert frame.iloc[20:].img.map("image_path", str, size=8).str.startswith("[[[").all()


def test_empty_frame_and_frame_without_images_have_no_result(frame):
    with inline():
        assert len(frame.iloc[:0].img.map_batches("image_path", embedding, size=8)) == 0
        assert frame.iloc[[MISSING]].img.map_batches("image_path", embedding, size=8).isna().all()


# ---- on disk

OUT_CALLS = {
    "vectors": (embedding, "float32"),
    "integers": (lambda x: embedding(x).astype("uint8"), "int64"),
    "scalars": (rows_of, "int32"),
    "texts": (lambda x: list(map(str, rows_of(x))), "str"),
    "dict": (lambda x: {"a": rows_of(x), "b": embedding(x)}, "float32"),
    "declared": (lambda x: {"a": rows_of(x), "b": list(map(str, rows_of(x)))}, {"a": "int64", "b": "str"}),
    "images": (lambda x: x[:, ::2], ImageDtype("uint8", (8, 24, 3))),
}


def assert_equal(result, expected):
    assert result.img.failures.drop(columns="message").equals(expected.img.failures.drop(columns="message"))
    if isinstance(expected.dtypes if isinstance(expected, pd.Series) else None, ImageDtype):
        assert np.array_equal(result.img.to_numpy(na_value=0), expected.img.to_numpy(na_value=0))
    elif isinstance(expected, pd.Series):
        pd.testing.assert_series_equal(result, expected)
    else:
        pd.testing.assert_frame_equal(result, expected)


@pytest.mark.parametrize("name", OUT_CALLS)
def test_parts_equal_result_in_memory(frame, tmp_path, name, recwarn):
    """Also the parts in which no row has a result; later all rows have one."""
    function, dtype = OUT_CALLS[name]
    options = {"size": (24, 16), "batch_size": 5, "dtype": dtype, "errors": "coerce", "prefix": "e_"}
    first = frame.copy()
    first.iloc[:20, 0] = [str(tmp_path / f"{row}.png") for row in range(20)]
    with inline():
        first.img.map_batches("image_path", function, out=tmp_path / "x.parquet", **options)
        assert_equal(read_result(tmp_path / "x.parquet"), first.img.map_batches("image_path", function, **options))
        for row in range(20):
            row_image(row, (24, 16)).save(tmp_path / f"{row}.png")
        first.img.map_batches("image_path", function, out=tmp_path / "x.parquet", **options)
        assert_equal(read_result(tmp_path / "x.parquet"), first.img.map_batches("image_path", function, **options))
    messages = [str(warning.message) for warning in recwarn.list]
    assert not [text for text in messages if "null-like" not in text]  # of pandas 2's own comparison


@pytest.mark.parametrize("run_on", ["workers", "caller"])
def test_resumed_call_computes_whole_batches_and_writes_unfinished_rows(frame, tmp_path, run_on):
    """Each batch of the second run has all of its rows, and the values of finished rows stay."""
    number = tmp_path / "run"
    number.write_text("1")

    def batch(images):
        rows = rows_of(images)
        with (tmp_path / "batches").open("a") as file:
            file.write(f"{len(rows)} ")
        return np.stack([rows, np.full(len(rows), int(number.read_text()))], 1)

    gone = [1, 33]
    moved = frame.drop(columns="price")
    for row in gone:
        moved.iloc[row, 0] = str(tmp_path / f"{row}.png")
    options = {"size": (24, 16), "batch_size": 10, "dtype": "int64", "errors": "coerce", "run_on": run_on}
    with inline():
        moved.img.map_batches("image_path", batch, out=tmp_path / "x.parquet", **options)
        for row in gone:
            row_image(row, (24, 16)).save(tmp_path / f"{row}.png")
        number.write_text("2")
        (tmp_path / "batches").unlink()
        moved.img.map_batches("image_path", batch, out=tmp_path / "x.parquet", **options)
    result = read_result(tmp_path / "x.parquet")
    assert sorted((tmp_path / "batches").read_text().split()) == ["10", "9"]  # one has the row without a path
    assert result["0"].iloc[VALID].tolist() == VALID.tolist()
    assert np.flatnonzero((result["1"] == 2).fillna(False)).tolist() == gone


def test_other_values_of_other_columns_are_another_job(frame, tmp_path):
    def call(frame):
        return frame.img.map_batches(
            "image_path", lambda x, rows: rows["price"].to_numpy() + 0 * len(x), size=8, dtype="float64",
            with_columns=["price"], out=tmp_path / "x.parquet", errors="coerce",
        )  # fmt: skip

    with inline():
        call(frame)
        call(frame)
        frame.iloc[30, 1] = 7.25
        with pytest.raises(JournalError, match="row 30 has another path or value of with_columns="):
            call(frame)


def test_vector_of_map_has_text_names_in_memory_and_on_disk(frame, tmp_path):
    with inline():
        for prefix, names in ((None, ["0", "1", "2"]), ("c", ["c0", "c1", "c2"])):
            options = {"size": 8, "dtype": "float32", "errors": "coerce", "prefix": prefix}
            result = frame.img.map("image_path", lambda x: x.mean((0, 1)), **options)
            out = tmp_path / f"{prefix}.parquet"
            frame.img.map("image_path", lambda x: x.mean((0, 1)), out=out, **options)
            assert result.columns.tolist() == names
            pd.testing.assert_frame_equal(read_result(out), result)


# ---- Dask frames


def test_dask_frame_is_lazy_and_counts_batches_in_partitions(frame):
    ddf = dd.from_pandas(frame.reset_index(drop=True), npartitions=3)

    def batch(images):
        return np.stack([rows_of(images), np.full(len(images), len(images))], 1)

    lazy = ddf.img.map_batches(
        "image_path", batch, size=(24, 16), batch_size=30, dtype="int64", n_columns=2, errors="coerce", prefix="e_"
    )
    assert lazy.columns.tolist() == ["e_0", "e_1"]
    with dask.config.set(scheduler="synchronous"):
        result = lazy.compute()
    assert dtypes(result) == dtypes(lazy._meta) == ["Int64", "Int64"]
    assert result["e_0"].iloc[VALID].tolist() == VALID.tolist()
    assert result["e_1"].iloc[[0, 40, 98]].tolist() == [28, 30, 3]


def test_dask_frame_passes_other_columns(frame):
    frame["back"] = frame["image_path"].to_numpy()[::-1]
    ddf = dd.from_pandas(frame.reset_index(drop=True), npartitions=3)
    lazy = ddf.img.map_batches(
        ["image_path", "back"],
        lambda a, b, rows: rows_of(a) - rows_of(b) + rows["price"].to_numpy(),
        size=(24, 16), dtype="float64", with_columns=["price"], errors="coerce",
    )  # fmt: skip
    with dask.config.set(scheduler="synchronous"):
        result = lazy.compute()
    good = np.setdiff1d(VALID, N - 1 - np.array([MISSING, BROKEN]))
    assert result.iloc[good].tolist() == (2.5 * good - N + 1).tolist()


@pytest.mark.parametrize(
    ("arguments", "message"), [({}, "needs dtype="), ({"dtype": "float32", "run_on": "caller"}, "run_on='caller'")]
)
def test_dask_frame_refuses(frame, arguments, message):
    ddf = dd.from_pandas(frame.reset_index(drop=True), npartitions=3)
    with pytest.raises(ValueError, match=message):
        ddf.img.map_batches("image_path", embedding, size=8, **arguments)


def test_vector_on_dask_frame_without_n_columns_is_a_failure(frame):
    ddf = dd.from_pandas(frame.reset_index(drop=True), npartitions=3)
    lazy = ddf.img.map_batches("image_path", embedding, size=8, dtype="float32", errors="coerce")
    with dask.config.set(scheduler="synchronous"):
        assert lazy.compute().isna().all()


def mean_of(images):
    return images.mean((1, 2, 3))


def darker(pixels, rng):
    return (pixels * rng.uniform(0.5, 1)).astype("uint8")


@pytest.mark.parametrize("outer", ["map_batches", "augment"])
@pytest.mark.parametrize("inner", ["map_batches", "augment"])
def test_call_inside_a_function_of_another_seeded_call_ends(frame, outer, inner):
    """The generators are the process's: the outer call seeds them, and waits for threads that seed them too."""
    few = frame.drop(columns="price").iloc[:4]

    def nested(_):
        if inner == "augment":
            return few.img.augment("image_path", darker, n=1, size=8)["image"].img.to_numpy()[0]
        return few.img.map_batches("image_path", mean_of, size=8, batch_size=1).to_numpy()

    with inline():
        if outer == "augment":
            function = nested if inner == "augment" else lambda pixels: np.full_like(pixels, nested(pixels)[3])
            result = few.img.augment("image_path", function, n=1, size=8)
        else:
            result = few.img.map_batches(
                "image_path", lambda images: np.full(len(images), np.sum(nested(images))), size=8
            )
    assert len(result) == 4
    assert result.notna().to_numpy().all()


@pytest.mark.parametrize(
    ("result", "name"),
    [
        (lambda n: {"a": np.ones((n, 2)), "a_0": np.zeros(n)}, "a_0"),
        (lambda n: pd.DataFrame(np.ones((n, 2)), columns=["a", "a"]), "a"),
        (lambda n: {0: np.ones(n), "0": np.zeros(n)}, "0"),
    ],
)
def test_columns_of_one_name_are_refused(frame, result, name):
    with inline(), pytest.raises(UserFunctionError, match=f"several columns named {name!r}"):
        frame.img.map_batches("image_path", lambda images: result(len(images)), size=8)


@pytest.mark.parametrize("run_on", ["workers", "caller"])
def test_failure_of_the_function_has_the_path_of_its_row(frame, run_on):
    def raising(images):
        if 31 in rows_of(images):
            raise ValueError("31")
        return mean_of(images)

    with inline():
        result = frame.img.map_batches("image_path", raising, size=8, run_on=run_on, errors="coerce")
    failed = result.img.failures.set_index("position")
    assert failed["path"].to_dict() == {BROKEN: frame["image_path"].iloc[BROKEN], 31: frame["image_path"].iloc[31]}
