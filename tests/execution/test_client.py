"""Execution on the workers of a client: the bytes of inline execution, and the transport of values and errors."""

from __future__ import annotations

import logging
import os
import threading

import dask
import numpy as np
import pandas as pd
import pytest
from image_factory import row_image, row_of
from no_op_task import NoOpTask
from saved_files import numbered_paths

from pandas_imgproc import execution
from pandas_imgproc._shared_memory import MemfdHandle
from pandas_imgproc.execution import Job
from pandas_imgproc.sinks import memory, memory_sink
from pandas_imgproc.sinks.memory import BufferWriter, SharedMemorySink
from pandas_imgproc.source import Source


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return numbered_paths(tmp_path_factory.mktemp("client"))


@pytest.mark.parametrize("size", [8, 120])
def test_every_plan_gives_the_same_bytes(paths, managed_cluster, size):
    with dask.config.set(scheduler="synchronous"):
        expected = paths.img.load_resized(size).img.to_numpy()
    with dask.config.set(scheduler="threads"):
        assert np.array_equal(paths.img.load_resized(size).img.to_numpy(), expected)
    for npartitions in (3, 105):
        assert np.array_equal(paths.img.load_resized(size, npartitions=npartitions).img.to_numpy(), expected)


def test_relative_paths_start_at_the_callers_directory(managed_cluster, tmp_path, monkeypatch):
    """Workers remain in the directory that they were started in."""
    row_image(7).save(tmp_path / "7.png")
    monkeypatch.chdir(tmp_path)
    assert pd.Series(["7.png"] * 3).img.load_resized(8, npartitions=2).notna().all()
    assert pd.Series(["7.png"] * 3).img.load_resized(8, npartitions=2, root=".").notna().all()


def test_plugin_is_imported_in_every_decoding_process(managed_cluster, tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(row_image(7, (64, 64))).save(tmp_path / "7.heic")
    paths = pd.Series([str(tmp_path / "7.heic")] * 4)
    assert paths.img.load_resized(8, errors="coerce").isna().all()
    with dask.config.set({"pandas-imgproc.plugins": ["pillow_heif.HeifImagePlugin"]}):
        for npartitions in (None, 2):
            column = paths.img.load_resized(8, formats=["HEIF"], npartitions=npartitions)
            assert [row_of(np.asarray(image)) for image in column] == [7] * 4


def test_pixels_pass_through_no_socket(paths, managed_cluster, monkeypatch):
    """Workers return results without values, which are in the shared buffer."""
    returned = []
    commit = SharedMemorySink.commit
    monkeypatch.setattr(
        SharedMemorySink, "commit", lambda self, result: (returned.append(result.values), commit(self, result))
    )
    paths.img.load_resized(120, npartitions=4)
    assert returned == [None] * 4


def test_workers_without_the_shared_buffer_return_their_values(paths, managed_cluster, monkeypatch):
    expected = paths.img.load_resized(120).img.to_numpy()
    unreachable = MemfdHandle(os.getpid(), 0, "the name of another machine's file")
    writer = BufferWriter(unreachable, 1, 120 * 120 * 3)
    monkeypatch.setattr(SharedMemorySink, "writer", lambda *_, **__: writer)
    n_written, write = [], memory.pwrite_all
    monkeypatch.setattr(memory, "pwrite_all", lambda *args: n_written.append(1) or write(*args))
    returned = paths.img.load_resized(120, npartitions=4).img.to_numpy()
    assert np.array_equal(returned, expected)
    assert len(n_written) == 4  # through the map it would take twice as long
    n_written.clear()
    mapped = paths.img.map(lambda pixels: pixels, size=(300, 300), npartitions=4)
    assert np.array_equal(mapped.img.to_numpy(), paths.img.load_resized((300, 300)).img.to_numpy())
    assert n_written


def test_jobs_run_concurrently_in_several_threads(paths, managed_cluster):
    expected = paths.img.load_resized(8).img.to_numpy()
    results = {}

    def call(number):
        results[number] = paths.img.load_resized(8, npartitions=5).img.to_numpy()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(results[number], expected) for number in range(4))


def test_large_job_sends_small_graph_and_few_messages(managed_cluster, caplog):
    """Dask's warning would be an error here; what is logged is progress."""
    sink = memory_sink(NoOpTask(), 100_000)
    with caplog.at_level(logging.INFO), dask.config.set({"distributed.admin.large-graph-warning-threshold": "1MB"}):
        paths = [f"photographs/of/{i % 100:02}/{i:09}.jpg" for i in range(100_000)]
        execution.execute(Job(NoOpTask(), Source(), paths, npartitions=12), sink)
    assert (sink.status()[0] == 0).all()
    assert [record.name for record in caplog.records if not record.getMessage().startswith("nothing: ")] == []
