"""Choice of the execution: inline or on a cluster, by prediction, configuration and context."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import re
import subprocess
import sys
import textwrap

import dask
import numpy as np
import pandas as pd
import pytest
from distributed import Client
from image_factory import image_bytes
from no_op_task import make_state
from saved_files import numbered_paths

import pandas_imgproc
from pandas_imgproc import ResultTooLargeError, cluster
from pandas_imgproc.execution import planning


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return numbered_paths(tmp_path_factory.mktemp("planning"))


def summary(caplog, call):
    """The summary line of a call, which names its plan."""
    with caplog.at_level(logging.DEBUG, logger="pandas_imgproc"):
        caplog.clear()
        call()
    return caplog.records[-1].getMessage()


def test_small_job_runs_inline_and_starts_no_cluster(paths, caplog):
    pandas_imgproc.close()
    assert "inline on" in summary(caplog, lambda: paths.head(10).img.load_resized(8))
    assert cluster.existing_client() is None


def test_npartitions_selects_the_cluster(paths, caplog, managed_cluster):
    assert "local cluster of 2 processes" in summary(caplog, lambda: paths.img.load_resized(8, npartitions=4))


def test_long_job_moves_to_cluster_after_its_sample(paths, caplog, managed_cluster):
    with dask.config.set({"pandas-imgproc.inline-threshold-warm": 0}):
        assert "local cluster" in summary(caplog, lambda: paths.img.load_resized(8))


def test_rows_go_on_inline_while_the_cluster_starts(paths, caplog):
    pandas_imgproc.close()
    with dask.config.set({"pandas-imgproc.inline-threshold": 0, "pandas-imgproc.n-workers": 2}):
        # One thread or two, by the time that the first rows took outside of Python.
        plan = summary(caplog, lambda: paths.img.load_resized(200))
        assert re.search(r"inline on \d threads? while a cluster started", plan), plan
        pandas_imgproc.get_client()
        assert "local cluster" in summary(caplog, lambda: paths.img.load_resized(200, npartitions=2))


@pytest.mark.parametrize(("scheduler", "plan"), [("synchronous", "1 thread;"), ("threads", "threads"),
                                                 ("distributed", "local cluster")])  # fmt: skip
def test_dask_scheduler_selects_execution(paths, caplog, managed_cluster, scheduler, plan):
    with dask.config.set(scheduler=scheduler):
        assert plan in summary(caplog, lambda: paths.img.load_resized(8))


def test_underestimated_job_moves_to_cluster(paths, managed_cluster, caplog):
    many = pd.Series(["gone.png"] * 16 + list(paths) * 20)
    with dask.config.set({"pandas-imgproc.inline-threshold-warm": 0.02}):
        assert "local cluster" in summary(caplog, lambda: many.img.load_resized(100, errors="coerce"))


@pytest.mark.parametrize(
    ("max_seconds", "max_eta", "rows"), [(math.inf, math.inf, 16), (1e-9, math.inf, 1), (1e-9, 8.0, 1), (1e-9, 0.0, 16)]
)
def test_sample_of_slow_rows_is_small_where_other_cores_are_idle(max_seconds, max_eta, rows, monkeypatch):
    """But a cluster is not started because of the very first rows, which take longer."""
    monkeypatch.setattr(planning, "SAMPLE_SECONDS", max_seconds)  # the rows take as long as they take
    state = make_state(100, inputs=["a.png"] * 100)
    planning._sample_rows(state, max_eta)
    assert state.n_done == rows


def start_cluster(paths):
    """A cluster that a call has started, and that no one has requested."""
    pandas_imgproc.close()
    with dask.config.set({"scheduler": "distributed", "pandas-imgproc.n-workers": 2}):
        paths.head(2).img.load_resized(8)


def test_photos_stay_on_threads_beside_a_cluster_that_no_one_has_requested(paths, caplog, monkeypatch):
    monkeypatch.setattr(planning, "WARM_SECONDS", 0.0)
    monkeypatch.setattr(planning, "GIL_SECONDS_PER_ROW", 1e-9)
    start_cluster(paths)
    assert "inline on" in summary(caplog, lambda: paths.img.load_resized(200))
    assert "local cluster" in summary(caplog, lambda: paths.img.features(["brightness"]))
    with dask.config.set({"pandas-imgproc.inline-threshold-warm": 0}):
        assert "local cluster" in summary(caplog, lambda: paths.img.load_resized(200))
    pandas_imgproc.get_client()  # its user watches the dashboard
    assert "local cluster" in summary(caplog, lambda: paths.img.load_resized(200))


def test_remote_photos_use_a_running_cluster(paths, caplog, monkeypatch, http_server):
    """Their requests are Python, which hinders threads."""
    monkeypatch.setattr(planning, "WARM_SECONDS", 0.0)
    http_server.files.update({str(k): image_bytes(k) for k in range(20)})
    start_cluster(paths)
    names = pd.Series([str(k) for k in range(20)])
    assert "local cluster" in summary(caplog, lambda: names.img.load_resized(200, root=http_server.url()))


def test_images_of_which_threads_hinder_each_other_use_a_running_cluster(paths, caplog, monkeypatch):
    monkeypatch.setattr(planning, "WARM_SECONDS", 0.0)
    monkeypatch.setattr(planning, "GIL_SECONDS_PER_ROW", 1e9)
    start_cluster(paths)
    assert "local cluster" in summary(caplog, lambda: paths.img.load_resized(8))


@pytest.mark.parametrize(("row_seconds", "n_threads"), [(0.0001, 1), (0.001, planning.CPU_COUNT)])
def test_inline_job_of_very_short_rows_uses_one_thread(row_seconds, n_threads):
    """Two threads do half of the work of one there: most of so short a row is Python."""
    state = make_state(100, n_done=16, cpu=16 * row_seconds)
    assert planning._plan_from_sample(state).n_threads == n_threads


def test_user_client_is_used_and_left_open(paths, caplog, tmp_path):
    with Client(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0", local_directory=tmp_path
    ) as client:
        text = summary(caplog, lambda: paths.img.load_resized(8, npartitions=4))
        assert client.scheduler.address in text
        assert client.status == "running"


def test_job_inside_dask_task_runs_inline(paths, managed_cluster):
    def task():
        import pandas as pd

        import pandas_imgproc  # noqa: F401

        return pd.Series(list(paths)).img.load_resized(8, npartitions=3).img.to_numpy().sum()

    assert managed_cluster.submit(task, pure=False).result() == paths.img.load_resized(8).img.to_numpy().sum()


def test_job_inside_daemonic_process_runs_inline(paths):
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        assert pool.apply(_sum, (list(paths),)) == _sum(list(paths))


def _sum(paths):
    npartitions = 3 if multiprocessing.current_process().daemon else None
    return int(pd.Series(paths).img.load_resized(8, npartitions=npartitions).img.to_numpy().sum())


def test_forked_child_starts_another_cluster(paths, managed_cluster):
    """As in `ProcessPoolExecutor`, whose processes are forked by default."""
    expected = int(paths.img.load_resized(8, npartitions=3).img.to_numpy().sum())
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with dask.config.set({"pandas-imgproc.n-workers": 1}):
                total = int(paths.img.load_resized(8, npartitions=3, progress=False).img.to_numpy().sum())
            pandas_imgproc.close()
            os.write(writer, str(total).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == str(expected)
    os.waitpid(child, 0)


def test_result_larger_than_memory_raises_at_once(paths):
    many = pd.Series(np.repeat(paths.to_numpy(), 1000))
    with pytest.raises(ResultTooLargeError, match=r"100,000 rows need 108\d{2}\.\d\d GB of memory"):
        many.img.load_resized((6000, 6000))


def test_job_of_ten_images_imports_no_large_modules(paths):
    code = textwrap.dedent(f"""
        import sys, timeit, pandas as pd, pandas_imgproc
        from pandas_imgproc import cluster
        pd.Series({list(paths[:10])!r}).img.load_resized(64)
        assert cluster.existing_client() is None and cluster.nested_context() is None
        assert min(timeit.repeat(cluster.existing_client, number=100, repeat=5)) / 100 < 1e-4
        cluster.close()
        heavy = {{"distributed", "dask.dataframe", "fsspec", "matplotlib", "IPython", "bokeh"}} & set(sys.modules)
        assert not heavy, heavy
    """)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
