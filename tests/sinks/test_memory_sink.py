"""Memory of results: reserved beside the first rows, and no row is written before its own memory is."""

from __future__ import annotations

import errno
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import dask
import numpy as np
import pandas as pd
import pytest
from image_factory import row_image

from pandas_imgproc import ResultTooLargeError, _shared_memory
from pandas_imgproc.sinks.memory import ArraySpec, SharedMemorySink

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="results lie in anonymous files on Linux only")

CHUNK_NBYTES = 2**20


@pytest.fixture
def reserve(monkeypatch):
    """Return a list of functions that are called before all chunks but the first are reserved."""
    functions, posix_fallocate = [], os.posix_fallocate

    def reserve_after_functions(fd, offset, n):
        if offset:
            for function in functions:
                function()
        posix_fallocate(fd, offset, n)

    monkeypatch.setattr(os, "posix_fallocate", reserve_after_functions)
    monkeypatch.setattr(_shared_memory, "CHUNK_NBYTES", CHUNK_NBYTES)
    return functions


def test_a_partition_waits_for_its_own_memory(reserve):
    go_on = threading.Event()
    reserve.append(go_on.wait)
    spec = ArraySpec("load_resized", 30, 1, (CHUNK_NBYTES // 10,), np.dtype(np.uint8))
    sink = SharedMemorySink(spec, in_background=True)
    assert sink.writer(range(10)).row_nbytes == spec.row_nbytes  # in the first chunk
    with ThreadPoolExecutor() as pool:
        second = pool.submit(sink.writer, range(5, 11))
        assert not wait([second], 0.05).done
        go_on.set()
        assert second.result().row_nbytes == spec.row_nbytes
    sink.writer(range(20, 30))
    n_reserved = os.fstat(sink._buffer.handle.fd).st_blocks * 512
    sink.close()
    assert n_reserved >= spec.nbytes


@pytest.mark.parametrize("scheduler", ["threads", "distributed"])
def test_memory_that_runs_out_beside_the_first_rows_is_an_error(tmp_path, reserve, managed_cluster, scheduler):
    def fail():
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    reserve.append(fail)
    row_image(0, (24, 16)).save(tmp_path / "a.png")
    paths = pd.Series([str(tmp_path / "a.png")] * 40)
    with (
        dask.config.set(scheduler=scheduler),
        pytest.raises(ResultTooLargeError, match=r"40 rows need .* the system has no more: Cannot allocate memory"),
    ):
        paths.img.load_resized(200)
    assert "pandas_imgproc memory" not in [thread.name for thread in threading.enumerate()]
