"""`from_glob`: images in folders become a frame, in natural order."""

from __future__ import annotations

import glob
import os
import re

import fsspec
import numpy as np
import pandas as pd
import pytest
from archive_factory import foreign_zip, make_tar, make_zip
from image_factory import image_bytes, row_image, row_of

from pandas_imgproc import UnreadableImageError, discovery, from_glob
from pandas_imgproc.discovery import natural_sort_key

NAMES = ["b/img10.png", "b/img2.PNG", "a10/x.jpeg", "a2/x.webp", "top.png", "a2/deep/er/y.tif"]
IN_ORDER = ["a2/deep/er/y.tif", "a2/x.webp", "a10/x.jpeg", "b/img2.PNG", "b/img10.png", "top.png"]
OTHERS = ["notes.txt", ".hidden.png", ".git/z.png", "b/.pandas-imgproc.jsonl", "b/Thumbs.db", "b/.DS_Store"]


@pytest.fixture
def folder(tmp_path):
    for name in NAMES + OTHERS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_folder_gives_images_in_natural_order_with_labels(folder):
    df = from_glob(folder)
    assert df["image_path"].tolist() == [str(folder / name) for name in IN_ORDER]
    assert df["image_path"].dtype == pd.Series(dtype="str").dtype
    assert df["label"].tolist() == ["er", "a2", "a10", "b", "b", folder.name]
    assert [name for name in df["label"].cat.categories if name != folder.name] == ["a2", "a10", "b", "er"]
    assert isinstance(df.index, pd.RangeIndex)


def test_relative_paths_stay_relative(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert from_glob(".")["label"].tolist()[-1] == folder.name
    assert from_glob("b/../*.png")["label"].tolist() == [folder.name]
    assert from_glob("b")["image_path"].tolist() == ["b/img2.PNG", "b/img10.png"]
    df = from_glob("*.png")
    assert df["image_path"].tolist() == ["top.png"]
    assert df["label"].tolist() == [folder.name]
    monkeypatch.setenv("HOME", str(folder))
    assert from_glob("~/b/*2*")["image_path"].tolist() == [f"{folder}/b/img2.PNG"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*/*.png", ["b/img10.png"]),
        ("**/*.[pw]*", ["a2/x.webp", "b/img10.png", "top.png"]),
        ("b/*", ["b/Thumbs.db", "b/img2.PNG", "b/img10.png"]),  # a pattern may match any suffix
        ("top.png", ["top.png"]),
    ],
)
def test_pattern_matches_any_suffix(folder, pattern, expected):
    assert sorted(from_glob(f"{folder}/{pattern}")["image_path"]) == sorted(str(folder / name) for name in expected)


def test_symlinked_folders_are_followed_once(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "linked.png").touch()
    (folder / "linked").symlink_to(outside)
    (folder / "b" / "loop").symlink_to(folder)
    df = from_glob(folder)
    assert sorted(df["image_path"]) == sorted([str(folder / name) for name in NAMES] + [f"{folder}/linked/linked.png"])


@pytest.mark.parametrize("pattern", ["", "/**/*.png", "/**", "/*/**/*.png"])
def test_walk_ends_where_several_links_lead_up(tmp_path, pattern):
    folder = tmp_path / "d"
    (folder / "x").mkdir(parents=True)
    (folder / "x" / "a.png").touch()
    for name in ("up", "again"):
        (folder / "x" / name).symlink_to("..")
    (folder / "link").symlink_to(folder / "x")
    (folder / "itself").symlink_to("itself")
    df = from_glob(f"{folder}{pattern}")
    found = df[df["image_path"].str.endswith(".png")]
    assert found["image_path"].tolist() == [f"{folder}/x/a.png"]  # not by the link, whose name would be the label
    assert found["label"].tolist() == ["x"]


def test_folders_of_systems_are_skipped(folder):
    for name in ("@eaDir", "$RECYCLE.BIN", "b/__MACOSX"):
        (folder / name).mkdir()
        (folder / name / "a.png").touch()
    assert from_glob(folder)["image_path"].tolist() == [str(folder / name) for name in IN_ORDER]


PARTS = [
    "**",
    "*",
    "?",
    "b",
    "a2",
    "*.png",
    "*.PNG",
    "[ab]*",
    "[!b]*",
    "**a",
    "*2*",
    "img?*",
    "[]]",
    "[a-b]",
    "[",
    ".git",
    ".*",
]


@pytest.mark.parametrize("seed", range(30))
def test_recursive_pattern_matches_as_glob(folder, seed, monkeypatch):
    monkeypatch.chdir(folder)
    rng = np.random.default_rng(seed)
    for _ in range(10):
        parts = [str(part) for part in rng.choice(PARTS, rng.integers(1, 4))]
        parts.insert(int(rng.integers(0, len(parts) + 1)), "**")
        pattern = "/".join(parts)
        for top in ("", f"{folder}/", "./"):
            expected = {path for path in glob.glob(top + pattern, recursive=True) if os.path.isfile(path)}
            assert set(discovery._list_local(top + pattern)) == expected, top + pattern


def test_undecodable_file_name_is_listed(tmp_path):
    folder = tmp_path / os.fsdecode(b"\xfe")
    folder.mkdir()
    row_image(0).save(folder / os.fsdecode(b"\xff.png"))
    df = from_glob(tmp_path)
    assert df["image_path"].tolist() == [os.fsdecode(bytes(tmp_path) + b"/\xfe/\xff.png")]
    assert df["label"].tolist() == df["label"].cat.categories.tolist() == [os.fsdecode(b"\xfe")]


def test_url_of_folder_and_pattern_is_listed(folder):
    fs = fsspec.filesystem("memory")
    try:
        for name in NAMES + OTHERS:
            fs.pipe_file(f"/bucket/{name}", b"x")
        df = from_glob("memory://bucket")
        assert df["image_path"].tolist() == [f"memory:///bucket/{name}" for name in IN_ORDER]
        assert from_glob("memory://bucket/b/*.png")["image_path"].tolist() == ["memory:///bucket/b/img10.png"]
        with pytest.raises(FileNotFoundError, match="no such folder"):
            from_glob("memory://missing")
    finally:
        fs.rm("/bucket", recursive=True)


@pytest.mark.parametrize(
    ("pattern", "error", "message"),
    [
        ("gone", FileNotFoundError, "no such folder"),
        ("gone.zip", FileNotFoundError, "no such archive"),
        ("*.jpg", FileNotFoundError, "matches no image"),
        (".git/deeper", FileNotFoundError, "no such folder"),
        (7, TypeError, "not a folder"),
        (b"photos", TypeError, "not a folder"),
    ],
)
def test_missing_folder_or_match_raises(folder, monkeypatch, pattern, error, message):
    monkeypatch.chdir(folder)
    with pytest.raises(error, match=message):
        from_glob(pattern)
    (folder / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="matches no image"):
        from_glob("empty")
    with pytest.raises(ValueError, match="storage_options"):
        from_glob("b", storage_options={"anon": True})


def test_pattern_finds_each_image_once_behind_symlink_to_parent(folder):
    (folder / "b" / "loop").symlink_to(folder)
    assert from_glob(f"{folder}/**/*.png")["image_path"].tolist() == [
        str(folder / name) for name in IN_ORDER if name.endswith(".png")
    ]


def test_natural_order_is_that_of_texts_and_numbers():
    """The order of the keys is that of lists of texts and integers, folder by folder."""
    rng = np.random.default_rng(0)
    letters = list("aB.-_ /0129ß٣") + ["10", "007", "0" * 50 + "3", "9" * 50]
    names = ["".join(rng.choice(letters, rng.integers(1, 9))) for _ in range(3000)]

    def key(text):
        parts = [re.split(r"(\d+)", part.casefold()) for part in text.split("/")]
        return [[int(token) if i % 2 else token for i, token in enumerate(part)] for part in parts], text

    assert sorted(names, key=natural_sort_key) == sorted(names, key=key)
    assert discovery._natural_sorted(names) == sorted(names, key=key)


HIDDEN = ["__MACOSX/b/._img2.PNG", "__MACOSX/b/img2.PNG", ".hidden.png", "b/.git/z.png", "../out.png", "notes.txt"]
ARCHIVED = dict.fromkeys([*NAMES, *HIDDEN], b"x")


@pytest.mark.parametrize(("suffix", "make"), [(".zip", make_zip), (".tar", make_tar)])
def test_archive_is_listed_as_a_folder_of_its_members(tmp_path, monkeypatch, suffix, make):
    path = tmp_path / f"train{suffix}"
    path.write_bytes(make({f"./{name}" if suffix == ".tar" else name: data for name, data in ARCHIVED.items()}))
    df = from_glob(path)
    assert df["image_path"].tolist() == [f"{path}/{name}" for name in IN_ORDER]
    assert df["label"].tolist() == ["er", "a2", "a10", "b", "b", "train"]
    monkeypatch.chdir(tmp_path)
    assert from_glob(path.name)["label"].tolist() == ["er", "a2", "a10", "b", "b", "train"]
    for pattern, expected in [
        ("/b", ["b/img2.PNG", "b/img10.png"]), ("/a2/", ["a2/deep/er/y.tif", "a2/x.webp"]),
        ("/*/*.png", ["b/img10.png"]), ("/**/*.[pw]*", ["a2/x.webp", "b/img10.png", "top.png"]),
        ("/*.txt", ["notes.txt"]), ("/top.png", ["top.png"]), ("/**", IN_ORDER[:-1] + ["notes.txt", "top.png"]),
    ]:  # fmt: skip
        assert from_glob(path.name + pattern)["image_path"].tolist() == [f"{path.name}/{name}" for name in expected]
    for pattern in ("/gone", "/gone/*.png", "/.hidden.*"):
        with pytest.raises(FileNotFoundError, match="matches no image"):
            from_glob(path.name + pattern)


def test_pattern_of_archives_lists_their_members_and_never_themselves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for k in range(2):
        (tmp_path / f"s{k}.tar").write_bytes(make_tar({"cat/1.jpg": b"x", "1.json": b"{}"}))
    assert from_glob("*.tar")["image_path"].tolist() == ["s0.tar/cat/1.jpg", "s1.tar/cat/1.jpg"]
    assert from_glob("**/*.tar")["label"].tolist() == ["cat", "cat"]
    with pytest.raises(FileNotFoundError, match="matches no image"):
        from_glob(".")  # a folder's archives are no images


def test_frame_of_an_archive_works_with_other_methods(tmp_path):
    (tmp_path / "train.zip").write_bytes(make_zip({f"{label}/{k}.jpg": image_bytes(k) for k, label in enumerate("ab")}))
    df = from_glob(tmp_path / "train.zip")
    assert [row_of(image) for image in df.img.load_resized("image_path", 8).img.to_numpy()] == [0, 1]
    paths = df.img.save_resized("image_path", tmp_path / "out", size=8)
    assert paths.tolist() == [f"{tmp_path}/out/a/0.jpg", f"{tmp_path}/out/b/1.jpg"]


def test_names_in_a_code_page_are_decoded_by_encoding(tmp_path):
    (tmp_path / "x.zip").write_bytes(foreign_zip({"写真/猫.jpg".encode("cp932"): image_bytes(7)}))
    df = from_glob(tmp_path / "x.zip", encoding="cp932")
    assert df["label"].tolist() == ["写真"]
    for frame in (df, from_glob(tmp_path / "x.zip")):
        assert row_of(frame.img.load_resized("image_path", 8).img.to_numpy()[0]) == 7
    with pytest.raises(ValueError, match="encoding='klingon' is not a code page"):
        from_glob(tmp_path / "x.zip", encoding="klingon")


def test_damaged_archive_is_named(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"no archive")
    with pytest.raises(UnreadableImageError, match=r"x\.zip.*cannot be read"):
        from_glob(tmp_path / "x.zip")
