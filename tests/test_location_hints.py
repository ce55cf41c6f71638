"""Hints for names that lead to no file: following one finds it."""

from __future__ import annotations

import base64
import os
import re
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from archive_factory import make_zip
from image_factory import image_bytes

from pandas_imgproc import NoReadableImageError, load_image
from pandas_imgproc.location_hints import suggest
from pandas_imgproc.source import make_source


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Return an empty working folder, two levels below an empty one."""
    folder = tmp_path / "kaggle" / "working"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DATA", "data")
    return folder


def put(path):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image_bytes(1))


def hint(name, **options):
    return suggest(name, make_source(**options)) or ""


@pytest.mark.parametrize(
    ("file", "name", "options", "expected"),
    [
        ("data/images/7.jpg", "7", {}, "root='data/images' and suffix='.jpg'"),
        ("data/images/7.jpg", "7.jpg", {}, "root='data/images'"),
        ("data/7.jpg", "7", {"suffix": ".jpg"}, "root='data'"),
        ("data/7.jpg", "7.jpg", {"root": "data", "suffix": ".jpg"}, "without suffix="),
        ("data/train/7.jpg", "data/train/7.jpg", {"root": "data"}, "/kaggle/working'"),
        ("a/b.jpg", "a\\b.jpg", {}, "slashes in place of backslashes"),
        ("data/a/b.jpg", "a\\b.jpg", {}, "root='data', with slashes"),
        ("a.jpg", " a.jpg", {}, ".str.strip()"),
        ("a.jpg", "a.jpg\r", {}, ".str.strip()"),
        ("a.jpg", '"a.jpg"', {}, ".str.strip()"),
        ("data/a.jpg", "a\r", {"root": "data"}, "suffix='.jpg', without the blanks"),
        ("../../home/a.jpg", "~/a.jpg", {}, "os.path.expanduser"),
        ("data/a.jpg", "$DATA/a.jpg", {}, "os.path.expandvars"),
        ("a b.jpg", "a%20b.jpg", {}, "urllib.parse.unquote"),
        ("a.JPG", "a.jpg", {}, "There is 'a.JPG'"),
        ("data/a.png", "a.jpg", {"root": "data"}, "There is 'a.png'"),
        ("data/a.png", "a.jpg", {}, "There is 'a.png' with root='data'"),
        (unicodedata.normalize("NFD", "é.jpg"), unicodedata.normalize("NFC", "é.jpg"), {}, "normalize('NFD')"),
        (unicodedata.normalize("NFC", "é.jpg"), unicodedata.normalize("NFD", "é.jpg"), {}, "normalize('NFC')"),
        ("../input/train/7.jpg", "7.jpg", {}, "/kaggle/input/train'"),
        ("data/7.jpg", "/old/machine/7.jpg", {"root": "data"}, "os.path.basename"),
    ],
)
def test_correction_of_a_missing_name_is_suggested(here, file, name, options, expected):
    put(file)
    if "root" in options:
        Path(options["root"]).mkdir(exist_ok=True)
    assert expected in hint(name, **options)


def test_all_folders_are_listed_but_none_of_thumbnails_made_here(here):
    for folder in ("data/images", "data/other"):
        put(f"{folder}/7.jpg")
    pd.Series(["7.jpg"]).img.save_thumbnails("small", 8, root="data/images")
    assert Path("small/7.jpg").exists()
    assert "root='data/images' or root='data/other'" in hint("7.jpg")
    assert "small" not in hint("7.jpg")


def test_folder_behind_a_link_is_searched_once(here, tmp_path_factory):
    outside = tmp_path_factory.mktemp("disk")
    put(outside / "7.jpg")
    (here / "data").symlink_to(outside)
    (here / "up").symlink_to(".")
    assert "root='data'" in hint("7.jpg")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (base64.b64encode(image_bytes(1)).decode(), "base64"),
        (str(image_bytes(1)), "ast.literal_eval"),
        ("b77e8bbf11bb9f008bdf3fe93904180b", "method='md5'"),
        ("11688158587130310939", "astype('UInt64')"),
        ("IMG_2024", ""),
    ],
)
def test_value_that_is_no_name_is_recognized(here, name, expected):
    assert expected in hint(name)
    assert bool(hint(name)) == bool(expected)
    if expected:
        with pytest.raises(NoReadableImageError, match=re.escape(expected)):
            pd.Series([name] * 2).img.load_resized(8)


def test_link_to_itself_is_no_obstacle(here):
    for folder in (here, here / "data"):
        folder.mkdir(exist_ok=True)
        (folder / "loop").symlink_to("loop")
    put("data/a.PNG")
    assert "There is 'a.PNG' with root='data'" in hint("a.png")
    with pytest.raises(NoReadableImageError, match="There is no folder"):
        pd.Series(["a.png"] * 2).img.load_resized(8, root="data/gone")


@pytest.mark.parametrize("dtype", [object, "str", "string"])
def test_column_of_data_uris_is_read(here, dtype):
    head = "data:image/jpeg;base64,"
    uri = head + base64.b64encode(image_bytes(1)).decode()
    put("a.jpg")
    texts = pd.Series([None, uri, uri.replace("+", "%2B"), "a.jpg", f"{head}*", f"{head}AAAA"], dtype=dtype)
    images = texts.img.load_resized(8, errors="coerce")
    assert images.isna().tolist() == [True, False, False, False, True, True]
    assert images.img.failures["kind"].tolist() == ["invalid_path", "unidentified"]
    assert (load_image(uri, size=8) == np.asarray(images[1])).all()


def test_data_uri_is_named_in_its_failure(here):
    put("a.jpg")
    uri = "data:image/jpeg;base64," + base64.b64encode(image_bytes(1)).decode()
    with pytest.warns(UserWarning, match="it is a data: URI, which holds the image itself"):
        pd.Series(["a.jpg", uri]).img.load_resized(8)


def test_folder_is_no_file_of_another_name(here):
    put("src/deep/7.jpg")
    assert hint("src") == hint("src/deep") == ""


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_folder_in_an_archive_is_suggested(here, kind):
    put("7.jpg")
    if kind == "zip":
        with zipfile.ZipFile("a.zip", "w") as archive:
            archive.write("7.jpg", "comp/train/7.jpg")
            archive.writestr("win\\8.jpg", image_bytes(1))
    else:
        with tarfile.open("a.tar", "w") as archive:
            archive.add("7.jpg", "comp/train/7.jpg")
    os.remove("7.jpg")
    assert hint("7.jpg", root=f"a.{kind}") == f"It would be found with root='a.{kind}/comp/train'."
    assert hint("TRAIN/7.jpg", root=f"a.{kind}/comp") == "The archive has 'comp/train/7.jpg'."
    assert hint("gone.jpg", root=f"a.{kind}") == ""
    column = pd.Series(["7.jpg"] * 2)
    with pytest.raises(NoReadableImageError, match="comp/train"):
        column.img.load_resized(8, root=f"a.{kind}")
    assert column.img.load_resized(8, root=f"a.{kind}/comp/train").notna().all()


def test_root_with_a_variable_or_that_is_no_archive_is_told(here):
    put("../../home/a.jpg")
    assert pd.Series(["a.jpg"] * 2).img.load_resized(8, root="~").notna().all()
    with pytest.raises(NoReadableImageError, match="variables are not replaced"):
        pd.Series(["a.jpg"] * 2).img.load_resized(8, root="$HOME")
    Path("page.zip").write_text("<html>no</html>")
    with pytest.raises(NoReadableImageError, match=r"Is root='page\.zip' an archive"):
        pd.Series(["a.jpg"] * 2).img.load_resized(8, root="page.zip")
    with pytest.raises(NoReadableImageError, match=r"Is root='gone\.zip' the path of the archive"):
        pd.Series(["a.jpg"] * 2).img.load_resized(8, root="gone.zip")


@pytest.mark.parametrize("name", ["cat/1.jpg", "top/train/cat/1.JPG", "train/Cat/1.jpg"])
def test_member_of_another_folder_is_suggested_for_a_path_through_an_archive(here, name):
    Path("a.zip").write_bytes(make_zip({"train/cat/1.jpg": image_bytes(1)}))
    assert hint(f"a.zip/{name}") == "There is 'a.zip/train/cat/1.jpg'."
    assert hint("a.zip/other.jpg") == ""
