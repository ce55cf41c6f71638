"""Manifests of folders: changed files, moved folders, tampered and partial lines."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from saved_files import check_files, image_frame, mtimes, photo_folder

from pandas_imgproc import JournalError
from pandas_imgproc.sinks.journal_storage import LocalJournal


@pytest.fixture
def frame(tmp_path):
    return image_frame(tmp_path / "images")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return photo_folder(tmp_path_factory.mktemp("photos"))


def test_changed_or_emptied_file_is_written_again(frame, tmp_path):
    paths = frame.img.save_resized("image_path", tmp_path / "out", size=8)
    Path(paths.iloc[3]).write_bytes(b"")  # as after a power cut
    Path(paths.iloc[4]).write_bytes(b"other")
    check_files(frame.img.save_resized("image_path", tmp_path / "out", size=8), frame.index)


def test_sources_and_files_moved_together_stay_finished(frame, tmp_path):
    old, new = tmp_path / "project", tmp_path / "renamed"
    old.mkdir()
    (tmp_path / "images").rename(old / "images")
    old_paths = frame["image_path"].str.replace(str(tmp_path), str(old))
    old_paths.img.save_resized(old / "out", size=8)
    old.rename(new)
    before = mtimes(new / "out")
    saved = frame["image_path"].str.replace(str(tmp_path), str(new)).img.save_resized(new / "out", size=8)
    check_files(saved, frame.index)
    assert mtimes(new / "out") == before


@pytest.mark.parametrize(
    ("tamper", "message"),
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
def test_tampered_manifest_is_refused(photos, tmp_path, tamper, message):
    paths = pd.Series([f"{photos}/{k}.jpg" for k in range(3)])
    paths.img.save_resized(tmp_path / "out", size=8)
    journal = tmp_path / "out" / ".pandas-imgproc.jsonl"
    journal.write_text("\n".join(tamper(journal.read_text().splitlines())) + "\n")
    with pytest.raises(JournalError, match=message):
        paths.img.save_resized(tmp_path / "out", size=8)


def test_partial_last_line_of_manifest_is_truncated(photos, tmp_path):
    paths = pd.Series([f"{photos}/{k}.jpg" for k in range(3)])
    saved = paths.img.save_resized(tmp_path / "out", size=8)
    journal = tmp_path / "out" / ".pandas-imgproc.jsonl"
    journal.write_bytes(journal.read_bytes()[:-9])
    before = mtimes(tmp_path / "out")
    for _ in range(2):
        pd.testing.assert_series_equal(paths.img.save_resized(tmp_path / "out", size=8), saved)
    after = mtimes(tmp_path / "out")
    assert sum(before[path] != after[path] for path in before) == 1


def test_local_journal_on_full_disk_stays_whole(tiny_filesystem):
    lines = LocalJournal(str(tiny_filesystem / "journal"))
    lines.append(b"first\n")
    free = os.statvfs(tiny_filesystem)
    (tiny_filesystem / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize - 8192))
    with pytest.raises(OSError, match="No space left"):
        lines.append(b"x" * 50_000 + b"\n")
    assert lines.read() == b"first\n"
    lines.append(b"second\n")
    assert lines.read() == b"first\nsecond\n"
