"""Partitions of Dask frames that were lost with their workers run in child processes, on the cluster of any client."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
import types

import cloudpickle
import dask
import dask.dataframe as dd
import image_factory
import pandas as pd
import psutil
import pytest
from distributed import Client, LocalCluster, get_worker
from image_factory import row_image, row_of

from conftest import wait_until
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
def user_client(tmp_path_factory):
    """Client of a user's own cluster of two processes, which waits for workers that restart slowly."""
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "300s"}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0",
            local_directory=tmp_path_factory.mktemp("workers"),
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        yield client


def exit_once_done(worker, key):
    """End this process once the result of a task is finished, and nowhere else."""
    while worker.state.tasks[key].state != "memory":
        time.sleep(0.02)
    os._exit(3)


def dying(deaths, mode):
    """Return a function of pixels that returns their row, and whose row 7 ends its process, up to 12 times."""

    def number(pixels):
        row = row_of(pixels)
        if row == 7 and (not deaths.exists() or deaths.stat().st_size < 12):
            with deaths.open("a") as file:
                file.write("x")
            if mode == "now":
                os._exit(3)
            try:
                worker = get_worker()
            except ValueError:  # a child process
                return row
            threading.Thread(target=exit_once_done, args=(worker, worker.get_current_task())).start()
        return row

    return number


def check(df, deaths, mode):
    ddf = dd.from_pandas(df.assign(collection=next(COLLECTIONS)), npartitions=3)
    result = ddf.img.map("image_path", dying(deaths, mode), dtype="Int64", errors="coerce")
    computed, table = dask.compute(result, result.img.failures)
    assert len(deaths.read_text()) <= 3
    assert table["kind"].tolist() == ["worker_died"] * (mode == "now")
    assert computed.fillna(7).tolist() == list(range(N))
    assert computed.isna().sum() == (mode == "now")


@pytest.mark.parametrize("mode", ["now", "once done"])
def test_row_that_ends_its_process_costs_itself_at_most(user_client, df, tmp_path, mode):
    with user_client.as_current():
        check(df, tmp_path / "deaths", mode)


def test_result_lost_on_the_managed_cluster_costs_no_row(managed_cluster, df, tmp_path):
    with managed_cluster.as_current():
        check(df, tmp_path / "deaths", "once done")
    assert wait_until(lambda: len(managed_cluster.scheduler_info()["workers"]) == 2)


def test_function_that_no_worker_can_unpickle_is_an_error(user_client, df, monkeypatch):
    """Dask closes the workers one after the other, and waits for others."""
    module = types.ModuleType("module_of_the_caller")
    exec("def number(pixels):\n    return 1", module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    n_workers = len(user_client.scheduler_info()["workers"])
    lazy = dd.from_pandas(df, npartitions=3).img.map("image_path", module.number, dtype="Int64")
    with (
        user_client.as_current(),
        pytest.raises(ClusterError, match=r"worker tcp.* cannot open .*module_of_the_caller"),
    ):
        lazy.compute()
    assert len(user_client.scheduler_info()["workers"]) == n_workers


# ---- the scheduler's event log


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


class EndsWhileUnpickled:
    """Function that ends each child process which unpickles it."""

    def __reduce__(self):
        return _end_child, ()

    def __call__(self, pixels):
        return row_of(pixels)


def _end_child():
    if "isolated" in multiprocessing.current_process().name:
        os._exit(3)
    return EndsWhileUnpickled()


def test_function_that_ends_each_child_is_named(threads_client, df):
    lazy = dd.from_pandas(df[:4], npartitions=2).img.map("image_path", EndsWhileUnpickled(), dtype="int64")
    with pytest.raises(ClusterError, match="3 worker processes died while they received or built EndsWhileUnpickled"):
        compute_after_losses(threads_client, lazy, [0], n_losses=1)
