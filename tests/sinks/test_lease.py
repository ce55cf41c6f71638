"""Leases: workers write to the folders that they share with the caller, in all formats alike, while the job runs."""

from __future__ import annotations

import os
import signal
import subprocess

import dask
import numpy as np
import pandas as pd
import pytest
from image_factory import row_image, row_of
from saved_files import check_files

from pandas_imgproc import codec, read_result
from pandas_imgproc.execution import JobState
from pandas_imgproc.partition import PartitionInput, PartitionResult
from pandas_imgproc.sinks import ImageFileSink, JobContext, lease
from pandas_imgproc.sinks.out import parse_out
from pandas_imgproc.source import Source
from pandas_imgproc.tasks import LoadResized, SaveResized

N = 24
SIZE = (24, 16)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Images in two folders, so that their files are in two as well."""
    folder = tmp_path_factory.mktemp("images")
    files = [folder / ("even", "odd")[k % 2] / f"{k}.png" for k in range(N)]
    for k, path in enumerate(files):
        path.parent.mkdir(exist_ok=True)
        row_image(k, SIZE).save(path)
    return pd.Series(list(map(str, files)))


@pytest.fixture(params=["x.npy", "x.parquet", "files"])
def out(request, tmp_path):
    return tmp_path / "results" / request.param if request.param == "files" else tmp_path / request.param


def save(paths, out, **options):
    """Return the files of images, or the rows of a result."""
    if out.suffix:
        paths.img.load_resized(SIZE, out=out, **options)
        return read_result(out)
    return paths.img.save_resized(out, size=SIZE, **options)


def check_rows(result):
    """Check that each row has its image."""
    if result.dtype == "string" or result.dtype == object:
        check_files(result, pd.RangeIndex(N))
    else:
        assert [row_of(np.asarray(image)) for image in result] == list(range(N))


def leases_in(folder):
    return [path for path in folder.rglob("*") if path.name.endswith("lease")]


@pytest.fixture
def returned(monkeypatch):
    """Whether the values of a partition were returned to the caller, for each."""
    parts, finish = [], JobState.finish
    monkeypatch.setattr(
        JobState, "finish", lambda state, part: parts.append(part.values is not None) or finish(state, part)
    )
    return parts


def test_workers_write_where_they_see_the_lease(paths, out, tmp_path, returned, managed_cluster):
    check_rows(save(paths, out, npartitions=3))
    assert returned == [False] * 3
    assert leases_in(tmp_path) == []


def test_values_return_to_the_caller_without_the_lease(paths, out, tmp_path, returned, managed_cluster, monkeypatch):
    """A worker sees another folder of the same name: nothing of it is written there."""
    grant = lease.Lease.grant
    monkeypatch.setattr(
        lease.Lease, "grant", lambda self, path: lease.LeaseHandle(grant(self, path).path, "of another folder")
    )
    check_rows(save(paths, out, npartitions=3))
    assert returned == [True] * 3
    assert leases_in(tmp_path) == []


def test_calls_that_run_inline_write_no_lease(paths, out, tmp_path, monkeypatch):
    granted = []
    monkeypatch.setattr(lease.Lease, "grant", lambda self, path: granted.append(path))
    with dask.config.set(scheduler="threads"):
        check_rows(save(paths, out))
    assert granted == []


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_lease_ends_with_an_error(paths, out, tmp_path, managed_cluster, monkeypatch, error):
    seen = []

    def fail(state, part):
        seen.extend(leases_in(tmp_path))
        raise error

    monkeypatch.setattr(JobState, "finish", fail)
    with pytest.raises(error):
        save(paths, out, npartitions=3)
    assert len(seen) == (1 if out.suffix else 2)  # one for each folder
    assert leases_in(tmp_path) == []


def open_sink(paths, out):
    options = codec.decode_options(SIZE)
    if out.suffix:
        job = JobContext(LoadResized(options), paths.index, paths.tolist(), Source())
        return parse_out(out, overwrite=False, retry="transient").open_sink(job)
    task = SaveResized(options, codec.encode_options(None, 75))
    sink = ImageFileSink(JobContext(task, paths.index, paths.tolist(), Source()), [f"{out}/{k}.png" for k in range(N)])
    sink.open(overwrite=False, retry="transient")
    return sink


def test_next_call_removes_the_lease_of_a_killed_caller(paths, out, tmp_path):
    pid = os.fork()
    if not pid:
        try:
            open_sink(paths, out).writer(range(2))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert len(leases_in(tmp_path)) == 1
    sink = open_sink(paths, out)
    assert leases_in(tmp_path) == []
    sink.close()


def test_worker_that_outlives_its_job_writes_nothing(paths, out, tmp_path):
    sink = open_sink(paths, out)
    task = sink._job.task
    part = PartitionResult.empty(PartitionInput(range(2), paths[:2].tolist()), task.allocate(2))
    if not out.suffix:
        part.values[:] = b"a file"
    part.status[:] = 0
    writer = sink.writer(range(2))
    sink.close()
    before = contents(tmp_path)
    assert writer(part).values is not None
    assert contents(tmp_path) == before


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_folder_that_a_worker_may_not_write_is_not_leased(tiny_filesystem):
    path = f"{tiny_filesystem}/_lease"
    handle = lease.Lease().grant(path)
    assert handle.is_valid()
    subprocess.run(["mount", "-o", "remount,ro", tiny_filesystem], check=True)
    assert not handle.is_valid()


def test_lease_does_not_follow_links(tmp_path):
    """Someone may have put a link there, to a file of the caller."""
    target, path = tmp_path / "target", tmp_path / "_lease"
    target.write_bytes(b"a file")
    path.symlink_to(target)
    held = lease.Lease()
    assert held.grant(str(path)).is_valid()
    held.revoke()
    assert target.read_bytes() == b"a file"
    assert not path.exists()


def test_pipe_in_place_of_a_lease_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "_lease")
    assert not lease.LeaseHandle(str(tmp_path / "_lease"), "token").is_valid()
