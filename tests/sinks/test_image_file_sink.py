"""Image files of a job: atomic, continued after a crash, and never written over files of others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import dask
import pandas as pd
import psutil
import pytest
from image_factory import row_image, row_of
from saved_files import ROOT, N, before_first, check_files, image_frame, mtimes, photo_folder, pixels_of, whole_files

from conftest import cluster_pids, wait_until
from pandas_imgproc import JournalError, NoReadableImageError, ResultTooLargeError, UnreadableImageError
from pandas_imgproc.sinks.manifest import FolderManifest


@pytest.fixture
def frame(tmp_path):
    return image_frame(tmp_path / "images")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return photo_folder(tmp_path_factory.mktemp("photos"))


@pytest.mark.parametrize("npartitions", [None, 7])
def test_saved_files_follow_row_order(frame, tmp_path, managed_cluster, npartitions):
    shuffled = frame.sample(frac=1, random_state=1)
    paths = shuffled.img.save_resized("image_path", tmp_path / "out", size=8, npartitions=npartitions)
    check_files(paths[frame.index], frame.index)
    assert paths["row 3"] == str(tmp_path / "out" / "odd" / "3.png")


def test_second_call_writes_missing_files_only(frame, tmp_path):
    def call():
        return frame.img.save_resized("image_path", tmp_path / "out", size=8)

    first = call()
    before = mtimes(tmp_path / "out")
    Path(first.iloc[3]).unlink()
    pd.testing.assert_series_equal(call(), first)
    after = mtimes(tmp_path / "out")
    assert [path for path in before if before[path] != after[path]] == [first.iloc[3]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 9}, r"size was \[8, 8\] and is \[9, 9\]"),
        ({"quality": 90}, "quality was 75 and is 90"),
        ({"fit": "crop"}, "fit was 'stretch' and is 'crop'"),
    ],
)
def test_files_of_another_task_are_not_replaced(frame, tmp_path, change, message):
    frame.img.save_resized("image_path", tmp_path / "out", size=8)
    before = mtimes(tmp_path / "out")
    with pytest.raises(JournalError, match=message):
        frame.img.save_resized("image_path", tmp_path / "out", **{"size": 8} | change)
    assert mtimes(tmp_path / "out") == before
    check_files(
        frame.img.save_resized("image_path", tmp_path / "out", **{"size": 8} | change, overwrite=True), frame.index
    )


def test_changed_source_is_saved_again(frame, tmp_path):
    paths = frame.img.save_resized("image_path", tmp_path / "out", size=8)
    row_image(1000, (24, 16)).save(frame["image_path"].iloc[5])
    os.utime(frame["image_path"].iloc[5], ns=(1, 1))
    before = mtimes(tmp_path / "out")
    frame.img.save_resized("image_path", tmp_path / "out", size=8)
    after = mtimes(tmp_path / "out")
    assert [path for path in before if before[path] != after[path]] == [paths.iloc[5]]
    assert row_of(pixels_of(paths.iloc[5])) == 1000


def test_duplicate_source_is_written_once(frame, tmp_path):
    twice = pd.concat([frame, frame.iloc[::-1]])
    twice.loc["row 4", "image_path"] = str(tmp_path / "gone.png")
    paths = twice.img.save_resized("image_path", tmp_path / "out", size=8, errors="coerce")
    pd.testing.assert_index_equal(paths.index, twice.index)
    assert paths.iloc[:N].tolist() == paths.iloc[N:].tolist()[::-1]
    assert paths.isna().sum() == 2
    assert paths.img.failures["position"].tolist() == [4, 75]
    journals = [line for path in (tmp_path / "out").rglob(".*.jsonl") for line in path.read_text().splitlines()]
    assert sum('"made"' in line for line in journals) == N - 1


def test_rows_moved_to_another_label_get_new_files(frame, tmp_path):
    paths = frame.img.save_resized("image_path", f"{tmp_path}/{{label}}/{{stem}}.png", size=8)
    again = frame.assign(label="class 0").img.save_resized("image_path", f"{tmp_path}/{{label}}/{{stem}}.png", size=8)
    check_files(again, frame.index)
    assert len(mtimes(tmp_path / "class 0")) == N
    assert Path(paths["row 1"]).exists()


def test_foreign_file_is_not_replaced(frame, tmp_path):
    (tmp_path / "out" / "odd").mkdir(parents=True)
    (tmp_path / "out" / "odd" / "7.png").write_text("mine")
    with pytest.raises(
        JournalError, match=r"odd/7\.png' exists, and it was not written by pandas_imgproc.*overwrite=True"
    ):
        frame.img.save_resized("image_path", tmp_path / "out", size=8)
    assert mtimes(tmp_path / "out").keys() == {str(tmp_path / "out" / "odd" / "7.png")}
    check_files(frame.img.save_resized("image_path", tmp_path / "out", size=8, overwrite=True), frame.index)


def test_file_of_another_source_is_not_replaced(frame, tmp_path):
    to = f"{tmp_path}/out/{{position}}.png"
    frame.img.save_resized("image_path", to, size=8)
    with pytest.raises(JournalError, match=r"0\.png' exists, and it was written from another image"):
        frame.iloc[::-1].img.save_resized("image_path", to, size=8)


def test_call_on_a_sample_writes_no_file_again(frame, tmp_path):
    to = f"{tmp_path}/out/{{label}}/{{stem}}.png"
    frame.img.save_resized("image_path", to, size=8)
    before = mtimes(tmp_path / "out")
    part = frame.sample(10, random_state=0)
    paths = part.img.save_resized("image_path", to, size=8)
    assert paths.tolist() == [
        f"{tmp_path}/out/{row.label}/{Path(row.image_path).stem}.png" for row in part.itertuples()
    ]
    assert mtimes(tmp_path / "out") == before


def test_unusual_frames_preserve_index_and_rows(frame, tmp_path):
    empty = frame.head(0).img.save_resized("image_path", tmp_path / "out", size=8)
    assert empty.empty
    assert empty.name == "path"
    nothing = pd.Series([None, None], dtype=object).img.save_resized(tmp_path / "out", size=8)
    assert nothing.isna().all()
    assert not (tmp_path / "out").exists()
    levels = frame.set_axis(pd.MultiIndex.from_product([list("ab"), range(N // 2)]))
    check_files(levels.img.save_resized("image_path", f"{tmp_path}/levels/{{index}}.png", size=8), levels.index)
    assert (tmp_path / "levels" / "b-7.png").exists()
    constant = frame.set_axis(["x"] * N)
    check_files(constant.img.save_resized("image_path", tmp_path / "out", size=8), constant.index)
    objects = frame["image_path"].map(Path)
    check_files(objects.img.save_resized(tmp_path / "out", size=8), frame.index)


def test_broken_images_are_missing_with_their_failure(frame, tmp_path):
    bad = {"row 1": b"", "row 2": b"no image", "row 3": Path(frame["image_path"].iloc[3]).read_bytes()[:60]}
    for row, data in bad.items():
        Path(frame.loc[row, "image_path"]).write_bytes(data)
    frame.loc["row 5", "image_path"] = str(tmp_path / "images" / "odd" / "gone.png")
    frame.loc["row 6", "image_path"] = None
    with pytest.warns(UserWarning, match=r"4 of 40 images could not be read[^$]*row 1 \(index 'row 1'\)") as caught:
        paths = frame.img.save_resized("image_path", tmp_path / "out", size=8)
    assert len(caught) == 1
    check_files(paths, frame.index, missing=(1, 2, 3, 5, 6))
    kinds = ["empty", "unidentified", "truncated", "missing"]
    assert paths.img.failures["kind"].tolist() == kinds
    assert len(mtimes(tmp_path / "out")) == N - 5
    # Permanent failures are reported again without a retry; missing files are retried.
    row_image(5).save(frame.loc["row 5", "image_path"])
    before = mtimes(tmp_path / "out")
    again = frame.img.save_resized("image_path", tmp_path / "out", size=8, errors="coerce")
    assert again.img.failures["kind"].tolist() == kinds[:3]
    check_files(again, frame.index, missing=(1, 2, 3, 6))
    assert mtimes(tmp_path / "out").keys() - before.keys() == {again["row 5"]}
    # A repaired file is read again.
    row_image(2).save(frame.loc["row 2", "image_path"])
    check_files(frame.img.save_resized("image_path", tmp_path / "out", size=8, errors="coerce"), frame.index, (1, 3, 6))
    with pytest.raises(UnreadableImageError, match="row 1"):
        frame.img.save_resized("image_path", tmp_path / "out", size=8, errors="raise")


def test_frame_without_readable_image_raises(frame, tmp_path):
    with pytest.raises(NoReadableImageError, match="none of 40 images"):
        frame["image_path"].map(os.path.basename).img.save_resized(tmp_path / "out", size=8)


def test_path_outside_root_has_no_file(frame, tmp_path):
    names = pd.Series(["even/0.png", "../outside.png", "/etc/hosts", "odd/1.png"])
    row_image(7).save(tmp_path / "outside.png")
    paths = names.img.save_resized(tmp_path / "out", size=8, root=tmp_path / "images", errors="coerce")
    assert paths.isna().tolist() == [False, True, True, False]
    assert paths.img.failures["kind"].tolist() == ["outside_root", "outside_root"]


# The job kills itself at a tenth of its progress, so that the test does not depend on how fast the machine is.
KILLED = """
import logging, os, signal, sys, dask, pandas as pd, pandas_imgproc, psutil
folder, out, n, percent = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
class Kill(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith(f"save_resized: {percent}%"):
            print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
logging.getLogger("pandas_imgproc").setLevel("INFO")
logging.getLogger("pandas_imgproc").addHandler(Kill())
pandas_imgproc.get_client(n_workers=1)
paths = pd.Series([f"{folder}/{k}.jpg" for k in range(n)])
with dask.config.set({"pandas-imgproc.progress-delay": 0}):
    paths.img.save_resized(out, size=300, npartitions=20)
"""


def test_killed_run_leaves_whole_files_and_next_run_writes_the_rest(photos, tmp_path):
    out = tmp_path / "out"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "DASK_PANDAS_IMGPROC__DASHBOARD": "off"}
    command = [sys.executable, "-c", KILLED, str(photos), str(out), "100", "40"]
    script = subprocess.run(command, env=env, stdout=-1, text=True, check=False)
    assert script.returncode == -signal.SIGKILL
    pids = list(map(int, script.stdout.split()))
    assert pids
    assert wait_until(lambda: not any(map(psutil.pid_exists, pids)))
    before = mtimes(out)
    assert 40 <= len(whole_files(out, killed=True)) < 100
    paths = pd.Series([f"{photos}/{k}.jpg" for k in range(100)]).img.save_resized(out, size=300)
    assert paths.notna().all()
    assert len(whole_files(out)) == 100
    after = mtimes(out)
    assert all(after[path] == before[path] for path in before)  # no file was written again
    assert sum(b'"made"' in line for line in (out / ".pandas-imgproc.jsonl").read_bytes().splitlines()) == 100


def test_killed_workers_cost_no_file(photos, tmp_path, managed_cluster):
    paths, kills = pd.Series([f"{photos}/{k}.jpg" for k in range(150)]), []
    out = tmp_path / "out"
    stop = threading.Event()

    def kill():
        while len(kills) < 2 and not stop.is_set():
            wait_until(lambda: stop.is_set() or (out.exists() and len(os.listdir(out)) > 45 * (len(kills) + 1)))
            pids = sorted(cluster_pids() - {None, 0})
            if pids and not stop.is_set():
                kills.append(pids[0])
                os.kill(pids[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        saved = paths.img.save_resized(out, size=300, npartitions=20, errors="raise")
    finally:
        stop.set()
        killer.join()
    assert kills
    assert saved.notna().all()
    assert len(whole_files(out)) == 150
    managed_cluster.wait_for_workers(2)


@pytest.mark.parametrize(("scheduler", "left"), [("threads", 30_000), ("distributed", 0), ("distributed", 400_000)])
def test_full_disk_preserves_finished_files(photos, tiny_filesystem, managed_cluster, scheduler, left):
    paths = pd.Series([f"{photos}/{k}.jpg" for k in range(60)])
    out = tiny_filesystem / "out"
    first = paths.head(10).img.save_resized(out, size=100)
    before = {path: Path(path).read_bytes() for path in first}
    free = os.statvfs(tiny_filesystem)
    (tiny_filesystem / "filler").write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - left)))
    with dask.config.set(scheduler=scheduler), pytest.raises(OSError, match="No space left on device; what was fin"):
        paths.img.save_resized(out, size=500, quality=95, overwrite=True)
    whole_files(out)
    unchanged = {path for path in before if Path(path).read_bytes() == before[path]}
    assert len(unchanged) == 10 or left == 400_000  # if the disk has space, some are replaced
    (tiny_filesystem / "filler").unlink()
    again = paths.img.save_resized(out, size=50, overwrite=True)
    assert again.notna().all()
    assert {pixels_of(path).shape for path in again} == {(50, 50, 3)}


def test_run_on_full_disk_is_continued(photos, tiny_filesystem):
    paths = pd.Series([f"{photos}/{k}.jpg" for k in range(60)])
    out = tiny_filesystem / "out"
    (tiny_filesystem / "filler").write_bytes(bytes(1_000_000))
    with pytest.raises(OSError, match=r"jpg' cannot be written: No space left"):
        paths.img.save_resized(out, size=400, quality=90)
    before, done = mtimes(out), len(whole_files(out))
    assert 0 < done < 60
    (tiny_filesystem / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,size=20m", tiny_filesystem], check=True)
    assert paths.img.save_resized(out, size=400, quality=90).notna().all()
    assert len(whole_files(out)) == 60
    assert before.items() <= mtimes(out).items()


def test_unwritable_folder_raises_os_error(photos, tiny_filesystem):
    paths = pd.Series([f"{photos}/{k}.jpg" for k in range(3)])
    done = paths.head(2).img.save_resized(tiny_filesystem / "out", size=8)
    subprocess.run(["mount", "-o", "remount,ro", tiny_filesystem], check=True)
    pd.testing.assert_series_equal(paths.head(2).img.save_resized(tiny_filesystem / "out", size=8), done)
    with pytest.raises(OSError, match="out' cannot be written: Read-only file system"):
        paths.img.save_resized(tiny_filesystem / "out", size=8)
    with pytest.raises(OSError, match="other' cannot be written: Read-only file system"):
        paths.img.save_resized(tiny_filesystem / "other", size=8)
    file = photos / "0.jpg"
    with pytest.raises(OSError, match=r"0\.jpg/out' cannot be written: Not a directory"):
        paths.img.save_resized(file / "out", size=8)


def test_files_are_whole_without_anonymous_files(photos, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_TMPFILE")
    paths = pd.Series([f"{photos}/{k}.jpg" for k in range(3)])
    for size in (8, 9):
        saved = paths.img.save_resized(tmp_path / "out", size=size, overwrite=True)
        assert {pixels_of(path).shape for path in saved} == {(size, size, 3)}
    assert whole_files(tmp_path / "out") == ["0.jpg", "1.jpg", "2.jpg"]


def fork(call):
    """Call a function in a forked process, and return its pid; the exit code tells whether the call has succeeded."""
    pid = os.fork()
    if not pid:
        try:
            call()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return pid


def test_two_programs_share_a_folder(photos, tmp_path):
    paths, out = pd.Series([f"{photos}/{k}.jpg" for k in range(100)]), tmp_path / "out"

    def program(half):
        with dask.config.set(scheduler="synchronous"):  # a forked process has not the threads of Dask's pool
            paths.iloc[half::2].img.save_resized(out, size=20)

    pids = [fork(lambda half=half: program(half)) for half in (0, 1)]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0]
    before = mtimes(out)
    saved = paths.img.save_resized(out, size=20)
    assert len(whole_files(out)) == 100
    assert mtimes(out) == before
    assert saved.notna().all()


SAVE = {
    "save_resized": lambda paths, out: paths.img.save_resized(out, size=8),
    "download": lambda paths, out: paths.img.download(out, root=os.path.dirname(paths.iloc[0])),
}


@pytest.mark.parametrize("method", SAVE)
@pytest.mark.parametrize("before", [0, 2, 80], ids=["no manifest", "manifest", "compacted meanwhile"])
def test_files_that_another_program_writes_after_the_manifest_was_read_are_known(
    photos, tmp_path, monkeypatch, method, before
):
    paths, out = pd.Series([f"{photos}/{k}.jpg" for k in range(100)]), tmp_path / "out"
    with dask.config.set(scheduler="synchronous"):
        if before:
            SAVE[method](paths[:before], out)
        before_first(monkeypatch, FolderManifest, "signature", lambda: SAVE[method](paths[1::2], out))
        saved = SAVE[method](paths, out)
    assert saved.notna().all()
    after = mtimes(out)
    assert SAVE[method](paths, out).equals(saved)
    assert mtimes(out) == after


def test_file_that_another_program_writes_meanwhile_from_another_image_is_not_replaced(photos, tmp_path, monkeypatch):
    paths, to = pd.Series([f"{photos}/{k}.jpg" for k in range(4)]), f"{tmp_path}/{{position}}.jpg"
    before_first(monkeypatch, FolderManifest, "signature", lambda: paths[2:3].img.save_resized(to, size=8))
    with pytest.raises(JournalError, match=r"0\.jpg' exists, and it was written from another image"):
        paths.img.save_resized(to, size=8)


def test_image_larger_than_memory_is_refused_before_writing(photos, tmp_path):
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
