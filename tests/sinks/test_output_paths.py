"""Output paths: templates, names that leave the folder, collisions."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from archive_factory import make_zip
from image_factory import image_bytes, row_image, row_of
from PIL import Image
from saved_files import N, check_files, image_frame, mtimes

import pandas_imgproc
from pandas_imgproc import JournalError


@pytest.fixture
def frame(tmp_path):
    return image_frame(tmp_path / "images")


@pytest.mark.parametrize(
    ("to", "third"),
    [
        ("out/{label}/{stem}.jpg", "out/class 2/2.jpg"),
        ("out/{index}_{position:03d}.png", "out/row 2_002.png"),
        ("out/{name}", "out/2.png"),
        ("out/{stem}{suffix}", "out/2.png"),
        ("{dir}/{stem}_8.jpg", "images/even/2_8.jpg"),
        ("out", "out/even/2.png"),
        ("out/{{}}/{stem}.webp", "out/{}/2.webp"),
        ("out//{label}/./{stem}.png", "out//class 2/./2.png"),
    ],
)
def test_template_fields_are_rendered(frame, tmp_path, monkeypatch, to, third):
    monkeypatch.chdir(tmp_path)
    relative = frame.assign(image_path=frame["image_path"].str.removeprefix(f"{tmp_path}/"))
    paths = relative.img.save_resized("image_path", to, size=8)
    check_files(paths, frame.index)
    assert paths["row 2"] == third


def test_long_and_unusual_names_are_unchanged(tmp_path):
    names = ["grün/ärger 'x' {y}.png", "日本/犬.png", "x" * 200 + ".png", " lead.png", "new\nline.png", "a.b.c.png"]
    for number, name in enumerate(names):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        row_image(number).save(tmp_path / "in" / name)
    paths = pd.Series(names).img.save_resized(tmp_path / "out", size=8, root=tmp_path / "in")
    check_files(paths, paths.index)
    assert [path.removeprefix(f"{tmp_path}/out/") for path in paths] == names


def test_undecodable_name_is_unchanged(tmp_path):
    name = os.fsdecode(b"\xff\xfe.png")
    row_image(0).save(tmp_path / name)
    for _ in range(2):
        paths = pd.Series([f"{tmp_path}/{name}"], dtype=object).img.save_resized(tmp_path / "out", size=8)
        assert os.path.basename(paths[0]) == name
    assert paths.dtype == object


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("a/b", "a name cannot contain '/'"),
        ("a\\b", "a name cannot contain"),
        ("../../etc", "a name cannot contain '/'"),
        ("..", "no name"),
        (".", "no name"),
        ("", "no name"),
        ("  ", "no name"),
        ("a\0b", "a name cannot contain"),
        ("a\nb", "a name cannot contain"),
        (None, "missing in row 2 .index 'row 2'."),
        (float("nan"), "missing in row 2"),
        ("x" * 300, "longer than 255 bytes"),
        ("/etc", "a name cannot contain '/'"),
    ],
)
def test_field_value_cannot_leave_folder(frame, tmp_path, label, message):
    frame["label"] = frame["label"].astype(object)
    frame.loc["row 2", "label"] = label
    with pytest.raises(ValueError, match=message):
        frame.img.save_resized("image_path", f"{tmp_path}/out/{{label}}/{{stem}}.jpg", size=8)
    assert not (tmp_path / "out").exists()


OWN_NAMES = [
    ".pandas-imgproc.jsonl",
    ".Pandas-ImgProc.jsonl",
    ".pandas-imgproc-0123abcd.lease",
    ".pandas-imgproc/00000000-0-3f.jsonl",
    ".pandas-imgproc.jsonl/a.jpg",
    ".train-shard.tar.jsonl",
    "a/.images.zip.unpacked.jsonl",
]


@pytest.mark.parametrize("name", OWN_NAMES)
@pytest.mark.parametrize("to", ["{}", "memory://own-names"], ids=["folder", "URL"])
def test_name_of_a_file_of_this_package_is_refused_before_writing(http_server, tmp_path, name, to):
    http_server.files.update({"d/0.jpg": b"0", f"d/{name}": b"1"})
    urls = pd.Series([http_server.url("d/0.jpg"), http_server.url(f"d/{name}")])
    with pytest.raises(ValueError, match=r"row 1 .* the name of a hidden file of pandas_imgproc; leave the row out"):
        urls.img.download(to.format(tmp_path / "out"), schemes=["memory"], errors="coerce")
    assert not (tmp_path / "out").exists()
    assert not http_server.requests


def test_value_cannot_be_the_name_of_a_file_of_this_package(frame, tmp_path):
    frame["label"] = ".pandas-imgproc"
    with pytest.raises(ValueError, match="the name of a hidden file of pandas_imgproc"):
        frame.img.save_resized("image_path", f"{tmp_path}/out/{{label}}/{{stem}}.jpg", size=8)
    with pytest.raises(ValueError, match="the name of a hidden file of pandas_imgproc"):
        frame.iloc[:1].img.save_resized("image_path", f"{tmp_path}/out/{{label}}.jpg", size=8)
    assert not (tmp_path / "out").exists()


def test_folder_that_the_user_names_may_begin_as_files_of_this_package(frame, tmp_path):
    for to in ("{}/.pandas-imgproc", "{}/.pandas-imgproc/{{label}}_{{stem}}.png"):
        check_files(frame.img.save_resized("image_path", to.format(tmp_path), size=8), frame.index)


def test_format_specification_cannot_make_parent_directory(frame, tmp_path):
    frame["label"] = "..x"
    with pytest.raises(ValueError, match="no name"):
        frame.img.save_resized("image_path", f"{tmp_path}/out/{{label:.2s}}/{{stem}}.png", size=8)


@pytest.mark.parametrize(
    ("to", "error", "message"),
    [
        ("out/{lable}/{stem}.jpg", KeyError, "no column 'lable'; did you mean 'label'"),
        ("out/{}.jpg", ValueError, "a field in braces"),
        ("out/{stem", ValueError, "not a template"),
        ("out/{stem!r}.jpg", ValueError, "a field in braces"),
        ("out/{stem.__class__}.jpg", KeyError, "no column"),
        ("out/{dir}/{stem}.jpg", ValueError, "at the beginning"),
        ("out/{position:x z}.jpg", ValueError, "position is 0"),
        ("out/{stem:06d}.jpg", ValueError, "{stem} is '.*' in row 0 .*: Unknown format code"),
        ("out/{stem}_{variant}.jpg", ValueError, "{variant} is of augment"),
        ("out/{stem}", ValueError, "give format="),
        ("out/{stem}.txt", ValueError, "give format="),
        ("out/a.jpg", ValueError, "names one file"),
        ("out/same.jpg{label}.jpg", ValueError, "row 0 .* and row 3 .* would both be written"),
        ("{dir}/{name}", ValueError, "would be written over"),
        ("s3://{name}", ValueError, "does not name a bucket"),
        ("", ValueError, "is not a folder such as"),
        (7, TypeError, "not a folder"),
        (None, TypeError, "not a folder"),
    ],
)
def test_invalid_to_is_refused_before_writing(frame, tmp_path, monkeypatch, to, error, message):
    monkeypatch.chdir(tmp_path)
    before = mtimes(tmp_path)
    with pytest.raises(error, match=message):
        frame.img.save_resized("image_path", to, size=8)
    assert mtimes(tmp_path) == before


def test_column_field_on_series_raises_key_error(frame, tmp_path):
    with pytest.raises(KeyError, match="call it on the frame"):
        frame["image_path"].img.save_resized(f"{tmp_path}/{{label}}/{{stem}}.jpg", size=8)


def test_column_field_takes_precedence_over_path_field(frame, tmp_path):
    frame["name"] = [f"name {k}" for k in range(N)]
    paths = frame.img.save_resized("image_path", f"{tmp_path}/{{name}}.png", size=8)
    assert paths["row 7"] == f"{tmp_path}/name 7.png"


@pytest.mark.parametrize("names", [("A.png", "a.png"), ("caf\u00e9.png", "cafe\u0301.png"), ("x/1.png", "y/1.png")])
def test_names_equal_on_other_file_systems_collide(tmp_path, names):
    for number, name in enumerate(names):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        row_image(number).save(tmp_path / "in" / name)
    paths = pd.Series([f"{tmp_path}/in/{name}" for name in names], index=["p", "q"])
    with pytest.raises(ValueError, match=r"row 0 \(index 'p'\) and row 1 \(index 'q'\) would both"):
        paths.img.save_resized(f"{tmp_path}/out/{{stem}}.jpg", size=8)
    assert not (tmp_path / "out").exists()


def test_source_folder_under_another_name_is_refused(frame, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "images")
    before = mtimes(tmp_path / "images")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"written over .* a source"):
            frame.img.save_resized("image_path", tmp_path / "link", size=8, overwrite=overwrite)
    assert mtimes(tmp_path / "images") == before


def test_encoded_images_need_a_template(frame, tmp_path):
    column = frame["image_path"].map(lambda path: Path(path).read_bytes())
    with pytest.raises(ValueError, match=r"a plain folder needs a path, and row 0 .* has none; .*{position}"):
        column.img.save_resized(tmp_path / "out", size=8)
    check_files(column.img.save_resized(f"{tmp_path}/out/{{position}}.png", size=8), frame.index)
    column.iloc[5] = (tmp_path / "images" / "even" / "6.png").read_bytes()
    with pytest.raises(JournalError, match="written from another image"):
        column.img.save_resized(f"{tmp_path}/out/{{position}}.png", size=8)


def test_encoded_images_with_path_take_its_name(frame, tmp_path):
    column = frame["image_path"].map(lambda path: {"bytes": Path(path).read_bytes(), "path": Path(path).name})
    paths = column.img.save_resized(tmp_path / "out", size=8)
    check_files(paths, frame.index)
    assert paths["row 3"] == f"{tmp_path}/out/3.png"


def test_name_without_a_writable_suffix_becomes_a_jpeg_file(tmp_path):
    names = ["a.png", "b", "c.heic", "d.mpo", "e.jpg_large", "f.JPG", "g.v2"]
    for row, name in enumerate(names):
        (tmp_path / name).write_bytes(image_bytes(row, "PNG"))
    saved = pd.Series(names).img.save_thumbnails(tmp_path / "small", 8, root=tmp_path)
    expected = ["a.png", "b.jpg", "c.jpg", "d.jpg", "e.jpg_large.jpg", "f.JPG", "g.v2.jpg"]
    assert [os.path.basename(path) for path in saved] == expected
    for row, path in enumerate(saved):
        with Image.open(path) as image:
            assert image.format == ("PNG" if row == 0 else "JPEG")
            assert row_of(np.asarray(image.convert("RGB"))) == row
    with pytest.raises(ValueError, match="give format='JPEG'"):
        pd.Series(["a.png"]).img.save_thumbnails(tmp_path / "x" / "{stem}.v2", 8, root=tmp_path)


@pytest.mark.parametrize("method", ["download", "save_resized"])
def test_file_with_the_name_of_a_folder_of_others_is_refused_before_writing(tmp_path, method):
    source, to = tmp_path / "source", tmp_path / "to"
    (source / "photos.png" / "deep").mkdir(parents=True)
    for row in range(3):
        row_image(row).save(source / "photos.png" / "deep" / f"{row}.png")
    column = pd.Series(["photos.png/deep/0.png", "photos.png", "photos.png/deep/1.png"], index=list("abc"))
    arguments = (to,) if method == "download" else (to, 8)
    with pytest.raises(ValueError, match=r"row 1 \(index 'b'\) would be written to .* folder of the file of row 0"):
        getattr(column.img, method)(*arguments, root=source)
    assert not to.exists()


def test_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "in").mkdir()
    row_image(3).save(tmp_path / "in" / "3.png")
    column = pd.Series(["3.png"])
    assert column.img.save_resized("~/small/{stem}.png", 8, root="~/in").tolist() == [f"{tmp_path}/small/3.png"]
    column.img.load_resized(8, root="~/in", out="~/x.npy")
    assert pandas_imgproc.read_result("~/x.npy").notna().all()
    assert (tmp_path / "x.npy").exists()


def test_file_beside_a_member_of_an_archive_is_refused_before_writing(tmp_path):
    (tmp_path / "x.zip").write_bytes(make_zip({"a/1.jpg": image_bytes(1)}))
    paths = pd.Series([f"{tmp_path}/x.zip/a/1.jpg"])
    with pytest.raises(ValueError, match=r"row 0 .*is in an archive, .*\{dir\} must be a folder"):
        paths.img.save_resized("{dir}/{stem}_8.jpg", size=8)


@pytest.mark.parametrize(
    ("names", "advice"), [(["a.png", "a.jpg"], "{suffix}"), (["a.png", "b/a.png"], "column or {pos")]
)
def test_advice_names_fields_that_differ(tmp_path, names, advice):
    for row, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        row_image(row).save(tmp_path / name)
    with pytest.raises(ValueError, match=f"would both be written.*{advice}"):
        pd.Series(names).img.save_resized(tmp_path / "out/{stem}.png", size=8, root=tmp_path)
