"""Choice between the user's client and the managed cluster, its size, and checks of that size."""

import asyncio
import gc
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import spawn

import dask
import pandas as pd
import pytest
from image_factory import row_image, row_of

from conftest import wait_until
from pandas_imgproc import cluster
from pandas_imgproc.cluster.dashboard import images_link
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

    def test_sent_messages_are_not_kept(self, managed_cluster):
        from distributed.protocol.serialize import Serialized

        def n_kept():
            gc.collect()
            return sum(isinstance(x, Serialized) for x in gc.get_objects())

        before = n_kept()
        for i in range(200):
            managed_cluster.submit(int, i, pure=False).result()
        assert n_kept() - before < 150

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


@pytest.fixture
def one_worker():
    """Return the client of the managed cluster of one worker."""
    return cluster.get_client(n_workers=1)


@pytest.fixture
def waiting_call(tmp_path):
    """Start a call in a thread, of which the rows wait on a worker for `go`; return (thread, results, started, go)."""
    row_image(7).save(tmp_path / "7.png")
    started, go = tmp_path / "started", tmp_path / "go"
    paths = pd.Series([str(tmp_path / "7.png")] * 4)

    def wait(pixels, started=str(started), go=str(go)):
        open(started, "w").close()
        while not os.path.exists(go):
            time.sleep(0.01)
        return row_of(pixels)

    results = []

    def call():
        try:
            results.append(paths.img.map(wait, npartitions=4, dtype="int64").tolist())
        except BaseException as exc:
            results.append(exc)

    thread = threading.Thread(target=call)
    thread.start()
    yield thread, results, started, go
    go.touch()
    thread.join()


class TestThreads:
    """Each test uses the cluster that the one before has left: starting one is nearly all of the time."""

    def test_replaced_cluster_with_a_call_is_taken_back(self, managed_cluster, waiting_call):
        thread, results, started, go = waiting_call
        assert wait_until(started.exists)
        assert cluster.get_client(n_workers=1) is not managed_cluster
        assert managed_cluster.status == "running"
        assert cluster.describe(managed_cluster) == "local cluster of 2 processes"
        assert cluster.get_client(n_workers=2) is managed_cluster
        go.touch()
        thread.join()
        assert results == [[7] * 4]
        assert cluster.get_client() is managed_cluster
        assert wait_until(lambda: len(cluster.managed._open) == 1)

    def test_call_finishes_on_the_cluster_it_began_on(self, managed_cluster, waiting_call):
        thread, results, started, go = waiting_call
        assert wait_until(started.exists)
        with dask.config.set({"pandas-imgproc.n-workers": 1}):
            assert cluster.get_client() is not managed_cluster
        assert managed_cluster.status == "running"
        go.touch()
        thread.join()
        assert results == [[7] * 4]
        assert managed_cluster.status == "closed"
        assert len(cluster.managed._open) == 1

    def test_call_finishes_on_the_cluster_that_is_closed(self, one_worker, waiting_call):
        thread, results, started, go = waiting_call
        assert wait_until(started.exists)
        cluster.close()
        assert cluster.existing_client() is None
        assert one_worker.status == "running"
        assert cluster.describe(one_worker) == "local cluster of 1 process"
        go.touch()
        thread.join()
        assert results == [[7] * 4]
        assert one_worker.status == "closed"
        assert not cluster.managed._open

    def test_calls_of_threads_with_mixed_sizes_and_closes_succeed(self, tmp_path):
        row_image(7).save(tmp_path / "7.png")
        paths = pd.Series([str(tmp_path / "7.png")] * 8)

        def call(k):
            with dask.config.set({"pandas-imgproc.n-workers": 1 + k % 2}):
                if k == 2:
                    cluster.close()
                return paths.img.load_resized(8, npartitions=4).notna().all()

        # Each thread restores what it found, which another one may have set.
        with dask.config.set({"pandas-imgproc.n-workers": 1}), ThreadPoolExecutor(3) as threads:
            assert all(threads.map(call, range(3)))
        assert len(cluster.managed._open) <= 1


class TestRestart:
    def test_other_size_or_closed_cluster_starts_a_new_one(self, caplog):
        caplog.set_level(logging.INFO, "pandas_imgproc")
        before = cluster.existing_client()
        with ThreadPoolExecutor(3) as threads:  # concurrent requests get the same client
            clients = list(threads.map(lambda _: cluster.get_client(n_workers=1, memory_limit="1 GiB"), range(3)))
        assert len(set(map(id, clients))) == 1
        first = clients[0]
        assert first is not before
        assert [w["memory_limit"] for w in first.scheduler_info()["workers"].values()] == [2**30]
        assert cluster.get_client(n_workers=1, memory_limit=2**30) is first
        assert cluster.pop_dashboard_link(first) == images_link(first.dashboard_link)
        assert "Started a local cluster of 1 process" in caplog.text
        with dask.config.set({"pandas-imgproc.memory-limit": "2 GiB"}):
            second = cluster.get_client()
            assert [w["memory_limit"] for w in second.scheduler_info()["workers"].values()] == [2**31]
            assert first.status == "closed"
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


class TestUnavailable:
    @pytest.fixture(params=["temporary folder", "open files", "working directory", "memory", "executable"])
    def reason(self, request, tmp_path, monkeypatch):
        """Make the start of a cluster impossible in this process, and return the reason in the error."""
        cluster.close()
        if request.param == "temporary folder":
            (tmp_path / "file").touch()
            with dask.config.set({"temporary-directory": str(tmp_path / "file")}):
                yield "the temporary folder cannot be written"
        elif request.param == "open files":
            resource = pytest.importorskip("resource")
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            opened = {int(name) for name in os.listdir("/proc/self/fd")}
            limit = next(n for n in range(20, before[0]) if len(set(range(n)) - opened) >= 20)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
            yield r"2 worker processes need 48 open files more than the limit allows \(ulimit -n\)"
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        elif request.param == "working directory":
            (tmp_path / "gone").mkdir()
            monkeypatch.chdir(tmp_path / "gone")
            (tmp_path / "gone").rmdir()
            yield "the working directory cannot be read"
            monkeypatch.undo()
        elif request.param == "executable":
            before = spawn.get_executable()
            spawn.set_executable(str(tmp_path / "python"))
            yield "this user cannot execute Python at '.*python'"
            spawn.set_executable(before)
        else:
            with dask.config.set({"pandas-imgproc.memory-limit": 0.0001}):
                yield r"each of 2 worker processes would have 0.00 GB of memory and needs 0.26 GB"

    def test_requested_cluster_is_an_error_and_another_call_runs_inline(self, reason, tmp_path, caplog):
        row_image(7).save(tmp_path / "7.png")
        paths = pd.Series([str(tmp_path / "7.png")] * 4)
        with dask.config.set({"pandas-imgproc.n-workers": 2}):
            with pytest.raises(ClusterError, match=f"the local cluster cannot be started: {reason}.* runs inline then"):
                paths.img.load_resized(8, npartitions=2)
            # Functions run on a cluster by default, where they run concurrently.
            assert paths.img.map(row_of, dtype="int64").tolist() == [7] * 4
        lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert len(lines) == 1
        assert lines[0].startswith("map runs inline: the local cluster cannot be started: ")

    def test_asynchronous_client_does_not_stop_an_inline_call(self, tmp_path):
        row_image(7).save(tmp_path / "7.png")
        paths = pd.Series([str(tmp_path / "7.png")] * 4)

        async def main():
            from distributed import Client

            async with Client(processes=False, asynchronous=True, dashboard_address="127.0.0.1:0"):
                with pytest.raises(ClusterError, match="is asynchronous"):
                    paths.img.load_resized(8, npartitions=2)
                return paths.img.map(row_of, dtype="int64").tolist()

        assert asyncio.run(main()) == [7] * 4


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
