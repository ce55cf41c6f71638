"""Scalar of an image column."""

import copy
import io
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from array_factory import SHAPE, cell, image_frame, image_of, pixels_of
from PIL import Image

from pandas_imgproc.array import ImageArray, ImageCell


@pytest.fixture
def frame():
    return image_frame()


class TestCell:
    def test_cell_is_scalar_to_pandas(self):
        assert pd.isna(cell(1)) is False
        assert not pd.api.types.is_list_like(cell(1))
        assert not hasattr(cell(1), "__array__")

    def test_cell_pixels_are_read_without_copy(self, frame):
        pixels = pixels_of([1, 2])
        scalar = ImageArray(pixels)[1]
        assert np.shares_memory(np.asarray(scalar), pixels)
        assert not np.asarray(scalar).flags.writeable
        assert np.array(scalar, dtype="float32").dtype == np.float32
        assert np.stack(frame["image"].dropna()).shape == (3, *SHAPE)
        assert (scalar.shape, scalar.dtype) == (SHAPE, np.uint8)

    def test_cell_pixels_outlive_array(self):
        pixels = np.asarray(ImageArray(pixels_of([7, 8]))[1])
        assert (pixels == 8).all()

    def test_cell_repr_is_short(self):
        assert str(cell(1)) == repr(cell(1)) == "<image 3×2×3 uint8>"  # noqa: RUF001

    def test_cell_equality_and_hash_compare_pixels(self):
        assert cell(1) == cell(1)
        assert hash(cell(1)) == hash(cell(1))
        assert len({cell(1), cell(1), cell(2)}) == 2
        assert cell(1) != cell(2)
        assert cell(0) != ImageCell(image_of(0).astype("int8"))
        assert cell(0) != ImageCell(image_of(0).reshape(3, 2, 3))
        assert (cell(1) == "a.jpg") is False
        nan = np.full(SHAPE, np.nan)
        assert ImageCell(nan) == ImageCell(nan)

    def test_cell_pickle_holds_one_image(self):
        scalar = ImageArray(np.zeros((1000, 64, 64, 3), "uint8"))[3]
        pickled = pickle.dumps(scalar)
        assert len(pickled) < 64 * 64 * 3 + 1000
        assert pickle.loads(pickled) == scalar == copy.deepcopy(scalar)

    @pytest.mark.parametrize(
        ("dtype", "channels", "mode"),
        [("uint8", 1, "L"), ("uint8", 3, "RGB"), ("uint8", 4, "RGBA"), ("float32", 1, "F"), ("uint16", 1, "I;16")],
    )
    def test_cell_to_pil_has_mode_of_dtype_and_channels(self, dtype, channels, mode):
        scalar = ImageCell(np.arange(6 * channels, dtype=dtype).reshape(2, 3, channels))
        assert (scalar.to_pil().mode, scalar.to_pil().size) == (mode, (3, 2))
        assert (np.asarray(scalar.to_pil()) == np.squeeze(np.asarray(scalar))).all()

    def test_cell_to_pil_without_mode_raises(self):
        with pytest.raises(TypeError, match="uint8"):
            ImageCell(np.zeros(SHAPE, "float64")).to_pil()

    def test_cell_repr_png_is_image(self):
        with Image.open(io.BytesIO(cell(7)._repr_png_())) as shown:
            assert (np.asarray(shown) == image_of(7)).all()
        assert ImageCell(np.zeros(SHAPE))._repr_png_() is None

    @pytest.mark.parametrize("pixels", [np.zeros(3), np.zeros((2, 2, 2)), np.zeros((1, 2, 3, 3)), "a.jpg"])
    def test_cell_rejects_other_shapes(self, pixels):
        with pytest.raises((TypeError, ValueError)):
            ImageCell(pixels)

    def test_cell_is_accepted_by_imshow(self):
        pytest.importorskip("matplotlib")
        # In a subprocess, because matplotlib keeps its fonts open.
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
