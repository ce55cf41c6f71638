"""Files made of images: names, whole or not there, continued, never stale, never over somebody else's."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import psutil
import pytest
from image_factory import encoded, in_mode, marked, oriented, png, row_image, row_of, scene
from PIL import Image, ImageCms

from conftest import cluster_pids, wait_until
from pandas_imgproc import JournalError, NoReadableImageError, ResultTooLargeError, UnreadableImageError, codec
from pandas_imgproc._shared_memory import MemfdHandle
from pandas_imgproc.partition import PartitionInput, PartitionResult
from pandas_imgproc.sinks import ImageFileSink, JobContext
from pandas_imgproc.sinks.journal_storage import LocalJournal
from pandas_imgproc.source import Source
from pandas_imgproc.tasks import SaveResized

N = 40


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "images"
    for number in range(N):
        path = folder / ("even", "odd")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        row_image(number, (24, 16)).save(path)
    return folder


@pytest.fixture
def frame(folder):
    files = [str(folder / ("even", "odd")[k % 2] / f"{k}.png") for k in range(N)]
    frame = pd.DataFrame({"image_path": files, "label": [f"class {k % 3}" for k in range(N)]})
    return frame.set_axis([f"row {k}" for k in range(N)])


def stamps(folder):
    """Return when each file below a folder was written."""
    return {str(path): path.stat().st_mtime_ns for path in Path(folder).rglob("[!.]*") if path.is_file()}


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image)


def profile_of(path):
    with Image.open(path) as image:
        return image.info.get("icc_profile")


def check(paths, index, missing=()):
    """Every row has the file of its own image."""
    pd.testing.assert_index_equal(paths.index, index)
    assert paths.name == "path"
    assert paths.dtype == pd.Series(dtype="str").dtype  # pandas 2 has objects
    for k, path in enumerate(paths):
        if k in missing:
            assert pd.isna(path)
        else:
            with Image.open(path) as image:
                assert row_of(np.asarray(image)) == k


@pytest.mark.parametrize("npartitions", [None, 7])
def test_every_row_has_its_file(frame, tmp_path, own_cluster, npartitions):
    shuffled = frame.sample(frac=1, random_state=1)
    paths = shuffled.img.save_resized("image_path", tmp_path / "out", size=8, npartitions=npartitions)
    check(paths[frame.index], frame.index)
    assert paths["row 3"] == str(tmp_path / "out" / "odd" / "3.png")


def test_a_second_call_makes_what_is_missing(frame, tmp_path):
    def call():
        return frame.img.save_resized("image_path", tmp_path / "out", size=8)

    first = call()
    before = stamps(tmp_path / "out")
    Path(first.iloc[3]).unlink()
    pd.testing.assert_series_equal(call(), first)
    after = stamps(tmp_path / "out")
    assert [path for path in before if before[path] != after[path]] == [first.iloc[3]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"size": 9}, r"size was \[8, 8\] and is \[9, 9\]"),
        ({"quality": 90}, "quality was 75 and is 90"),
        ({"fit": "crop"}, "fit was 'stretch' and is 'crop'"),
    ],
)
def test_another_task_into_the_same_names_is_refused(frame, tmp_path, change, says):
    frame.img.save_resized("image_path", tmp_path / "out", size=8)
    before = stamps(tmp_path / "out")
    with pytest.raises(JournalError, match=says):
        frame.img.save_resized("image_path", tmp_path / "out", **{"size": 8} | change)
    assert stamps(tmp_path / "out") == before
    check(frame.img.save_resized("image_path", tmp_path / "out", **{"size": 8} | change, overwrite=True), frame.index)


def test_a_source_that_changed_is_made_again(frame, tmp_path):
    paths = frame.img.save_resized("image_path", tmp_path / "out", size=8)
    row_image(1000, (24, 16)).save(frame["image_path"].iloc[5])
    os.utime(frame["image_path"].iloc[5], ns=(1, 1))
    before = stamps(tmp_path / "out")
    frame.img.save_resized("image_path", tmp_path / "out", size=8)
    after = stamps(tmp_path / "out")
    assert [path for path in before if before[path] != after[path]] == [paths.iloc[5]]
    assert row_of(pixels_of(paths.iloc[5])) == 1000


# ---- names


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
def test_templates(frame, tmp_path, monkeypatch, to, third):
    monkeypatch.chdir(tmp_path)
    relative = frame.assign(image_path=frame["image_path"].str.removeprefix(f"{tmp_path}/"))
    paths = relative.img.save_resized("image_path", to, size=8)
    check(paths, frame.index)
    assert paths["row 2"] == third


def test_names_are_as_long_and_strange_as_the_system_takes(tmp_path):
    names = ["grün/ärger 'x' {y}.png", "日本/犬.png", "x" * 200 + ".png", " lead.png", "new\nline.png", "a.b.c.png"]
    for number, name in enumerate(names):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        row_image(number).save(tmp_path / "in" / name)
    paths = pd.Series(names).img.save_resized(tmp_path / "out", size=8, root=tmp_path / "in")
    check(paths, paths.index)
    assert [path.removeprefix(f"{tmp_path}/out/") for path in paths] == names


def test_a_name_that_is_not_text(tmp_path):
    name = os.fsdecode(b"\xff\xfe.png")
    row_image(0).save(tmp_path / name)
    for _ in range(2):
        paths = pd.Series([f"{tmp_path}/{name}"], dtype=object).img.save_resized(tmp_path / "out", size=8)
        assert os.path.basename(paths[0]) == name
    assert paths.dtype == object


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("a/b", "'/' cannot stand in a name"),
        ("a\\b", "cannot stand in a name"),
        ("../../etc", "'/' cannot stand in a name"),
        ("..", "no name"),
        (".", "no name"),
        ("", "no name"),
        ("  ", "no name"),
        ("a\0b", "cannot stand in a name"),
        ("a\nb", "cannot stand in a name"),
        (None, "missing in row 2 .label 'row 2'."),
        (float("nan"), "missing in row 2"),
        ("x" * 300, "longer than 255 bytes"),
        ("/etc", "'/' cannot stand in a name"),
    ],
)
def test_what_the_data_says_cannot_leave_the_folder(frame, tmp_path, label, says):
    frame["label"] = frame["label"].astype(object)
    frame.loc["row 2", "label"] = label
    with pytest.raises(ValueError, match=says):
        frame.img.save_resized("image_path", f"{tmp_path}/out/{{label}}/{{stem}}.jpg", size=8)
    assert not (tmp_path / "out").exists()


def test_a_format_does_not_make_two_dots(frame, tmp_path):
    frame["label"] = "..x"
    with pytest.raises(ValueError, match="no name"):
        frame.img.save_resized("image_path", f"{tmp_path}/out/{{label:.2s}}/{{stem}}.png", size=8)


@pytest.mark.parametrize(
    ("to", "error", "says"),
    [
        ("out/{lable}/{stem}.jpg", KeyError, "no column 'lable'; did you mean 'label'"),
        ("out/{}.jpg", ValueError, "between braces"),
        ("out/{stem", ValueError, "not a template"),
        ("out/{stem!r}.jpg", ValueError, "between braces"),
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
        ("s3://bucket/{name}", ValueError, "not a local folder"),
        ("", ValueError, "not the name of a folder"),
        (7, TypeError, "not a folder"),
        (None, TypeError, "not a folder"),
    ],
)
def test_what_cannot_be_a_folder_or_a_template(frame, tmp_path, monkeypatch, to, error, says):
    monkeypatch.chdir(tmp_path)
    before = stamps(tmp_path)
    with pytest.raises(error, match=says):
        frame.img.save_resized("image_path", to, size=8)
    assert stamps(tmp_path) == before


def test_a_series_has_no_columns(frame, tmp_path):
    with pytest.raises(KeyError, match="call it on the frame"):
        frame["image_path"].img.save_resized(f"{tmp_path}/{{label}}/{{stem}}.jpg", size=8)


def test_a_column_comes_before_a_part_of_the_path(frame, tmp_path):
    frame["name"] = [f"own {k}" for k in range(N)]
    paths = frame.img.save_resized("image_path", f"{tmp_path}/{{name}}.png", size=8)
    assert paths["row 7"] == f"{tmp_path}/own 7.png"


@pytest.mark.parametrize("names", [("A.png", "a.png"), ("caf\u00e9.png", "cafe\u0301.png"), ("x/1.png", "y/1.png")])
def test_names_that_are_the_same_elsewhere(tmp_path, names):
    for number, name in enumerate(names):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        row_image(number).save(tmp_path / "in" / name)
    paths = pd.Series([f"{tmp_path}/in/{name}" for name in names], index=["p", "q"])
    with pytest.raises(ValueError, match=r"row 0 \(label 'p'\) and row 1 \(label 'q'\) would both"):
        paths.img.save_resized(f"{tmp_path}/out/{{stem}}.jpg", size=8)
    assert not (tmp_path / "out").exists()


def test_the_same_source_twice_is_written_once(frame, tmp_path):
    twice = pd.concat([frame, frame.iloc[::-1]])
    twice.loc["row 4", "image_path"] = str(tmp_path / "gone.png")
    paths = twice.img.save_resized("image_path", tmp_path / "out", size=8, errors="coerce")
    pd.testing.assert_index_equal(paths.index, twice.index)
    assert paths.iloc[:N].tolist() == paths.iloc[N:].tolist()[::-1]
    assert paths.isna().sum() == 2
    assert paths.img.failures["position"].tolist() == [4, 75]
    journals = [line for path in (tmp_path / "out").rglob(".*.jsonl") for line in path.read_text().splitlines()]
    assert sum('"made"' in line for line in journals) == N - 1


def test_one_file_for_two_images_of_other_columns(frame, tmp_path):
    paths = frame.img.save_resized("image_path", f"{tmp_path}/{{label}}/{{stem}}.png", size=8)
    again = frame.assign(label="class 0").img.save_resized("image_path", f"{tmp_path}/{{label}}/{{stem}}.png", size=8)
    check(again, frame.index)
    assert len(stamps(tmp_path / "class 0")) == N
    assert Path(paths["row 1"]).exists()


def test_the_folder_of_images_itself_is_refused_by_any_name(frame, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "images")
    before = stamps(tmp_path / "images")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"written over .* a source"):
            frame.img.save_resized("image_path", tmp_path / "link", size=8, overwrite=overwrite)
    assert stamps(tmp_path / "images") == before


def test_somebody_elses_file_is_not_replaced(frame, tmp_path):
    (tmp_path / "out" / "odd").mkdir(parents=True)
    (tmp_path / "out" / "odd" / "7.png").write_text("mine")
    with pytest.raises(
        JournalError, match=r"odd/7\.png' exists, and it was not written by pandas_imgproc.*overwrite=True"
    ):
        frame.img.save_resized("image_path", tmp_path / "out", size=8)
    assert stamps(tmp_path / "out").keys() == {str(tmp_path / "out" / "odd" / "7.png")}
    check(frame.img.save_resized("image_path", tmp_path / "out", size=8, overwrite=True), frame.index)


def test_another_source_for_a_name_is_refused(frame, tmp_path):
    to = f"{tmp_path}/out/{{position}}.png"
    frame.img.save_resized("image_path", to, size=8)
    with pytest.raises(JournalError, match=r"0\.png' exists, and it was written from another image"):
        frame.iloc[::-1].img.save_resized("image_path", to, size=8)


def test_a_file_that_was_changed_or_emptied_is_made_again(frame, tmp_path):
    paths = frame.img.save_resized("image_path", tmp_path / "out", size=8)
    Path(paths.iloc[3]).write_bytes(b"")  # as after a power cut
    Path(paths.iloc[4]).write_bytes(b"other")
    check(frame.img.save_resized("image_path", tmp_path / "out", size=8), frame.index)


def test_what_is_moved_together_stays_done(frame, tmp_path):
    old, new = tmp_path / "project", tmp_path / "renamed"
    old.mkdir()
    (tmp_path / "images").rename(old / "images")
    here = frame["image_path"].str.replace(str(tmp_path), str(old))
    here.img.save_resized(old / "out", size=8)
    old.rename(new)
    before = stamps(new / "out")
    there = frame["image_path"].str.replace(str(tmp_path), str(new)).img.save_resized(new / "out", size=8)
    check(there, frame.index)
    assert stamps(new / "out") == before


def test_a_second_run_of_a_part_of_the_rows(frame, tmp_path):
    to = f"{tmp_path}/out/{{label}}/{{stem}}.png"
    frame.img.save_resized("image_path", to, size=8)
    before = stamps(tmp_path / "out")
    part = frame.sample(10, random_state=0)
    paths = part.img.save_resized("image_path", to, size=8)
    assert paths.tolist() == [
        f"{tmp_path}/out/{row.label}/{Path(row.image_path).stem}.png" for row in part.itertuples()
    ]
    assert stamps(tmp_path / "out") == before


# ---- what a file holds


@pytest.mark.parametrize("size", [128, (100, 30), (30, 100), 7, 1])
def test_thumbnails_are_pillow_s(tmp_path, size):
    shapes = [(500, 375), (375, 500), (128, 128), (40, 30), (1000, 3), (3, 1000), (301, 127), (129, 129), (640, 480)]
    for number, shape in enumerate(shapes):
        scene(*shape).save(tmp_path / f"{number}.jpg")
    paths = pd.Series([f"{k}.jpg" for k in range(len(shapes))])
    quick = paths.img.save_thumbnails(f"{tmp_path}/quick/{{stem}}.png", size=size, root=tmp_path)
    exact = paths.img.save_thumbnails(f"{tmp_path}/exact/{{stem}}.png", size=size, root=tmp_path, reducing_gap=None)
    for row, source in enumerate(paths):
        with Image.open(tmp_path / source) as expected:
            expected.thumbnail((size, size) if isinstance(size, int) else size, reducing_gap=None)
            assert np.array_equal(pixels_of(exact[row]), np.asarray(expected))
            assert pixels_of(quick[row]).shape == pixels_of(exact[row]).shape
            assert np.abs(pixels_of(quick[row]).astype(int) - pixels_of(exact[row])).mean() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_files_stand_upright_and_do_not_say_turn_me(tmp_path, orientation):
    upright = marked(211, 97)
    (tmp_path / "a.jpg").write_bytes(oriented(upright, orientation, quality=95))
    path = pd.Series([f"{tmp_path}/a.jpg"]).img.save_thumbnails(tmp_path / "out", size=64, quality=95)[0]
    upright.thumbnail((64, 64))
    with Image.open(path) as image:
        assert image.getexif().get(0x0112) is None
        assert image.size == upright.size
        assert np.abs(np.asarray(image).astype(int) - np.asarray(upright)).mean() < 4


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_colour_profile_is_kept_where_it_speaks_of_these_pixels(tmp_path, name):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    false = profile[:16] + b"CMYK" + profile[20:]
    row_image(0).save(tmp_path / "rgb.png", icc_profile=profile)
    row_image(0).save(tmp_path / "other.png", icc_profile=false)
    transparent = in_mode(row_image(0), "RGBA")
    transparent.save(tmp_path / "alpha.png", icc_profile=profile)
    for fit in ("stretch", "pad"):
        paths = pd.Series(["rgb.png", "other.png", "alpha.png"]).img.save_resized(
            tmp_path / fit, size=(20, 8), format=name, fit=fit, root=tmp_path
        )
        assert list(map(profile_of, paths)) == [profile, None, profile]


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "JPEG2000", "PPM"])
def test_every_format_is_what_it_says(tmp_path, name):
    row_image(9, (64, 48)).save(tmp_path / "a.png")
    paths = pd.Series(["a.png"]).img.save_resized(tmp_path / "out", size=32, format=name.lower(), root=tmp_path)
    with Image.open(paths[0]) as image:
        assert image.format == name
        assert image.size == (32, 32)
        assert row_of(np.asarray(image.convert("RGB"))) == 9


def test_transparency_lies_on_the_background_or_is_kept(tmp_path):
    in_mode(Image.new("RGB", (64, 48), "red"), "RGBA").save(tmp_path / "a.png")
    paths = pd.Series(["a.png"])
    flat = paths.img.save_resized(tmp_path / "a", size=32, background="blue", root=tmp_path, format="JPEG", quality=95)
    kept = paths.img.save_resized(tmp_path / "b", size=32, mode="RGBA", root=tmp_path)
    with Image.open(flat[0]) as image:
        assert image.mode == "RGB"
        assert np.abs(np.subtract(image.getpixel((1, 16)), (8, 0, 247))).max() < 16
    with Image.open(kept[0]) as image:
        assert image.mode == "RGBA"
        assert image.getchannel("A").getextrema() == (4, 255)


def test_the_class_numbers_of_a_mask_are_kept(tmp_path):
    levels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    mask = Image.fromarray(levels).convert("P")
    mask.putdata(levels.ravel().tolist())
    mask.save(tmp_path / "a.png")
    paths = pd.Series(["a.png"]).img.save_resized(tmp_path / "out", size=None, mode="P", root=tmp_path)
    with Image.open(paths[0]) as image:
        assert np.asarray(image).tolist() == levels.tolist()


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"mode": "RGBA"}, ValueError, "JPEG files cannot hold mode='RGBA'; formats that can: PNG"),
        ({"mode": "CMYK"}, ValueError, "JPEG files cannot hold mode='CMYK'"),
        ({"quality": 0}, ValueError, "quality=0"),
        ({"quality": "high"}, TypeError, "quality='high'"),
        ({"format": "PSD"}, ValueError, "format must be one of 'JPEG'"),
        ({"format": 3}, TypeError, "format=3"),
        ({"format": "PNG"}, ValueError, "names JPEG files such as .* and format='PNG'"),
        ({"fit": "cover"}, ValueError, "'thumbnail', got 'cover'"),
        ({"overwrite": "yes"}, TypeError, "overwrite='yes'"),
        ({"retry": "some"}, ValueError, "retry='some'"),
        ({"size": "128"}, TypeError, "size must be"),
    ],
)
def test_wrong_arguments(frame, tmp_path, options, error, says):
    with pytest.raises(error, match=says):
        frame.img.save_resized("image_path", f"{tmp_path}/out/{{stem}}.jpg", **{"size": 8} | options)
    assert not (tmp_path / "out").exists()


def test_a_column_of_images_has_one_shape(frame):
    for fit in ("thumbnail", "contain"):
        with pytest.raises(ValueError, match=f"fit='{fit}' keeps the aspect.*save_resized"):
            frame.img.load_resized("image_path", size=8, fit=fit)


def test_an_image_larger_than_the_format_holds_is_one_failure(frame, tmp_path):
    (tmp_path / "long.png").write_bytes(png(np.zeros((1, 70000), np.uint8), 8, 0))
    frame.loc["row 3", "image_path"] = str(tmp_path / "long.png")
    paths = frame.img.save_resized("image_path", f"{tmp_path}/out/{{stem}}.jpg", size=None, errors="coerce")
    check(paths, frame.index, missing=(3,))
    assert paths.img.failures["kind"].tolist() == ["unsupported"]
    assert "70000 x 1 pixels cannot be written as JPEG" in paths.img.failures["message"].iloc[0]


# ---- other sources, and an image column


def test_bytes_have_no_name(frame, tmp_path):
    column = frame["image_path"].map(lambda path: Path(path).read_bytes())
    with pytest.raises(ValueError, match=r"a plain folder needs a path, and row 0 .* has none; .*{position}"):
        column.img.save_resized(tmp_path / "out", size=8)
    check(column.img.save_resized(f"{tmp_path}/out/{{position}}.png", size=8), frame.index)
    column.iloc[5] = (tmp_path / "images" / "even" / "6.png").read_bytes()
    with pytest.raises(JournalError, match="written from another image"):
        column.img.save_resized(f"{tmp_path}/out/{{position}}.png", size=8)


def test_bytes_with_a_path_have_its_name(frame, tmp_path):
    column = frame["image_path"].map(lambda path: {"bytes": Path(path).read_bytes(), "path": Path(path).name})
    paths = column.img.save_resized(tmp_path / "out", size=8)
    check(paths, frame.index)
    assert paths["row 3"] == f"{tmp_path}/out/3.png"


def test_an_image_column(frame, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    frame.loc["row 3", "image_path"] = str(tmp_path / "bad.png")
    frame.loc["row 4", "image_path"] = None
    frame["image"] = frame.img.load_resized("image_path", size=8, errors="coerce")
    paths = frame["image"].img.save(tmp_path / "out", errors="coerce")
    check(paths, frame.index, missing=(3, 4))
    assert paths["row 5"] == f"{tmp_path}/out/row 5.png"
    assert paths.img.failures["kind"].to_dict() == {"row 3": "unidentified"}
    with Image.open(paths["row 5"]) as image:
        assert np.array_equal(np.asarray(image), np.asarray(frame["image"].iloc[5]))
    check(frame.img.save("image", f"{tmp_path}/{{label}}/{{index}}.webp", errors="coerce"), frame.index, (3, 4))
    grey = frame["image_path"].img.load_resized(8, mode="L", errors="coerce").img.save(tmp_path / "l", errors="coerce")
    with Image.open(grey["row 5"]) as image:
        assert image.mode == "L"
    with pytest.raises(TypeError, match="not images"):
        frame["image_path"].img.save(tmp_path / "out")
    with pytest.raises(ValueError, match="would both be written"):
        frame["image"].set_axis(["same"] * N).img.save(tmp_path / "same")


# ---- frames that are odd


def test_frames_that_are_odd(frame, tmp_path):
    empty = frame.head(0).img.save_resized("image_path", tmp_path / "out", size=8)
    assert empty.empty
    assert empty.name == "path"
    nothing = pd.Series([None, None], dtype=object).img.save_resized(tmp_path / "out", size=8)
    assert nothing.isna().all()
    assert not (tmp_path / "out").exists()
    levels = frame.set_axis(pd.MultiIndex.from_product([list("ab"), range(N // 2)]))
    check(levels.img.save_resized("image_path", f"{tmp_path}/levels/{{index}}.png", size=8), levels.index)
    assert (tmp_path / "levels" / "b-7.png").exists()
    constant = frame.set_axis(["x"] * N)
    check(constant.img.save_resized("image_path", tmp_path / "out", size=8), constant.index)
    objects = frame["image_path"].map(Path)
    check(objects.img.save_resized(tmp_path / "out", size=8), frame.index)


def test_broken_images_have_no_file_and_a_reason(frame, tmp_path):
    bad = {"row 1": b"", "row 2": b"no image", "row 3": Path(frame["image_path"].iloc[3]).read_bytes()[:60]}
    for row, data in bad.items():
        Path(frame.loc[row, "image_path"]).write_bytes(data)
    frame.loc["row 5", "image_path"] = str(tmp_path / "images" / "odd" / "gone.png")
    frame.loc["row 6", "image_path"] = None
    with pytest.warns(UserWarning, match=r"4 of 40 images could not be read[^$]*row 1 \(label 'row 1'\)") as caught:
        paths = frame.img.save_resized("image_path", tmp_path / "out", size=8)
    assert len(caught) == 1
    check(paths, frame.index, missing=(1, 2, 3, 5, 6))
    kinds = ["empty", "unidentified", "truncated", "missing"]
    assert paths.img.failures["kind"].tolist() == kinds
    assert len(stamps(tmp_path / "out")) == N - 5
    # Permanent ones are not tried again, and told again; what is missing is looked for.
    row_image(5).save(frame.loc["row 5", "image_path"])
    before = stamps(tmp_path / "out")
    again = frame.img.save_resized("image_path", tmp_path / "out", size=8, errors="coerce")
    assert again.img.failures["kind"].tolist() == kinds[:3]
    check(again, frame.index, missing=(1, 2, 3, 6))
    assert stamps(tmp_path / "out").keys() - before.keys() == {again["row 5"]}
    # A file that has been mended is.
    row_image(2).save(frame.loc["row 2", "image_path"])
    check(frame.img.save_resized("image_path", tmp_path / "out", size=8, errors="coerce"), frame.index, (1, 3, 6))
    with pytest.raises(UnreadableImageError, match="row 1"):
        frame.img.save_resized("image_path", tmp_path / "out", size=8, errors="raise")


def test_nothing_of_a_wrong_folder(frame, tmp_path):
    with pytest.raises(NoReadableImageError, match="none of 40 images"):
        frame["image_path"].map(os.path.basename).img.save_resized(tmp_path / "out", size=8)


def test_what_leads_out_of_root_has_no_file(frame, tmp_path):
    names = pd.Series(["even/0.png", "../outside.png", "/etc/hosts", "odd/1.png"])
    row_image(7).save(tmp_path / "outside.png")
    paths = names.img.save_resized(tmp_path / "out", size=8, root=tmp_path / "images", errors="coerce")
    assert paths.isna().tolist() == [False, True, True, False]
    assert paths.img.failures["kind"].tolist() == ["outside_root", "outside_root"]


# ---- runs that end early


SCRIPT = """
import sys, pandas as pd, pandas_imgproc
folder, out, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
pandas_imgproc.get_client(n_workers=2)
paths = pd.Series([f"{folder}/{k}.jpg" for k in range(n)])
paths.img.save_resized(out, size=300, npartitions=20)
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of JPEG files that take a while; nobody changes it."""
    folder = tmp_path_factory.mktemp("photos")
    data = [encoded(scene(400, 300, seed=seed), "JPEG", quality=90) for seed in range(10)]
    for number in range(300):
        (folder / f"{number}.jpg").write_bytes(data[number % 10])
    return folder


def whole_files(folder):
    """Return the files of a folder, having decoded each to its last pixel; nothing else may be there."""
    names = sorted(path.name for path in Path(folder).iterdir())
    assert [name for name in names if name.startswith(".")] == [".pandas-imgproc.jsonl"]
    for name in names[1:]:
        with Image.open(Path(folder) / name) as image:
            image.load()
    return names[1:]


@pytest.mark.parametrize("done", [120])
def test_a_killed_run_leaves_no_half_file_and_the_next_makes_the_rest(photos, tmp_path, done):
    out = tmp_path / "out"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(photos), str(out), "300"], env=env) as script:
        assert wait_until(lambda: out.exists() and len(os.listdir(out)) > done)
        workers = psutil.Process(script.pid).children(recursive=True)
        script.kill()
    psutil.wait_procs(workers)
    before = stamps(out)
    assert done <= len(whole_files(out)) < 300
    paths = pd.Series([f"{photos}/{k}.jpg" for k in range(300)]).img.save_resized(out, size=300)
    assert paths.notna().all()
    assert len(whole_files(out)) == 300
    after = stamps(out)
    assert all(after[path] == before[path] for path in before)  # not one was written again
    assert sum(b'"made"' in line for line in (out / ".pandas-imgproc.jsonl").read_bytes().splitlines()) == 300


def test_workers_that_are_killed_cost_nothing(photos, tmp_path, own_cluster):
    paths, kills = pd.Series([f"{photos}/{k}.jpg" for k in range(300)]), []
    out = tmp_path / "out"
    stop = threading.Event()

    def kill():
        while len(kills) < 3 and not stop.is_set():
            wait_until(lambda: stop.is_set() or (out.exists() and len(os.listdir(out)) > 70 * (len(kills) + 1)))
            pids = sorted(cluster_pids() - {None, 0})
            if pids and not stop.is_set():
                kills.append(pids[0])
                os.kill(pids[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        made = paths.img.save_resized(out, size=300, npartitions=20, errors="raise")
    finally:
        stop.set()
        killer.join()
    assert kills
    assert made.notna().all()
    assert len(whole_files(out)) == 300
    own_cluster.wait_for_workers(2)


@pytest.mark.parametrize("scheduler", ["threads", "distributed"])
@pytest.mark.parametrize("left", [0, 30_000, 400_000])
def test_a_full_disk_damages_nothing(photos, small_disk, own_cluster, scheduler, left):
    paths = pd.Series([f"{photos}/{k}.jpg" for k in range(60)])
    out = small_disk / "out"
    first = paths.head(10).img.save_resized(out, size=100)
    before = {path: Path(path).read_bytes() for path in first}
    free = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - left)))
    with dask.config.set(scheduler=scheduler), pytest.raises(OSError, match="No space left on device; what was fin"):
        paths.img.save_resized(out, size=500, quality=95, overwrite=True)
    whole_files(out)
    kept = {path for path in before if Path(path).read_bytes() == before[path]}
    assert len(kept) == 10 or left == 400_000  # where there is room, some are replaced
    (small_disk / "filler").unlink()
    again = paths.img.save_resized(out, size=50, overwrite=True)
    assert again.notna().all()
    assert {pixels_of(path).shape for path in again} == {(50, 50, 3)}


def test_a_disk_that_is_full_from_the_start_is_continued(photos, small_disk):
    paths = pd.Series([f"{photos}/{k}.jpg" for k in range(60)])
    out = small_disk / "out"
    (small_disk / "filler").write_bytes(bytes(1_000_000))
    with pytest.raises(OSError, match=r"jpg' cannot be written: No space left"):
        paths.img.save_resized(out, size=400, quality=90)
    before, done = stamps(out), len(whole_files(out))
    assert 0 < done < 60
    (small_disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    assert paths.img.save_resized(out, size=400, quality=90).notna().all()
    assert len(whole_files(out)) == 60
    assert before.items() <= stamps(out).items()


def test_a_folder_that_cannot_be_written(photos, small_disk):
    paths = pd.Series([f"{photos}/{k}.jpg" for k in range(3)])
    done = paths.head(2).img.save_resized(small_disk / "out", size=8)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    pd.testing.assert_series_equal(paths.head(2).img.save_resized(small_disk / "out", size=8), done)
    with pytest.raises(OSError, match="out' cannot be written: Read-only file system"):
        paths.img.save_resized(small_disk / "out", size=8)
    with pytest.raises(OSError, match="other' cannot be written: Read-only file system"):
        paths.img.save_resized(small_disk / "other", size=8)
    file = photos / "0.jpg"
    with pytest.raises(OSError, match=r"0\.jpg/out' cannot be written: Not a directory"):
        paths.img.save_resized(file / "out", size=8)


def test_systems_where_every_file_has_a_name(photos, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_TMPFILE")
    paths = pd.Series([f"{photos}/{k}.jpg" for k in range(3)])
    for size in (8, 9):
        made = paths.img.save_resized(tmp_path / "out", size=size, overwrite=True)
        assert {pixels_of(path).shape for path in made} == {(size, size, 3)}
    assert whole_files(tmp_path / "out") == ["0.jpg", "1.jpg", "2.jpg"]


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        (lambda lines: ["{}", *lines], "line 1"),
        (lambda lines: [lines[0], "cos\nsystem\n(S'echo'\ntR.", *lines[1:]], "line 2"),
        (lambda lines: [lines[0].replace('"journal":1', '"journal":99'), *lines[1:]], "format 99"),
        (lambda lines: [lines[0], lines[1].replace("[", "[null,")], "line 2"),
        (lambda lines: [lines[0], lines[1].replace("0.jpg", "../0.jpg")], "line 2"),
        (lambda lines: lines[1:], "line 1"),
        (lambda lines: ["[]", *lines], "line 1"),
    ],
)
def test_a_tampered_journal_is_refused(photos, tmp_path, tamper, says):
    paths = pd.Series([f"{photos}/{k}.jpg" for k in range(3)])
    paths.img.save_resized(tmp_path / "out", size=8)
    journal = tmp_path / "out" / ".pandas-imgproc.jsonl"
    journal.write_text("\n".join(tamper(journal.read_text().splitlines())) + "\n")
    with pytest.raises(JournalError, match=says):
        paths.img.save_resized(tmp_path / "out", size=8)


def test_a_torn_last_line_is_cut_off(photos, tmp_path):
    paths = pd.Series([f"{photos}/{k}.jpg" for k in range(3)])
    made = paths.img.save_resized(tmp_path / "out", size=8)
    journal = tmp_path / "out" / ".pandas-imgproc.jsonl"
    journal.write_bytes(journal.read_bytes()[:-9])
    before = stamps(tmp_path / "out")
    for _ in range(2):
        pd.testing.assert_series_equal(paths.img.save_resized(tmp_path / "out", size=8), made)
    after = stamps(tmp_path / "out")
    assert sum(before[path] != after[path] for path in before) == 1


def test_a_journal_on_a_full_disk_stays_whole(small_disk):
    lines = LocalJournal(str(small_disk / "journal"))
    lines.append(b"first\n")
    free = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize - 8192))
    with pytest.raises(OSError, match="No space left"):
        lines.append(b"x" * 50_000 + b"\n")
    assert lines.read() == b"first\n"
    lines.append(b"second\n")
    assert lines.read() == b"first\nsecond\n"


def test_two_programs_write_into_one_folder(photos, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    code = """
import sys, dask, pandas as pd, pandas_imgproc
paths = pd.Series([f"{sys.argv[1]}/{k}.jpg" for k in range(200)]).iloc[int(sys.argv[3])::2]
with dask.config.set(scheduler="threads"):
    paths.img.save_resized(sys.argv[2], size=20)
"""
    out = tmp_path / "out"
    programs = [
        subprocess.Popen([sys.executable, "-c", code, str(photos), str(out), str(half)], env=env) for half in (0, 1)
    ]
    assert [program.wait() for program in programs] == [0, 0]
    before = stamps(out)
    paths = pd.Series([f"{photos}/{k}.jpg" for k in range(200)]).img.save_resized(out, size=20)
    assert len(whole_files(out)) == 200
    assert stamps(out) == before
    assert paths.notna().all()


def test_workers_out_of_reach_hand_the_files_back(photos, tmp_path, own_cluster, monkeypatch):
    elsewhere, writer = MemfdHandle(1, 99999, "on another machine"), ImageFileSink.writer
    monkeypatch.setattr(ImageFileSink, "writer", lambda *args: dataclasses.replace(writer(*args), lease=elsewhere))
    paths = pd.Series([f"{photos}/{k}.jpg" for k in range(20)])
    made = paths.img.save_resized(tmp_path / "out", size=8, npartitions=3)
    assert made.notna().all()
    assert len(whole_files(tmp_path / "out")) == 20


def test_a_worker_whose_call_has_ended_writes_nothing(photos, tmp_path):
    task = SaveResized(codec.decode_options(8, for_files=True), codec.encode_options(None, 75))
    job = JobContext(task, pd.RangeIndex(1), [str(photos / "0.jpg")], Source())
    files = ImageFileSink(job, [str(tmp_path / "out" / "a.jpg")])
    files.open(overwrite=False, retry="transient")
    part = PartitionResult.empty(PartitionInput(range(1), [None]), np.array([b"a file"], dtype=object))
    part.status[:] = 0
    put = files.writer(range(1))
    files.close()
    assert put(part).values is not None
    assert whole_files(tmp_path / "out") == []


def test_an_image_larger_than_memory_is_refused_at_once(photos, tmp_path):
    paths = pd.Series([str(path) for path in list(photos.glob("*"))[:2]])
    calls = [
        lambda: paths.img.save_resized(tmp_path / "out", 300_000),
        lambda: paths.img.map(len, size=300_000),
        lambda: paths.img.augment(len, size=300_000, to=tmp_path / "out"),
    ]
    for call in calls:
        with pytest.raises(ResultTooLargeError, match=r"one image of this size needs \d+\.\d\d GB"):
            call()
    assert not (tmp_path / "out").exists()
