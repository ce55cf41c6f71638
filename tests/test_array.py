"""The image column in pandas: every image's colour is its number, so that each row proves its place."""

import copy
import io
import itertools
import json
import operator
import pickle
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pandas_imgproc.array import ImageArray, ImageCell, ImageDtype
from pandas_imgproc.errors import FAILURE_KINDS, MissingImagesError, failure

SHAPE = (2, 3, 3)
NAME = "image[uint8, (2, 3, 3)]"
NA = pd.NA


def block_of(numbers, shape=SHAPE, dtype="uint8"):
    block = np.zeros((len(numbers), *shape), dtype=dtype)
    block[:] = np.reshape([0 if n is NA else n for n in numbers], (-1, 1, 1, 1))
    return block


def images(numbers):
    """Return images in these colours; NA is missing."""
    return ImageArray(block_of(numbers), [-1 if n is NA else 0 for n in numbers])


def numbers(column):
    """Return the colours of a column, checked to be the same in every pixel."""
    cells = list(column)
    for cell in cells:
        assert cell is NA or len(np.unique(np.asarray(cell))) == 1
    return [NA if cell is NA else int(np.asarray(cell).flat[0]) for cell in cells]


def image_of(number):
    return block_of([number])[0]


def cell(number):
    return ImageCell(image_of(number))


@pytest.fixture
def frame():
    return pd.DataFrame({"label": ["b", "a", "b", "c"], "image": images([10, 20, NA, 40])}, index=["w", "x", "x", "z"])


class TestDtype:
    @pytest.mark.parametrize("name", ["uint8", "int16", "float32", "float64", "bool", "complex64", "uint64"])
    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_the_name_parses_back(self, name, channels):
        dtype = ImageDtype(name, (4, 5, channels))
        assert dtype.name == f"image[{name}, (4, 5, {channels})]"
        assert pd.api.types.pandas_dtype(dtype.name) == dtype
        assert (dtype.subtype, dtype.shape) == (np.dtype(name), (4, 5, channels))

    @pytest.mark.parametrize(
        "name",
        ["image", "image[uint8]", "image[uint8, (2, 3)]", "image[uint8, (2, 3, 2)]", "image[str, (2, 3, 3)]", "Int64"]
        + ["image[uint8, (0, 3, 3)]", "ximage[uint8, (2, 3, 3)]", "image[uint8, (2, 3, 3)] "],
    )
    def test_other_names_are_refused(self, name):
        with pytest.raises(TypeError):
            ImageDtype.construct_from_string(name)

    @pytest.mark.parametrize("shape", [(2, 3), (2, 3, 2), (0, 3, 3), (2, -1, 3), (2.0, 3, 3), 64, (), "abc"])
    def test_a_shape_that_is_none_names_itself(self, shape):
        with pytest.raises(ValueError, match=r"height, width, channels") as caught:
            ImageDtype("uint8", shape)
        assert repr(shape) in str(caught.value)

    @pytest.mark.parametrize("dtype", ["str", "datetime64[ns]", object, "nonsense"])
    def test_a_dtype_that_is_not_numeric_is_refused(self, dtype):
        with pytest.raises(TypeError, match="numeric"):
            ImageDtype(dtype, SHAPE)

    def test_equal_hash_pickle_and_byte_order(self):
        dtype = ImageDtype("uint16", SHAPE)
        assert hash(dtype) == hash(ImageDtype(np.dtype(">u2"), [2, 3, 3]))
        assert pickle.loads(pickle.dumps(dtype)) == dtype == "image[uint16, (2, 3, 3)]"
        assert dtype not in (ImageDtype("uint8", SHAPE), "uint16")
        assert dtype.type is ImageCell
        assert dtype.na_value is NA


class TestConstruction:
    def test_the_block_is_shared_and_the_caller_may_go_on_writing(self):
        block = block_of([1, 2])
        array = ImageArray(block)
        assert np.shares_memory(array.pixels, block)
        assert block.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array.pixels[0] = 9

    def test_a_series_shares_the_block(self):
        block = block_of([1, 2])
        series = pd.Series(ImageArray(block), index=["a", "b"], name="image", copy=False)
        assert np.shares_memory(series.array.pixels, block)
        frame = pd.DataFrame({"k": [1, 2]}, index=["a", "b"])
        frame["image"] = series
        assert np.shares_memory(frame["image"].array.pixels, block)
        assert np.shares_memory(frame.copy()["image"].array.pixels, block)

    def test_a_memory_map_is_shared_too(self, tmp_path):
        np.save(tmp_path / "block.npy", block_of([1, 2]))
        block = np.load(tmp_path / "block.npy", mmap_mode="r")
        array = ImageArray(block)
        assert np.shares_memory(array.pixels, block)
        assert type(array.pixels) is np.ndarray

    def test_images_that_are_not_contiguous_are_made_so(self):
        turned = np.arange(2 * 2 * 3 * 3, dtype="uint8").reshape(2, 3, 2, 3).transpose(0, 2, 1, 3)
        array = ImageArray(turned)
        assert array.pixels.flags.c_contiguous
        assert (array.pixels == turned).all()

    def test_byte_order_becomes_the_machines(self):
        array = ImageArray(block_of([1, 300], dtype=">u2"))
        assert array.pixels.dtype == np.dtype("uint16")
        assert numbers(array) == [1, 300]

    @pytest.mark.parametrize(
        ("block", "status", "failures", "error"),
        [
            (np.zeros((2, 3, 3), "uint8"), None, (), ValueError),
            (np.zeros((2, 3, 3, 2), "uint8"), None, (), ValueError),
            (np.zeros((2, 3, 3, 3), "S1"), None, (), TypeError),
            (block_of([1, 2]), [0], (), ValueError),
            (block_of([1, 2]), [0, 1], (), ValueError),
            (block_of([1, 2]), [0, -2], (), ValueError),
            (block_of([1, 2]), [0.0, 1.0], (), TypeError),
        ],
    )
    def test_what_does_not_fit_is_refused(self, block, status, failures, error):
        with pytest.raises(error):
            ImageArray(block, status, failures)

    @pytest.mark.parametrize("dtype", [NAME, ImageDtype("uint8", SHAPE)])
    def test_from_lists(self, dtype):
        values = [image_of(1), cell(2), None, NA, np.nan, Image.fromarray(image_of(6))]
        for made in (pd.array(values, dtype=dtype), pd.Series(values, dtype=dtype)):
            assert made.dtype == NAME
            assert numbers(made) == [1, 2, NA, NA, NA, 6]

    def test_from_a_block(self):
        assert numbers(pd.array(block_of([1, 2]), dtype=NAME)) == [1, 2]
        assert numbers(ImageArray._from_sequence(block_of([1, 2]))) == [1, 2]

    def test_the_dtype_of_a_list_is_its_first_images(self):
        assert ImageArray._from_sequence([None, image_of(1)]).dtype == NAME
        with pytest.raises(ValueError, match="needs dtype"):
            ImageArray._from_sequence([None])

    def test_a_grey_image_may_have_two_dimensions(self):
        made = pd.array([np.full((2, 3), 7, "uint8")], dtype="image[uint8, (2, 3, 1)]")
        assert made.pixels.shape == (1, 2, 3, 1)

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
    def test_other_values_are_refused(self, value, error):
        with pytest.raises(error, match=r"\(2, 3, 3\)"):
            pd.array([image_of(1), value], dtype=NAME)

    def test_astype_converts_numbers_and_keeps_missing(self, frame):
        made = frame["image"].astype("image[float32, (2, 3, 3)]")
        assert made.array.pixels.dtype == np.float32
        assert numbers(made) == [10, 20, NA, 40]
        with pytest.raises(ValueError, match="resize"):
            frame["image"].astype("image[uint8, (2, 2, 3)]")


class TestCell:
    def test_pandas_takes_it_for_a_scalar(self):
        assert pd.isna(cell(1)) is False
        assert not pd.api.types.is_list_like(cell(1))
        assert not hasattr(cell(1), "__array__")

    def test_numpy_reads_its_pixels_without_a_copy(self, frame):
        block = block_of([1, 2])
        one = ImageArray(block)[1]
        assert np.shares_memory(np.asarray(one), block)
        assert not np.asarray(one).flags.writeable
        assert np.array(one, dtype="float32").dtype == np.float32
        assert np.stack(frame["image"].dropna()).shape == (3, *SHAPE)
        assert (one.shape, one.dtype) == (SHAPE, np.uint8)

    def test_its_pixels_outlive_everything_else(self):
        pixels = np.asarray(ImageArray(block_of([7, 8]))[1])
        assert (pixels == 8).all()

    def test_text_is_short(self):
        assert str(cell(1)) == repr(cell(1)) == "<image 3×2×3 uint8>"  # noqa: RUF001

    def test_equality_and_hash_go_by_pixels(self):
        assert cell(1) == cell(1)
        assert hash(cell(1)) == hash(cell(1))
        assert len({cell(1), cell(1), cell(2)}) == 2
        assert cell(1) != cell(2)
        assert cell(0) != ImageCell(image_of(0).astype("int8"))
        assert cell(0) != ImageCell(image_of(0).reshape(3, 2, 3))
        assert (cell(1) == "a.jpg") is False
        nan = np.full(SHAPE, np.nan)
        assert ImageCell(nan) == ImageCell(nan)

    def test_pickle_carries_its_own_pixels_only(self):
        one = ImageArray(np.zeros((1000, 64, 64, 3), "uint8"))[3]
        sent = pickle.dumps(one)
        assert len(sent) < 64 * 64 * 3 + 1000
        assert pickle.loads(sent) == one == copy.deepcopy(one)

    @pytest.mark.parametrize(
        ("dtype", "channels", "mode"),
        [("uint8", 1, "L"), ("uint8", 3, "RGB"), ("uint8", 4, "RGBA"), ("float32", 1, "F"), ("uint16", 1, "I;16")],
    )
    def test_to_pil(self, dtype, channels, mode):
        one = ImageCell(np.arange(6 * channels, dtype=dtype).reshape(2, 3, channels))
        assert (one.to_pil().mode, one.to_pil().size) == (mode, (3, 2))
        assert (np.asarray(one.to_pil()) == np.squeeze(np.asarray(one))).all()

    def test_what_pillow_cannot_hold_says_so(self):
        with pytest.raises(TypeError, match="uint8"):
            ImageCell(np.zeros(SHAPE, "float64")).to_pil()

    def test_a_notebook_shows_it(self):
        with Image.open(io.BytesIO(cell(7)._repr_png_())) as shown:
            assert (np.asarray(shown) == image_of(7)).all()
        assert ImageCell(np.zeros(SHAPE))._repr_png_() is None

    @pytest.mark.parametrize("pixels", [np.zeros(3), np.zeros((2, 2, 2)), np.zeros((1, 2, 3, 3)), "a.jpg"])
    def test_no_image_is_refused(self, pixels):
        with pytest.raises((TypeError, ValueError)):
            ImageCell(pixels)

    def test_imshow(self):
        pytest.importorskip("matplotlib")
        # In a process of its own, because matplotlib keeps its fonts open.
        code = (
            "import matplotlib; matplotlib.use('agg')\n"
            "import numpy as np, matplotlib.pyplot as plt\n"
            "from pandas_imgproc.array import ImageCell\n"
            "for pixels in [np.full((2, 3, channels), 7, 'uint8') for channels in (1, 3, 4)]:\n"
            "    shown = plt.imshow(ImageCell(pixels))\n"
            "    plt.gcf().canvas.draw()\n"
            "    assert (np.squeeze(pixels) == shown.get_array()).all()\n"
            "print('shown')"
        )
        assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "shown"


class TestToBlock:
    def test_a_view_when_nothing_is_missing(self):
        block = block_of([1, 2])
        array = ImageArray(block)
        assert np.shares_memory(array.to_pixels(), block)
        assert np.shares_memory(array[1:].to_pixels(), block)
        assert not array.to_pixels().flags.writeable

    def test_missing_images_name_the_ways_out(self):
        with pytest.raises(MissingImagesError, match="1 of 3") as caught:
            images([1, NA, 3]).to_pixels()
        for way in ("dropna(subset=", "na_value=0", ".img.failures"):
            assert way in str(caught.value)

    def test_na_value_fills_a_copy(self):
        array = images([1, NA, 3])
        assert array.to_pixels(na_value=9)[:, 0, 0, 0].tolist() == [1, 9, 3]
        assert array.to_pixels(dtype="float32", na_value=np.nan)[1].sum() != 0
        assert array.pixels[1].sum() == 0
        assert array.to_pixels(na_value=image_of(5))[:, 0, 0, 0].tolist() == [1, 5, 3]

    def test_a_dtype_costs_exactly_one_copy(self):
        import tracemalloc

        array = ImageArray(np.ones((50, 64, 64, 3), dtype="uint8"))
        tracemalloc.start()
        block = array.to_pixels(dtype="float32")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert block.dtype == np.float32
        assert peak < 1.05 * block.nbytes
        assert np.shares_memory(array.to_pixels(dtype="uint8"), array.pixels)

    def test_a_copy_is_ones_own(self):
        array = images([1, 2])
        block = array[::-1].to_pixels(copy=True)
        assert block.flags.writeable
        assert block.flags.c_contiguous
        block[:] = 0
        assert numbers(array) == [1, 2]


class TestSharing:
    def test_slices_are_views_and_copies_share(self):
        block = block_of([0, 1, 2, 3, 4, 5])
        array = ImageArray(block)
        for view in (array[2:4], array[::-2], array.copy(), array.copy()[1:], array.view()):
            assert np.shares_memory(view.pixels, block)
        assert numbers(array[::-2]) == [5, 3, 1]
        assert numbers(array[1:][::2][1:]) == [3, 5]
        assert numbers(array[4:1]) == []

    def test_the_first_write_makes_a_private_copy(self):
        block = block_of([1, 2, 3])
        array = ImageArray(block)
        other = array.copy()
        array[0] = None
        array[1] = cell(9)
        assert numbers(array) == [NA, 9, 3]
        assert numbers(other) == [1, 2, 3]
        assert (block == block_of([1, 2, 3])).all()
        assert not np.shares_memory(array.pixels, block)

    def test_writing_a_copy_leaves_the_original(self):
        array = images([1, 2, 3])
        array[0] = cell(5)
        other = array.copy()
        other[1] = cell(6)
        array[2] = cell(7)
        assert numbers(other) == [5, 6, 3]
        assert numbers(array) == [5, 2, 7]

    def test_views_see_the_write(self):
        array = images([1, 2, 3])
        view = array[1:]
        view[0] = cell(9)
        array[2] = None
        assert numbers(array) == [1, 9, NA]
        assert numbers(view) == [9, NA]

    def test_what_was_handed_out_never_changes(self):
        array = images([1, 2])
        for number in (3, 4):
            kept = array[0], array.pixels, array.status, numbers(array)[0]
            array[0] = cell(number)
            array[1] = None
            assert (kept[1][0] == kept[3]).all()
            assert kept[0] == cell(kept[3])
            assert kept[2][0] == 0
            array[1] = cell(2)

    @pytest.mark.parametrize(
        "derive",
        [
            copy.copy,
            copy.deepcopy,
            lambda array: array.astype("image[int16, (2, 3, 3)]"),
            lambda array: pickle.loads(pickle.dumps(array)),
            lambda array: array[[0, 1, 2]],
            lambda array: ImageArray(array.pixels, array.status),
            lambda array: ImageArray.from_arrow(array.__arrow_array__()),
            lambda array: ImageArray._concat_same_type([array]),
            lambda array: pd.Series(array).copy().array,
        ],
    )
    def test_what_was_made_from_a_written_array_stays(self, derive):
        array = images([1, 2, 3])
        array[0] = cell(7)
        derived = derive(array)
        array[0] = None
        array[1] = cell(8)
        assert numbers(derived) == [7, 2, 3]

    def test_an_array_may_be_set_from_itself(self):
        for private in (False, True):
            array = images([1, 2, 3, 4])
            if private:
                array[0] = cell(1)
            array[1:] = array[:-1]
            assert numbers(array) == [1, 1, 2, 3]
            array[:] = array[::-1]
            assert numbers(array) == [3, 2, 1, 1]

    def test_a_copy_of_the_callers_block_is_a_copy(self):
        block = block_of([1, 2])
        made = pd.array(block, dtype=NAME)
        block[:] = 9
        assert numbers(made) == [1, 2]

    def test_writing_many_cells_copies_once(self):
        import tracemalloc

        series = pd.Series(ImageArray(np.zeros((100, 64, 64, 3), dtype="uint8")), copy=False)
        tracemalloc.start()
        for row in range(len(series)):
            series.iloc[row] = np.asarray(series.iloc[row]) + np.uint8(row)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1.5 * series.array.nbytes
        assert [cell_.to_pil().getpixel((0, 0))[0] for cell_ in series] == list(range(100))

    def test_copy_on_write_of_frames(self, frame):
        other = frame.copy()
        part = frame[frame["label"] == "b"]
        other.iloc[0, 1] = cell(99)
        assert numbers(frame["image"]) == [10, 20, NA, 40]
        assert numbers(other["image"]) == [99, 20, NA, 40]
        assert numbers(part["image"]) == [10, NA]

    def test_memory_usage_is_what_is_shown(self):
        series = pd.Series(ImageArray(np.zeros((10, 4, 4, 3), "uint8")))
        assert series.memory_usage(index=False, deep=True) == 10 * (48 + 4)
        assert series[:3].memory_usage(index=False) == 3 * (48 + 4)


class TestSetting:
    def test_cells(self, frame):
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
    def test_many(self, key):
        for value, expected in [
            (images([5, NA]), [5, NA]),
            ([image_of(5), None], [5, NA]),
            (block_of([5, 6]), [5, 6]),
            (pd.Series(images([5, 6])), [5, 6]),
            (image_of(7), [7, 7]),
            (cell(7), [7, 7]),
            ([cell(7)], [7, 7]),
            (NA, [NA, NA]),
        ]:
            array = images([1, 2, 3, 4])
            array[key] = value
            assert numbers(array) == [1, *expected, 4]

    def test_through_pandas(self):
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
    def test_what_does_not_fit_is_refused_and_changes_nothing(self, value, error):
        array = images([1, 2, 3, 4])
        with pytest.raises(error):
            array[[0, 1]] = value
        assert numbers(array) == [1, 2, 3, 4]

    def test_both_shapes_are_named(self, frame):
        series = frame["image"].copy()
        with pytest.raises(ValueError, match=r"\(5, 5, 3\).*\(2, 3, 3\)"):
            series.iloc[0] = np.zeros((5, 5, 3), "uint8")
        with pytest.raises(TypeError, match=r"float64.*\(2, 3, 3\).*uint8"):
            series.iloc[0] = np.zeros(SHAPE)

    def test_a_cell_takes_no_sequence(self):
        with pytest.raises(ValueError, match="one array"):
            images([1, 2])[0] = [image_of(1)]

    def test_failures_come_along(self):
        array = with_failures([0, 1])
        array[0] = with_failures([2, 5])[1]
        array[[0]] = with_failures([2, 5])[1:]
        assert reasons(array) == {0: "5.jpg", 1: "1.jpg"}
        array[1] = cell(3)
        assert reasons(array) == {0: "5.jpg"}


def with_failures(rows, n=None):
    """Return an array in which each row except 0 failed as the file of its number."""
    table = [failure(row, f"{row}.jpg", "truncated" if row % 2 else "empty", f"reason {row}") for row in rows if row]
    codes = list(itertools.accumulate(1 if row else 0 for row in rows))
    return ImageArray(
        block_of([0] * len(rows)), [code if row else 0 for code, row in zip(codes, rows, strict=True)], table
    )


def reasons(array):
    rows, failures = array.failure_rows()
    return {int(row): each["path"] for row, each in zip(rows, failures, strict=True)}


class TestFailures:
    def test_they_are_missing_and_have_a_kind(self):
        array = with_failures([0, 1, 2])
        assert array.isna().tolist() == [False, True, True]
        failure_kinds = array.failure_kinds()
        assert list(failure_kinds.categories) == list(FAILURE_KINDS)
        assert [NA if pd.isna(kind) else kind for kind in failure_kinds] == [NA, "truncated", "empty"]
        assert isinstance(array.failures, tuple)
        assert images([1, NA]).failure_kinds().codes.tolist() == [-1, -1]

    def test_they_stay_with_their_rows(self):
        array = with_failures([0, 1, 2, 3])
        assert reasons(array[1:][::-1]) == {0: "3.jpg", 1: "2.jpg", 2: "1.jpg"}
        assert reasons(array[[3, 0, 3]]) == {0: "3.jpg", 2: "3.jpg"}
        assert reasons(array[np.array([True, False, True, False])]) == {1: "2.jpg"}
        frame = pd.DataFrame({"k": [4, 3, 2, 1], "image": array})
        assert reasons(frame.sort_values("k")["image"].array) == {0: "3.jpg", 1: "2.jpg", 2: "1.jpg"}
        assert reasons(frame.merge(pd.DataFrame({"k": [2, 2]}), on="k")["image"].array) == {0: "2.jpg", 1: "2.jpg"}
        assert reasons(pickle.loads(pickle.dumps(frame))["image"].array) == reasons(array)

    def test_reindexed_rows_have_none(self):
        array = pd.Series(with_failures([1, 2])).reindex([1, 7, 0]).array
        assert reasons(array) == {0: "2.jpg", 2: "1.jpg"}
        assert array.status[1] == -1

    def test_concat_renumbers(self):
        parts = [with_failures([1, 0]), images([5, NA]), with_failures([0, 2, 3])]
        array = pd.concat([pd.Series(part) for part in parts]).array
        assert reasons(array) == {0: "1.jpg", 5: "2.jpg", 6: "3.jpg"}
        assert array.status[3] == -1

    def test_concatenating_a_table_with_itself_does_not_make_it_grow(self):
        frame = pd.DataFrame({"image": with_failures([0, 1, 2])})
        grown = frame
        for _ in range(5):
            grown = pd.concat([grown, frame.iloc[1:], pickle.loads(pickle.dumps(frame))])
        assert len(grown["image"].array.failures) == 2
        assert reasons(grown["image"].array) == {
            row: f"{each}.jpg" for row, each in enumerate([0, 1, 2] + [1, 2, 0, 1, 2] * 5) if each
        }

    def test_pickle_leaves_unused_ones_behind(self):
        array = with_failures(range(100))
        sent = pickle.loads(pickle.dumps(array[7:9]))
        assert len(sent.failures) == 2
        assert reasons(sent) == {0: "7.jpg", 1: "8.jpg"}


class TestNotebooks:
    def test_iterrows_and_itertuples(self, frame):
        # Where a row holds nothing but text and NA, pandas 3 makes it a row of strings, with NaN.
        rows = [row["image"] for _, row in frame.iterrows()]
        assert numbers([NA if pd.isna(image) else image for image in rows]) == [10, 20, NA, 40]
        assert next(frame.itertuples()).image == cell(10)

    def test_to_csv_is_short(self, frame):
        lines = frame.to_csv().splitlines()
        assert lines[1] == "w,b,<image 3×2×3 uint8>"  # noqa: RUF001
        assert lines[3] == "x,b,"

    def test_to_json(self, frame):
        expected = {"dtype": "uint8", "shape": [2, 3, 3]}
        written = json.loads(frame.reset_index(drop=True).to_json())
        assert written["image"] == {"0": expected, "1": expected, "2": None, "3": expected}
        assert json.loads(frame["image"].iloc[:1].to_json()) == {"w": expected}
        assert json.loads(frame.to_json(orient="records"))[2] == {"label": "b", "image": None}

    def test_same_images(self):
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

    def test_pixels_under_a_missing_row_do_not_count(self):
        array = ImageArray(block_of([1, 2, 3]), [-1, -1, 0])
        assert len(array.unique()) == 2
        assert pd.Series(array).equals(pd.Series(images([NA, NA, 3])))

    def test_comparison(self, frame):
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

    def test_large_columns_compare_in_pieces(self):
        block = np.zeros((900, 100, 100, 3), "uint8")
        other = block.copy()
        other[[0, 600, 899], 99, 99, 2] = 1
        assert np.flatnonzero(~np.asarray(ImageArray(block) == ImageArray(other), bool)).tolist() == [0, 600, 899]

    def test_missing_values(self, frame):
        series = frame["image"]
        assert series.isna().tolist() == [False, False, True, False]
        assert numbers(series.fillna(cell(1))) == [10, 20, 1, 40]
        assert numbers(series.dropna()) == [10, 20, 40]
        assert numbers(series.ffill()) == [10, 20, 20, 40]
        assert frame.dropna(subset=["image"]).shape == (3, 2)
        assert series.count() == 3

    def test_shapes_of_frames(self, frame):
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

    def test_groupby(self, frame):
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

    def test_summaries(self, frame):
        text = io.StringIO()
        frame.info(buf=text)
        assert NAME in text.getvalue()
        assert frame["image"].describe()["unique"] == 3
        assert "image" in frame.describe(include="all")

    def test_other_types(self, frame):
        assert numbers(frame["image"].astype(object)) == [10, 20, NA, 40]
        assert frame["image"].astype(str).iloc[0] == "<image 3×2×3 uint8>"  # noqa: RUF001
        assert frame["image"].astype("category").cat.codes.tolist() == [0, 1, -1, 2]
        assert frame["image"].map(lambda c: 0 if c is NA else np.asarray(c).max()).tolist() == [10, 20, 0, 40]

    def test_arrays_are_cells_in_one_dimension(self, frame):
        for made in (np.asarray(frame["image"]), frame["image"].to_numpy(), np.array(frame["image"].array)):
            assert (made.dtype, made.shape) == (object, (4,))
            assert isinstance(made[0], ImageCell)
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
            lambda s: s.mean(),
            lambda s: s.max(),
            lambda s: s.cumsum(),
            lambda s: s.sort_values(),
            lambda s: s.dropna().argsort(),
            lambda s: s.to_frame("image").sort_values("image"),
            lambda s: s.groupby([1, 1, 2, 2]).sum(),
            lambda s: s.groupby([1, 1, 2, 2]).mean(),
            lambda s: s < s,
            lambda s: s & s,
            operator.invert,
        ],
    )
    def test_what_images_cannot_says_what_to_do(self, frame, compute):
        with pytest.raises(TypeError, match=r"images have no order: sort by|compute on series\.img\.to_numpy\(\)"):
            compute(frame["image"])

    def test_pickle(self, frame):
        back = pickle.loads(pickle.dumps(frame, protocol=5))
        pd.testing.assert_frame_equal(back, frame)
        buffers = []
        array = frame["image"].array[::-1]
        pickle.loads(pickle.dumps(array, protocol=5, buffer_callback=buffers.append), buffers=buffers)
        assert buffers[0].raw().nbytes == array.pixels.nbytes

    def test_two_hundred_thousand_rows_show_at_once(self):
        block = np.broadcast_to(np.uint8(1), (200_000, 8, 8, 3))
        frame = pd.DataFrame({"k": np.arange(200_000), "image": ImageArray(np.ascontiguousarray(block))})
        started = time.thread_time()  # of the processor: the machine may be busy
        for text in (repr(frame), frame._repr_html_(), repr(frame["image"]), repr(frame["image"].array)):
            assert len(text) < 10_000
        shown = time.thread_time()
        assert len(list(frame["image"].array)) == 200_000
        assert shown - started < time.thread_time() - shown, "showing ten rows costs more than making all cells"

    def test_an_empty_column(self):
        series = pd.Series([], dtype=NAME)
        assert series.array.pixels.shape == (0, *SHAPE)
        assert series.array.to_pixels().shape == (0, *SHAPE)
        assert len(pd.concat([series, series])) == 0
        assert numbers(pd.concat([series, pd.Series(images([1]))])) == [1]
        assert numbers(series.reindex([1, 2])) == [NA, NA]
        assert series.unique().dtype == NAME
        assert repr(series)


class TestTake:
    def test_fill(self):
        array = images([1, 2])
        assert numbers(array.take([1, -1], allow_fill=True)) == [2, NA]
        assert numbers(array.take([1, -1])) == [2, 2]
        assert numbers(array.take([-1, 0], allow_fill=True, fill_value=cell(9))) == [9, 1]
        filled = array.take([1, -1], allow_fill=True)
        assert (filled.pixels[1] == 0).all()

    @pytest.mark.parametrize(("positions", "fill"), [([2], False), ([2], True), ([-3], False), ([2, -1], True)])
    def test_out_of_bounds(self, positions, fill):
        with pytest.raises(IndexError):
            images([1, 2]).take(positions, allow_fill=fill)

    def test_below_minus_one(self):
        with pytest.raises(ValueError, match="-2"):
            images([1, 2]).take([-2], allow_fill=True)

    def test_from_nothing(self):
        empty = images([])
        assert numbers(empty.take([-1, -1], allow_fill=True)) == [NA, NA]
        for positions, fill in [([0], False), ([0, -1], True)]:
            with pytest.raises(IndexError):
                empty.take(positions, allow_fill=fill)

    def test_keys(self):
        array = images([1, 2, 3])
        assert numbers(array[...]) == numbers(array[..., :]) == [1, 2, 3]
        assert numbers(array[pd.array([True, NA, False], dtype="boolean")]) == [1]
        assert array[np.int64(-1)] == array[..., 2] == cell(3)
        for key in (3, -4, "a", (0, 0)):
            with pytest.raises(IndexError):
                array[key]


# A plain list is the model; an array is made to go through the same steps.

values = st.lists(st.one_of(st.just(NA), st.integers(0, 255)), max_size=12)


@st.composite
def steps(draw):
    """Draw a list of numbers and things to do with it."""
    failure_kinds = st.sampled_from(["take", "fill", "mask", "slice", "concat", "set", "copy", "pickle", "sort"])
    return draw(values), draw(st.lists(st.tuples(failure_kinds, st.randoms(use_true_random=False)), max_size=6))


def follow(kind, random, model, array):
    n = len(model)
    if kind in ("take", "fill") and n:
        low = -1 if kind == "fill" else 0
        rows = [random.randrange(low, n) for _ in range(random.randrange(2 * n))]
        return [NA if row < 0 else model[row] for row in rows], array.take(rows, allow_fill=True)
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
@given(steps())
def test_an_array_does_what_a_list_does(plan):
    model, todo = plan
    array = images(model)
    history = [(array, list(model))]
    for kind, random in todo:
        model, array = follow(kind, random, model, array)
        history.append((array, list(model)))
    for each, expected in history:
        assert numbers(each) == expected
        assert each.isna().tolist() == [value is NA for value in expected]
        assert (each.pixels[each.isna()] == 0).all()
        assert numbers(each.unique()) == list(dict.fromkeys(expected))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 30), max_size=6, unique=True), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_reasons_follow_their_rows_through_concat_and_shuffle(parts, random):
    joined = pd.concat([pd.Series(with_failures(part)) for part in parts], ignore_index=True)
    expected = [number for part in parts for number in part]
    order = random.sample(range(len(expected)), len(expected))
    shuffled = joined.iloc[order].array
    assert reasons(shuffled) == {row: f"{expected[k]}.jpg" for row, k in enumerate(order) if expected[k]}
    assert len({each["path"] for each in shuffled.failures}) == len(shuffled.failures)


def test_importing_it_stays_cheap():
    code = (
        "import sys, pandas_imgproc.array\n"
        "print([name for name in ('dask.dataframe', 'distributed', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
