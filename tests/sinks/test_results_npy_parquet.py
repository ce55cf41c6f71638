"""Results in NumPy files and Parquet parts: resumed runs, full disks, changed sources, tampered journals."""

from __future__ import annotations

import contextlib
import json
import logging
import mmap
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cloudpickle
import dask
import numpy as np
import pandas as pd
import pytest
from image_factory import row_image, row_of
from saved_files import numbered_folder

from conftest import cluster_pids, wait_until
from pandas_imgproc import ImageDtype, JournalError, NoReadableImageError, UserFunctionError, read_result

cloudpickle.register_pickle_by_value(sys.modules[__name__])

ROOT = Path(__file__).parent.parent.parent
N = 60


@pytest.fixture
def folder(tmp_path):
    return numbered_folder(tmp_path / "images", N)


@pytest.fixture(params=["x.npy", "x.parquet"])
def out(request, tmp_path):
    """Path of a result in each format."""
    return tmp_path / request.param


@pytest.fixture
def paths():
    return pd.Series([f"{k}.png" for k in range(N)], index=[f"row {k}" for k in range(N)])


def rows_done(caplog, call):
    """Return the number of rows that a call has done, and its result."""
    with caplog.at_level(logging.DEBUG, logger="pandas_imgproc"):
        caplog.clear()
        result = call()
    summary = r"load_resized: (?:the other )?([\d,]+) (?:of [\d,]+ )?images in"
    found = [re.match(summary, record.getMessage()) for record in caplog.records]
    return sum(int(match[1].replace(",", "")) for match in found if match), result


def images(result):
    """Return the images of a result, which for a folder names the part of each row."""
    if result.name != "part":
        return result
    column = read_result(Path(result.iloc[0]).parent)
    pd.testing.assert_index_equal(column.index, result.index, exact="equiv")
    for k, part in enumerate(result):
        start, stop = map(int, re.search(r"part-(\d+)-(\d+)(?:\.\d+)?\.parquet", part).groups())
        assert start <= k <= stop
        assert Path(part).exists()
    return column


def journal_of(out):
    return out / "_journal.jsonl" if out.suffix == ".parquet" else Path(f"{out}.journal")


def is_mapped(array):
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap.mmap)


def check(column, index, missing=()):
    pd.testing.assert_index_equal(column.index, index, exact="equiv")
    for k, image in enumerate(column.array):
        assert (image is pd.NA) if k in missing else row_of(np.asarray(image)) == k


@pytest.mark.parametrize("npartitions", [None, 7])
def test_npy_result_is_mapped_by_numpy(folder, paths, tmp_path, managed_cluster, npartitions):
    out = tmp_path / "x.npy"
    column = paths.img.load_resized(8, root=folder, out=out, npartitions=npartitions)
    check(column, paths.index)
    assert sorted(path.name for path in tmp_path.glob("x*")) == ["x.npy", "x.npy.index", "x.npy.journal"]
    mapped = np.load(out, mmap_mode="r")
    assert np.array_equal(mapped, paths.img.load_resized(8, root=folder).img.to_numpy())
    assert is_mapped(column.img.to_numpy())
    assert not column.img.to_numpy().flags.writeable
    again = read_result(out)
    pd.testing.assert_series_equal(again, column)


def test_finished_result_reads_no_image_again(folder, paths, out, caplog):
    def call():
        return paths.img.load_resized(8, root=folder, out=out)

    assert rows_done(caplog, call)[0] == N
    n, column = rows_done(caplog, call)
    assert n == 0
    check(images(column), paths.index)


def test_failures_persist_and_transient_ones_are_retried(folder, paths, out, caplog):
    (folder / "5.png").unlink()
    (folder / "9.png").write_text("no image")
    paths.iloc[20] = None

    def call(**options):
        return paths.img.load_resized(8, root=folder, out=out, errors="coerce", **options)

    _, column = rows_done(caplog, call)
    check(images(column), paths.index, missing=(5, 9, 20))
    assert images(column).img.failures["kind"].tolist() == ["missing", "unidentified"]
    assert read_result(out).img.failures.index.tolist() == ["row 5", "row 9"]
    row_image(5, (24, 16)).save(folder / "5.png")
    n, column = rows_done(caplog, call)
    assert n == 1
    check(images(column), paths.index, missing=(9, 20))
    n, column = rows_done(caplog, lambda: call(retry="all"))
    assert n == 1
    assert images(column).img.failures["kind"].tolist() == ["unidentified"]


def test_changed_source_is_read_again(folder, paths, out, caplog):
    def call():
        return paths.img.load_resized(8, root=folder, out=out)

    call()
    row_image(1000, (24, 16)).save(folder / "7.png")
    os.utime(folder / "7.png", ns=(1, 1))
    (folder / "8.png").unlink()  # what is gone stays done
    n, column = rows_done(caplog, call)
    assert n == 1
    assert [row_of(np.asarray(image)) for image in images(column)][6:9] == [6, 1000, 8]


def test_grown_frame_continues_result(folder, paths, out, caplog):
    def call(n):
        return paths.iloc[:n].img.load_resized(8, root=folder, out=out)

    call(40)
    n, column = rows_done(caplog, lambda: call(N))
    assert n == N - 40
    check(images(column), paths.index)


def test_other_library_versions_log_warning(folder, paths, out, caplog):
    def call():
        return paths.img.load_resized(8, root=folder, out=out)

    call()
    journal = journal_of(out)
    journal.write_text(re.sub(r'"pillow":"[^"]+"', '"pillow":"1.1.7"', journal.read_text()))
    n, _ = rows_done(caplog, call)
    assert n == 0
    assert any("pillow 1.1.7 (now " in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, o: p.img.load_resized(9, **o), r"size was \[8, 8\] and is \[9, 9\]"),
        (lambda p, o: p.img.load_resized(8, fit="crop", **o), "fit was 'stretch' and is 'crop'"),
        (lambda p, o: p.iloc[:10].img.load_resized(8, **o), "it has 60 rows, the frame has 10"),
        (lambda p, o: p.replace("7.png", "8.png").img.load_resized(8, **o), "row 7 has another path"),
        (lambda p, o: p.rename({"row 3": "x"}).img.load_resized(8, **o), "row 3 has another label"),
    ],
)
def test_result_of_another_job_is_not_replaced(folder, paths, out, change, message):
    options = {"root": folder, "out": out}
    paths.img.load_resized(8, **options)
    before = read_result(out).img.to_numpy().copy()
    with pytest.raises(JournalError, match=message):
        change(paths, options)
    assert np.array_equal(read_result(out).img.to_numpy(), before)
    change(paths, options | {"overwrite": True})


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda lines: ["{}", *lines], "line 1"),
        (lambda lines: [lines[0], "cos\nsystem\n(S'echo'\ntR.", *lines[1:]], "line 2"),
        (lambda lines: [lines[0], lines[1].replace('"rows":[0', '"rows":[-5')], "rows -5 to"),
        (lambda lines: [lines[0].replace('"journal":1', '"journal":99'), *lines[1:]], "format 99"),
        (lambda lines: [lines[0], lines[1].replace('"stamps":"', '"stamps":"!')], "line 2"),
        (lambda lines: [lines[0].replace('"paths":"', '"paths":"AAAA'), *lines[1:]], "line 1"),
        (lambda lines: ["[]", *lines], "line 1"),
    ],
)
def test_tampered_journal_is_refused(folder, paths, out, tamper, message):
    paths.img.load_resized(8, root=folder, out=out)
    journal = journal_of(out)
    journal.write_text("\n".join(tamper(journal.read_text().splitlines())) + "\n")
    with pytest.raises(JournalError, match=message):
        paths.img.load_resized(8, root=folder, out=out)
    with pytest.raises(JournalError, match=message):
        read_result(out)


def test_partial_last_line_of_journal_is_ignored(folder, paths, out, caplog):
    def call():
        with dask.config.set(scheduler="synchronous"):
            return paths.img.load_resized(8, root=folder, out=out)

    call()
    journal = journal_of(out)
    lines = journal.read_bytes().splitlines(keepends=True)
    rows = json.loads(lines[-1])["rows"]
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:-9])
    n, column = rows_done(caplog, call)
    assert n == rows[1] - rows[0]
    check(images(column), paths.index)


def test_file_without_journal_is_not_replaced(folder, paths, tmp_path):
    np.save(tmp_path / "x.npy", np.arange(3))
    with pytest.raises(JournalError, match="without a journal"):
        paths.img.load_resized(8, root=folder, out=tmp_path / "x.npy")
    assert np.load(tmp_path / "x.npy").tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["x.csv", "x", "s3://bucket/x.npy", 7])
def test_out_with_other_suffix_is_refused(paths, name):
    with pytest.raises((ValueError, TypeError), match="out="):
        paths.img.load_resized(8, out=name)


def test_out_in_missing_folder_raises_os_error(folder, paths, tmp_path):
    with pytest.raises(OSError, match=r"gone.*No such file"):
        paths.img.load_resized(8, root=folder, out=tmp_path / "gone" / "x.npy")


def test_strided_results_are_merged_in_frame_order(folder, tmp_path):
    frame = pd.DataFrame({"image_path": [f"{k}.png" for k in range(N)]})
    outs = [tmp_path / f"{k}.npy" for k in range(4)]
    for k in (2, 0, 3, 1):
        frame.iloc[k::4].img.load_resized("image_path", size=8, root=folder, out=outs[k])
    check(read_result(outs), frame.index)
    check(read_result(outs[::-1]), frame.index)
    with pytest.raises(ValueError, match="not the parts"):
        read_result([outs[0], outs[0], tmp_path / "1.npy"])
    with pytest.raises(FileNotFoundError, match="no result"):
        read_result(tmp_path / "none.npy")


@pytest.mark.parametrize("kind", ["levels", "dates", "numbers"])
def test_read_result_restores_index(folder, tmp_path, kind):
    index = {
        "levels": pd.MultiIndex.from_arrays([list("ab"), [1, 1]], names=["x", None]),
        "dates": pd.DatetimeIndex(["2026-01-01", "2026-01-03"], tz="UTC", name="day"),
        "numbers": pd.Index([5, 5], name="n"),
    }[kind]
    pd.Series(["0.png", "1.png"], index=index).img.load_resized(8, root=folder, out=tmp_path / "x.npy")
    pd.testing.assert_index_equal(read_result(tmp_path / "x.npy").index, index, exact="equiv")


# Jobs signal themselves at a tenth of their progress, so that no test depends on how fast the machine is.
AT_PROGRESS = """
import logging, os, signal
class AtProgress(logging.Handler):
    def __init__(self, percent, action):
        super().__init__()
        self.start, self.action = f"load_resized: {percent}%", action
    def emit(self, record):
        if record.getMessage().startswith(self.start):
            self.action()
logger = logging.getLogger("pandas_imgproc")
logger.setLevel("INFO")
"""
KILLED = (
    AT_PROGRESS
    + """
import sys, dask, pandas as pd, pandas_imgproc
folder, out, n, percent, scheduler = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]
logger.addHandler(AtProgress(percent, lambda: os.kill(os.getpid(), signal.SIGKILL)))
paths = pd.Series([f"{folder}/{k % 60}.png" for k in range(n)])
with dask.config.set({"scheduler": scheduler, "pandas-imgproc.n-workers": 1, "pandas-imgproc.progress-delay": 0}):
    paths.img.load_resized(200, out=out, npartitions=30, resample="lanczos")
"""
)


ENVIRONMENT = {"PYTHONPATH": str(ROOT), "DASK_PANDAS_IMGPROC__DASHBOARD": "off"}  # Bokeh's import takes a second


def killed_at(percent, scheduler, folder, out, n):
    """Run a job that is killed at a percentage of its rows; return the number of rows in its journal."""
    command = [sys.executable, "-c", KILLED, str(folder), str(out), str(n), str(percent), scheduler]
    assert subprocess.run(command, env=os.environ | ENVIRONMENT, check=False).returncode == -signal.SIGKILL
    lines = journal_of(out).read_bytes().split(b"\n")[1:-1]
    return sum(json.loads(line)["rows"][1] - json.loads(line)["rows"][0] for line in lines)


@pytest.mark.parametrize(("name", "percent", "scheduler"), [("x.npy", 50, "distributed"), ("x.parquet", 90, "threads")])
def test_killed_run_is_resumed_without_reading_again(
    folder, tmp_path, caplog, managed_cluster, name, percent, scheduler
):
    n, out = 300, tmp_path / name
    done = killed_at(percent, scheduler, folder, out, n)
    assert n * percent // 100 <= done < n
    assert out.suffix == ".parquet" or not out.exists()
    assert read_result(out).notna().sum() == done
    paths = pd.Series([f"{folder}/{k % 60}.png" for k in range(n)])
    again, column = rows_done(caplog, lambda: paths.img.load_resized(200, out=out, resample="lanczos", npartitions=9))
    assert again == n - done
    column = images(column)
    expected = paths.head(60).img.load_resized(200, resample="lanczos").img.to_numpy()
    assert np.array_equal(column.img.to_numpy(), np.tile(expected, (5, 1, 1, 1)))


INTERRUPTED = (
    AT_PROGRESS
    + """
import shutil, sys, dask, pandas as pd, pandas_imgproc
folder, out = sys.argv[1:]
paths = pd.Series([f"{folder}/{k % 60}.png" for k in range(300)])
def call():
    return paths.img.load_resized(200, out=out, resample="lanczos", npartitions=60)
def interrupt():
    shutil.copy(out + ".journal", out + ".interrupted")
    os.killpg(0, signal.SIGINT)  # as a terminal does: workers too
handler = AtProgress(20, interrupt)
logger.addHandler(handler)
dask.config.set({"pandas-imgproc.progress-delay": 0})
pandas_imgproc.get_client(n_workers=1)
try:
    call()
except KeyboardInterrupt:
    print("interrupted", flush=True)
logger.removeHandler(handler)
workers = {nanny.pid for nanny in pandas_imgproc.cluster.manager._managed.cluster.workers.values()}
column = call()
assert column.notna().all()
assert {nanny.pid for nanny in pandas_imgproc.cluster.manager._managed.cluster.workers.values()} == workers
print("done", flush=True)
"""
)


def recorded_rows(journal):
    """Return the rows of each line of a journal, without its header."""
    lines = [json.loads(line)["rows"] for line in journal.splitlines()[1:]]
    runs = [line if isinstance(line[0], list) else [line] for line in lines]
    return [{row for start, stop in line for row in range(start, stop)} for line in runs]


def test_interrupted_run_preserves_results_and_cluster(folder, tmp_path):
    out = tmp_path / "x.npy"
    command = [sys.executable, "-c", INTERRUPTED, str(folder), str(out)]
    script = subprocess.run(
        command, env=os.environ | ENVIRONMENT, stdout=-1, text=True, start_new_session=True, check=True
    )
    assert script.stdout == "interrupted\ndone\n"
    journal = journal_of(out).read_bytes()
    interrupted = (tmp_path / "x.npy.interrupted").read_bytes()
    assert interrupted.count(b"\n") > 10
    compacted, *again = recorded_rows(journal)
    assert compacted >= set().union(*recorded_rows(interrupted))
    assert compacted.isdisjoint(set().union(*again))
    assert compacted.union(*again) == set(range(300))


def test_journal_locked_by_another_process_is_refused(folder, paths, tmp_path):
    code = f"""
import fcntl, sys
file = open({str(tmp_path / "x.npy.journal")!r}, "ab")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1) as other:
        other.stdout.readline()
        with pytest.raises(JournalError, match="being written by another process"):
            paths.img.load_resized(8, root=folder, out=tmp_path / "x.npy")
        other.stdin.close()
    check(paths.img.load_resized(8, root=folder, out=tmp_path / "x.npy"), paths.index)


@pytest.mark.parametrize("filled", [0, 500_000, 1_900_000, 2_080_000])
def test_full_disk_raises_before_npy_file_exists(folder, paths, tiny_filesystem, caplog, filled):
    (tiny_filesystem / "filler").write_bytes(bytes(filled))
    out = tiny_filesystem / "x.npy"
    if filled > 100_000:
        with pytest.raises(OSError, match=r"x\.npy.*(GB are free|No space left)"):
            paths.img.load_resized(100, root=folder, out=out)  # 1.8 MB of 2.1
        assert not out.exists()
        (tiny_filesystem / "filler").unlink()
    check(paths.img.load_resized(100, root=folder, out=out), paths.index)


def test_randomly_killed_workers_cost_no_row(folder, tmp_path, managed_cluster):
    paths = pd.Series([f"{folder}/{k % 60}.png" for k in range(300)])
    out, stop, kills = tmp_path / "x.npy", threading.Event(), []
    n_lines = sorted(random.Random(0).sample(range(2, 20), 2))  # lines of the journal at each kill

    def journaled(n):
        return journal_of(out).exists() and journal_of(out).read_bytes().count(b"\n") >= n

    def kill():
        for n in n_lines:
            wait_until(lambda n=n: stop.is_set() or journaled(n))
            pids = sorted(cluster_pids() - {None, 0})
            if pids and not stop.is_set():
                kills.append(pids[n % len(pids)])
                with contextlib.suppress(ProcessLookupError):
                    os.kill(kills[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        column = paths.img.load_resized(200, out=out, resample="lanczos", npartitions=40, errors="raise")
    finally:
        stop.set()
        killer.join()
    assert kills
    expected = paths.head(60).img.load_resized(200, resample="lanczos").img.to_numpy()
    assert np.array_equal(column.img.to_numpy(), np.tile(expected, (5, 1, 1, 1)))
    managed_cluster.wait_for_workers(2)


def test_parts_are_read_by_pandas_pyarrow_and_dask(folder, paths, tmp_path):
    (folder / "9.png").write_text("no image")
    out = tmp_path / "x.parquet"
    paths.img.load_resized(8, root=folder, out=out, errors="coerce", npartitions=7)
    frame = pd.read_parquet(out)
    check(frame["image"], paths.index, missing=(9,))
    assert frame["failure"].dropna().to_dict() == {"row 9": "unidentified"}
    assert len(list(out.glob("part-*.parquet"))) == 7
    code = f"import pandas; f = pandas.read_parquet({str(out)!r}); print(len(f), len(f['image'].iloc[0]), f.index[5])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["60", "192", "row", "5"]
    import dask.dataframe as dd

    with dask.config.set(scheduler="synchronous"):
        lazy = dd.read_parquet(out)
        check(lazy["image"].compute().set_axis(paths.index), paths.index, missing=(9,))


def test_parts_at_url_are_resumed(folder, paths, caplog):
    def call(**options):
        with dask.config.set(scheduler="threads"):
            return paths.img.load_resized(8, root=folder, out="memory://bucket/x.parquet", **options)

    assert rows_done(caplog, call)[0] == N
    n, parts = rows_done(caplog, call)
    assert n == 0
    assert parts.iloc[0].startswith("memory://bucket/x.parquet/part-000000000-")
    check(read_result("memory://bucket/x.parquet"), paths.index)
    with pytest.raises(JournalError, match="size was"):
        paths.img.load_resized(9, root=folder, out="memory://bucket/x.parquet")
    assert rows_done(caplog, lambda: call(overwrite=True))[0] == N


def test_deleted_part_is_written_again(folder, paths, tmp_path, caplog):
    def call():
        return paths.img.load_resized(8, root=folder, out=tmp_path / "x.parquet", npartitions=6)

    call()
    (tmp_path / "x.parquet" / "part-000000010-000000019.parquet").unlink()
    (tmp_path / "x.parquet" / "part-000000070-000000079.parquet").write_bytes(b"of a frame that was longer")
    n, parts = rows_done(caplog, call)
    assert n == 10
    check(images(parts), paths.index)
    assert len(list((tmp_path / "x.parquet").glob("part-*"))) == 5 + len(set(parts.iloc[10:20]))


def test_overlapping_part_is_deleted(folder, paths, tmp_path, caplog):
    def call():
        return paths.img.load_resized(8, root=folder, out=tmp_path / "x.parquet", npartitions=6)

    call()
    overlapping = tmp_path / "x.parquet" / "part-000000005-000000014.parquet"
    shutil.copy(tmp_path / "x.parquet" / "part-000000010-000000019.parquet", overlapping)
    n, parts = rows_done(caplog, call)
    assert n == 0
    check(images(parts), paths.index)
    assert not overlapping.exists()


@pytest.mark.parametrize("left", [60_000, 800_000])
def test_full_disk_leaves_whole_parts(folder, paths, tiny_filesystem, left):
    out = tiny_filesystem / "x.parquet"
    (tiny_filesystem / "filler").write_bytes(bytes(2 * 2**20 - left))
    with pytest.raises(OSError, match=r"x\.parquet.*No space left"):
        paths.img.load_resized(80, root=folder, out=out, npartitions=12)  # 1.2 MB
    for part in out.glob("part-*"):
        assert len(pd.read_parquet(part)) == 5
    (tiny_filesystem / "filler").unlink()
    check(images(paths.img.load_resized(80, root=folder, out=out, npartitions=12)), paths.index)


def test_read_result_names_deleted_part(folder, paths, tmp_path):
    out = tmp_path / "x.parquet"
    paths.img.load_resized(8, root=folder, out=out)
    next(out.glob("part-*.parquet")).unlink()
    with pytest.raises(FileNotFoundError, match="same call again"):
        read_result(out)
    paths.img.load_resized(8, root=folder, out=out)
    check(read_result(out), paths.index)


def test_read_result_names_deleted_or_truncated_file(folder, paths, tmp_path):
    out = tmp_path / "x.npy"
    paths.img.load_resized(8, root=folder, out=out)
    os.truncate(out, 1000)
    with pytest.raises(JournalError, match="is damaged"):
        read_result(out)
    out.unlink()
    with pytest.raises(FileNotFoundError, match=r"x\.npy' is gone"):
        read_result(out)


def test_deeply_nested_journal_line_is_damaged(folder, paths, out):
    paths.img.load_resized(8, root=folder, out=out)
    with journal_of(out).open("a") as journal:
        journal.write("[" * 200_000 + "\n")
    with pytest.raises(JournalError, match="is damaged"):
        read_result(out)


def test_read_result_refuses_unrelated_results(folder, paths, out):
    paths.img.load_resized(8, root=folder, out=out)
    with pytest.raises(ValueError, match="twice"):
        read_result([out, str(out)])
    with pytest.raises(ValueError, match="no result"):
        read_result([])
    with pytest.raises(TypeError, match="out=5"):
        read_result(5)


def test_unstorable_labels_are_refused_before_writing(folder, paths, out):
    labels = pd.Index([1, "a"] * (len(paths) // 2), dtype=object)
    with pytest.raises(TypeError, match="labels of the index"):
        paths.set_axis(labels).img.load_resized(8, root=folder, out=out)
    assert not out.exists()
    assert not journal_of(out).exists()


def test_npy_path_of_folder_is_refused(folder, paths, tmp_path):
    (tmp_path / "x.npy").mkdir()
    with pytest.raises(OSError, match="it is a folder"):
        paths.img.load_resized(8, root=folder, out=tmp_path / "x.npy", overwrite=True)
    assert not (tmp_path / "x.npy.journal").exists()


def first_fails_and_second_half_is_slow(pixels):
    if row_of(pixels) == 0:
        raise ValueError("the first")
    time.sleep(0.3 * (row_of(pixels) >= N // 2))
    return pixels


@pytest.mark.parametrize("scheduler", ["threads", "distributed"])
def test_partition_of_failed_call_is_not_written(folder, paths, tmp_path, managed_cluster, scheduler):
    """A partition that was stopped holds rows that are not done, and the next call may have done them by then."""
    out = tmp_path / "x.parquet"
    with dask.config.set(scheduler=scheduler), pytest.raises(UserFunctionError, match="the first"):
        paths.img.map(
            first_fails_and_second_half_is_slow, size=8, dtype=ImageDtype("uint8", (8, 8, 3)), root=folder,
            out=out, npartitions=2, errors="raise",
        )  # fmt: skip
    assert wait_until(lambda: not any(managed_cluster.processing().values()))
    assert [part.name for part in out.glob("part-*")] == ["part-000000000-000000029.parquet"]


def test_journal_without_results_is_replaced(folder, paths, out):
    with pytest.raises(NoReadableImageError, match="could be read"):
        paths.img.load_resized(8, out=out)
    check(images(paths.img.load_resized(8, root=folder, out=out)), paths.index)
    with pytest.raises(JournalError, match="belongs to another job"):
        paths.img.load_resized(8, root=folder, suffix="", out=out)
