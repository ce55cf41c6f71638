"""Partitions of Dask frames that were lost with their workers, by the scheduler's event log: run in child processes."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys

import cloudpickle
import dask
import dask.dataframe as dd
import image_factory
import pandas as pd
import psutil
import pytest
from distributed import Client
from image_factory import row_image, row_of

from pandas_imgproc import ClusterError
from pandas_imgproc.execution.graph_ledger import ISOLATING_LOSSES, MAX_LOSSES

cloudpickle.register_pickle_by_value(image_factory)
cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.timeout(600)  # workers and child processes start slowly on a busy machine

N = 12
COLLECTIONS = itertools.count()


@pytest.fixture(scope="module")
def df(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lost")
    for row in range(N):
        row_image(row, (12, 8)).save(folder / f"{row}.png")
    return pd.DataFrame({"image_path": [str(folder / f"{row}.png") for row in range(N)]})


@pytest.fixture(scope="module")
def threads_client():
    with Client(
        processes=False, n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", set_as_default=False
    ) as client:
        yield client


def compute_after_losses(client, lazy, keys, n_losses, **event):
    """Return the result of a collection, after losses of workers that took some of its partitions along."""
    lazy = lazy.optimize()
    collection = next(name for name, _ in lazy.__dask_keys__())
    lost = {"processing-tasks": [(collection, i) for i in keys], "lost-computed-tasks": [], "expected": False}
    for _ in range(n_losses):
        client.log_event("all", {"action": "remove-worker", **lost, **event})
    with client.as_current():
        return lazy.compute(optimize_graph=False)


def pids(client, df, keys, n_losses, **event):
    """Return the processes of two partitions, after losses of workers that took these partitions along."""
    ddf = dd.from_pandas(df[:4].assign(collection=next(COLLECTIONS)), npartitions=2)  # equal ones have equal keys
    lazy = ddf.img.map("image_path", lambda _: os.getpid(), dtype="Int64")
    first, _, last, _ = compute_after_losses(client, lazy, keys, n_losses, **event)
    return first, last


def test_only_lost_partitions_run_in_child_processes(threads_client, df):
    first, last = pids(threads_client, df, [1], n_losses=1)
    assert (first == os.getpid(), last == os.getpid()) == (True, False)
    assert not psutil.pid_exists(last)


def test_all_partitions_do_after_several_losses(threads_client, df):
    first, last = pids(threads_client, df, [1], n_losses=ISOLATING_LOSSES)
    assert os.getpid() not in (first, last)


def test_retired_workers_are_no_losses(threads_client, df):
    first, last = pids(threads_client, df, [0, 1], n_losses=ISOLATING_LOSSES, expected=True)
    assert first == last == os.getpid()


def test_partition_lost_too_often_raises_cluster_error(threads_client, df):
    with pytest.raises(ClusterError, match=rf"{MAX_LOSSES} workers died with a partition of 2 rows.*Dask task \('"):
        pids(threads_client, df, [1], n_losses=MAX_LOSSES)


def test_process_that_a_function_forks_is_not_waited_for(threads_client, df):
    def forked(_):
        return os.fork() or signal.pause()

    lazy = dd.from_pandas(df[:2], npartitions=1).img.map("image_path", forked, dtype="Int64")
    for pid in compute_after_losses(threads_client, lazy, [0], n_losses=1):
        os.kill(pid, signal.SIGKILL)


class _StopsChild:
    """Function that stops the first child process which unpickles it, where no row is in flight."""

    def __init__(self, marker):
        self.marker = marker

    def __setstate__(self, state):
        self.__dict__ = state
        if not self.marker.exists() and "isolated" in multiprocessing.current_process().name:
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGSTOP)

    def __call__(self, pixels):
        return row_of(pixels)


def test_stopped_child_process_is_killed(threads_client, df, tmp_path):
    function = _StopsChild(tmp_path / "stopped")
    lazy = dd.from_pandas(df[:4], npartitions=2).img.map("image_path", function, dtype="int64")
    with dask.config.set({"pandas-imgproc.row-timeout": 2}):
        result = compute_after_losses(threads_client, lazy, [0], n_losses=1)
    assert function.marker.exists()
    assert result.tolist() == list(range(4))
