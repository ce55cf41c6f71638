"""Choice between the user's client and the managed cluster, its size, and checks of that size."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import dask
import pytest

from pandas_imgproc import cluster
from pandas_imgproc.errors import ClusterError


class TestChoice:
    def test_active_client_of_the_user_has_priority_and_is_not_closed(self, managed_cluster):
        from distributed import Client

        with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as client:
            assert cluster.get_client() is client
            assert cluster.existing_client() is client
            assert not cluster.worker_monitor(client).fixed_n_threads
            assert cluster.describe(client) == f"cluster at {client.scheduler.address}"
            assert cluster.pop_dashboard_link(client) is None
            with pytest.raises(ValueError, match=r"n_workers=2 .* a client of yours is active"):
                cluster.get_client(n_workers=2)
            with pytest.raises(ValueError, match=r"memory_limit=1000000000 "):
                cluster.get_client(memory_limit="1 GB")
            assert client.submit(cluster.nested_context).result() == "inside a Dask worker"
            assert cluster.nested_context() is None
            cluster.close()
            assert client.submit(sum, [1, 2]).result() == 3

    def test_managed_client_is_not_the_default(self, managed_cluster):
        from distributed import default_client

        with pytest.raises(ValueError, match="No clients found"):
            default_client()
        assert dask.base.get_scheduler() is None
        with managed_cluster.as_current():
            assert cluster.get_client() is managed_cluster

    def test_managed_client_is_reused_and_described(self, managed_cluster):
        assert cluster.get_client() is managed_cluster
        assert cluster.existing_client() is managed_cluster
        assert cluster.worker_monitor(managed_cluster).fixed_n_threads
        assert cluster.describe(managed_cluster) == "local cluster of 2 processes"
        cluster.pop_dashboard_link(managed_cluster)
        assert cluster.pop_dashboard_link(managed_cluster) is None

    def test_worker_cannot_start_a_cluster(self, managed_cluster):
        def from_a_thread():
            results = []
            thread = threading.Thread(target=lambda: results.append(cluster.nested_context()))
            thread.start()
            thread.join()
            try:
                cluster.get_client()
            except ClusterError as error:
                results.append(str(error))
            return results

        assert managed_cluster.submit(cluster.nested_context).result() == "inside a Dask worker"
        phrase, message = managed_cluster.submit(from_a_thread).result()
        assert phrase == "inside a Dask worker"
        assert message.startswith("a cluster cannot be started inside a Dask worker; ")


class TestRestart:
    def test_other_size_or_closed_cluster_starts_a_new_one(self, caplog):
        caplog.set_level(logging.INFO, "pandas_imgproc")
        with ThreadPoolExecutor(3) as threads:  # concurrent requests get the same client
            clients = list(threads.map(lambda _: cluster.get_client(n_workers=1, memory_limit="1 GiB"), range(3)))
        assert len(set(map(id, clients))) == 1
        first = clients[0]
        assert [w["memory_limit"] for w in first.scheduler_info()["workers"].values()] == [2**30]
        assert cluster.get_client(n_workers=1, memory_limit=2**30) is first
        assert cluster.pop_dashboard_link(first) == first.dashboard_link
        assert "Started a local cluster of 1 process" in caplog.text
        with dask.config.set({"pandas-imgproc.n-workers": 2}):
            second = cluster.get_client()
            assert (len(second.scheduler_info()["workers"]), first.status) == (2, "closed")
            assert cluster.get_client() is second
        assert first.cluster._dashboard_token != second.cluster._dashboard_token
        first.close()
        second.cluster.close()
        assert cluster.existing_client() is None
        third = cluster.get_client(n_workers=1)
        assert third.submit(sum, [1, 2]).result() == 3
        third.close()
        assert cluster.existing_client() is None
        cluster.close()
        cluster.close()
        assert cluster.existing_client() is None


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_workers": 0}, ValueError, r"n_workers=0 is not a whole number from 1 up"),
        ({"n_workers": -1}, ValueError, r"n_workers=-1 "),
        ({"n_workers": True}, TypeError, r"n_workers=True is not a whole number"),
        ({"n_workers": 2.0}, TypeError, r"n_workers=2.0 is not a whole number"),
        ({"n_workers": "2"}, TypeError, r"n_workers='2' is not a whole number"),
        ({"memory_limit": "lots"}, ValueError, r"memory_limit='lots' is no amount of memory; give 'auto'"),
        ({"memory_limit": 0}, ValueError, r"memory_limit=0 "),
        ({"memory_limit": "10 MB"}, ValueError, r"memory_limit='10 MB' is less than the 256,000,000 bytes"),
        ({"memory_limit": -1.5}, ValueError, r"memory_limit=-1.5 "),
        ({"memory_limit": float("nan")}, ValueError, r"memory_limit=nan "),
        ({"memory_limit": True}, TypeError, r"memory_limit=True is bool"),
        ({"memory_limit": [1]}, TypeError, r"memory_limit=\[1\] is list"),
    ],
)
def test_invalid_size_raises_before_the_start(arguments, error, message):
    before = cluster.existing_client()
    with pytest.raises(error, match=message):
        cluster.get_client(**arguments)
    assert cluster.existing_client() is before


@pytest.mark.parametrize("key", ["n-workers", "memory-limit"])
def test_invalid_configuration_error_names_the_key(key):
    cluster.close()
    with (
        dask.config.set({f"pandas-imgproc.{key}": "lots"}),
        pytest.raises((TypeError, ValueError), match=rf"pandas-imgproc.{key}='lots' "),
    ):
        cluster.get_client()
