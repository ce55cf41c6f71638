"""State of a user's function: it travels once, is built once in a process, and is released when the call ends."""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import cloudpickle
import dask
import dask.dataframe as dd
import image_factory
import numpy as np
import psutil
import pytest
from distributed import Client, LocalCluster
from image_factory import row_of
from saved_files import numbered_paths

from conftest import wait_until
from pandas_imgproc import ClusterError, UserFunctionError, cluster
from pandas_imgproc.execution import task_handle

cloudpickle.register_pickle_by_value(image_factory)
cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.timeout(600)

N = 300


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return numbered_paths(tmp_path_factory.mktemp("state"), N, N)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "builds"


def note(log):
    with log.open("a") as file:
        file.write(f"{os.getpid()}\n")


def builders(log):
    """Return the processes that have built a function, once for each time."""
    return [int(pid) for pid in log.read_text().split()]


class Rows:
    """Function of pixels that takes note of each time that it is built."""

    def __init__(self, log, weights=b""):
        note(log)
        self.weights, self.running = weights, 0

    def __call__(self, pixels):
        return row_of(pixels)


class Darker(Rows):
    def __call__(self, pixels):
        return pixels // 2


CALLS = {
    "map": lambda paths, log: paths.img.map(functools.partial(Rows, log), npartitions=12),
    "augment": lambda paths, log: paths.img.augment(functools.partial(Darker, log), n=2, size=8, npartitions=12),
    "map_batches": lambda paths, log: paths.img.map_batches(
        functools.partial(Darker, log), size=8, batch_size=16, npartitions=12
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_class_is_built_once_in_each_worker(paths, managed_cluster, log, name):
    CALLS[name](paths, log)
    assert sorted(builders(log)) == sorted(cluster.worker_pids())


def test_class_is_built_once_in_each_worker_for_a_dask_frame(paths, managed_cluster, log):
    ddf = dd.from_pandas(paths.to_frame("image_path"), npartitions=12)
    with managed_cluster.as_current():
        result = ddf.img.map("image_path", functools.partial(Rows, log), dtype="int64").compute()
    assert result.tolist() == list(range(N))
    assert sorted(builders(log)) == sorted(cluster.worker_pids())


def test_class_is_built_in_the_caller_only_on_request(paths, managed_cluster, log):
    paths.img.map_batches(functools.partial(Darker, log), size=8, run_on="caller")
    assert builders(log) == [os.getpid()]
    with dask.config.set(scheduler="threads"):
        assert paths.img.map(functools.partial(Rows, log)).tolist() == list(range(N))
    assert builders(log) == [os.getpid()] * 2


class Exclusive:
    """Function that fails if two threads call it at once."""

    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, pixels):
        assert self.lock.acquire(blocking=False)
        time.sleep(0.001)  # lets the others run
        self.lock.release()
        return row_of(pixels)


def test_calls_of_an_instance_are_serialized(paths):
    with dask.config.set(scheduler="threads"):
        assert paths.img.map(Exclusive).tolist() == list(range(N))


def test_cached_function_of_the_script_is_called_once_in_each_worker(tmp_path, paths):
    script = tmp_path / "script.py"
    script.write_text(f"""
import functools, os, pandas as pd
import pandas_imgproc

@functools.lru_cache
def net():
    open("builds", "a").write(f"{{os.getpid()}} ")
    return 5

def function(pixels):
    return net() + int(pixels[0, 0, 0])

paths = pd.Series({paths.tolist()})
paths.img.map(function, npartitions=12)
print(*pandas_imgproc.get_client().run(os.getpid).values())
""")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert sorted((tmp_path / "builds").read_text().split()) == sorted(done.stdout.split())


def test_object_of_the_script_that_is_sent_by_name_is_refused_with_advice(tmp_path, paths):
    script = tmp_path / "script.py"
    script.write_text(f"""
import pandas as pd
import pandas_imgproc

class Named:
    def __reduce__(self):
        return "named"

named = Named()
pd.Series({paths[:20].tolist()}).img.map(lambda pixels: named)
""")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "create it inside of the function, or in the __init__ of a class" in done.stderr


def sent_bytes():
    return psutil.net_io_counters(pernic=True)["lo"].bytes_sent


def test_large_weights_travel_through_no_socket(paths, managed_cluster, log):
    weights = np.random.default_rng(0).bytes(2**26)

    def sent_by_call():
        before = sent_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Dask warns of large graphs
            result = paths.img.map(functools.partial(Rows, log, weights), npartitions=12)
        assert result.tolist() == list(range(N))
        return sent_bytes() - before

    # Of the whole machine: another program may send at the same time, but hardly during each of the calls.
    assert any(sent_by_call() < len(weights) / 4 for _ in range(5))


def held_on_workers(client):
    def count():
        module = sys.modules["pandas_imgproc.execution.task_handle"]
        return len(module._held)

    return sum(client.run(count).values())


class Fails(Rows):
    def __call__(self, pixels):
        raise KeyError("x")


@pytest.mark.parametrize("function", [Rows, Fails])
def test_function_is_released_when_the_call_has_ended(paths, managed_cluster, log, function):
    with pytest.raises(UserFunctionError) if function is Fails else contextlib.nullcontext():
        paths.img.map(functools.partial(function, log), npartitions=12)
    assert wait_until(lambda: held_on_workers(managed_cluster) == 0)


def test_handle_of_a_caller_that_was_killed_is_released_by_the_next_call():
    handle = task_handle.MemfdHandle(os.getpid(), 0, "gone")
    task_handle._held["orphan"] = None, handle
    task_handle.TaskHandle("next", "", 2, data=b"N.").open(None)
    assert "orphan" not in task_handle._held


def test_released_function_is_not_held_by_a_late_partition():
    task_handle.release_task("ended")
    assert task_handle.TaskHandle("ended", "f", 2, data=b"N.").open(None) is not None
    assert "ended" not in task_handle._held


class DiesWhileBuilt:
    def __init__(self):
        os._exit(3)

    def __call__(self, pixels): ...


@pytest.fixture
def restored_workers(managed_cluster):
    assert wait_until(lambda: len(managed_cluster.scheduler_info()["workers"]) == 2)
    yield
    assert wait_until(lambda: len(managed_cluster.scheduler_info()["workers"]) == 2)


def test_class_that_ends_its_process_while_it_is_built_ends_the_call(paths, restored_workers):
    with pytest.raises(ClusterError, match="3 worker processes died while they received or built DiesWhileBuilt"):
        paths.img.map(DiesWhileBuilt, npartitions=12)


class Unbuildable:
    def __init__(self):
        raise FileNotFoundError("weights.pt")

    def __call__(self, pixels): ...


@pytest.mark.parametrize("scheduler", [None, "threads"])
def test_class_whose_constructor_raises_ends_the_call(paths, managed_cluster, scheduler):
    with (
        dask.config.set(scheduler=scheduler),
        pytest.raises(UserFunctionError, match=r"Unbuildable could not be built: FileNotFoundError: weights\.pt"),
    ):
        paths.img.map(Unbuildable)


class KillsOnce(Rows):
    """Function of batches whose process is killed from outside at the first batch with row 40."""

    def __init__(self, log):
        super().__init__(log)
        self.log = log

    def __call__(self, images):
        rows, marker = [row_of(image) for image in images], self.log.with_suffix(".killed")
        if 40 in rows and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return np.array(rows)


def test_killed_worker_costs_no_row_and_one_more_build(paths, restored_workers, log):
    result = paths.img.map_batches(functools.partial(KillsOnce, log), size=(12, 8), batch_size=16, npartitions=6)
    assert result.tolist() == list(range(N))
    assert len(builders(log)) <= 3  # two, if the other worker was given nothing in time
    assert max(collections.Counter(builders(log)).values()) == 1


class DiesAt(Rows):
    def __call__(self, images):
        rows = [row_of(image) for image in images]
        if 40 in rows:
            os._exit(3)
        return np.array(rows)


def test_row_that_ends_its_process_is_found_in_its_batch(paths, restored_workers, log):
    result = paths[:64].img.map_batches(
        functools.partial(DiesAt, log), size=(12, 8), batch_size=16, npartitions=2, errors="coerce"
    )
    assert result.img.failures["kind"].to_dict() == {40: "worker_died"}
    assert result.drop(40).tolist() == [row for row in range(64) if row != 40]


def test_batch_that_takes_too_long_costs_its_slow_row(paths, restored_workers):
    def slow(images):
        rows = [row_of(image) for image in images]
        if 5 in rows:
            signal.pause()
        return np.array(rows)

    with dask.config.set({"pandas-imgproc.row-timeout": 3}):
        result = paths[:16].img.map_batches(slow, size=(12, 8), batch_size=8, errors="coerce")
    assert result.img.failures["kind"].to_dict() == {5: "timeout"}


@pytest.mark.parametrize("has_memory", [True, False])
def test_foreign_worker_receives_the_function_once(paths, tmp_path, log, monkeypatch, has_memory):
    """Through shared memory, or, without any, as data of Dask; also a worker that has joined late."""
    if not has_memory:
        monkeypatch.delattr(os, "memfd_create")
    weights = bytes(2**22)
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", local_directory=tmp_path
        ) as user_cluster,
        Client(user_cluster) as client,
    ):
        # The second worker joins while rows run.
        timer = threading.Timer(0.1, user_cluster.scale, (2,))
        timer.start()

        class Slow(Rows):
            def __call__(self, pixels):
                time.sleep(0.02)
                return row_of(pixels)

        result = paths.img.map(functools.partial(Slow, log, weights), npartitions=100)
        timer.join()
        assert result.tolist() == list(range(N))
        assert max(collections.Counter(builders(log)).values()) == 1
        pids = client.run(os.getpid).values()
        assert set(builders(log)) <= set(pids)
        assert wait_until(lambda: held_on_workers(client) == 0)
