"""What map, augment and features give, kept on disk and continued."""

from __future__ import annotations

import re
import sys

import cloudpickle
import image_factory
import numpy as np
import pandas as pd
import pytest
from image_factory import row_image, row_of

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
    """Return a column as objects, None where missing: files know one kind of nothing only."""
    return column.astype(object).where(column.notna(), None)


def check(answer, expected):
    """Compare an answer that was kept with one that was not."""
    assert type(answer) is type(expected)
    assert answer.index.equals(expected.index)
    for name in expected.columns if isinstance(expected, pd.DataFrame) else [None]:
        one, other = (a if name is None else a[name] for a in (answer, expected))
        if isinstance(other.dtype, ImageDtype):
            assert np.array_equal(one.img.to_numpy(na_value=0), other.img.to_numpy(na_value=0))
            assert one.isna().equals(other.isna())
        else:
            pd.testing.assert_series_equal(plain(one), plain(other))
    assert answer.img.failures["kind"].tolist() == ["unidentified"] * len(answer.img.failures)
    assert answer.img.failures.index.equals(expected.img.failures.index)


@pytest.mark.parametrize("name", CALLS)
def test_parts_hold_what_the_call_gives(paths, tmp_path, name):
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
def test_images_in_one_file(paths, tmp_path, name):
    out = tmp_path / "x.npy"
    expected = CALLS[name](paths)
    check(CALLS[name](paths, out=out), expected)
    check(read_result(out), expected)
    assert np.array_equal(np.load(out, mmap_mode="r"), expected.img.to_numpy(na_value=0))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("place", ["x.npy", "x.parquet"])
def test_an_image_that_was_mended_and_rows_that_are_new(paths, tmp_path, name, place):
    if place == "x.npy" and name in ("number", "dict", "features"):
        pytest.skip("a .npy file holds images")
    out = tmp_path / place
    CALLS[name](paths[:30], out=out)
    row_image(BROKEN, (24, 16)).save(tmp_path / f"{BROKEN}.png")
    CALLS[name](paths, out=out, retry="all")
    check(read_result(out), CALLS[name](paths))


@pytest.mark.parametrize("name", CALLS)
def test_the_parts_of_one_frame(paths, tmp_path, name):
    outs = [tmp_path / f"{k}.parquet" for k in range(3)]
    for k, out in enumerate(outs):
        CALLS[name](paths.iloc[k::3], out=out)
    whole = read_result(outs)
    expected = CALLS[name](paths)
    assert whole.index.equals(expected.index)
    if name in ("number", "dict", "features"):
        for name in expected.columns if isinstance(expected, pd.DataFrame) else [None]:
            one, other = (a if name is None else a[name] for a in (whole, expected))
            pd.testing.assert_series_equal(plain(one), plain(other))
    else:
        assert whole.isna().tolist() == expected.isna().tolist()


def test_another_function_is_another_job(paths, tmp_path):
    out = tmp_path / "x.parquet"
    paths.img.map(lambda pixels: 1, dtype="int64", out=out, errors="coerce")
    with pytest.raises(JournalError, match=r"func was .* and is"):
        paths.img.map(lambda pixels: 2, dtype="int64", out=out, errors="coerce")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda p, o: p.img.map(row_of, out=o + ".parquet"), "out= needs dtype="),
        (lambda p, o: p.img.map(row_of, out=o + ".npy", dtype="int64"), "holds images; this map gives others"),
        (lambda p, o: p.img.augment(row_of, out=o + ".npy"), "out= needs size="),
        (lambda p, o: p.img.augment(row_of, out=o + ".npy", to=o), "give one of them"),
    ],
)
def test_what_cannot_be_kept_is_told(paths, tmp_path, call, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        call(paths, str(tmp_path / "x"))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("x")]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda p, o: p.img.map(facts, out=o, dtype="int64", errors="coerce"), "a dict of dtypes declares columns"),
        (lambda p, o: p.img.map(row_of, out=o, dtype={"a": "int64"}, errors="coerce"), "by dtype= it is a dict"),
        (lambda p, o: p.img.map(row_of, dtype=ImageDtype("uint8", (4, 4, 3)), errors="coerce"), "it returned int of"),
        (lambda p, o: p.img.augment(lambda a: a[:4], n=2, size=8, out=o, errors="coerce"), r"shape \(4, 8, 3\), not"),
    ],
)
def test_an_answer_of_another_form_is_that_rows_failure(paths, tmp_path, call, says):
    answer = call(paths[:3], tmp_path / "x.parquet")
    failures = (
        read_result(tmp_path / "x.parquet").img.failures if (tmp_path / "x.parquet").exists() else answer.img.failures
    )
    assert failures["kind"].eq("function").all()
    assert failures.index.equals(answer.index)
    assert failures["message"].str.contains(says).all()


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("place", ["x.npy", "x.parquet"])
def test_a_frame_without_rows(paths, tmp_path, name, place):
    if place == "x.npy" and name in ("number", "dict", "features"):
        pytest.skip("a .npy file holds images")
    expected = CALLS[name](paths[:0])
    CALLS[name](paths[:0], out=tmp_path / place)
    answer = read_result(tmp_path / place)
    assert len(answer) == 0
    assert type(answer) is type(expected)
    if place == "x.parquet":
        assert "failure" in pd.read_parquet(tmp_path / place).columns
        CALLS[name](paths, out=tmp_path / place)
        check(read_result(tmp_path / place), CALLS[name](paths))


def test_results_of_different_jobs_are_not_put_together(paths, tmp_path):
    for k, fit in enumerate(["stretch", "crop"]):
        paths.iloc[k::2].img.load_resized(8, fit=fit, out=tmp_path / f"{k}.npy", errors="coerce")
    with pytest.raises(ValueError, match="not the parts of one job: fit was 'stretch' and is 'crop'"):
        read_result([tmp_path / f"{k}.npy" for k in range(2)])
