"""Arrow extension type of images, through Parquet, Feather and IPC."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from pandas_imgproc.array import ImageArray, ImageArrowType, ImageDtype

SHAPE = (2, 3, 3)


def images(n, missing=(), dtype="uint8", shape=SHAPE):
    """Return n images filled with their number, some of them missing."""
    pixels = np.zeros((n, *shape), dtype=dtype)
    pixels[:] = np.arange(n).reshape(-1, 1, 1, 1)
    status = np.zeros(n, dtype=np.int32)
    status[list(missing)] = -1
    pixels[status < 0] = 0
    return ImageArray(pixels, status)


def frame(n=5, missing=(1, 4), **kwargs):
    return pd.DataFrame({"image": images(n, missing, **kwargs), "k": range(n)}, index=[f"r{i}" for i in range(n)])


FRAMES = {
    "missing": frame(),
    "complete": frame(missing=()),
    "all missing": frame(missing=range(5)),
    "no rows": frame(0, ()),
    "float": frame(dtype="float32"),
    "bool": frame(2, (0,), dtype="bool"),
    "grayscale": frame(shape=(4, 4, 1)),
    "alpha": frame(dtype="uint16", shape=(1, 2, 4)),
    "slice": frame(9, (3, 4)).iloc[2:7],
    "backwards": frame(9, (3, 4)).iloc[::-2],
}


@pytest.fixture(params=FRAMES)
def df(request):
    return FRAMES[request.param]


def test_parquet_roundtrip(df, tmp_path):
    df.to_parquet(tmp_path / "x.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "x.parquet"), df)


def test_parquet_roundtrip_of_row_groups_and_one_column(tmp_path):
    df = frame(20, (3, 7, 19))
    df.to_parquet(tmp_path / "x.parquet", row_group_size=3)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "x.parquet", columns=["image"]), df[["image"]])


def test_feather_roundtrip(df, tmp_path):
    df = df.reset_index(drop=True)
    df.to_feather(tmp_path / "x.feather")
    pd.testing.assert_frame_equal(pd.read_feather(tmp_path / "x.feather"), df)


def test_table_roundtrip_and_concat(df):
    table = pa.Table.from_pandas(df)
    assert isinstance(table.schema.field("image").type, ImageArrowType)
    table.validate(full=True)
    pd.testing.assert_frame_equal(table.to_pandas(), df)
    combined = pa.concat_tables([table, table.slice(1, 2), table.slice(0, 0), table])
    pd.testing.assert_frame_equal(combined.to_pandas(), pd.concat([df, df.iloc[1:3], df]))


def test_ipc_stream_roundtrip(df):
    table = pa.Table.from_pandas(df)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table, max_chunksize=2)
    restored = pa.ipc.open_stream(sink.getvalue()).read_all()
    pd.testing.assert_frame_equal(restored.to_pandas(), df)


def test_conversion_copies_no_pixels():
    array = images(4)
    stored = pa.array(array)
    assert stored.storage.buffers()[1].address == array.pixels.__array_interface__["data"][0]
    restored = ImageArray.from_arrow(stored)
    assert np.shares_memory(restored.pixels, array.pixels)
    later = ImageArray.from_arrow(pa.chunked_array([stored.slice(2)]))
    assert np.shares_memory(later.pixels, array.pixels[2:])
    assert later.pixels.flags.writeable is False
    assert (later.pixels == array.pixels[2:]).all()


def test_type_equality_and_hash_include_shape():
    image_type = ImageArrowType("uint8", SHAPE)
    assert image_type == ImageArrowType(np.uint8, [2, 3, 3])
    assert hash(image_type) == hash(ImageArrowType("uint8", SHAPE))
    assert image_type != ImageArrowType("uint8", (3, 2, 3))
    assert image_type != ImageArrowType("int8", SHAPE)
    assert image_type.extension_name == "pandas_imgproc.image"
    assert image_type.to_pandas_dtype() == ImageDtype("uint8", SHAPE)
    assert image_type.storage_type == pa.binary(18)


def test_tables_of_other_shapes_do_not_concat():
    tables = [pa.table({"image": pa.array(images(1, shape=shape))}) for shape in (SHAPE, (3, 2, 3))]
    with pytest.raises(pa.ArrowInvalid):
        pa.concat_tables(tables)


def test_schema_casts_to_fixed_size_binary():
    stored = pa.array(images(2, [1]), type=pa.binary(18))
    assert stored.to_pylist() == [bytes(18), None]


def test_fixed_size_binary_requires_dtype():
    stored = pa.array([bytes(range(18)), None], pa.binary(18))
    array = ImageArray.from_arrow(stored, ImageDtype("uint8", SHAPE))
    assert array.isna().tolist() == [False, True]
    assert array.pixels[0].ravel().tolist() == list(range(18))
    for wrong in (None, "image[uint8, (2, 3, 4)]", "image[uint16, (2, 3, 3)]"):
        with pytest.raises(TypeError, match="fixed_size_binary"):
            ImageArray.from_arrow(stored, wrong)


def test_from_arrow_rejects_other_types():
    with pytest.raises(TypeError, match="no image column"):
        ImageArray.from_arrow(pa.array([1, 2]))
    with pytest.raises(TypeError, match=r"image\[uint8, \(2, 3, 3\)\], not image\[uint8, \(1, 1, 3\)\]"):
        ImageArray.from_arrow(pa.array(images(1)), "image[uint8, (1, 1, 3)]")


def tensors(pixels, missing=(), permutation=None):
    """Return an Arrow array of fixed_shape_tensor, null where missing."""
    tensor_type = pa.fixed_shape_tensor(pa.from_numpy_dtype(pixels.dtype), pixels.shape[1:], permutation=permutation)
    valid = pa.py_buffer(np.packbits(~np.isin(range(len(pixels)), list(missing)), bitorder="little"))
    storage = pa.FixedSizeListArray.from_buffers(
        tensor_type.storage_type, len(pixels), [valid], children=[pa.array(pixels.ravel())]
    )
    return pa.ExtensionArray.from_storage(tensor_type, storage)


@pytest.mark.parametrize("shape", [(2, 3, 3), (2, 3, 4), (2, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_fixed_shape_tensor_is_read(shape, dtype):
    pixels = np.arange(4 * np.prod(shape)).astype(dtype).reshape(4, *shape)
    stored = tensors(pixels, [2])
    for arrow_array in (stored, pa.chunked_array([stored.slice(0, 1), stored.slice(1)])):
        array = ImageArray.from_arrow(arrow_array)
        assert array.isna().tolist() == [False, False, True, False]
        assert (array.pixels[[0, 1, 3]].reshape(3, *shape) == pixels[[0, 1, 3]]).all()
        assert (array.pixels[2] == 0).all()
    assert ImageArray.from_arrow(stored.slice(3)).pixels.ravel().tolist() == pixels[3].ravel().tolist()


def test_fixed_shape_tensor_with_permutation_is_transposed():
    stored = tensors(np.arange(2 * 18, dtype="uint8").reshape(2, 3, 2, 3), permutation=[1, 2, 0])
    array = ImageArray.from_arrow(stored)
    assert array.dtype == ImageDtype("uint8", (2, 3, 3))
    expected = np.arange(36, dtype="uint8").reshape(2, 3, 2, 3).transpose(0, 2, 3, 1)
    assert (array.pixels == expected).all()


def test_table_of_tensors_becomes_image_column_by_types_mapper(tmp_path):
    pixels = np.arange(4 * 18, dtype="uint8").reshape(4, *SHAPE)
    stored = tensors(pixels)
    dtype = ImageDtype("uint8", SHAPE)
    pq.write_table(pa.table({"image": stored}), tmp_path / "x.parquet")
    table = pq.read_table(tmp_path / "x.parquet")
    df = table.to_pandas(types_mapper={stored.type: dtype}.get)
    assert df["image"].dtype == dtype
    assert (df["image"].array.pixels == pixels).all()
    feather.write_feather(pa.table({"image": tensors(pixels, [1])}), tmp_path / "x.feather")
    table = feather.read_table(tmp_path / "x.feather")
    assert ImageArray.from_arrow(table["image"]).isna().tolist() == [False, True, False, False]


def test_bytes_of_null_become_zeros():
    storage = pa.Array.from_buffers(pa.binary(18), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(b"\x07" * 36)], null_count=1)
    array = ImageArray.from_arrow(storage, ImageDtype("uint8", SHAPE))
    assert (array.pixels[0] == 7).all()
    assert (array.pixels[1] == 0).all()


def test_second_registration_is_harmless():
    from pandas_imgproc.array import arrow

    arrow.register()
    assert pa.Table.from_pandas(frame()).to_pandas()["image"].dtype == ImageDtype("uint8", SHAPE)


def run_without_library(code, path):
    """Run code in a process that does not import the library."""
    return subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)


class TestWithoutLibrary:
    def test_pyarrow_reads_binary_values(self, tmp_path):
        frame().to_parquet(tmp_path / "x.parquet")
        code = "import sys, pyarrow.parquet as pq; t = pq.read_table(sys.argv[1]); print(t['image'].to_pylist())"
        result = run_without_library(code, tmp_path / "x.parquet")
        assert result.stdout.strip() == str([bytes([i] * 18) if i not in (1, 4) else None for i in range(5)])

    def test_read_parquet_without_library_raises(self, tmp_path):
        # pandas writes the dtype's name into the file's metadata and cannot read it back without the dtype.
        frame().to_parquet(tmp_path / "x.parquet")
        result = run_without_library("import sys, pandas; pandas.read_parquet(sys.argv[1])", tmp_path / "x.parquet")
        assert result.returncode != 0
        assert "image[uint8, (2, 3, 3)]" in result.stderr
        assert "not understood" in result.stderr

    def test_read_parquet_after_import_gives_images(self, tmp_path):
        frame().to_parquet(tmp_path / "x.parquet")
        code = "import sys, pandas, pandas_imgproc.array; print(pandas.read_parquet(sys.argv[1])['image'].count())"
        assert run_without_library(code, tmp_path / "x.parquet").stdout.strip() == "3"

    def test_read_parquet_with_object_metadata_gives_bytes(self, tmp_path):
        table = pa.Table.from_pandas(frame())
        plain = table.schema.metadata[b"pandas"].replace(b"image[uint8, (2, 3, 3)]", b"object")
        table = table.replace_schema_metadata({b"pandas": plain})
        pq.write_table(table, tmp_path / "x.parquet")
        result = run_without_library(
            "import sys, pandas; print(pandas.read_parquet(sys.argv[1])['image'].iloc[2])", tmp_path / "x.parquet"
        )
        assert result.stdout.strip() == str(bytes([2] * 18))
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "x.parquet"), frame())


def test_column_of_arrow_dtype_is_an_image_column(df, tmp_path):
    df = df.reset_index(drop=True)
    df.to_parquet(tmp_path / "a.parquet")
    column = pd.read_parquet(tmp_path / "a.parquet", dtype_backend="pyarrow")["image"]
    assert isinstance(column.dtype, pd.ArrowDtype)
    expected = df["image"]
    pd.testing.assert_series_equal(column.astype(expected.dtype), expected)
    assert np.array_equal(column.img.to_numpy(na_value=7), expected.img.to_numpy(na_value=7))
    pd.testing.assert_series_equal(
        column.img.load_resized(3, errors="coerce"), expected.img.load_resized(3, errors="coerce")
    )
    pd.testing.assert_series_equal(column.img.hash(errors="coerce"), expected.img.hash(errors="coerce"))
    verified = df.assign(image=column).img.verify("image")
    pd.testing.assert_frame_equal(verified, df.img.verify("image"))
    sliced = pd.concat([column, column])[1:].astype(expected.dtype)
    assert np.array_equal(sliced.img.to_numpy(na_value=7), np.tile(expected.img.to_numpy(na_value=7), (2, 1, 1, 1))[1:])
