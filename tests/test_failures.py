"""Errors policy: the warning, the exceptions and the table of images that cannot be read."""

from __future__ import annotations

import pickle
import warnings

import pandas as pd
import pytest
from image_factory import row_image

from pandas_imgproc import NoReadableImageError, UnreadableImageError, UnreadableImageWarning
from pandas_imgproc.location_hints import suggest
from pandas_imgproc.source import Source


@pytest.fixture
def folder(tmp_path, monkeypatch):
    home = tmp_path / "home" / "project"  # hints look in two folders above it, which other tests must not have filled
    (home / "data" / "images").mkdir(parents=True)
    for number in range(3):
        row_image(number, (24, 16)).save(home / "data" / "images" / f"{number}.png")
    monkeypatch.chdir(home)
    return home / "data" / "images"


def test_warning_has_counts_and_first_three_at_users_line(folder):
    paths = pd.Series(["0.png", *(f"gone{k}.png" for k in range(5))], index=list("abcdef"))
    with pytest.warns(UnreadableImageWarning) as caught:
        paths.img.load_resized(8, root=folder)
    text = str(caught[0].message)
    assert text.startswith("5 of 6 images could not be read and are missing values (5 missing):")
    assert "row 1 (index 'b'), 'gone0.png': there is no such file" in text
    assert "and 2 more" in text
    assert caught[0].filename == __file__


def test_warning_is_shown_each_time(folder):
    paths = pd.Series(["0.png", "gone.png"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        warnings.filterwarnings("always", category=UnreadableImageWarning)
        for _ in range(2):
            paths.img.load_resized(8, root=folder)
    assert len(caught) == 2


def test_errors_coerce_neither_warns_nor_raises(folder):
    column = pd.Series(["gone.png", "gone too.png"]).img.load_resized(8, root=folder, errors="coerce")
    assert column.isna().all()
    assert len(column.img.failures) == 2


def test_errors_raise_names_label_path_and_reason(folder):
    paths = pd.Series(["0.png", "gone.png", "1.png"], index=list("abc"))
    with pytest.raises(UnreadableImageError, match=r"row 1 \(index 'b'\), 'gone.png': there is no such file") as caught:
        paths.img.load_resized(8, root=folder, errors="raise")
    assert caught.value.kind == "missing"
    assert pickle.loads(pickle.dumps(caught.value)).kind == "missing"


def test_cluster_stays_usable_after_errors_raise(folder, managed_cluster):
    paths = pd.Series(["0.png", "gone.png", *["1.png"] * 200])
    with pytest.raises(UnreadableImageError):
        paths.img.load_resized(8, root=folder, errors="raise", npartitions=50)
    good = paths.drop(1).img.load_resized(8, root=folder, errors="raise", npartitions=5)
    assert good.notna().all()


def test_no_readable_image_raises_for_several_and_warns_for_one(folder):
    with pytest.raises(NoReadableImageError, match="none of 2 images could be read"):
        pd.Series(["gone.png", "gone.jpg"]).img.load_resized(8, root=folder)
    with pytest.warns(UnreadableImageWarning):
        pd.Series(["gone.png"]).img.load_resized(8, root=folder)
    assert pd.Series([None, None], dtype=object).img.load_resized(8).isna().all()


def test_forgotten_root_or_suffix_is_suggested(folder):
    with pytest.raises(NoReadableImageError, match=r"It would be found with root='data/images'\."):
        pd.Series(["0.png", "1.png"]).img.load_resized(8)
    with pytest.raises(NoReadableImageError, match=r"root='data/images' and suffix='\.png'\."):
        pd.Series(["0", "1"]).img.load_resized(8)
    with pytest.raises(NoReadableImageError, match=r"It would be found with suffix='\.png'\."):
        pd.Series(["0", "1"]).img.load_resized(8, root=folder)


@pytest.mark.parametrize("name", ["s3://a/b.png", "a\0b", "\ud800", "/gone.png", "../gone.png", "gone.png", "x" * 5000])
def test_suggestion_for_unfindable_name_is_none(folder, name):
    assert suggest(name, Source()) is None


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": "64"}, TypeError, "size"),
        ({"size": (64, 64, 3)}, ValueError, "size"),
        ({"size": 0}, ValueError, "size"),
        ({"size": 8, "mode": "HSV"}, ValueError, "mode"),
        ({"size": 8, "fit": "cover"}, ValueError, "fit"),
        ({"size": 8, "resample": "cubic"}, ValueError, "resample"),
        ({"size": 8, "background": "blu"}, ValueError, "background"),
        ({"size": 8, "reducing_gap": 0.5}, ValueError, "reducing_gap"),
        ({"size": 8, "errors": "ignore"}, ValueError, "errors"),
        ({"size": 8, "npartitions": 0}, ValueError, "npartitions"),
        ({"size": 8, "npartitions": 1.5}, TypeError, "npartitions"),
        ({"size": 8, "suffix": 3}, TypeError, "suffix"),
        ({"size": 8, "formats": ["JPG9"]}, ValueError, "formats"),
        ({"size": 8, "max_pixels": -1}, ValueError, "max_pixels"),
    ],
)
def test_illegal_argument_raises_before_reading(arguments, error, message):
    with pytest.raises(error, match=message):
        pd.Series(["gone.png", "gone.jpg"]).img.load_resized(**arguments)


def test_mistyped_column_lists_near_names():
    frame = pd.DataFrame({"image_path": ["a"], "label": [1]})
    with pytest.raises(KeyError, match="did you mean 'image_path'"):
        frame.img.load_resized("image_pth", size=8)
    with pytest.raises(TypeError, match="holds int64, not paths"):
        frame.img.load_resized("label", size=8)
    with pytest.raises(TypeError, match="load it first"):
        frame["image_path"].img.to_numpy()
    twice = pd.concat([frame, frame], axis=1)
    with pytest.raises(ValueError, match="2 columns named 'label'"):
        twice.img.load_resized("label", size=8)


def test_verify_has_no_argument_strict_for_a_reason(folder):
    with pytest.raises(TypeError, match="'strict'; it is always strict"):
        pd.Series([str(folder / "0.png")]).img.verify(strict=True)


def test_verify_finds_broken_images(folder):
    (folder / "text.png").write_text("no image")
    frame = pd.DataFrame({"image_path": ["0.png", "text.png", None, "gone.png"]}, index=[5, 5, 6, 7])
    report = frame.img.verify("image_path", root=folder)
    assert report.index.tolist() == [5, 5, 6, 7]
    assert report["kind"].isna().tolist() == [True, False, True, False]
    assert report["message"].isna().tolist() == [True, False, True, False]
    assert report.img.failures["kind"].tolist() == ["unidentified", "missing"]
    frame[report.columns] = report
    assert frame["kind"].astype(object).tolist()[1] == "unidentified"


@pytest.mark.parametrize(
    "index",
    [
        pd.Index(list("dcba"), name="id"),
        pd.Index([3, 1, 1, 0]),
        pd.date_range("2026-01-01", periods=4)[::-1],
        pd.MultiIndex.from_tuples([("x", 2), ("x", 1), ("w", 1), ("w", 0)], names=["a", "b"]),
    ],
)
def test_failures_of_frame_preserve_labels(folder, tmp_path, index):
    paths = pd.Series(["0.png", "gone.png", "1.png", "lost.png"], index=index)
    report = paths.img.verify(root=folder)
    for result in (report, report.sort_index(), report.iloc[1:]):
        table = result.img.failures
        assert table["path"].tolist() == ["gone.png", "lost.png"]
        pd.testing.assert_index_equal(table.index, index[[1, 3]], exact="equiv")
    report.to_parquet(tmp_path / "report.parquet")
    assert pd.read_parquet(tmp_path / "report.parquet").attrs["failures"][0]["path"] == "gone.png"
