"""Remote files that are larger than expected wait for memory: no server can fill that of a process.

The tests stop at the first row, as a consumer that pauses, and look at what was read ahead of it. Estimates are of 4 MB
for each file, of which three are read ahead, and all have 12 MB more.
"""

from __future__ import annotations

import asyncio
import gzip
import random
import zipfile

import dask
import fsspec.asyn
import pytest
from archive_factory import make_zip
from image_factory import image_bytes, row_of

import pandas_imgproc
from conftest import wait_until
from pandas_imgproc.partition import PartitionInput
from pandas_imgproc.source import Source
from pandas_imgproc.source.byte_budget import process_budget

MB = 10**6


@pytest.fixture(autouse=True)
def _small_budget():
    with dask.config.set({"pandas-imgproc.prefetch-bytes": 12 * MB}):
        yield


def read(http_server, folder, *sizes):
    """Yield the rows of files that have so many bytes beyond those of an image."""
    http_server.files.update({f"{folder}/{k}.png": image_bytes(k) + bytes(size) for k, size in enumerate(sizes)})
    yield from read_again(http_server, folder, len(sizes))


def read_again(http_server, folder, n):
    for _i, file in Source(root=http_server.url(folder)).read(PartitionInput(range(n), [f"{k}.png" for k in range(n)])):
        yield row_of(pandas_imgproc.load_image(file.data(), size=8))


def is_idle_after(http_server, *paths):
    return wait_until(lambda: all(http_server.n_requests_by_path[p] for p in paths) and not http_server.in_flight)


def test_large_files_wait_for_memory_and_are_read(http_server):
    rows = read(http_server, "wait", 3 * MB, 40 * MB, 40 * MB, 40 * MB, 40 * MB)
    assert next(rows) == 0
    assert is_idle_after(http_server, "wait/1.png", "wait/2.png")  # those that wait have no connection
    assert http_server.n_sent_completely == {"wait/0.png": 1}
    assert list(rows) == [1, 2, 3, 4]


def test_files_of_unknown_size_wait_for_memory_and_are_read(http_server):
    # Not zeros, which would be sent before they are unpacked here: the server would be idle too early.
    noise = gzip.compress(random.Random(3).randbytes(40 * MB), 0)
    http_server.files.update({f"gzip/{k}.png": gzip.compress(image_bytes(k)) + noise for k in range(1, 4)})
    http_server.files["gzip/0.png"] = gzip.compress(image_bytes(0))
    http_server.headers["Content-Encoding"] = "gzip"
    rows = read_again(http_server, "gzip", 4)
    assert next(rows) == 0
    assert is_idle_after(http_server, "gzip/1.png", "gzip/2.png")
    assert list(rows) == [1, 2, 3]
    assert all(http_server.n_requests_by_path[f"gzip/{k}.png"] > 1 for k in (1, 2))  # as the first in line once more


def test_packed_members_of_an_archive_wait_for_the_memory_of_their_unpacked_bytes(http_server):
    files = {f"{k}.png": image_bytes(k) + bytes(40 * MB if k else 0) for k in range(4)}
    http_server.files["x.zip"] = make_zip(files, compression=zipfile.ZIP_DEFLATED)
    rows = read_again(http_server, "x.zip", 4)
    assert next(rows) == 0
    assert wait_until(lambda: http_server.n_requests_by_path["x.zip"] >= 6 and not http_server.in_flight)
    event_loop = fsspec.asyn.get_loop()
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), event_loop).result()  # all that has arrived was handled
    assert process_budget("read", 12 * MB).free >= 0
    assert list(rows) == [1, 2, 3]


def test_files_a_little_larger_than_expected_are_read_ahead(http_server):
    rows = read(http_server, "more", 3 * MB, 8 * MB, 8 * MB, 8 * MB)
    assert next(rows) == 0
    assert wait_until(lambda: http_server.n_sent_completely["more/2.png"])
    assert list(rows) == [1, 2, 3]
    assert set(http_server.n_requests_by_path.values()) == {1}


@pytest.mark.parametrize("n_connections", [1, 4])
def test_paused_partition_does_not_stop_another(http_server, n_connections):
    with dask.config.set({"pandas-imgproc.max-connections": n_connections}):
        paused = read(http_server, f"paused{n_connections}", 3 * MB, 14 * MB, 40 * MB)
        assert next(paused) == 0
        assert is_idle_after(http_server, *(f"paused{n_connections}/{k}.png" for k in (1, 2)))
        assert list(read(http_server, f"other{n_connections}", 40 * MB, 40 * MB)) == [0, 1]
        assert list(paused) == [1, 2]


def test_end_of_partition_releases_memory(http_server):
    ended = read(http_server, "ended", 3 * MB, 14 * MB)
    assert next(ended) == 0
    assert wait_until(lambda: http_server.n_sent_completely["ended/1.png"])
    waiting = read(http_server, "waiting", 3 * MB, 14 * MB)
    assert next(waiting) == 0
    assert is_idle_after(http_server, "waiting/1.png")
    assert not http_server.n_sent_completely["waiting/1.png"]
    ended.close()
    assert wait_until(lambda: http_server.n_sent_completely["waiting/1.png"])
    assert list(waiting) == [1]


def test_cancelled_read_releases_memory(http_server):
    http_server.fault = lambda path, k: f"hold {10 * MB}" if path == "held/1.png" else None
    held = read(http_server, "held", 3 * MB, 14 * MB)
    assert next(held) == 0
    assert wait_until(lambda: http_server.n_sent > 13 * MB)
    held.close()
    rows = read(http_server, "next", 3 * MB, 14 * MB)
    assert next(rows) == 0
    assert wait_until(lambda: http_server.n_sent_completely["next/1.png"])
    assert list(rows) == [1]


def test_failed_attempt_releases_memory(http_server):
    http_server.fault = lambda path, k: "truncated" if path == "failed/1.png" else None
    with dask.config.set({"pandas-imgproc.retry-attempts": 1}):
        failed = read(http_server, "failed", 3 * MB, 14 * MB, 14 * MB)
        assert next(failed) == 0
        assert wait_until(lambda: http_server.n_sent_completely["failed/2.png"])
    failed.close()
