"""pandas' inherited test suite for extension arrays, on images of 2 by 2 pixels.

NOT_FOR_IMAGES lists the tests that cannot apply to images, with the reason; tests that apply in another form are
overridden.
"""

import numpy as np
import pandas as pd
import pytest

from pandas_imgproc.array import ImageArray, ImageCell, ImageDtype

if int(pd.__version__.split(".")[0]) < 3:
    pytest.skip("the suite differs by version; it runs on the newest pandas", allow_module_level=True)

import pandas._testing as tm
from pandas.tests.extension import base
from pandas.tests.extension.conftest import *  # noqa: F403  fixtures of the suite

ORDER = "images have no order: sorting and ordered comparison raise"
NOT_FOR_IMAGES = {
    "test_argmin_argmax": ORDER,
    "test_argmin_argmax_all_na": ORDER,
    "test_argmin_argmax_empty_array": ORDER,
    "test_argreduce_series": ORDER,
    "test_argsort": ORDER,
    "test_argsort_missing": ORDER,
    "test_argsort_missing_array": ORDER,
    "test_combine_le": ORDER,
    "test_is_monotonic_decreasing": ORDER,
    "test_is_monotonic_increasing": ORDER,
    "test_nargsort": ORDER,
    "test_rank": ORDER,
    "test_rank_method": ORDER,
    "test_rank_missing": ORDER,
    "test_searchsorted": ORDER,
    "test_sort_inplace": ORDER,
    "test_sort_inplace_descending": ORDER,
    "test_sort_inplace_na_position": ORDER,
    "test_sort_values": ORDER,
    "test_sort_values_frame": ORDER,
    "test_sort_values_missing": ORDER,
    "test_json_roundtrip": "JSON gets the dtype and shape of an image, no pixels",
    "test_plot_on_y_axis": "an image is no number on an axis",
}


def images(numbers):
    """Return 2 by 2 images filled with these numbers; None is missing."""
    values = np.array([0 if number is None else number for number in numbers], dtype=np.uint8)
    pixels = np.broadcast_to(values[:, None, None, None], (len(values), 2, 2, 3)).copy()
    return ImageArray(pixels, [-1 if number is None else 0 for number in numbers])


@pytest.fixture
def dtype():
    return ImageDtype("uint8", (2, 2, 3))


@pytest.fixture
def data():
    return images(range(1, 11))


@pytest.fixture
def data_missing():
    return images([None, 1])


@pytest.fixture
def data_for_sorting():
    return images([2, 3, 1])


@pytest.fixture
def data_missing_for_sorting():
    return images([2, None, 1])


@pytest.fixture
def data_for_grouping():
    return images([2, 2, None, None, 1, 1, 2, 3])


@pytest.fixture(autouse=True)
def not_for_images(request):
    reason = NOT_FOR_IMAGES.get(request.node.originalname)
    if reason is not None:
        pytest.skip(reason)


class TestImages(base.ExtensionTests):
    def _cast_pointwise_result(self, op_name, obj, other, pointwise_result):
        # As for all arrays whose missing value is NA, a comparison is a nullable boolean.
        return pointwise_result.astype("boolean") if op_name in ("eq", "ne") else pointwise_result

    # Without their final sort_index: images have no order, and value_counts keeps that of appearance.

    @pytest.mark.parametrize("dropna", [True, False])
    def test_value_counts(self, all_data, dropna):
        other = all_data[~all_data.isna()] if dropna else all_data
        tm.assert_series_equal(
            pd.Series(all_data).value_counts(dropna=dropna), pd.Series(other).value_counts(dropna=dropna)
        )

    def test_value_counts_with_normalize(self, data):
        result = pd.Series(data).value_counts(normalize=True)
        expected = pd.Series([0.1] * 10, index=pd.Index(data), name="proportion", dtype="Float64")
        tm.assert_series_equal(result, expected)

    # Reductions are by pixel.

    def _supports_reduction(self, ser, op_name):
        return op_name in ("count", "mean", "std", "var", "median", "min", "max")

    def check_reduce(self, ser, op_name, skipna):
        if op_name == "count":
            assert ser.count() == ser.notna().sum()
            return
        result = getattr(ser, op_name)(skipna=skipna)
        if not skipna and ser.isna().any():
            assert result is pd.NA
            return
        pixels = ser.dropna().array.pixels.astype(float)
        options = {"ddof": 1} if op_name in ("std", "var") else {}
        np.testing.assert_allclose(np.asarray(result), getattr(np, op_name)(pixels, axis=0, **options), rtol=1e-6)

    def _get_expected_reduction_dtype(self, arr, op_name, skipna):
        return arr.dtype if op_name in ("min", "max") else ImageDtype("float32", arr.dtype.shape)

    # By an image, groups come in order of appearance: sort=False.

    @pytest.mark.parametrize("as_index", [True, False])
    def test_groupby_extension_agg(self, as_index, data_for_grouping):
        df = pd.DataFrame({"A": [1, 1, 2, 2, 3, 3, 1, 4], "B": data_for_grouping})
        result = df.groupby("B", as_index=as_index, sort=False).A.mean()
        expected = pd.DataFrame({"B": images([2, 1, 3]), "A": [1.0, 3.0, 4.0]})
        tm.assert_equal(result, expected.set_index("B").A if as_index else expected)

    def test_groupby_extension_transform(self, data_for_grouping):
        valid = data_for_grouping[~data_for_grouping.isna()]
        df = pd.DataFrame({"A": [1, 1, 3, 3, 1, 4], "B": valid})
        result = df.groupby("B", sort=False).A.transform(len)
        tm.assert_series_equal(result, pd.Series([3, 3, 2, 2, 3, 1], name="A"))

    def test_groupby_extension_apply(self, data_for_grouping, groupby_apply_op):
        df = pd.DataFrame({"A": [1, 1, 2, 2, 3, 3, 1, 4], "B": data_for_grouping})
        df.groupby("B", group_keys=False, sort=False).apply(groupby_apply_op)
        df.groupby("B", group_keys=False, sort=False).A.apply(groupby_apply_op)
        df.groupby("A", group_keys=False).apply(groupby_apply_op)
        df.groupby("A", group_keys=False).B.apply(groupby_apply_op)


def test_skip_list_names_existing_tests():
    assert [name for name in NOT_FOR_IMAGES if not hasattr(base.ExtensionTests, name)] == []


@pytest.mark.parametrize(
    "sort",
    [
        lambda s: s.sort_values(),
        lambda s: s.argsort(),
        lambda s: s.to_frame("a").sort_values("a"),
        lambda s: s.rank(),
        lambda s: s.argmax(),
        lambda s: s.searchsorted(s.iloc[0]),
        lambda s: s < s,
    ],
)
def test_sorting_raises_with_alternative(data, sort):
    with pytest.raises(TypeError, match=r"images have no order|does not support operation"):
        sort(pd.Series(data))


def test_scalar_is_image_cell(data):
    assert isinstance(data[0], ImageCell)
