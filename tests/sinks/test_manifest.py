"""Manifests of folders: changed files, moved folders, tampered and partial lines."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pandas as pd
import pytest
from saved_files import check_files, image_frame, mtimes, photo_folder

from conftest import wait_until
from pandas_imgproc import JournalError
from pandas_imgproc.sinks.journal_storage import LocalJournal
from pandas_imgproc.sinks.manifest import FolderManifest, record_written


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


def state_of(folder):
    """Return the tasks and the records of a manifest, by file."""
    manifest = FolderManifest(str(folder))
    spec = next(iter(manifest.tasks.values()))
    return manifest.tasks, {name: manifest.record(name, spec, r.source_checksum) for name, r in manifest.files.items()}


def n_lines(folder):
    return len((folder / ".pandas-imgproc.jsonl").read_bytes().splitlines())


def test_resumed_job_compacts_the_manifest(photos, tmp_path):
    paths, out = pd.Series([f"{photos}/{k}.jpg" for k in [*range(100), 999]]), tmp_path / "out"
    paths.img.save_resized(out, size=8, errors="coerce")
    assert n_lines(out) > 100
    paths[:70].img.save_resized(out, size=9, overwrite=True)  # another task
    assert n_lines(out) == 2 + 1 + 70
    Path(out / "3.jpg").write_bytes(b"")  # as after a power cut
    before, files = state_of(out), mtimes(out)
    paths[70:].img.save_resized(out, size=8, errors="coerce")
    assert n_lines(out) == 2 + 2 + 2  # two for each task, and for the earlier record of the file in doubt
    assert state_of(out) == before
    saved = paths[:70].img.save_resized(out, size=9)
    assert saved.notna().all()
    after = mtimes(out)
    assert [Path(path).name for path in files if after[path] != files[path]] == ["3.jpg"]


def test_record_of_a_file_that_was_not_replaced_after_all_survives_compaction(photos, tmp_path):
    paths, out = pd.Series([f"{photos}/{k}.jpg" for k in range(100)]), tmp_path / "out"
    saved = paths.img.save_resized(out, size=8)
    digest = next(iter(FolderManifest(str(out)).tasks))
    record_written(saved[7], digest, (1, 2), (3, 4))  # as by a process that was killed before the file had its name
    before, files = state_of(out), mtimes(out)
    FolderManifest(str(out)).compact()
    assert n_lines(out) == 4
    assert state_of(out) == before
    paths.img.save_resized(out, size=8)
    assert mtimes(out) == files


def test_lines_that_are_added_during_a_compaction_are_kept(photos, tmp_path):
    """A process that waits for the lock finds another file then."""
    paths, out = pd.Series([f"{photos}/{k}.jpg" for k in range(100)]), tmp_path / "out"
    paths.img.save_resized(out, size=8)
    manifest, digest = FolderManifest(str(out)), next(iter(FolderManifest(str(out)).tasks))
    compacted, threads = manifest._compacted, []

    def slow(lines):
        writer = threading.Thread(target=record_written, args=(str(out / "7.jpg"), digest, (1, 2), (3, 4)))
        threads.append(writer)
        writer.start()
        assert wait_until(lambda: waits_for_lock(out / ".pandas-imgproc.jsonl"))
        return compacted(lines)

    manifest._compacted = slow
    manifest.compact()
    threads[0].join()
    assert n_lines(out) == 3
    assert FolderManifest(str(out)).files["7.jpg"].file_signature == (3, 4)


def waits_for_lock(path):
    """Return whether a thread waits for the lock of a file."""
    inode = path.stat().st_ino
    waiting = [line for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return any(line.split()[6].endswith(f":{inode}") for line in waiting)


def test_manifest_of_another_user_is_not_compacted(photos, tmp_path, monkeypatch):
    paths, out = pd.Series([f"{photos}/{k}.jpg" for k in range(100)]), tmp_path / "out"
    paths.img.save_resized(out, size=8)
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    paths.img.save_resized(out, size=8)
    assert n_lines(out) == 101
