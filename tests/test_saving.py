"""Files made of pictures: names, whole or not there, continued, never stale, never over somebody else's."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pictures import row_of, row_picture
from PIL import Image

from pandas_imgproc import JournalError

N = 40


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pictures"
    for number in range(N):
        path = folder / ("even", "odd")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        row_picture(number, (24, 16)).save(path)
    return folder


@pytest.fixture
def frame(folder):
    files = [str(folder / ("even", "odd")[k % 2] / f"{k}.png") for k in range(N)]
    frame = pd.DataFrame({"image_path": files, "label": [f"class {k % 3}" for k in range(N)]})
    return frame.set_axis([f"row {k}" for k in range(N)])


def stamps(folder):
    """Return when each file below a folder was written."""
    return {str(path): path.stat().st_mtime_ns for path in Path(folder).rglob("[!.]*") if path.is_file()}


def check(paths, index, missing=()):
    """Every row has the file of its own picture."""
    pd.testing.assert_index_equal(paths.index, index)
    assert paths.name == "path"
    assert paths.dtype == "str"
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
    row_picture(1000, (24, 16)).save(frame["image_path"].iloc[5])
    os.utime(frame["image_path"].iloc[5], ns=(1, 1))
    before = stamps(tmp_path / "out")
    frame.img.save_resized("image_path", tmp_path / "out", size=8)
    after = stamps(tmp_path / "out")
    assert [path for path in before if before[path] != after[path]] == [paths.iloc[5]]
    assert row_of(np.asarray(Image.open(paths.iloc[5]))) == 1000


# ---- names


@pytest.mark.parametrize(
    ("to", "third"),
    [
        ("out/{label}/{stem}.jpg", "out/class 2/2.jpg"),
        ("out/{index}_{position:03d}.png", "out/row 2_002.png"),
        ("out/{name}", "out/2.png"),
        ("out/{stem}{suffix}", "out/2.png"),
        ("{dir}/{stem}_8.jpg", "pictures/even/2_8.jpg"),
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
        row_picture(number).save(tmp_path / "in" / name)
    paths = pd.Series(names).img.save_resized(tmp_path / "out", size=8, root=tmp_path / "in")
    check(paths, paths.index)
    assert [path.removeprefix(f"{tmp_path}/out/") for path in paths] == names


def test_a_name_that_is_not_text(tmp_path):
    name = os.fsdecode(b"\xff\xfe.png")
    row_picture(0).save(tmp_path / name)
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
        ("out/{lable}/{stem}.jpg", KeyError, "no column named 'lable'"),
        ("out/{}.jpg", ValueError, "between braces"),
        ("out/{stem", ValueError, "not a template"),
        ("out/{stem!r}.jpg", ValueError, "between braces"),
        ("out/{stem.__class__}.jpg", KeyError, "no column"),
        ("out/{dir}/{stem}.jpg", ValueError, "at the beginning"),
        ("out/{position:x z}.jpg", ValueError, "position is 0"),
        ("out/{stem}", ValueError, "give format="),
        ("out/{stem}.txt", ValueError, "give format="),
        ("out/a.jpg", ValueError, "names one file"),
        ("out/same.jpg{label}.jpg", ValueError, "row 0 .* and row 3 .* would both be written"),
        ("{dir}/{name}", ValueError, "would be written over"),
        ("s3://bucket/{name}", ValueError, "not a folder of this machine"),
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
        row_picture(number).save(tmp_path / "in" / name)
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


def test_one_file_for_two_pictures_of_other_columns(frame, tmp_path):
    paths = frame.img.save_resized("image_path", f"{tmp_path}/{{label}}/{{stem}}.png", size=8)
    again = frame.assign(label="class 0").img.save_resized("image_path", f"{tmp_path}/{{label}}/{{stem}}.png", size=8)
    check(again, frame.index)
    assert len(stamps(tmp_path / "class 0")) == N
    assert Path(paths["row 1"]).exists()


def test_the_folder_of_pictures_itself_is_refused_by_any_name(frame, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "pictures")
    before = stamps(tmp_path / "pictures")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"written over .* a source"):
            frame.img.save_resized("image_path", tmp_path / "link", size=8, overwrite=overwrite)
    assert stamps(tmp_path / "pictures") == before


def test_somebody_elses_file_is_not_replaced(frame, tmp_path):
    (tmp_path / "out" / "odd").mkdir(parents=True)
    (tmp_path / "out" / "odd" / "7.png").write_text("mine")
    with pytest.raises(JournalError, match=r"odd/7\.png' is there, and it was not made here.*overwrite=True"):
        frame.img.save_resized("image_path", tmp_path / "out", size=8)
    assert stamps(tmp_path / "out").keys() == {str(tmp_path / "out" / "odd" / "7.png")}
    check(frame.img.save_resized("image_path", tmp_path / "out", size=8, overwrite=True), frame.index)


def test_another_source_for_a_name_is_refused(frame, tmp_path):
    to = f"{tmp_path}/out/{{position}}.png"
    frame.img.save_resized("image_path", to, size=8)
    with pytest.raises(JournalError, match=r"0\.png' is there, and it was made of another picture"):
        frame.iloc[::-1].img.save_resized("image_path", to, size=8)


def test_a_file_that_was_changed_or_emptied_is_made_again(frame, tmp_path):
    paths = frame.img.save_resized("image_path", tmp_path / "out", size=8)
    Path(paths.iloc[3]).write_bytes(b"")  # as after a power cut
    Path(paths.iloc[4]).write_bytes(b"other")
    check(frame.img.save_resized("image_path", tmp_path / "out", size=8), frame.index)


def test_what_is_moved_together_stays_done(frame, tmp_path):
    old, new = tmp_path / "project", tmp_path / "renamed"
    old.mkdir()
    (tmp_path / "pictures").rename(old / "pictures")
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
