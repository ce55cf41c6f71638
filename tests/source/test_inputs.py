"""Inputs: cells whose own methods raise, arrays of any form, and PIL images in memory."""

from __future__ import annotations

import io
import pickle
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from image_factory import image_bytes
from PIL import Image

from pandas_imgproc import UnreadableImageError
from pandas_imgproc.source import FailedInput, Source, column_values, read_in_memory
from pandas_imgproc.source.inputs import content_bytes

RAISING = (
    "__fspath__", "__repr__", "__str__", "__class__", "__eq__", "__hash__", "__bool__", "__len__", "__getattribute__",
    "__array__", "__format__", "__reduce__", "__reduce_ex__", "__sizeof__", "__iter__", "__index__", "__float__",
)  # fmt: skip


def raising(name, exc=ZeroDivisionError, base=object):
    """Return an instance of a class of which one method raises."""

    def method(*_, **__):
        raise exc("boom")

    return type("Evil", (base,), {name: property(method) if name == "__class__" else method})()


def cells(*values):
    """Return a column of objects, without a look at them."""
    array = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        array[i] = value
    return pd.Series(array, dtype=object)


@pytest.mark.parametrize("name", RAISING)
@pytest.mark.parametrize("exc", [ZeroDivisionError, SystemExit, GeneratorExit])
def test_cell_with_raising_method_is_failed_input(name, exc):
    good, evil, missing = column_values(cells("a.jpg", raising(name, exc), None))
    assert (good, missing) == ("a.jpg", None)
    assert isinstance(evil, FailedInput)
    assert evil.kind == "invalid_path"
    assert "Evil" in evil.message
    assert type(evil.path) is type(evil.message) is str


@pytest.mark.parametrize("base", [str, bytes, int, float, dict])
@pytest.mark.parametrize("name", ["__repr__", "__str__", "__reduce_ex__", "__eq__", "__hash__", "__len__", "__bytes__"])
def test_cell_of_raising_subclass_is_plain_or_failed(base, name):
    (value,) = column_values(cells(raising(name, base=base)))
    assert type(value) in (str, bytes, int, float, FailedInput, type(None))


def test_nonsense_of_fspath_and_repr():
    number = type("Number", (), {"__fspath__": lambda _: 7})()
    text = type("Text", (), {"__repr__": lambda _: 7})()
    encoded = type("Encoded", (), {"__fspath__": lambda _: b"a.jpg"})()
    first, second, third = column_values(cells(number, text, encoded))
    assert "__fspath__() to return str or bytes, not int" in first.message
    assert second.path == "<Text>"
    assert third == "a.jpg"


def test_failed_input_has_no_address():
    (value,) = column_values(cells(threading.Lock()))
    assert value.path == "<unlocked _thread.lock object>"


def test_long_values_are_shortened():
    values = column_values(cells(["x" * 10**6], type("L", (), {"__repr__": lambda _: "y" * 10**6})(), 10**5000))
    assert all(len(value.path) <= 100 and len(value.message) <= 300 for value in values[:2])


def test_texts_of_an_arrow_column_are_not_copied():
    texts = pa.chunked_array([[f"photos/{i:07d}.jpg" for i in range(start, start + 50_000)] for start in (0, 50_000)])
    column = pd.Series(pd.array(texts, dtype="string[pyarrow]"))
    tracemalloc.start()
    try:
        values = column_values(column)
        assert tracemalloc.get_traced_memory()[1] < 100_000  # a byte a row
    finally:
        tracemalloc.stop()
    assert list(values) == texts.to_pylist()
    assert values[49_999:50_001] == ["photos/0049999.jpg", "photos/0050000.jpg"]
    assert pickle.loads(pickle.dumps(values))[99_999] == "photos/0099999.jpg"


def test_arrow_scalars_are_their_values():
    assert column_values(cells(pa.scalar("a.jpg"), pa.scalar(b"abc"), pa.scalar(None))) == ["a.jpg", b"abc", None]


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((), "unsupported"), ((2, 2, 5), "unsupported"), ((1, 2, 2, 3), "unsupported"),
     ((0,), "empty"), ((0, 4, 3), "empty"), ((4, 0), "empty"), ((4, 4, 0), "empty")],
)  # fmt: skip
def test_array_that_is_no_image_has_kind_and_form(shape, kind):
    with pytest.raises(UnreadableImageError) as error:
        Source().data(np.zeros(shape, np.uint8))
    assert error.value.kind == kind
    assert str(shape) in error.value.message


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_array_with_channels_first_is_told(channels):
    with pytest.raises(UnreadableImageError, match="its channels come first"):
        Source().data(np.zeros((channels, 8, 9), np.uint8))


def test_array_of_one_dimension_holds_the_bytes_of_a_file():
    data = np.frombuffer(image_bytes(9), np.uint8)
    for cell in (data, {"bytes": data, "path": "a.jpg"}):
        (value,) = column_values(cells(cell))
        assert Source().data(value)[0] == data.tobytes()


@pytest.mark.parametrize(
    "cell",
    [{}, {"url": "a.jpg"}, {"image_bytes": b"x"}, {"data": b"x", "height": 4}, {b"bytes": b"x"}, {"Bytes": b"x"}],
)
@pytest.mark.parametrize("arrow", [False, True])
def test_mapping_without_bytes_and_path_is_a_failure_that_names_its_keys(cell, arrow):
    if arrow:
        if not cell or b"bytes" in cell:
            pytest.skip("Arrow has no such structs")
        column = pd.Series(pd.arrays.ArrowExtensionArray(pa.array([cell, None])))
    else:
        column = cells(cell, None)
    failed, missing = column_values(column)
    assert missing is None
    assert isinstance(failed, FailedInput)
    assert failed.kind == "invalid_path"
    assert "a mapping needs the key 'bytes' or 'path'" in failed.message
    assert all(repr(key) in failed.message for key in cell)


@pytest.mark.parametrize("na", [None, float("nan"), np.float64("nan"), pd.NA, pd.NaT])
def test_mapping_of_missing_values_is_missing(na):
    assert column_values(cells({"bytes": None, "path": na}, {"bytes": na, "path": na}, {"bytes": na})) == [None] * 3
    assert column_values(cells({"bytes": na, "path": Path("a.jpg")})) == [{"bytes": None, "path": "a.jpg"}]


def test_array_of_other_dtype_is_refused():
    with pytest.raises(UnreadableImageError, match="float64"):
        read_in_memory(np.zeros((3, 3, 3)))


def test_gray_array_has_one_channel():
    assert read_in_memory(np.zeros((2, 3), np.uint8)).shape == (2, 3, 1)


def test_image_is_copied_without_metadata_that_cannot_travel():
    image = Image.new("RGB", (4, 3), "red")
    image.info.update(icc_profile=b"abc", lock=threading.Lock(), exif=bytearray(b"x"))
    copy = read_in_memory(image)
    assert copy.info == {"icc_profile": b"abc"}
    image.putpixel((0, 0), (0, 0, 0))
    assert copy.getpixel((0, 0)) == (255, 0, 0)


def test_palette_with_alpha_survives_pickle(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255, 0, 255], "RGBA")
    image.putdata([0, 1])
    assert read_in_memory(image).convert("RGBA").tobytes() == image.convert("RGBA").tobytes()


def test_image_of_many_threads_is_decoded_once():
    file = io.BytesIO()
    Image.effect_noise((400, 300), 50).convert("RGB").save(file, "PNG")
    expected = Image.open(file).tobytes()
    for _ in range(5):
        image, results = Image.open(file), []
        barrier = threading.Barrier(4)

        def read(image=image, results=results, barrier=barrier):
            barrier.wait()
            results.append(content_bytes(image))

        threads = [threading.Thread(target=read) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert [result == expected for result in results] == [True] * 4


def test_masked_array_is_no_image_and_an_unmasked_one_is():
    pixels = np.ma.masked_array(np.ones((3, 3, 3), np.uint8))
    assert type(read_in_memory(pixels)) is np.ndarray
    pixels[0, 0] = np.ma.masked
    with pytest.raises(UnreadableImageError, match=r"masked; array\.filled\(0\)") as raised:
        read_in_memory(pixels)
    assert raised.value.kind == "unsupported"
