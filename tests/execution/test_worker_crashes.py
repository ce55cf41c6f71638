"""Rows that end their process, or never end, cost only themselves."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

import cloudpickle
import dask
import dask.dataframe as dd
import image_factory
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from image_factory import row_image, row_of

from conftest import wait_until
from pandas_imgproc import ClusterError, UnreadableImageWarning, cluster
from pandas_imgproc.execution import crash_loop

cloudpickle.register_pickle_by_value(image_factory)
cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.timeout(900)  # restarted workers start slowly on a busy machine

N = 1000
ROW_TIMEOUT = 5.0
"""Seconds that no row takes which ends, on any machine."""


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crashes")
    for number in range(N):
        row_image(number, (12, 8)).save(folder / f"{number}.png")
    return pd.Series([str(folder / f"{number}.png") for number in range(N)])


def delayed_kill(next_row, seconds):
    """End this process in the next row, or after some seconds."""

    def kill():
        next_row.wait(seconds)
        os.abort()

    threading.Thread(target=kill, daemon=True).start()


CRASH_MODES = {
    "exit": lambda: os._exit(3),
    "null": lambda: ctypes.string_at(0),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "never": signal.pause,
    "sys.exit": lambda: sys.exit(4),
}
KINDS = {"never": "timeout", "sys.exit": "function"}


def crashing_function(modes):
    """Return a function of pixels that returns their row, but ends its process at some rows."""

    def number(pixels):
        row = row_of(pixels)
        if row in modes:
            CRASH_MODES[modes[row]]()
        return row

    return number


def check(result, modes):
    expected = {row: KINDS.get(mode, "worker_died") for row, mode in modes.items()}
    assert result.img.failures["kind"].to_dict() == expected
    assert result.drop(list(modes)).tolist() == [row for row in range(len(result)) if row not in modes]


@pytest.fixture
def restored_workers(managed_cluster):
    """A managed cluster that has both of its workers again after the test."""
    yield
    assert wait_until(lambda: len(managed_cluster.scheduler_info()["workers"]) == 2)


# Nearly all of the time is that of restarting workers, two for each crash and four for each kill.
def test_rows_that_crash_in_every_mode_fail_among_a_thousand(paths, restored_workers):
    """Two of them are neighbors."""
    first, second, third = np.random.default_rng(0).choice(N // 2, 3, replace=False) * 2
    modes = {int(first): "exit", int(first) + 1: "null", int(second): "killed", int(third): "sys.exit"}
    check(paths.img.map(crashing_function(modes), errors="coerce", npartitions=20), modes)


def test_row_after_a_delayed_kill_is_not_blamed(paths, restored_workers, tmp_path):
    next_row, attempted = {}, tmp_path / "attempted"

    def number(pixels):
        row = row_of(pixels)
        if row == 5:
            # First in row 6 for certain; later within the grace period of row 5, even on a busy machine.
            seconds = 0.001 if attempted.exists() else 100
            attempted.touch()
            next_row[5] = threading.Event()
            delayed_kill(next_row[5], seconds)
        elif 5 in next_row:
            next_row[5].set()
            time.sleep(100)
        return row

    with pytest.warns(UnreadableImageWarning, match=r"(?s)1 of 20 images gave no result.*memory-limit"):
        result = paths[:20].img.map(number, npartitions=1)
    assert result.img.failures["kind"].to_dict() == {5: "worker_died"}


def test_endless_rows_time_out_on_all_workers(paths, restored_workers):
    # Both workers are stuck at once, and a finished partition is lost with one of them.
    modes = dict.fromkeys((0, 20), "never")
    with dask.config.set({"pandas-imgproc.row-timeout": f"{ROW_TIMEOUT}s"}):
        check(paths[:40].img.map(crashing_function(modes), errors="coerce", npartitions=4), modes)


def test_crashing_row_on_user_cluster_is_only_failure(paths, tmp_path):
    modes = {13: "exit"}
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "300s"}),  # its only one may restart slowly
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", local_directory=tmp_path
        ) as user_cluster,
        Client(user_cluster),
    ):
        check(paths[:40].img.map(crashing_function(modes), npartitions=3, errors="coerce"), modes)


def test_row_whose_process_dies_after_its_partition_is_found(paths, restored_workers):
    """Its partition is over by then, but not its result with the caller; or another partition is running."""

    def number(pixels):
        row = row_of(pixels)
        if row == 17:
            threading.Timer(0.02, os._exit, (3,)).start()
        return row

    result = paths[:30].img.map(number, errors="coerce", npartitions=5, progress=False)
    failed = result.img.failures["kind"].to_dict()
    assert failed in ({17: "worker_died"}, {}), "its result may arrive in time"
    assert result.drop([17]).tolist() == [row for row in range(30) if row != 17]


class _EndsProcessOnWorkers:
    """Function that ends the process which unpickles it."""

    def __reduce__(self):
        return os._exit, (7,)

    def __call__(self, pixels): ...


def test_function_that_ends_each_worker_raises_cluster_error(paths, restored_workers, monkeypatch):
    monkeypatch.setattr(crash_loop, "MAX_DEATHS", 2)
    monkeypatch.setattr(crash_loop, "MAX_DEATHS_PER_WORKER", 0)
    function = _EndsProcessOnWorkers()
    with pytest.raises(ClusterError, match=r"\d+ worker processes .* died one after another .* by exit code 7"):
        paths[:30].img.map(function, npartitions=5, progress=False)


def test_row_timeout_does_not_select_the_cluster(paths, caplog):
    with dask.config.set({"pandas-imgproc.row-timeout": 5}), caplog.at_level("DEBUG", logger="pandas_imgproc"):
        paths[:5].img.load_resized(8)
    assert "inline on" in caplog.records[-1].getMessage()


def stop_once(marker, row=None):
    """Stop this process, unless another one was stopped before."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return row
    os.kill(os.getpid(), signal.SIGSTOP)
    return row


class _StopsWhenUnpickled:
    """Function of pixels that stops the first process which unpickles it, before its first row."""

    def __init__(self, marker):
        self.marker = marker

    def __setstate__(self, state):
        self.__dict__ = state
        stop_once(self.marker)

    def __call__(self, pixels):
        return row_of(pixels)


@pytest.mark.parametrize("when", ["in a row", "before a row"])
def test_worker_that_is_stopped_is_killed_and_no_row_is_blamed(paths, restored_workers, tmp_path, when):
    marker = tmp_path / "stopped"
    function = _StopsWhenUnpickled(marker)
    if when == "in a row":
        function = lambda pixels: stop_once(marker, row_of(pixels))  # noqa: E731
    with dask.config.set({"pandas-imgproc.row-timeout": ROW_TIMEOUT}):
        result = paths[:40].img.map(function, npartitions=8, progress=False)
    assert marker.exists()
    assert result.tolist() == list(range(40))


def test_stopped_worker_does_not_stop_a_dask_frame(paths, restored_workers, managed_cluster):
    os.kill(next(iter(cluster.worker_pids())), signal.SIGSTOP)
    ddf = dd.from_pandas(paths[:40].to_frame("image_path"), npartitions=8)
    with dask.config.set({"pandas-imgproc.row-timeout": ROW_TIMEOUT}), managed_cluster.as_current():
        result = ddf.img.map("image_path", row_of, dtype="int64").compute()
    assert result.tolist() == list(range(40))
