"""Results that other processes read while a job writes them, and jobs that fail or die at any of their writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
from image_factory import row_of
from saved_files import numbered_folder

from conftest import wait_until
from pandas_imgproc import JournalError, read_result

ROOT = Path(__file__).parent.parent.parent
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
N = 12


@pytest.fixture
def folder(tmp_path):
    return numbered_folder(tmp_path / "images", N)


@pytest.fixture(params=["x.npy", "x.parquet"])
def name(request):
    return request.param


def load(folder, out, n=N, size=8, **options):
    with dask.config.set(scheduler="synchronous"):
        return pd.Series([f"{k}.png" for k in range(n)]).img.load_resized(size, root=folder, out=out, **options)


def journal_of(out):
    return out / "_journal.jsonl" if out.suffix == ".parquet" else Path(f"{out}.journal")


def rows(out):
    """Return the rows of a result, as their images tell them."""
    return {k: row_of(np.asarray(image)) for k, image in read_result(out).dropna().items()}


@pytest.mark.parametrize("kind", ["npy", "parquet", "files"])
def test_fault_at_any_write_loses_nothing(tmp_path, kind):
    """A disk that is full, or a death, at each write: nothing finished is lost, and the call ends as without it."""
    script = Path(__file__).with_name("write_faults.py")
    done = subprocess.run(
        [sys.executable, script, kind, tmp_path, "some"], env=ENV, capture_output=True, text=True, check=True
    )
    *broken, n_writes = done.stdout.splitlines()
    assert broken == []
    assert int(n_writes.split()[0]) > 5


WRITER = """
import sys, dask, pandas as pd, pandas_imgproc
folder, *outs = sys.argv[1:]
paths = pd.Series([f"{folder}/{k % 12}.png" for k in range(48)])
sys.stdin.readline()
with dask.config.set({"scheduler": "synchronous", "pandas-imgproc.partition-seconds": 1e-4}):
    for size in (8, 10):
        for n in (24, 48):
            for out in outs:
                paths[:n].img.load_resized(size, out=out, overwrite=n == 24 and size == 10, progress=False)
"""
READER = """
import sys, numpy as np, pandas_imgproc
outs = sys.argv[1:]
seen, reads = set(), 0
print("ready", flush=True)
while not {(out, 48, 10) for out in outs} <= seen:
    for out in outs:
        try:
            column = pandas_imgproc.read_result(out)
        except FileNotFoundError:
            continue
        done = column.dropna()
        assert all(np.asarray(image).any() for image in done.iloc[::20])
        if len(done) == len(column):
            seen.add((out, len(column), column.dtype.shape[0]))
        reads += 1
print(reads)
"""


def test_readers_of_running_job_damage_nothing(folder, tmp_path):
    """One process writes, grows and replaces results, while two others read them in a loop."""
    outs = [tmp_path / "x.npy", tmp_path / "x.parquet"]
    start = {"env": ENV, "stdin": -1, "stdout": -1, "stderr": -1, "text": True}
    readers = [subprocess.Popen([sys.executable, "-c", READER, *outs], **start) for _ in range(2)]
    writer = subprocess.Popen([sys.executable, "-c", WRITER, folder, *outs], **start)
    try:
        assert [reader.stdout.readline() for reader in readers] == ["ready\n"] * 2
        _, errors = writer.communicate("\n")
        assert writer.returncode == 0, errors
        for reader in readers:
            reads, errors = reader.communicate()
            assert reader.returncode == 0, errors
            assert int(reads) > 0
    finally:
        for process in (writer, *readers):
            process.kill()
            process.communicate()
    for out in outs:
        assert rows(out) == {k: k % N for k in range(48)}


def test_result_that_gets_its_name_while_it_is_read(folder, tmp_path, monkeypatch):
    """The job ends between two steps of a reader, which has seen the name of the unfinished file."""
    out = tmp_path / "x.npy"
    load(folder, out)
    partial = tmp_path / "x.npy.partial"
    out.rename(partial)
    real = os.path.exists

    def exists(path):
        found = real(path)
        if found and path == str(partial):
            partial.rename(out)
        return found

    monkeypatch.setattr(os.path, "exists", exists)
    assert rows(out) == {k: k for k in range(N)}


def test_reader_leaves_partial_line_to_writer(folder, tmp_path, name):
    out = tmp_path / name
    load(folder, out)
    journal = journal_of(out)
    with journal.open("ab") as file:
        file.write(b'{"rows":[0,')
    before = journal.read_bytes(), journal.stat().st_mtime_ns
    assert rows(out) == {k: k for k in range(N)}
    assert (journal.read_bytes(), journal.stat().st_mtime_ns) == before


@pytest.mark.parametrize("kind", ["result", "files"])
def test_result_on_read_only_file_system_is_read(folder, tiny_filesystem, name, kind):
    from pandas_imgproc import from_glob

    disk = tiny_filesystem
    load(folder, disk / name)
    pd.Series(["0.png"]).img.save_resized(disk / "o", 8, root=folder)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    if kind == "result":
        assert rows(disk / name) == {k: k for k in range(N)}
    else:
        assert len(from_glob(disk / "o")) == 1


def test_damaged_row_line_can_be_deleted(folder, tmp_path, name):
    out = tmp_path / name
    load(folder, out, npartitions=6)
    journal = journal_of(out)
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([*lines[:2], lines[2][:-20] + "\n", *lines[3:]]))
    with pytest.raises(JournalError, match=r"line 3 .* delete it, and the same call writes its rows again") as error:
        read_result(out)
    assert "overwrite" not in str(error.value)
    journal.write_text("".join([*lines[:2], *lines[3:]]))
    load(folder, out)
    assert rows(out) == {k: k for k in range(N)}


def test_full_disk_leaves_finished_file_of_shorter_frame(folder, tiny_filesystem):
    out = tiny_filesystem / "x.npy"
    load(folder, out, size=200)  # 1.44 MB of 2.1
    before = {path: path.read_bytes() for path in tiny_filesystem.iterdir()}
    longer = pd.Series([f"{k % N}.png" for k in range(3 * N)])
    with pytest.raises(OSError, match=r"No space left.* needs 2\.75 MiB more, and \d+\.\d+ kiB are free") as error:
        longer.img.load_resized(200, root=folder, out=out)
    assert str(error.value).count("out=") == 1
    assert {path: path.read_bytes() for path in tiny_filesystem.iterdir()} == before
    assert len(np.load(out)) == N
    with pytest.raises(OSError, match="No space left"):
        load(folder, out, size=150, overwrite=True)
    assert {path: path.read_bytes() for path in tiny_filesystem.iterdir()} == before
    (tiny_filesystem / "filler").write_bytes(bytes(2**21 - sum(map(len, before.values())) - 40_000))
    assert load(folder, out, size=200).notna().all()


def test_deleted_file_of_finished_job_is_not_taken_for_finished(folder, tmp_path):
    """A run that writes a deleted file again may die: the rows that it has not written are unfinished."""
    out = tmp_path / "x.npy"
    load(folder, out)
    out.unlink()
    code = f"""
import os, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parent.parent)!r}]
from write_faults import FaultInjector
import dask, pandas as pd, pandas_imgproc
paths = pd.Series([f"{{k}}.png" for k in range({N})])
with dask.config.set({{"scheduler": "synchronous"}}), FaultInjector({str(tmp_path)!r}, 24, lambda: os._exit(77)):
    paths.img.load_resized(8, root={str(folder)!r}, out={str(out)!r}, npartitions={N})
"""
    assert subprocess.run([sys.executable, "-c", code], env=ENV, check=False).returncode == 77
    assert rows(out).items() < {k: k for k in range(N)}.items()
    load(folder, out)
    assert rows(out) == {k: k for k in range(N)}


def test_truncated_file_loses_only_the_rows_behind(folder, tmp_path):
    out = tmp_path / "x.npy"
    load(folder, out)
    os.truncate(out, out.stat().st_size - 200)
    with pytest.raises(JournalError, match="the same call again writes the rows that it has lost"):
        read_result(out)
    load(folder, out)
    assert rows(out) == {k: k for k in range(N)}
    *_, again = journal_of(out).read_text().splitlines()
    assert json.loads(again)["rows"] == [N - 2, N]


def test_failed_replacement_of_files_leaves_the_call_before(folder, tiny_filesystem):
    paths, out = pd.Series([f"{k}.png" for k in range(N)]), tiny_filesystem / "o"
    saved = paths.img.save_resized(out, 8, root=folder, format="BMP")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in map(Path, saved)}
    filler = tiny_filesystem / "filler"
    filler.write_bytes(bytes(2**21 - 8 * 4096 - 4096 * N))
    with pytest.raises(OSError, match="No space left"):
        paths.img.save_resized(out, 300, root=folder, format="BMP", overwrite=True)
    filler.unlink()
    pd.testing.assert_series_equal(paths.img.save_resized(out, 8, root=folder, format="BMP"), saved)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in map(Path, saved)} == before


def test_waiting_for_lock_ends_with_its_file(folder, tmp_path):
    """A journal that is replaced while it is opened is opened again: two writers never hold one result."""
    from pandas_imgproc.sinks.journal_storage import LocalJournal

    first, second = (LocalJournal(str(tmp_path / "j")) for _ in range(2))
    first.lock()
    first.append(b"1\n")
    first.replace(b"2\n")
    with pytest.raises(JournalError, match="being written"):
        second.lock()
    first.close()
    second.lock()
    assert second.read() == b"2\n"
    second.clear()
    second.close()
    assert wait_until(lambda: not (tmp_path / "j").exists())
