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
