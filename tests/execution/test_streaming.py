"""Streams of batches: rows in memory, threads, order and errors, with a function that reads nothing."""

import mmap
import threading

import dask
import numpy as np
import pytest
from dask.system import CPU_COUNT

from conftest import wait_until
from pandas_imgproc.array import PixelFormat
from pandas_imgproc.execution import BatchStream
from pandas_imgproc.partition import PartitionInput, PartitionResult
from pandas_imgproc.sinks import Batch, BatchSink, BatchSpec

FORM = PixelFormat(np.dtype("uint16"))


class Reader:
    """Images whose pixels are their position, some of them missing."""

    def __init__(self, missing=(), cpu=1.0):
        self.missing, self.cpu, self.positions = set(missing), cpu, []

    def __call__(self, positions, ledger, on_last_reads):
        self.positions += positions
        values = np.broadcast_to(np.array(positions, "uint16")[:, None, None, None], (len(positions), 2, 2, 1))
        part = PartitionResult.empty(PartitionInput(positions, positions), values)
        part.status[:] = [-1 if position in self.missing else 0 for position in positions]
        part.cpu = self.cpu * len(positions)
        return part


def stream(reader, n=100, batch_size=4, prefetch=2, order=None, **spec):
    sink = BatchSink(BatchSpec(batch_size, (2, 2, 1), FORM, **spec), n)
    order = np.arange(n) if order is None else order
    return BatchStream(reader, order, sink, prefetch * batch_size)


def is_idle(stream):
    return wait_until(lambda: not stream._n_running)


@pytest.mark.parametrize("prefetch", [1, 2, 5])
@pytest.mark.parametrize("missing", [[], [0, 1, 2, 3, 4, 5, 6, 50], range(0, 100, 2)])
def test_rows_ahead_of_the_loop_are_bounded(prefetch, missing):
    reader = Reader(missing)
    with stream(reader, prefetch=prefetch) as batches:
        n_taken, n_given = 0, 0
        while n_taken < 100 - len(missing):
            assert is_idle(batches)
            n_read = len([position for position in reader.positions if position not in reader.missing])
            assert n_read == min(n_given + 4 * prefetch, 100 - len(missing))
            batch = next(batches)
            n_taken, n_given = n_taken + batch.n, n_given + batch.n
    assert sorted(reader.positions) == list(range(100))


def test_batches_follow_the_order_whichever_thread_is_first():
    order, slow = np.random.default_rng(0).permutation(200), threading.Event()

    class Late(Reader):
        def __call__(self, positions, ledger, on_last_reads):
            if int(order[0]) in positions:
                assert slow.wait(100)
            elif int(order[20]) in positions:
                slow.set()
            return super().__call__(positions, ledger, on_last_reads)

    with dask.config.set(scheduler="threads"), stream(Late(), 200, 8, 4, order) as batches:
        given = [(batch.positions[: batch.n].tolist(), batch.images[: batch.n, 0, 0, 0].tolist()) for batch in batches]
    assert [positions for positions, _ in given] == [pixels for _, pixels in given]
    assert [position for positions, _ in given for position in positions] == order.tolist()


@pytest.mark.parametrize(("cpu", "n_threads"), [(1e-6, 1), (0.0, 1), (0.3, CPU_COUNT)])
def test_rows_that_need_no_time_are_read_by_one_thread(cpu, n_threads):
    with stream(Reader(cpu=cpu)) as batches:
        assert batches._max_running() == CPU_COUNT
        next(batches)
        assert is_idle(batches)
        assert batches._max_running() == n_threads


def test_large_batch_has_pages_of_its_own():
    batch = Batch(64, BatchSpec(64, (128, 128, 3), PixelFormat(np.dtype("uint8"))))
    memory = batch.images
    while isinstance(memory, np.ndarray):
        memory = memory.base
    assert isinstance(getattr(memory, "obj", memory), mmap.mmap)
    batch.images[:] = 7  # it can be written


def test_error_of_the_reader_ends_the_loop():
    def fail(positions, ledger, on_last_reads):
        raise MemoryError("no memory")

    with pytest.raises(MemoryError, match="no memory"), stream(fail) as batches:
        next(batches)


def test_end_of_the_block_cancels_rows_in_flight():
    started = threading.Event()

    def read(positions, ledger, on_last_reads):
        started.set()
        assert wait_until(lambda: ledger.cancelled)
        return PartitionResult.empty(PartitionInput(positions, positions), np.zeros((len(positions), 2, 2, 1)))

    with stream(read) as batches:
        assert started.wait(100)
    assert not any(thread.name.startswith(batches._name) for thread in threading.enumerate())
