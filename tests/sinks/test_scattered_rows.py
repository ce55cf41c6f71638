"""Resumed jobs whose pending rows are scattered: work, writes and journal by the rows, not by the gaps between them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cloudpickle
import dask
import image_factory
import numpy as np
import pandas as pd
import pytest
from image_factory import row_image, row_of

from pandas_imgproc import ImageDtype, read_result
from pandas_imgproc.execution import JobState

cloudpickle.register_pickle_by_value(image_factory)
cloudpickle.register_pickle_by_value(sys.modules[__name__])

N = 240
ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}


@pytest.fixture(params=["x.npy", "x.parquet"])
def name(request):
    return request.param


@pytest.fixture
def folder(tmp_path):
    """Folder of images, of which those in `late` appear later."""
    for number in range(N):
        path = tmp_path / ("late" if number % 2 else "early") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        row_image(number, (24, 16)).save(path)
    (tmp_path / "late").rename(tmp_path / "hidden")
    return tmp_path


@pytest.fixture
def paths(folder):
    return pd.Series([str(folder / ("late" if k % 2 else "early") / f"{k}.png") for k in range(N)])


@pytest.fixture
def partitions(monkeypatch):
    """Numbers of rows of the partitions that were finished."""
    sizes, finish = [], JobState.finish
    monkeypatch.setattr(JobState, "finish", lambda job, part: sizes.append(len(part.status)) or finish(job, part))
    return sizes


def journal_of(out):
    return out / "_journal.jsonl" if out.suffix == ".parquet" else Path(f"{out}.journal")


def recorded_rows(out):
    """Return the rows of the journal's lines that are not of neighbors, or not of all rows."""
    return [json.loads(line).get("rows") for line in journal_of(out).read_bytes().splitlines()[1:]]


def load(paths, out, **options):
    return paths.img.load_resized((24, 16), out=out, errors="coerce", **options)


def rows(out):
    return {k: row_of(np.asarray(image)) for k, image in read_result(out).dropna().items()}


SCHEDULERS = ["synchronous", "threads", "distributed"]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_partitions_go_on_across_gaps(folder, paths, name, scheduler, partitions, managed_cluster):
    out = folder / name
    with dask.config.set(scheduler=scheduler):
        load(paths, out, npartitions=4)
        (folder / "hidden").rename(folder / "late")
        n_first = partitions.copy()
        load(paths, out, npartitions=4)
    assert rows(out) == {k: k for k in range(N)}
    assert n_first == [N // 4] * 4
    assert partitions[4:] == [N // 8] * 4
    # Each of the four parts is written again once.
    assert len(recorded_rows(out)) == 1 + 4


@pytest.mark.parametrize(("n_partitions", "on_workers"), [(4, True), (8, False)])
def test_workers_update_parts_of_which_no_other_partition_has_rows(
    folder, paths, n_partitions, on_workers, monkeypatch, managed_cluster
):
    """Of a part of two partitions, the second update would undo the first."""
    returned, finish = [], JobState.finish
    monkeypatch.setattr(
        JobState, "finish", lambda job, part: returned.append(part.values is not None) or finish(job, part)
    )
    out = folder / "x.parquet"
    with dask.config.set(scheduler="distributed"):
        load(paths, out, npartitions=4)
        parts = {path.name: path.stat().st_ino for path in out.glob("part-*")}
        returned.clear()
        load(paths, out, npartitions=n_partitions)
        assert {path.name: path.stat().st_ino for path in out.glob("part-*")} == parts
        (folder / "hidden").rename(folder / "late")
        load(paths, out, npartitions=n_partitions)
    assert returned == [not on_workers] * 2 * n_partitions
    assert rows(out) == {k: k for k in range(N)}


@pytest.mark.parametrize("kind", ["npy", "parquet", "files", "download", "map"])
def test_rows_missing_as_before_leave_no_trace(folder, paths, kind, partitions):
    """A row that fails as before is tried once in each call: it adds no line, and no part is written again."""
    out = folder / "out" if kind in ("files", "download") else folder / f"x.{'parquet' if kind == 'map' else kind}"

    def call():
        with dask.config.set(scheduler="synchronous"):
            if kind == "files":
                return paths.img.save_resized(f"{out}/{{name}}", (24, 16), errors="coerce")
            if kind == "download":
                return paths.img.download(f"{out}/{{name}}", errors="coerce")
            if kind == "map":
                return paths.img.map(row_of, out=out, dtype="int64", errors="coerce")
            return load(paths, out)

    def contents():
        files = [path for path in folder.rglob("*") if path.is_file()]
        # A missing row of a NumPy file is set to zeros, as it was.
        return {path: (path.read_bytes(), path.suffix == ".npy" or path.stat().st_mtime_ns) for path in files}

    call(), call()  # the second may compact the journal
    before = contents()
    partitions.clear()
    result = call()
    assert contents() == before
    assert sum(partitions) == N // 2
    assert len(result.img.failures) == N // 2
    (folder / "hidden").rename(folder / "late")
    assert not len(call().img.failures)


def test_new_reason_of_a_failure_is_recorded(folder, paths, name):
    out = folder / name
    load(paths, out)
    (folder / "late").mkdir()
    (folder / "late" / "7.png").write_bytes(b"no image")
    load(paths, out)
    failures = read_result(out).img.failures
    assert failures.loc[7, "kind"] != "missing"
    assert (failures["kind"] == "missing").sum() == N // 2 - 1


def test_changed_missing_and_new_rows_are_done_together(folder, paths, name, partitions):
    """One partition has rows that are replaced, retried and new, in any order."""
    out = folder / name
    load(paths[: N // 2], out)
    (folder / "hidden").rename(folder / "late")
    for number in range(0, N // 2, 8):
        row_image(number + 1, (24, 16)).save(folder / "early" / f"{number}.png")
        os.utime(folder / "early" / f"{number}.png", (1, 1))
    partitions.clear()
    load(paths, out, npartitions=2)
    assert rows(out) == {k: k + 1 if k % 8 == 0 and k < N // 2 else k for k in range(N)}
    assert len(partitions) == 2


@pytest.mark.parametrize("n", [1, 3])
def test_parts_that_were_deleted_are_written_again(folder, paths, n):
    out = folder / "x.parquet"
    (folder / "hidden").rename(folder / "late")
    load(paths, out, npartitions=12)
    for path in sorted(out.glob("part-*"))[::2]:
        path.unlink()
    load(paths, out, npartitions=n)
    assert rows(out) == {k: k for k in range(N)}
    assert list(pd.read_parquet(out)["failure"].isna()) == [True] * N


def test_journal_is_compacted_when_a_job_is_resumed(folder, paths, name):
    out = folder / name
    load(paths, out, npartitions=N)
    journal = journal_of(out)
    before = rows(out), read_result(out).img.failures
    with journal.open("rb") as reader:
        n_lines = len(journal.read_bytes().splitlines())
        load(paths, out)
        assert len(reader.read().splitlines()) == n_lines  # a reader goes on with what it has opened
    assert n_lines == N + 1
    assert len(journal.read_bytes().splitlines()) == 2
    assert rows(out) == before[0]
    pd.testing.assert_frame_equal(read_result(out).img.failures, before[1])
    assert not Path(f"{journal}.new").exists()


def test_full_disk_leaves_the_journal_that_was_to_be_compacted(folder, paths, tiny_filesystem):
    out = tiny_filesystem / "x.npy"
    load(paths, out, npartitions=N)
    before = journal_of(out).read_bytes()
    (tiny_filesystem / "filler").write_bytes(b"")
    with (tiny_filesystem / "filler").open("ab") as filler:
        free = shutil.disk_usage(tiny_filesystem).free
        filler.write(bytes(free - 4096))
    load(paths, out)
    assert journal_of(out).read_bytes() == before
    assert rows(out) == {k: k for k in range(0, N, 2)}


def test_journal_of_former_lines_is_read(folder, paths, name):
    """Lines of one range each, many of them of one row, as earlier versions wrote them."""
    out = folder / name
    load(paths, out, npartitions=3)
    _, *lines = map(json.loads, journal_of(out).read_text().splitlines())
    stamps = {row: line for line in lines for row in range(*line["rows"])}
    assert all(len(line["rows"]) == 2 for line in lines)
    assert set(stamps) == set(range(N))
    (folder / "hidden").rename(folder / "late")
    load(paths, out)
    assert rows(out) == {k: k for k in range(N)}


def fatal(pixels):
    """Return the number of an image; that of row 101 ends its process."""
    number = row_of(pixels)
    if number == 101:
        os.kill(os.getpid(), signal.SIGSEGV)
    return number


def test_row_that_ends_its_process_costs_one_row_beside_gaps(folder, paths, managed_cluster):
    out = folder / "x.parquet"
    call = {"dtype": "int64", "out": out, "errors": "coerce", "npartitions": 2}
    paths.img.map(fatal, **call)
    (folder / "hidden").rename(folder / "late")
    paths.img.map(fatal, **call)
    result = read_result(out)
    assert result.img.failures["kind"].to_dict() == {101: "worker_died"}
    assert result.dropna().astype(int).to_dict() == {k: k for k in range(N) if k != 101}


def test_images_of_map_are_replaced_in_their_parts(folder, paths):
    out = folder / "x.parquet"
    call = {"dtype": ImageDtype("float32", (16, 24, 3)), "out": out, "errors": "coerce", "npartitions": 3}
    paths.img.map(lambda pixels: pixels / np.float32(2), **call)
    (folder / "hidden").rename(folder / "late")
    paths.img.map(lambda pixels: pixels / np.float32(2), **call)
    column = read_result(out)
    assert {k: row_of(np.asarray(image) * 2) for k, image in column.items()} == {k: k for k in range(N)}


def test_texts_and_categories_are_replaced_in_their_parts(folder, paths):
    """Columns that are not stored alike in the old and in the new rows."""
    for dtype in ("object", "category"):
        out = folder / f"{dtype}.parquet"
        call = {"dtype": dtype, "out": out, "errors": "coerce", "npartitions": 3}
        function = lambda pixels: f"\udcff{row_of(pixels)}" if dtype == "object" else f"{row_of(pixels)}"  # noqa: E731, B023
        paths.img.map(function, **call)
        (folder / "hidden").rename(folder / "late")
        paths.img.map(function, **call)
        (folder / "late").rename(folder / "hidden")
        prefix = "\udcff" if dtype == "object" else ""
        assert read_result(out).tolist() == [f"{prefix}{k}" for k in range(N)]


MEMORY = """
import sys, numpy as np, pandas as pd, pyarrow.parquet, pandas_imgproc
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
pandas_imgproc.read_result(sys.argv[1])
before = peak()
column = pandas_imgproc.read_result(sys.argv[2])
print((peak() - before) / column.array.pixels.nbytes)
"""


def test_result_of_parts_is_read_into_one_block(folder):
    """A process that reads a folder of parts needs the result once, and one part."""
    paths = pd.Series([str(folder / "early" / "0.png")] * 4000)
    with dask.config.set(scheduler="synchronous"):
        for name, n in (("few.parquet", 100), ("many.parquet", 4000)):
            paths[:n].img.load_resized(96, out=folder / name, npartitions=n // 100)
    command = [sys.executable, "-c", MEMORY, folder / "few.parquet", folder / "many.parquet"]
    done = subprocess.run(command, env=ENV, stdout=-1, text=True, check=True)
    assert float(done.stdout) < 1.3
