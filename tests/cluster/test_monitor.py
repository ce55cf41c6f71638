"""Monitor of a cluster: a wait on its event loop ends when the client or the cluster is closed by another thread."""

from __future__ import annotations

import asyncio
import threading

import pytest
from distributed import Client, LocalCluster

from conftest import wait_until
from pandas_imgproc import ClusterError
from pandas_imgproc.cluster.monitor import WorkerMonitor


@pytest.fixture
def client(tmp_path):
    options = {"processes": False, "dashboard_address": "127.0.0.1:0", "local_directory": tmp_path}
    with LocalCluster(n_workers=1, threads_per_worker=1, **options) as cluster, Client(cluster) as client:
        yield client


@pytest.mark.parametrize("close", [lambda client: client.close(), lambda client: client.cluster.close()])
def test_wait_ends_when_client_or_cluster_is_closed(client, close):
    monitor, waiting = WorkerMonitor(client, "cluster"), threading.Event()
    assert monitor.n_threads() == 1

    async def wait_forever():
        waiting.set()
        await asyncio.sleep(10_000)

    thread = threading.Thread(target=lambda: (waiting.wait(), close(client)))
    thread.start()
    with pytest.raises(ClusterError, match="the cluster is gone"):
        monitor.run(wait_forever())
    thread.join()
    assert wait_until(lambda: client.status == "closed")


def test_result_and_error_of_a_coroutine_are_passed_on(client):
    monitor = WorkerMonitor(client, "cluster")
    assert monitor.run(asyncio.sleep(0, result=7)) == 7
    with pytest.raises(ZeroDivisionError):
        monitor.run(_raise(ZeroDivisionError()))
    with pytest.raises(TimeoutError, match="own"):
        monitor.run(_raise(TimeoutError("own")))
    with pytest.raises(TimeoutError):
        monitor.run(asyncio.sleep(10_000), timeout=0.0)


async def _raise(error):
    raise error
