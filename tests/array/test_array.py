"""Dtype and array of an image column in pandas."""

import io
import json
import operator
import pickle
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from array_factory import (
    NA,
    NAME,
    SHAPE,
    cell,
    image_frame,
    image_of,
    images,
    numbers,
    pixels_of,
    reasons,
    with_failures,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pandas_imgproc.array import ImageArray, ImageCell, ImageDtype
from pandas_imgproc.errors import MissingImagesError


@pytest.fixture
def frame():
    return image_frame()


class TestDtype:
    @pytest.mark.parametrize("name", ["uint8", "int16", "float32", "float64", "bool", "complex64", "uint64"])
    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_dtype_name_parses_back(self, name, channels):
        dtype = ImageDtype(name, (4, 5, channels))
        assert dtype.name == f"image[{name}, (4, 5, {channels})]"
        assert pd.api.types.pandas_dtype(dtype.name) == dtype
        assert (dtype.subtype, dtype.shape) == (np.dtype(name), (4, 5, channels))

    @pytest.mark.parametrize(
        "name",
        ["image", "image[uint8]", "image[uint8, (2, 3)]", "image[uint8, (2, 3, 2)]", "image[str, (2, 3, 3)]", "Int64"]
        + ["image[uint8, (0, 3, 3)]", "ximage[uint8, (2, 3, 3)]", "image[uint8, (2, 3, 3)] "],
    )
    def test_dtype_rejects_other_names(self, name):
        with pytest.raises(TypeError):
            ImageDtype.construct_from_string(name)

    @pytest.mark.parametrize("shape", [(2, 3), (2, 3, 2), (0, 3, 3), (2, -1, 3), (2.0, 3, 3), 64, (), "abc"])
    def test_dtype_error_names_invalid_shape(self, shape):
        with pytest.raises(ValueError, match=r"height, width, channels") as caught:
            ImageDtype("uint8", shape)
        assert repr(shape) in str(caught.value)

    @pytest.mark.parametrize("dtype", ["str", "datetime64[ns]", object, "nonsense"])
    def test_dtype_rejects_non_numeric_subtype(self, dtype):
        with pytest.raises(TypeError, match="numeric"):
            ImageDtype(dtype, SHAPE)

    def test_dtype_equality_hash_and_pickle_ignore_byte_order(self):
        dtype = ImageDtype("uint16", SHAPE)
        assert hash(dtype) == hash(ImageDtype(np.dtype(">u2"), [2, 3, 3]))
        assert pickle.loads(pickle.dumps(dtype)) == dtype == "image[uint16, (2, 3, 3)]"
        assert dtype not in (ImageDtype("uint8", SHAPE), "uint16")
        assert dtype.type is ImageCell
        assert dtype.na_value is NA


class TestConstruction:
    def test_constructor_shares_writable_pixels(self):
        pixels = pixels_of([1, 2])
        array = ImageArray(pixels)
        assert np.shares_memory(array.pixels, pixels)
        assert pixels.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array.pixels[0] = 9

    def test_series_and_frame_share_pixels(self):
        pixels = pixels_of([1, 2])
        series = pd.Series(ImageArray(pixels), index=["a", "b"], name="image", copy=False)
        assert np.shares_memory(series.array.pixels, pixels)
        frame = pd.DataFrame({"k": [1, 2]}, index=["a", "b"])
        frame["image"] = series
        assert np.shares_memory(frame["image"].array.pixels, pixels)
        assert np.shares_memory(frame.copy()["image"].array.pixels, pixels)

    def test_memory_map_is_shared(self, tmp_path):
        np.save(tmp_path / "images.npy", pixels_of([1, 2]))
        pixels = np.load(tmp_path / "images.npy", mmap_mode="r")
        array = ImageArray(pixels)
        assert np.shares_memory(array.pixels, pixels)
        assert type(array.pixels) is np.ndarray

    def test_non_contiguous_images_become_contiguous(self):
        transposed = np.arange(2 * 2 * 3 * 3, dtype="uint8").reshape(2, 3, 2, 3).transpose(0, 2, 1, 3)
        array = ImageArray(transposed)
        assert array.pixels.flags.c_contiguous
        assert (array.pixels == transposed).all()

    def test_byte_order_becomes_native(self):
        array = ImageArray(pixels_of([1, 300], dtype=">u2"))
        assert array.pixels.dtype == np.dtype("uint16")
        assert numbers(array) == [1, 300]

    @pytest.mark.parametrize(
        ("pixels", "status", "failures", "error"),
        [
            (np.zeros((2, 3, 3), "uint8"), None, (), ValueError),
            (np.zeros((2, 3, 3, 2), "uint8"), None, (), ValueError),
            (np.zeros((2, 3, 3, 3), "S1"), None, (), TypeError),
            (pixels_of([1, 2]), [0], (), ValueError),
            (pixels_of([1, 2]), [0, 1], (), ValueError),
            (pixels_of([1, 2]), [0, -2], (), ValueError),
            (pixels_of([1, 2]), [0.0, 1.0], (), TypeError),
        ],
    )
    def test_constructor_rejects_mismatched_arguments(self, pixels, status, failures, error):
        with pytest.raises(error):
            ImageArray(pixels, status, failures)

    @pytest.mark.parametrize("dtype", [NAME, ImageDtype("uint8", SHAPE)])
    def test_list_of_images_and_missing_values_becomes_array(self, dtype):
        values = [image_of(1), cell(2), None, NA, np.nan, Image.fromarray(image_of(6))]
        for result in (pd.array(values, dtype=dtype), pd.Series(values, dtype=dtype)):
            assert result.dtype == NAME
            assert numbers(result) == [1, 2, NA, NA, NA, 6]

    def test_four_dimensional_ndarray_becomes_array(self):
        assert numbers(pd.array(pixels_of([1, 2]), dtype=NAME)) == [1, 2]
        assert numbers(ImageArray._from_sequence(pixels_of([1, 2]))) == [1, 2]

    def test_dtype_of_list_is_inferred_from_first_image(self):
        assert ImageArray._from_sequence([None, image_of(1)]).dtype == NAME
        with pytest.raises(ValueError, match="needs dtype"):
            ImageArray._from_sequence([None])

    def test_grayscale_image_may_have_two_dimensions(self):
        result = pd.array([np.full((2, 3), 7, "uint8")], dtype="image[uint8, (2, 3, 1)]")
        assert result.pixels.shape == (1, 2, 3, 1)

    @pytest.mark.parametrize(
        ("value", "error"),
        [
            (np.zeros((2, 3), "uint8"), ValueError),
            (np.zeros((3, 2, 3), "uint8"), ValueError),
            (np.zeros(SHAPE, "float32"), TypeError),
            ("a.jpg", TypeError),
            (3, TypeError),
        ],
    )
    def test_list_with_other_values_raises(self, value, error):
        with pytest.raises(error, match=r"\(2, 3, 3\)"):
            pd.array([image_of(1), value], dtype=NAME)

    def test_astype_converts_pixels_and_preserves_missing(self, frame):
        result = frame["image"].astype("image[float32, (2, 3, 3)]")
        assert result.array.pixels.dtype == np.float32
        assert numbers(result) == [10, 20, NA, 40]
        with pytest.raises(ValueError, match="resize"):
            frame["image"].astype("image[uint8, (2, 2, 3)]")


class TestToPixels:
    def test_to_pixels_without_missing_is_view(self):
        pixels = pixels_of([1, 2])
        array = ImageArray(pixels)
        assert np.shares_memory(array.to_pixels(), pixels)
        assert np.shares_memory(array[1:].to_pixels(), pixels)
        assert not array.to_pixels().flags.writeable

    def test_to_pixels_with_missing_raises_with_alternatives(self):
        with pytest.raises(MissingImagesError, match="1 of 3") as caught:
            images([1, NA, 3]).to_pixels()
        for alternative in ("dropna(subset=", "na_value=0", ".img.failures"):
            assert alternative in str(caught.value)

    def test_to_pixels_na_value_fills_copy(self):
        array = images([1, NA, 3])
        assert array.to_pixels(na_value=9)[:, 0, 0, 0].tolist() == [1, 9, 3]
        assert array.to_pixels(dtype="float32", na_value=np.nan)[1].sum() != 0
        assert array.pixels[1].sum() == 0
        assert array.to_pixels(na_value=image_of(5))[:, 0, 0, 0].tolist() == [1, 5, 3]

    def test_to_pixels_dtype_copies_once(self):
        import tracemalloc

        array = ImageArray(np.ones((50, 64, 64, 3), dtype="uint8"))
        tracemalloc.start()
        pixels = array.to_pixels(dtype="float32")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert pixels.dtype == np.float32
        assert peak < 1.05 * pixels.nbytes
        assert np.shares_memory(array.to_pixels(dtype="uint8"), array.pixels)

    def test_to_pixels_copy_is_writable(self):
        array = images([1, 2])
        pixels = array[::-1].to_pixels(copy=True)
        assert pixels.flags.writeable
        assert pixels.flags.c_contiguous
        pixels[:] = 0
        assert numbers(array) == [1, 2]


class TestSetting:
    def test_masked_array_is_refused(self, frame):
        with pytest.raises(ValueError, match="masked"):
            frame["image"].array[0] = np.ma.masked_array(image_of(1), mask=np.ones_like(image_of(1)))

    def test_quantile_names_the_alternative(self, frame):
        with pytest.raises(TypeError, match=r"no quantiles.*to_numpy\(\), q, axis=0"):
            frame["image"].quantile(0.5)

    def test_setitem_of_one_row(self, frame):
        frame = frame.reset_index(drop=True)
        frame.at[0, "image"] = image_of(1)
        frame.loc[1, "image"] = cell(2)
        frame.iloc[2, 1] = cell(3)
        frame.loc[3, "image"] = None
        assert numbers(frame["image"]) == [1, 2, 3, NA]
        series = frame["image"].copy()
        series.iloc[3] = image_of(4)
        series.iloc[0] = NA
        series[1] = np.nan
        assert numbers(series) == [NA, NA, 3, 4]

    @pytest.mark.parametrize("key", [slice(1, 3), [1, 2], np.array([False, True, True, False]), [-3, -2]])
    def test_setitem_of_many_rows(self, key):
        for value, expected in [
            (images([5, NA]), [5, NA]),
            ([image_of(5), None], [5, NA]),
            (pixels_of([5, 6]), [5, 6]),
            (pd.Series(images([5, 6])), [5, 6]),
            (image_of(7), [7, 7]),
            (cell(7), [7, 7]),
            ([cell(7)], [7, 7]),
            (NA, [NA, NA]),
        ]:
            array = images([1, 2, 3, 4])
            array[key] = value
            assert numbers(array) == [1, *expected, 4]

    def test_series_setitem_with_mask_and_labels(self):
        series = pd.Series(images([1, 2, 3, 4]), index=list("abcd"))
        series[series.index.isin(["a", "c"])] = cell(9)
        series.loc[["b", "d"]] = [image_of(5), None]
        assert numbers(series) == [9, 5, 9, NA]
        series.iloc[1:3] = images([6, NA])
        assert numbers(series) == [9, 6, NA, NA]

    @pytest.mark.parametrize(
        ("value", "error"),
        [
            (np.zeros((2, 2, 3), "uint8"), ValueError),
            (np.zeros((1, 4, 5, 3), "uint8"), ValueError),
            (np.zeros(SHAPE), TypeError),
            ("a.jpg", TypeError),
            (0, TypeError),
            (images([1, 2, 3]), ValueError),
        ],
    )
    def test_setitem_of_mismatched_value_raises_without_change(self, value, error):
        array = images([1, 2, 3, 4])
        with pytest.raises(error):
            array[[0, 1]] = value
        assert numbers(array) == [1, 2, 3, 4]

    def test_setitem_error_names_both_shapes(self, frame):
        series = frame["image"].copy()
        with pytest.raises(ValueError, match=r"\(5, 5, 3\).*\(2, 3, 3\)"):
            series.iloc[0] = np.zeros((5, 5, 3), "uint8")
        with pytest.raises(TypeError, match=r"float64.*\(2, 3, 3\).*uint8"):
            series.iloc[0] = np.zeros(SHAPE)

    def test_setitem_of_sequence_to_one_row_raises(self):
        with pytest.raises(ValueError, match="one array"):
            images([1, 2])[0] = [image_of(1)]

    def test_setitem_copies_failures(self):
        array = with_failures([0, 1])
        array[0] = with_failures([2, 5])[1]
        array[[0]] = with_failures([2, 5])[1:]
        assert reasons(array) == {0: "5.jpg", 1: "1.jpg"}
        array[1] = cell(3)
        assert reasons(array) == {0: "5.jpg"}


class TestPandas:
    def test_iterrows_and_itertuples_yield_cells(self, frame):
        # Where a row holds nothing but text and NA, pandas 3 makes it a row of strings, with NaN.
        rows = [row["image"] for _, row in frame.iterrows()]
        assert numbers([NA if pd.isna(image) else image for image in rows]) == [10, 20, NA, 40]
        assert next(frame.itertuples()).image == cell(10)

    def test_to_csv_writes_short_repr(self, frame):
        lines = frame.to_csv().splitlines()
        assert lines[1] == "w,b,<image 3×2×3 uint8>"  # noqa: RUF001
        assert lines[3] == "x,b,"

    def test_to_json_writes_dtype_and_shape(self, frame):
        expected = {"dtype": "uint8", "shape": [2, 3, 3]}
        written = json.loads(frame.reset_index(drop=True).to_json())
        assert written["image"] == {"0": expected, "1": expected, "2": None, "3": expected}
        assert json.loads(frame["image"].iloc[:1].to_json()) == {"w": expected}
        assert json.loads(frame.to_json(orient="records"))[2] == {"label": "b", "image": None}

    def test_duplicates_are_found_by_pixels(self):
        frame = pd.DataFrame({"k": [1, 1, 1, 2, 1], "image": images([7, 8, 7, 7, NA])})
        series = frame["image"]
        assert series.nunique() == 2
        assert numbers(series.unique()) == [7, 8, NA]
        assert numbers(series.drop_duplicates()) == [7, 8, NA]
        assert series.duplicated().tolist() == [False, False, True, True, False]
        assert series.duplicated(keep=False).tolist() == [True, False, True, True, False]
        assert frame.drop_duplicates().index.tolist() == [0, 1, 3, 4]
        assert series.value_counts().to_dict() == {cell(7): 3, cell(8): 1}
        assert series.value_counts(dropna=False).tolist() == [3, 1, 1]
        codes, uniques = pd.factorize(series)
        assert (codes.tolist(), numbers(uniques)) == ([0, 1, 0, 0, -1], [7, 8])
        assert frame.groupby("image", sort=False)["k"].sum().tolist() == [4, 1]
        assert frame.merge(frame.iloc[[1]], on="image")["k_x"].tolist() == [1]
        hashes = pd.util.hash_pandas_object(series, index=False)
        assert hashes.nunique() == 3
        assert hashes[0] == hashes[2] != hashes[1]

    def test_pixels_of_missing_rows_are_not_compared(self):
        array = ImageArray(pixels_of([1, 2, 3]), [-1, -1, 0])
        assert len(array.unique()) == 2
        assert pd.Series(array).equals(pd.Series(images([NA, NA, 3])))

    def test_comparison_is_nullable_and_by_pixels(self, frame):
        equal = frame["image"] == frame["image"]
        assert equal.tolist() == [True, True, NA, True]
        assert equal.dtype == "boolean"
        assert (frame == frame)["image"].isna().sum() == 1
        assert (frame["image"] != cell(20)).tolist() == [True, False, NA, True]
        assert frame[frame["image"] == cell(20)].index.tolist() == ["x"]
        assert frame["image"].isin([cell(20), cell(40)]).tolist() == [False, True, False, True]
        assert frame.equals(frame.copy())
        assert not frame.equals(frame.assign(image=images([10, 20, NA, 41])))
        assert not frame["image"].equals(frame["image"].astype("image[int16, (2, 3, 3)]"))
        array = frame["image"].array
        assert (array == [cell(10), None, cell(1), "a.jpg"]).tolist() == [True, NA, NA, False]
        assert (array == "a.jpg").tolist() == [False, False, NA, False]
        assert (array == ImageCell(np.zeros((1, 1, 1)))).tolist() == [False, False, NA, False]
        assert cell(20) in array
        with pytest.raises(ValueError, match="Lengths"):
            array == array[:2]  # noqa: B015

    def test_large_arrays_compare_in_chunks(self):
        pixels = np.zeros((900, 100, 100, 3), "uint8")
        other = pixels.copy()
        other[[0, 600, 899], 99, 99, 2] = 1
        assert np.flatnonzero(~np.asarray(ImageArray(pixels) == ImageArray(other), bool)).tolist() == [0, 600, 899]

    def test_missing_values_are_filled_and_dropped(self, frame):
        series = frame["image"]
        assert series.isna().tolist() == [False, False, True, False]
        assert numbers(series.fillna(cell(1))) == [10, 20, 1, 40]
        assert numbers(series.dropna()) == [10, 20, 40]
        assert numbers(series.ffill()) == [10, 20, 20, 40]
        assert frame.dropna(subset=["image"]).shape == (3, 2)
        assert series.count() == 3

    def test_reshaping_preserves_images_at_rows(self, frame):
        series = frame["image"].reset_index(drop=True)
        assert numbers(series.shift()) == [NA, 10, 20, NA]
        assert numbers(series.shift(-1, fill_value=cell(3))) == [20, NA, 40, 3]
        assert numbers(series.repeat([1, 0, 2, 1])) == [10, NA, NA, 40]
        assert numbers(series.reindex([3, 9, 0])) == [40, NA, 10]
        assert numbers(series.where([True, False, True, True])) == [10, NA, NA, 40]
        assert numbers(series.where([True, False, True, True], cell(5))) == [10, 5, NA, 40]
        assert numbers(series.mask([True, False, True, False], series[::-1].array)) == [40, 20, 20, 40]
        assert numbers(pd.concat([series, series[:1]])) == [10, 20, NA, 40, 10]
        assert numbers(frame.T.loc["image"]) == [10, 20, NA, 40]
        assert frame[["image"]].T.shape == (1, 4)
        assert numbers(frame.melt(id_vars="label")["value"]) == [10, 20, NA, 40]
        assert numbers(frame.assign(tag=[[1, 2], [], [3], [4]]).explode("tag")["image"]) == [10, 10, 20, NA, 40]
        assert numbers(frame.sort_values("label", kind="stable")["image"]) == [20, 10, NA, 40]
        assert numbers(frame.sort_index(ascending=False, kind="stable")["image"]) == [40, 20, NA, 10]
        left = pd.DataFrame({"label": ["c", "q", "a"]}).merge(frame, on="label", how="left")
        assert numbers(left["image"]) == [40, NA, 20]
        assert left["image"].dtype == NAME
        assert numbers(pd.concat([frame, pd.DataFrame({"label": ["n"]})])["image"]) == [10, 20, NA, 40, NA]
        assert pd.concat([frame, frame], axis=1).shape == (4, 4)
        assert numbers(frame.sample(frac=1, random_state=0).sort_index(kind="stable")["image"])[0] == 10

    def test_groupby_first_last_and_count(self, frame):
        first = frame.groupby("label").first()["image"]
        assert first.dtype == NAME
        assert numbers(first) == [20, 10, 40]
        assert numbers(frame.groupby("label")["image"].last()) == [20, 10, 40]
        assert frame.groupby("label")["image"].count().tolist() == [1, 1, 1]
        assert [numbers(group["image"]) for _, group in frame.groupby("label")] == [[20], [10, NA], [40]]
        assert numbers(frame.groupby("label").head(1)["image"]) == [10, 20, 40]
        missing = pd.DataFrame({"g": [1, 1, 2], "image": images([NA, NA, 3])})
        assert numbers(missing.groupby("g")["image"].first()) == [NA, 3]
        assert numbers(missing.groupby("g")["image"].first(min_count=2)) == [NA, NA]

    def test_info_and_describe_accept_images(self, frame):
        text = io.StringIO()
        frame.info(buf=text)
        assert NAME in text.getvalue()
        assert frame["image"].describe()["unique"] == 3
        assert "image" in frame.describe(include="all")

    def test_astype_to_object_str_and_category(self, frame):
        assert numbers(frame["image"].astype(object)) == [10, 20, NA, 40]
        assert frame["image"].astype(str).iloc[0] == "<image 3×2×3 uint8>"  # noqa: RUF001
        assert frame["image"].astype("category").cat.codes.tolist() == [0, 1, -1, 2]
        assert frame["image"].map(lambda c: 0 if c is NA else np.asarray(c).max()).tolist() == [10, 20, 0, 40]

    def test_asarray_gives_cells_in_one_dimension(self, frame):
        for result in (np.asarray(frame["image"]), frame["image"].to_numpy(), np.array(frame["image"].array)):
            assert (result.dtype, result.shape) == (object, (4,))
            assert isinstance(result[0], ImageCell)
        assert frame["image"].to_numpy(na_value=None)[2] is None
        with pytest.raises(TypeError, match=r"img\.to_numpy\('float32'\)"):
            np.asarray(frame["image"], dtype="float32")

    @pytest.mark.parametrize(
        "compute",
        [
            lambda s: s + 1,
            lambda s: 1 - s,
            lambda s: s * s,
            lambda s: -s,
            lambda s: s / np.arange(4),
            lambda s: s.sum(),
            lambda s: s.prod(),
            lambda s: s.sem(),
            lambda s: s.cumsum(),
            lambda s: s.sort_values(),
            lambda s: s.dropna().argsort(),
            lambda s: s.to_frame("image").sort_values("image"),
            lambda s: s.groupby([1, 1, 2, 2]).sum(),
            lambda s: s.groupby([1, 1, 2, 2]).prod(),
            lambda s: s < s,
            lambda s: s & s,
            operator.invert,
        ],
    )
    def test_unsupported_operation_raises_with_alternative(self, frame, compute):
        with pytest.raises(TypeError, match=r"images have no order: sort by|compute on series\.img\.to_numpy\(\)"):
            compute(frame["image"])

    def test_frame_pickle_uses_out_of_band_buffers(self, frame):
        restored = pickle.loads(pickle.dumps(frame, protocol=5))
        pd.testing.assert_frame_equal(restored, frame)
        buffers = []
        array = frame["image"].array[::-1]
        pickle.loads(pickle.dumps(array, protocol=5, buffer_callback=buffers.append), buffers=buffers)
        assert buffers[0].raw().nbytes == array.pixels.nbytes

    def test_repr_of_large_column_creates_few_cells(self):
        pixels = np.broadcast_to(np.uint8(1), (200_000, 8, 8, 3))
        frame = pd.DataFrame({"k": np.arange(200_000), "image": ImageArray(np.ascontiguousarray(pixels))})
        started = time.thread_time()  # of the processor: the machine may be busy
        for text in (repr(frame), frame._repr_html_(), repr(frame["image"]), repr(frame["image"].array)):
            assert len(text) < 10_000
        shown = time.thread_time()
        assert len(list(frame["image"].array)) == 200_000
        assert shown - started < time.thread_time() - shown, "the repr of ten rows takes longer than creating all cells"

    def test_empty_column_supports_operations(self):
        series = pd.Series([], dtype=NAME)
        assert series.array.pixels.shape == (0, *SHAPE)
        assert series.array.to_pixels().shape == (0, *SHAPE)
        assert len(pd.concat([series, series])) == 0
        assert numbers(pd.concat([series, pd.Series(images([1]))])) == [1]
        assert numbers(series.reindex([1, 2])) == [NA, NA]
        assert series.unique().dtype == NAME
        assert repr(series)


class TestTake:
    def test_take_with_fill_adds_missing_rows(self):
        array = images([1, 2])
        assert numbers(array.take([1, -1], allow_fill=True)) == [2, NA]
        assert numbers(array.take([1, -1])) == [2, 2]
        assert numbers(array.take([-1, 0], allow_fill=True, fill_value=cell(9))) == [9, 1]
        filled = array.take([1, -1], allow_fill=True)
        assert (filled.pixels[1] == 0).all()

    @pytest.mark.parametrize(("positions", "fill"), [([2], False), ([2], True), ([-3], False), ([2, -1], True)])
    def test_take_out_of_bounds_raises(self, positions, fill):
        with pytest.raises(IndexError):
            images([1, 2]).take(positions, allow_fill=fill)

    def test_take_below_minus_one_raises(self):
        with pytest.raises(ValueError, match="-2"):
            images([1, 2]).take([-2], allow_fill=True)

    def test_take_from_empty_array(self):
        empty = images([])
        assert numbers(empty.take([-1, -1], allow_fill=True)) == [NA, NA]
        for positions, fill in [([0], False), ([0, -1], True)]:
            with pytest.raises(IndexError):
                empty.take(positions, allow_fill=fill)

    def test_getitem_accepts_ellipsis_mask_and_numpy_integer(self):
        array = images([1, 2, 3])
        assert numbers(array[...]) == numbers(array[..., :]) == [1, 2, 3]
        assert numbers(array[pd.array([True, NA, False], dtype="boolean")]) == [1]
        assert array[np.int64(-1)] == array[..., 2] == cell(3)
        for key in (3, -4, "a", (0, 0)):
            with pytest.raises(IndexError):
                array[key]


# A plain list is the model: model and array go through the same operations.

values = st.lists(st.one_of(st.just(NA), st.integers(0, 255)), max_size=12)


@st.composite
def model_and_operations(draw):
    """Draw a list of numbers and operations on it."""
    kinds = st.sampled_from(["take", "fill", "mask", "slice", "concat", "set", "copy", "pickle", "sort"])
    return draw(values), draw(st.lists(st.tuples(kinds, st.randoms(use_true_random=False)), max_size=6))


def apply_operation(kind, random, model, array):
    n = len(model)
    if kind in ("take", "fill") and n:
        low = -1 if kind == "fill" else 0
        positions = [random.randrange(low, n) for _ in range(random.randrange(2 * n))]
        return [NA if k < 0 else model[k] for k in positions], array.take(positions, allow_fill=True)
    if kind == "mask":
        mask = [random.random() < 0.6 for _ in range(n)]
        return [value for value, keep in zip(model, mask, strict=True) if keep], array[np.array(mask, dtype=bool)]
    if kind == "slice":
        ends = [random.choice([None, *range(-n - 1, n + 2)]) for _ in range(2)]
        rows = slice(*ends, random.choice([None, 1, 2, -1, -3]))
        return model[rows], array[rows]
    if kind == "concat":
        return model + model[:2] + model, ImageArray._concat_same_type([array, array[:2], array])
    if kind == "set" and n:
        row, value = random.randrange(n), random.choice([NA, random.randrange(256)])
        array = array.copy()
        array[row] = value if value is NA else image_of(value)
        return [*model[:row], value, *model[row + 1 :]], array
    if kind == "pickle":
        return model, pickle.loads(pickle.dumps(array))
    if kind == "sort":
        order = sorted(range(n), key=lambda row: random.random())
        frame = pd.DataFrame({"order": np.argsort(order), "image": array})
        return [model[row] for row in order], frame.sort_values("order")["image"].array
    return model, array.copy()


@settings(max_examples=150, deadline=None)
@given(model_and_operations())
def test_array_behaves_like_list(plan):
    model, operations = plan
    array = images(model)
    history = [(array, list(model))]
    for kind, random in operations:
        model, array = apply_operation(kind, random, model, array)
        history.append((array, list(model)))
    for array, expected in history:
        assert numbers(array) == expected
        assert array.isna().tolist() == [value is NA for value in expected]
        assert (array.pixels[array.isna()] == 0).all()
        assert numbers(array.unique()) == list(dict.fromkeys(expected))


def test_import_loads_no_dask_dataframe():
    code = (
        "import sys, pandas_imgproc.array\n"
        "print([name for name in ('dask.dataframe', 'distributed', 'matplotlib') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
