"""Storage that arrays share: copy on write, and failures that follow their rows."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from array_factory import NA, NAME, cell, image_frame, images, numbers, pixels_of, reasons, with_failures
from hypothesis import given, settings
from hypothesis import strategies as st

from pandas_imgproc.array import ImageArray, storage
from pandas_imgproc.errors import FAILURE_KINDS


@pytest.fixture
def frame():
    return image_frame()


class TestCopyOnWrite:
    def test_slices_and_copies_share_pixels(self):
        pixels = pixels_of([0, 1, 2, 3, 4, 5])
        array = ImageArray(pixels)
        for view in (array[2:4], array[::-2], array.copy(), array.copy()[1:], array.view()):
            assert np.shares_memory(view.pixels, pixels)
        assert numbers(array[::-2]) == [5, 3, 1]
        assert numbers(array[1:][::2][1:]) == [3, 5]
        assert numbers(array[4:1]) == []

    def test_first_write_copies_pixels(self):
        pixels = pixels_of([1, 2, 3])
        array = ImageArray(pixels)
        other = array.copy()
        array[0] = None
        array[1] = cell(9)
        assert numbers(array) == [NA, 9, 3]
        assert numbers(other) == [1, 2, 3]
        assert (pixels == pixels_of([1, 2, 3])).all()
        assert not np.shares_memory(array.pixels, pixels)

    def test_write_to_copy_leaves_original(self):
        array = images([1, 2, 3])
        array[0] = cell(5)
        other = array.copy()
        other[1] = cell(6)
        array[2] = cell(7)
        assert numbers(other) == [5, 6, 3]
        assert numbers(array) == [5, 2, 7]

    def test_slices_see_write(self):
        array = images([1, 2, 3])
        view = array[1:]
        view[0] = cell(9)
        array[2] = None
        assert numbers(array) == [1, 9, NA]
        assert numbers(view) == [9, NA]

    def test_returned_cells_and_pixels_never_change(self):
        array = images([1, 2])
        for number in (3, 4):
            first, pixels, status, expected = array[0], array.pixels, array.status, numbers(array)[0]
            array[0] = cell(number)
            array[1] = None
            assert (pixels[0] == expected).all()
            assert first == cell(expected)
            assert status[0] == 0
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
    def test_derived_array_does_not_see_later_write(self, derive):
        array = images([1, 2, 3])
        array[0] = cell(7)
        derived = derive(array)
        array[0] = None
        array[1] = cell(8)
        assert numbers(derived) == [7, 2, 3]

    def test_array_is_set_from_overlapping_slice(self):
        for private in (False, True):
            array = images([1, 2, 3, 4])
            if private:
                array[0] = cell(1)
            array[1:] = array[:-1]
            assert numbers(array) == [1, 1, 2, 3]
            array[:] = array[::-1]
            assert numbers(array) == [3, 2, 1, 1]

    def test_pd_array_copies_pixels_of_caller(self):
        pixels = pixels_of([1, 2])
        result = pd.array(pixels, dtype=NAME)
        pixels[:] = 9
        assert numbers(result) == [1, 2]

    def test_many_writes_copy_once(self):
        import tracemalloc

        series = pd.Series(ImageArray(np.zeros((100, 64, 64, 3), dtype="uint8")), copy=False)
        tracemalloc.start()
        for row in range(len(series)):
            series.iloc[row] = np.asarray(series.iloc[row]) + np.uint8(row)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1.5 * series.array.nbytes
        assert [cell_.to_pil().getpixel((0, 0))[0] for cell_ in series] == list(range(100))

    def test_frame_copy_does_not_see_write(self, frame):
        other = frame.copy()
        part = frame[frame["label"] == "b"]
        other.iloc[0, 1] = cell(99)
        assert numbers(frame["image"]) == [10, 20, NA, 40]
        assert numbers(other["image"]) == [99, 20, NA, 40]
        assert numbers(part["image"]) == [10, NA]

    def test_memory_usage_counts_visible_rows(self):
        series = pd.Series(ImageArray(np.zeros((10, 4, 4, 3), "uint8")))
        assert series.memory_usage(index=False, deep=True) == 10 * (48 + 4)
        assert series[:3].memory_usage(index=False) == 3 * (48 + 4)


class TestFailures:
    def test_failed_rows_are_na_with_kind(self):
        array = with_failures([0, 1, 2])
        assert array.isna().tolist() == [False, True, True]
        failure_kinds = array.failure_kinds()
        assert list(failure_kinds.categories) == list(FAILURE_KINDS)
        assert [NA if pd.isna(kind) else kind for kind in failure_kinds] == [NA, "truncated", "empty"]
        assert isinstance(array.failures, tuple)
        assert images([1, NA]).failure_kinds().codes.tolist() == [-1, -1]

    def test_failures_follow_rows(self):
        array = with_failures([0, 1, 2, 3])
        assert reasons(array[1:][::-1]) == {0: "3.jpg", 1: "2.jpg", 2: "1.jpg"}
        assert reasons(array[[3, 0, 3]]) == {0: "3.jpg", 2: "3.jpg"}
        assert reasons(array[np.array([True, False, True, False])]) == {1: "2.jpg"}
        frame = pd.DataFrame({"k": [4, 3, 2, 1], "image": array})
        assert reasons(frame.sort_values("k")["image"].array) == {0: "3.jpg", 1: "2.jpg", 2: "1.jpg"}
        assert reasons(frame.merge(pd.DataFrame({"k": [2, 2]}), on="k")["image"].array) == {0: "2.jpg", 1: "2.jpg"}
        assert reasons(pickle.loads(pickle.dumps(frame))["image"].array) == reasons(array)

    def test_reindexed_rows_have_no_failure(self):
        array = pd.Series(with_failures([1, 2])).reindex([1, 7, 0]).array
        assert reasons(array) == {0: "2.jpg", 2: "1.jpg"}
        assert array.status[1] == -1

    def test_concat_renumbers_failures(self):
        parts = [with_failures([1, 0]), images([5, NA]), with_failures([0, 2, 3])]
        array = pd.concat([pd.Series(part) for part in parts]).array
        assert reasons(array) == {0: "1.jpg", 5: "2.jpg", 6: "3.jpg"}
        assert array.status[3] == -1

    def test_concat_with_itself_does_not_duplicate_failures(self):
        frame = pd.DataFrame({"image": with_failures([0, 1, 2])})
        grown = frame
        for _ in range(5):
            grown = pd.concat([grown, frame.iloc[1:], pickle.loads(pickle.dumps(frame))])
        assert len(grown["image"].array.failures) == 2
        assert reasons(grown["image"].array) == {
            row: f"{number}.jpg" for row, number in enumerate([0, 1, 2] + [1, 2, 0, 1, 2] * 5) if number
        }

    def test_pickle_drops_unused_failures(self):
        array = with_failures(range(100))
        restored = pickle.loads(pickle.dumps(array[7:9]))
        assert len(restored.failures) == 2
        assert reasons(restored) == {0: "7.jpg", 1: "8.jpg"}


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 30), max_size=6, unique=True), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_failures_follow_rows_through_concat_and_shuffle(parts, random):
    joined = pd.concat([pd.Series(with_failures(part)) for part in parts], ignore_index=True)
    expected = [number for part in parts for number in part]
    order = random.sample(range(len(expected)), len(expected))
    shuffled = joined.iloc[order].array
    assert reasons(shuffled) == {row: f"{expected[k]}.jpg" for row, k in enumerate(order) if expected[k]}
    assert len({failure["path"] for failure in shuffled.failures}) == len(shuffled.failures)


def test_failures_of_many_rows_are_chained_and_follow_rows(monkeypatch):
    """To compare each failure of two long tables takes longer than to copy the pixels."""
    monkeypatch.setattr(storage, "MAX_COMPARED_FAILURES", 3)
    parts = [with_failures([1, 0, 2]), images([5, NA]), with_failures([0, 2, 3])]
    array = pd.concat([pd.Series(part) for part in parts]).array
    assert reasons(array) == {0: "1.jpg", 2: "2.jpg", 6: "2.jpg", 7: "3.jpg"}
    grown = pd.Series(array)
    for _ in range(3):
        grown = pd.concat([grown, grown])
    assert len(grown.array.failures) == 4
    assert grown.array.status.tolist() == array.status.tolist() * 8
