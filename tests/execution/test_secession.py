"""The next partition reads while the last remote files of another are awaited, on workers and on threads."""

from __future__ import annotations

import sys
import threading

import dask
import pandas as pd
import pytest
from image_factory import image_bytes, row_of

from conftest import wait_until
from pandas_imgproc.execution.secession import Secession
from pandas_imgproc.partition import PartitionInput
from pandas_imgproc.source import ReadControl, Source

N = 96


def rows_of(images):
    return [row_of(image) for image in images]


@pytest.fixture
def names(http_server):
    http_server.files.update({f"{k}.png": image_bytes(k) for k in range(N)})
    return pd.Series([f"{k}.png" for k in range(N)])


@pytest.fixture
def delayed_thread(http_server):
    """Delay the first thread of a call, which waits for its turn, until another one has requested a file."""

    def profile(frame, event, _):
        name = threading.current_thread().name
        if event == "call" and frame.f_code is threading.Semaphore.acquire.__code__ and name == "pandas_imgproc_0":
            sys.setprofile(None)
            wait_until(lambda: http_server.requests)

    threading.setprofile(profile)
    yield
    threading.setprofile(None)


@pytest.fixture(autouse=True)
def _no_second_attempt():
    """Requests that the server holds back for too long are failures."""
    with dask.config.set(
        {"pandas-imgproc.retry-attempts": 1, "pandas-imgproc.read-timeout": 20, "pandas-imgproc.prefetch-bytes": "1 GB"}
    ):
        yield


def test_next_partition_of_a_worker_reads_while_the_last_files_are_awaited(http_server, names, managed_cluster):
    """Two processes have partitions of four rows: in turn they would have eight requests in flight, without an end."""
    http_server.min_in_flight = 9
    column = names.img.load_resized(8, root=http_server.url(), npartitions=N // 4)
    assert rows_of(column.img.to_numpy()) == list(range(N))


def test_next_partition_of_a_thread_reads_while_the_last_files_are_awaited(http_server, names):
    """One thread has partitions of a third of the rows."""
    http_server.min_in_flight = N // 3 + 1
    with dask.config.set({"scheduler": "synchronous", "pandas-imgproc.max-connections": 64}):
        column = names.img.load_resized(8, root=http_server.url())
    assert rows_of(column.img.to_numpy()) == list(range(N))


def test_next_chunk_of_a_loop_reads_while_the_last_files_are_awaited(http_server, names):
    """One thread has half of the rows that may be in memory: three batches."""
    http_server.min_in_flight = 7
    with dask.config.set(scheduler="synchronous"):
        batches = names.img.batches(8, root=http_server.url(), batch_size=4, prefetch=2, drop_last=False)
        assert rows_of([image for _, images in batches for image in images]) == list(range(N))


def test_partitions_of_one_thread_start_in_the_order_of_the_rows(http_server, names, delayed_thread):
    with dask.config.set({"scheduler": "synchronous", "pandas-imgproc.prefetch-bytes": 1}):
        names.img.load_resized(8, root=http_server.url())
    assert [path for _method, path, _headers in http_server.requests] == [f"/{name}" for name in names]


def test_partition_secedes_when_the_last_requests_fit_beside_those_of_another(http_server, names):
    calls: list[int] = []
    with dask.config.set({"pandas-imgproc.max-connections": 4}):
        source = Source(root=http_server.url())
        control = ReadControl(on_last_reads=lambda: calls.append(i))
        for i, file in source.read(PartitionInput(range(N), list(names)), control):  # noqa: B007  the control uses i
            file.data()
    assert calls == list(range(N - 4, N))


def test_partition_without_remote_files_does_not_secede(tmp_path):
    (tmp_path / "a.png").write_bytes(image_bytes(1))
    control = ReadControl(on_last_reads=lambda: pytest.fail("there is no round trip to wait for"))
    for _, file in Source(root=str(tmp_path)).read(PartitionInput(range(2), ["a.png", "a.png"]), control):
        file.data()


def test_as_many_partitions_have_seceded_as_there_are_seats():
    seats, given = threading.Semaphore(1), []
    with Secession(lambda: given.append("a"), seats) as first:
        first()
        first()
        with Secession(lambda: given.append("b"), seats) as second:
            second()
            assert given == ["a"]
            assert not second.seconds
        assert given == ["a", "b"]  # at its end
    with Secession(lambda: given.append("c"), seats) as third:
        third()
    assert given == ["a", "b", "c"]
