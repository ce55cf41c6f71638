"""Results of map, augment and features on disk, and their continuation."""

from __future__ import annotations

import re
import sys

import cloudpickle
import image_factory
import numpy as np
import pandas as pd
import pytest
from image_factory import row_image, row_of
from PIL import Image

from pandas_imgproc import ImageDtype, JournalError, read_result

cloudpickle.register_pickle_by_value(image_factory)
cloudpickle.register_pickle_by_value(sys.modules[__name__])

N = 40
BROKEN = 17


@pytest.fixture
def paths(tmp_path):
    for number in range(N):
        row_image(number, (24, 16)).save(tmp_path / f"{number}.png")
    (tmp_path / f"{BROKEN}.png").write_bytes(b"no image")
    return pd.Series([str(tmp_path / f"{k}.png") for k in range(N)], index=[f"row {k}" for k in range(N)])


def facts(pixels):
    return {"row": row_of(pixels), "mean": float(pixels.mean()), "name": f"image {row_of(pixels)}"}


DTYPES = {"row": "int64", "mean": "float64", "name": "str"}
CALLS = {
    "number": lambda paths, **o: paths.img.map(row_of, dtype="int64", errors="coerce", npartitions=4, **o),
    "dict": lambda paths, **o: paths.img.map(facts, dtype=DTYPES, errors="coerce", npartitions=4, **o),
    "features": lambda paths, **o: paths.img.features(
        ["width", "format", "brightness", "is_grayscale", "phash", "md5"], errors="coerce", npartitions=4, **o
    ),
    "image": lambda paths, **o: paths.img.map(
        lambda pixels: pixels[::2] / np.float32(2), dtype=ImageDtype("float32", (8, 24, 3)), errors="coerce", **o
    ),
    "variants": lambda paths, **o: paths.img.augment(
        lambda pixels, rng: pixels + np.uint8(rng.integers(3)), n=3, size=(24, 16), errors="coerce", npartitions=4, **o
    ),
}


def plain(column):
    """Return a column as objects, None where missing: files have one missing value only."""
    return column.astype(object).where(column.notna(), None)


def check(result, expected):
    """Compare a result that was read from disk with one in memory."""
    assert type(result) is type(expected)
    assert result.index.equals(expected.index)
    for name in expected.columns if isinstance(expected, pd.DataFrame) else [None]:
        column, other = (a if name is None else a[name] for a in (result, expected))
        if isinstance(other.dtype, ImageDtype):
            assert np.array_equal(column.img.to_numpy(na_value=0), other.img.to_numpy(na_value=0))
            assert column.isna().equals(other.isna())
        else:
            pd.testing.assert_series_equal(plain(column), plain(other))
    assert result.img.failures["kind"].tolist() == ["unidentified"] * len(result.img.failures)
    assert result.img.failures.index.equals(expected.img.failures.index)


@pytest.mark.parametrize("name", CALLS)
def test_parquet_parts_equal_result_in_memory(paths, tmp_path, name):
    out = tmp_path / "x.parquet"
    expected = CALLS[name](paths)
    parts = CALLS[name](paths, out=out)
    assert parts.index.equals(expected.index)
    assert parts.map(lambda part: part.startswith(str(out))).all()
    check(read_result(out), expected)
    plain = pd.read_parquet(out)
    assert plain.index.equals(expected.index)
    assert plain["failure"].notna().sum() == pd.DataFrame(expected).isna().any(axis=1).sum() > 0


@pytest.mark.parametrize("name", ["image", "variants"])
def test_npy_file_equals_result_in_memory(paths, tmp_path, name):
    out = tmp_path / "x.npy"
    expected = CALLS[name](paths)
    check(CALLS[name](paths, out=out), expected)
    check(read_result(out), expected)
    assert np.array_equal(np.load(out, mmap_mode="r"), expected.img.to_numpy(na_value=0))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("filename", ["x.npy", "x.parquet"])
def test_repaired_and_new_rows_are_added(paths, tmp_path, name, filename):
    if filename == "x.npy" and name in ("number", "dict", "features"):
        pytest.skip("a .npy file holds images")
    out = tmp_path / filename
    CALLS[name](paths[:30], out=out)
    row_image(BROKEN, (24, 16)).save(tmp_path / f"{BROKEN}.png")
    CALLS[name](paths, out=out, retry="all")
    check(read_result(out), CALLS[name](paths))


@pytest.mark.parametrize("name", CALLS)
def test_strided_parquet_results_are_merged(paths, tmp_path, name):
    outs = [tmp_path / f"{k}.parquet" for k in range(3)]
    for k, out in enumerate(outs):
        CALLS[name](paths.iloc[k::3], out=out)
    whole = read_result(outs)
    expected = CALLS[name](paths)
    assert whole.index.equals(expected.index)
    if name in ("number", "dict", "features"):
        for name in expected.columns if isinstance(expected, pd.DataFrame) else [None]:
            column, other = (a if name is None else a[name] for a in (whole, expected))
            pd.testing.assert_series_equal(plain(column), plain(other))
        pd.testing.assert_frame_equal(whole.img.failures, expected.img.failures)
    else:
        assert whole.isna().tolist() == expected.isna().tolist()


def test_result_of_another_function_is_not_replaced(paths, tmp_path):
    out = tmp_path / "x.parquet"
    paths.img.map(lambda pixels: 1, dtype="int64", out=out, errors="coerce")
    with pytest.raises(JournalError, match=r"func was .* and is"):
        paths.img.map(lambda pixels: 2, dtype="int64", out=out, errors="coerce")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, o: p.img.map(row_of, out=o + ".parquet"), "out= needs dtype="),
        (lambda p, o: p.img.map(row_of, out=o + ".npy", dtype="int64"), "holds images; this map gives others"),
        (lambda p, o: p.img.augment(row_of, out=o + ".npy"), "out= needs size="),
        (lambda p, o: p.img.augment(row_of, out=o + ".npy", to=o), "give one of them"),
    ],
)
def test_out_without_schema_is_refused(paths, tmp_path, call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(paths, str(tmp_path / "x"))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("x")]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, o: p.img.map(facts, out=o, dtype="int64", errors="coerce"), "dtype='int64' cannot hold it"),
        (lambda p, o: p.img.map(row_of, out=o, dtype={"a": "int64"}, errors="coerce"), "by dtype= it is a dict"),
        (lambda p, o: p.img.map(row_of, dtype=ImageDtype("uint8", (4, 4, 3)), errors="coerce"), "it returned int of"),
        (lambda p, o: p.img.augment(lambda a: a[:4], n=2, size=8, out=o, errors="coerce"), r"shape \(4, 8, 3\), not"),
    ],
)
def test_result_of_another_schema_is_a_failure(paths, tmp_path, call, message):
    result = call(paths[:3], tmp_path / "x.parquet")
    failures = (
        read_result(tmp_path / "x.parquet").img.failures if (tmp_path / "x.parquet").exists() else result.img.failures
    )
    assert failures["kind"].eq("function").all()
    assert failures.index.equals(result.index)
    assert failures["message"].str.contains(message).all()


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("filename", ["x.npy", "x.parquet"])
def test_empty_frame_has_empty_result(paths, tmp_path, name, filename):
    if filename == "x.npy" and name in ("number", "dict", "features"):
        pytest.skip("a .npy file holds images")
    expected = CALLS[name](paths[:0])
    CALLS[name](paths[:0], out=tmp_path / filename)
    result = read_result(tmp_path / filename)
    assert len(result) == 0
    assert type(result) is type(expected)
    if filename == "x.parquet":
        assert "failure" in pd.read_parquet(tmp_path / filename).columns
        CALLS[name](paths, out=tmp_path / filename)
        check(read_result(tmp_path / filename), CALLS[name](paths))


def test_results_of_different_jobs_are_not_merged(paths, tmp_path):
    for k, fit in enumerate(["stretch", "crop"]):
        paths.iloc[k::2].img.load_resized(8, fit=fit, out=tmp_path / f"{k}.npy", errors="coerce")
    with pytest.raises(ValueError, match="not the parts of one job: fit was 'stretch' and is 'crop'"):
        read_result([tmp_path / f"{k}.npy" for k in range(2)])


def test_part_without_any_camera_is_joined_to_parts_with_one(tmp_path):
    """A category column without a value has no dtype of its own."""
    exif = Image.Exif()
    exif[0x0110] = "Camera"
    for number in range(8):
        row_image(number).save(tmp_path / f"{number}.jpg", exif=exif if number < 4 else Image.Exif())
    (tmp_path / "7.jpg").unlink()
    paths = pd.Series([str(tmp_path / f"{number}.jpg") for number in range(8)])
    out = str(tmp_path / "out.parquet")
    for _ in range(2):
        paths.img.features(["camera", "width"], errors="coerce", npartitions=2, out=out)
    row_image(7).save(tmp_path / "7.jpg", exif=exif)
    paths.img.features(["camera", "width"], errors="coerce", npartitions=2, out=out)
    expected = paths.img.features(["camera", "width"], npartitions=2)
    pd.testing.assert_frame_equal(read_result(out), expected)
