"""Gathering of results: none waits for another, they come from the workers themselves, and waiting is counted."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import time

import cloudpickle
import pandas as pd
import psutil
import pytest
from cluster_subprocess import SubprocessCluster
from delay_proxy import DelayProxy
from distributed import get_worker
from image_factory import row_image, row_of

import pandas_imgproc  # noqa: F401
from conftest import wait_until
from pandas_imgproc import execution
from pandas_imgproc.cluster import monitor
from pandas_imgproc.execution import JobState, flow

N = 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and one worker."""
    folder = tmp_path_factory.mktemp("gathering")
    for k in range(N):
        row_image(k, (24, 16)).save(folder / f"{k}.png")
    started = SubprocessCluster(folder)
    try:
        started.worker()
        with started.client(set_as_default=False) as client:
            client.wait_for_workers(1)
            cloudpickle.register_pickle_by_value(sys.modules["image_factory"])
            cloudpickle.register_pickle_by_value(sys.modules[__name__])
            yield started
    finally:
        started.close()


@pytest.fixture
def paths(cluster):
    return pd.Series([str(cluster.folder / f"{k % N}.png") for k in range(5 * N)])


def wait_for(path):
    """Wait on a worker for a file, a long time at most."""
    for _ in range(5000):
        if path.exists():
            return
        time.sleep(0.02)


@contextlib.contextmanager
def client_of(cluster, **options):
    """Provide a client that is the current one."""
    with cluster.client(set_as_default=False, **options) as client, client.as_current():
        yield client


@contextlib.contextmanager
def far_worker(cluster, **options):
    """Provide the proxy between a second worker and those that fetch its results."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with DelayProxy(port, **options) as proxy:
        listen, contact = (f"tcp://127.0.0.1:{number}" for number in (port, proxy.port))
        addresses = ("--listen-address", listen, "--contact-address", contact)
        process = cluster.worker("--nthreads", "1", "--no-nanny", *addresses, host=None)
        try:
            with cluster.client(set_as_default=False) as client:
                client.wait_for_workers(2)
            yield proxy
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def n_finished(monkeypatch):
    """Return a list that grows by each row of which the caller has stored the result."""
    rows, finish = [], JobState.finish
    monkeypatch.setattr(JobState, "finish", lambda self, result: (rows.extend(result.positions), finish(self, result)))
    return rows


def test_result_that_is_held_up_delays_no_other(cluster, paths, n_finished, tmp_path):
    """The first result of the far worker cannot be fetched until most of the others were stored."""
    started, is_cut, mended = tmp_path / "started", tmp_path / "cut", tmp_path / "mended"

    def row(pixels, port):
        if get_worker().address.endswith(f":{port}"):
            is_first = not started.exists()
            started.touch()
            wait_for(is_cut if is_first else mended)
        return row_of(pixels)

    def cut_and_mend(proxy):
        assert wait_until(started.exists)
        proxy.cut()
        is_cut.touch()
        was_stored.append(wait_until(lambda: len(n_finished) >= 3 * N))
        mended.touch()
        proxy.mend()

    was_stored = []
    with far_worker(cluster) as proxy, client_of(cluster):
        thread = threading.Thread(target=cut_and_mend, args=(proxy,))
        thread.start()
        port = proxy.port
        result = paths.img.map(lambda pixels: row(pixels, port), npartitions=5 * N, progress=False)
        thread.join()
    assert was_stored == [True]
    assert result.tolist() == list(range(N)) * 5


def n_through_scheduler(client, before=0):
    """Return the number of results that the scheduler has fetched for clients."""
    return sum(event["count"] for _, event in client.get_events("all") if event.get("action") == "gather") - before


@pytest.mark.parametrize("direct", [None, False])
def test_results_come_from_the_worker_unless_the_client_forbids_it(cluster, paths, direct):
    with client_of(cluster, direct_to_workers=direct) as client:
        before = n_through_scheduler(client)
        assert paths.img.map(row_of, npartitions=40, progress=False).tolist() == list(range(N)) * 5
        n = n_through_scheduler(client, before)
    assert (n < 40) if direct is None else (n == 40)


def test_results_of_a_worker_that_only_the_scheduler_reaches_come_through_it(cluster, paths):

    def accept(port):
        mine = {connection.laddr.port for connection in psutil.net_connections("tcp") if connection.pid == os.getpid()}
        refused.append(port in mine)
        return not refused[-1]

    refused = []
    with far_worker(cluster, accept=accept), client_of(cluster) as client:
        before = n_through_scheduler(client)
        assert paths.img.map(row_of, npartitions=40, progress=False).tolist() == list(range(N)) * 5
        assert n_through_scheduler(client, before) > 0
    assert set(refused) == {True, False}


def test_waiting_for_a_distant_scheduler_counts_as_waiting(cluster, paths):
    port = int(cluster.address.rpartition(":")[2])
    with (
        DelayProxy(port, 0.25) as proxy,
        client_of(cluster, address=f"tcp://127.0.0.1:{proxy.port}"),
        execution.collect_stats() as jobs,
    ):
        assert paths[:N].img.map(row_of, npartitions=10, progress=False).tolist() == list(range(N))
    assert jobs[0].idle_seconds > jobs[0].seconds / 2


def test_caller_that_is_the_limit_is_told(managed_cluster, paths, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="pandas_imgproc")
    monkeypatch.setattr(flow, "WINDOW_SECONDS", 0.4)
    finish = JobState.finish

    def slow(state, result):
        end = threading.Event()
        end.wait(0.1)  # far more than a partition takes two busy workers
        finish(state, result)

    monkeypatch.setattr(JobState, "finish", slow)
    paths.img.map(row_of, npartitions=25)
    (line,) = [record.getMessage() for record in caplog.records if "is the limit" in record.getMessage()]
    assert line.startswith("map: this program is the limit, at ")


def test_lost_worker_is_told_unless_it_is_replaced(cluster, paths, monkeypatch, caplog, tmp_path):
    caplog.set_level(logging.INFO, logger="pandas_imgproc")
    monkeypatch.setattr(monitor, "LOST_SECONDS", 0.0)
    started = tmp_path / "started"

    def row(pixels):
        started.touch()
        wait_for(lost)
        return row_of(pixels)

    lost = tmp_path / "lost"
    process = cluster.worker()

    def kill():
        assert wait_until(started.exists)
        process.kill()
        process.wait()
        was_told.append(wait_until(lambda: "lost, and not replaced" in caplog.text))
        lost.touch()

    was_told = []
    with client_of(cluster) as client:
        client.wait_for_workers(2)
        thread = threading.Thread(target=kill)
        thread.start()
        assert paths[:N].img.map(row, npartitions=N).tolist() == list(range(N))
        thread.join()
    assert was_told == [True]
    assert f"1 of the workers of the cluster at {cluster.address} lost" in caplog.text
