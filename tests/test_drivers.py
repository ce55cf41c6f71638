"""Which plan runs, that all plans give the same bytes, and what is left when one ends early."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
from collections import deque
from types import SimpleNamespace

import cloudpickle
import dask
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from image_factory import row_image, row_of

import pandas_imgproc
from pandas_imgproc import ResultTooLargeError, cluster, execution
from pandas_imgproc._shared_memory import MemfdHandle
from pandas_imgproc.execution import Job, JobState
from pandas_imgproc.execution.progress import progress
from pandas_imgproc.sinks import memory_sink
from pandas_imgproc.sinks.memory import BufferWriter, SharedMemorySink
from pandas_imgproc.source import Source
from pandas_imgproc.tasks import Task


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drivers")
    for number in range(30):
        row_image(number, (24, 16)).save(folder / f"{number}.png")
    return pd.Series([str(folder / f"{k % 30}.png") for k in range(100)])


def plan_of(caplog, call):
    """The plan that a call's summary names."""
    with caplog.at_level(logging.DEBUG, logger="pandas_imgproc"):
        caplog.clear()
        call()
    return caplog.records[-1].getMessage()


def test_a_small_call_runs_in_line_and_starts_nothing(paths, caplog):
    pandas_imgproc.close()
    assert "in line on" in plan_of(caplog, lambda: paths.head(10).img.load_resized(8))
    assert cluster.existing_client() is None


def test_npartitions_runs_on_the_cluster(paths, caplog, own_cluster):
    assert "local cluster of 2 processes" in plan_of(caplog, lambda: paths.img.load_resized(8, npartitions=4))


def test_a_long_call_goes_to_the_cluster_after_the_first_rows(paths, caplog, own_cluster):
    with dask.config.set({"pandas-imgproc.inline-threshold-warm": 0}):
        assert "local cluster" in plan_of(caplog, lambda: paths.img.load_resized(8))


@pytest.mark.parametrize(("scheduler", "plan"), [("synchronous", "1 thread;"), ("threads", "threads"),
                                                 ("distributed", "local cluster")])  # fmt: skip
def test_the_scheduler_can_be_chosen_by_hand(paths, caplog, own_cluster, scheduler, plan):
    with dask.config.set(scheduler=scheduler):
        assert plan in plan_of(caplog, lambda: paths.img.load_resized(8))


@pytest.mark.parametrize("size", [8, 120])
def test_all_plans_give_the_same_bytes(paths, own_cluster, size):
    with dask.config.set(scheduler="synchronous"):
        expected = paths.img.load_resized(size).img.to_numpy()
    with dask.config.set(scheduler="threads"):
        assert np.array_equal(paths.img.load_resized(size).img.to_numpy(), expected)
    for npartitions in (1, 3, 100, 105):
        assert np.array_equal(paths.img.load_resized(size, npartitions=npartitions).img.to_numpy(), expected)


def test_first_rows_that_were_quicker_than_the_rest_do_not_hold_the_call_in_line(paths, own_cluster, caplog):
    many = pd.Series(["gone.png"] * 16 + list(paths) * 20)
    with dask.config.set({"pandas-imgproc.inline-threshold-warm": 0.02}):
        assert "local cluster" in plan_of(caplog, lambda: many.img.load_resized(100, errors="coerce"))


def test_relative_paths_are_the_callers(own_cluster, tmp_path, monkeypatch):
    """Workers keep the folder they were started in."""
    row_image(7).save(tmp_path / "7.png")
    monkeypatch.chdir(tmp_path)
    assert pd.Series(["7.png"] * 3).img.load_resized(8, npartitions=2).notna().all()
    assert pd.Series(["7.png"] * 3).img.load_resized(8, npartitions=2, root=".").notna().all()


def test_a_plugin_is_imported_where_images_are_decoded(own_cluster, tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(row_image(7, (64, 64))).save(tmp_path / "7.heic")
    paths = pd.Series([str(tmp_path / "7.heic")] * 4)
    assert paths.img.load_resized(8, errors="coerce").isna().all()
    with dask.config.set({"pandas-imgproc.plugins": ["pillow_heif.HeifImagePlugin"]}):
        for npartitions in (None, 2):
            column = paths.img.load_resized(8, formats=["HEIF"], npartitions=npartitions)
            assert [row_of(np.asarray(image)) for image in column] == [7] * 4


def test_pixels_do_not_travel(paths, own_cluster, monkeypatch):
    """Workers hand back partitions without values: the block was written where it is mapped."""
    came_back = []
    collect = SharedMemorySink.commit
    monkeypatch.setattr(
        SharedMemorySink, "collect", lambda self, part: (came_back.append(part.values), collect(self, part))
    )
    paths.img.load_resized(120, npartitions=4)
    assert came_back == [None] * 4


def test_workers_out_of_reach_hand_their_values_back(paths, own_cluster, monkeypatch):
    expected = paths.img.load_resized(120).img.to_numpy()
    elsewhere = MemfdHandle(os.getpid(), 0, "the number of another machine's file")
    writer = lambda self, positions: BufferWriter(elsewhere, self._copies, self._row_bytes)  # noqa: E731
    monkeypatch.setattr(SharedMemorySink, "writer", writer)
    again = paths.img.load_resized(120, npartitions=4).img.to_numpy()
    assert np.array_equal(again, expected)


def test_the_users_client_is_used_and_left_open(paths, caplog, tmp_path):
    with Client(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0", local_directory=tmp_path
    ) as client:
        text = plan_of(caplog, lambda: paths.img.load_resized(8, npartitions=4))
        assert client.scheduler.address in text
        assert client.status == "running"


def test_inside_a_dask_task_it_runs_in_line(paths, own_cluster):
    def task():
        import pandas as pd

        import pandas_imgproc  # noqa: F401

        return pd.Series(list(paths)).img.load_resized(8, npartitions=3).img.to_numpy().sum()

    assert own_cluster.submit(task, pure=False).result() == paths.img.load_resized(8).img.to_numpy().sum()


def test_inside_a_daemonic_process_it_runs_in_line(paths):
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        assert pool.apply(_sum, (list(paths),)) == _sum(list(paths))


def _sum(paths):
    return int(
        pd.Series(paths)
        .img.load_resized(8, npartitions=3 if multiprocessing.current_process().daemon else None)
        .img.to_numpy()
        .sum()
    )


def test_a_forked_child_has_a_cluster_of_its_own(paths, own_cluster):
    """As in `ProcessPoolExecutor`, whose processes are forked where nothing else is said."""
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
    with os.fdopen(reader) as answer:
        assert answer.read() == str(expected)
    os.waitpid(child, 0)


def test_calls_from_several_threads(paths, own_cluster):
    expected = paths.img.load_resized(8).img.to_numpy()
    results = {}

    def call(number):
        results[number] = paths.img.load_resized(8, npartitions=5).img.to_numpy()

    threads = [threading.Thread(target=call, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(results[k], expected) for k in range(4))


def test_a_result_larger_than_memory_is_refused_at_once(paths):
    many = pd.Series(np.repeat(paths.to_numpy(), 1000))
    with pytest.raises(ResultTooLargeError, match=r"100,000 rows need 108\d{2}\.\d\d GB of memory"):
        many.img.load_resized((6000, 6000))


def _number(pixels):
    """The row that an image says it is; that of number 13 ends its process."""
    number = row_of(pixels)
    if number == 13:
        os._exit(1)
    return number


@pytest.mark.parametrize("whose", ["own", "user's"])
def test_a_row_that_kills_its_worker_costs_that_row_only(paths, own_cluster, tmp_path, whose):
    cloudpickle.register_pickle_by_value(sys.modules["image_factory"])
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    few = paths[20:60]  # with 43, which shows image 13
    if whose == "own":
        answer = few.img.map(_number, npartitions=3, errors="coerce")
        own_cluster.wait_for_workers(2)
    else:
        with (
            LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", local_directory=tmp_path
            ) as theirs,
            Client(theirs),
        ):
            answer = few.img.map(_number, npartitions=3, errors="coerce")
    assert answer.img.failures["kind"].to_dict() == {43: "worker_died"}
    assert answer.drop(43).tolist() == [k % 30 for k in range(20, 60) if k != 43]


class _Task(Task):
    name = "nothing"

    def empty(self, n):
        return np.zeros((n, 0), dtype=np.uint8)

    def fill(self, out, position, file):
        pass

    def wrap(self, values, status, failures, index):
        return pd.Series(status, index=index)


def test_a_hundred_thousand_rows_make_no_large_graph_and_little_to_read(own_cluster, caplog):
    """Dask's warning would be an error here; what is logged is progress."""
    destination = memory_sink(_Task(), 100_000)
    with caplog.at_level(logging.INFO), dask.config.set({"distributed.admin.large-graph-warning-threshold": "1MB"}):
        paths = [f"photographs/of/{k % 100:02}/{k:09}.jpg" for k in range(100_000)]
        execution.execute(Job(_Task(), Source(), paths, npartitions=12), destination)
    assert (destination.status()[0] == 0).all()
    assert [record.name for record in caplog.records if not record.getMessage().startswith("nothing: ")] == []


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 1000, 100_000])
@pytest.mark.parametrize("npartitions", [None, 1, 7, 2000])
@pytest.mark.parametrize("seconds", [0.0, 1e-6, 0.01, 5.0])
def test_cuts_cover_every_row_once_in_order(n, npartitions, seconds):
    call = Job(_Task(), Source(), [None] * n, npartitions)
    left = deque([range(n)] if n else [])
    state = JobState(call, memory_sink(_Task(), 0), progress("nothing", 0), left, timed=1, wall=seconds)
    state.workers = 2
    ranges = list(state.iter_partitions())
    assert [k for rows in ranges for k in rows] == list(range(n))
    assert all(0 < len(rows) <= max(execution.MAX_PARTITION_ROWS, n if npartitions else 0) for rows in ranges)
    if npartitions:
        assert len(ranges) == min(n, npartitions)


@pytest.mark.parametrize("npartitions", [None, 1, 2, 7, 300])
def test_cuts_leave_out_what_is_done(npartitions):
    todo = [range(3, 40), range(41, 42), range(50, 200)]
    call = Job(_Task(), Source(), [None] * 200, npartitions)
    state = JobState(call, memory_sink(_Task(), 0), progress("nothing", 0), deque(todo))
    assert [k for rows in state.iter_partitions() for k in rows] == [k for rows in todo for k in rows]


@pytest.mark.parametrize(("seconds", "client", "rows"), [(math.inf, "one", 16), (1e-9, "one", 4), (1e-9, None, 16)])
def test_few_long_rows_are_timed_where_workers_wait(seconds, client, rows, monkeypatch):
    monkeypatch.setattr(cluster, "existing_client", lambda: client)
    monkeypatch.setattr(
        execution.planning, "SAMPLE_SECONDS", seconds
    )  # and not the rows' own: they take as long as they take
    call = Job(_Task(), Source(), ["a.png"] * 100)
    state = JobState(call, memory_sink(_Task(), 100), progress("nothing", 0), deque([range(100)]))
    execution.planning._time_first_rows(state)
    assert state.done == rows


def test_partitions_of_large_images_have_few_bytes():
    """Memory of more than so many bytes is given back after each partition, and its first touch is dear."""
    call = Job(_Task(), Source(), [None] * 1000)
    large = SimpleNamespace(nbytes=1000 * 2**20, schema_known=True)
    state = JobState(call, large, progress("nothing", 0), deque([range(1000)]), timed=1, wall=0.01)
    state.workers = 2
    assert max(len(rows) for rows in state.iter_partitions()) == 24


SCRIPT = """
import sys, pandas as pd, pandas_imgproc, logging
logging.basicConfig(level=logging.DEBUG, format="%(message)s"); logging.getLogger("PIL").setLevel(30)
paths = pd.Series({paths!r} * 10)
column = paths.img.load_resized(8, npartitions=3)
assert column.notna().all()
sys.stdout.write(f"sum {{column.img.to_numpy().sum()}}")
"""


def test_a_script_needs_no_guard(paths, tmp_path):
    code = SCRIPT.format(paths=list(paths[:3]))
    (tmp_path / "script.py").write_text(code)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = pd.Series(list(paths[:3]) * 10).img.load_resized(8).img.to_numpy().sum()
    assert done.stdout == f"sum {expected}"
    assert "local cluster of" in done.stderr


def test_ten_images_import_nothing_of_the_cluster(paths):
    code = textwrap.dedent(f"""
        import sys, pandas as pd, pandas_imgproc
        pd.Series({list(paths[:10])!r}).img.load_resized(64)
        heavy = {{"distributed", "dask.dataframe", "matplotlib", "IPython", "bokeh"}} & set(sys.modules)
        assert not heavy, heavy
    """)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.getcwd()})


@pytest.mark.parametrize(("row", "threads"), [(0.0001, 1), (0.001, execution.planning.CPU_COUNT)])
def test_very_short_rows_in_line_are_done_by_one_thread(row, threads):
    """Two threads do half of what one does there: most of so short a row is Python."""
    call = Job(_Task(), Source(), [None] * 100)
    state = JobState(call, memory_sink(_Task(), 0), progress("nothing", 0), deque([range(100)]), timed=16, cpu=16 * row)
    assert execution.planning._chosen_by_time(state).threads == threads


def test_in_line_too_values_go_where_they_belong_at_once(paths, monkeypatch):
    """The thread that did the rows puts them there; the caller's would be one for all."""
    with dask.config.set(scheduler="threads"):
        expected = paths.img.load_resized(120).img.to_numpy()
        monkeypatch.setattr(SharedMemorySink, "collect", lambda self, part: self._note(part))
        assert np.array_equal(paths.img.load_resized(120).img.to_numpy(), expected)
    assert expected.nbytes > 2**20
