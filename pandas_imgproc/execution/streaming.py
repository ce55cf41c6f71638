"""Streaming execution: rows in any order, on threads of this process, a bounded number of them ahead of the caller.

Threads, because decoding and resizing release the lock of the interpreter, and because they leave nothing when the
caller stops: no process, no file, no memory that others share.
"""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Self

import dask.config
from dask.system import CPU_COUNT

from pandas_imgproc._uninterrupted import release_import_lock
from pandas_imgproc.codec import preinit
from pandas_imgproc.execution.planning import GIL_SECONDS_PER_ROW
from pandas_imgproc.execution.secession import Secession
from pandas_imgproc.kernel import NullLedger, RowLedger
from pandas_imgproc.partition import PartitionResult

if TYPE_CHECKING:
    import numpy as np

    from pandas_imgproc.sinks import Batch, BatchSink

MAX_CHUNK_ROWS = 16
"""Rows that one thread reads before it reports, unless they are remote: then as many as are allowed, concurrently."""

Read = Callable[[Sequence[int], RowLedger, Callable[[], None]], PartitionResult]


class BatchStream:
    """Stream of batches, as a context manager and an iterator; its end cancels the rows that are in flight.

    ::

        order ──chunks──> threads: read ──in order──> sink: slots ──> threads: write ──> next()
          ^                                                                               │
          └──────────────── more rows, if those in memory are fewer than max_rows ────────┘

    Parameters
    ----------
    read : callable
        Function of positions, a ledger and a `Secession` that returns their `PartitionResult`, in any thread.
    order : ndarray of int64, shape (n,)
        Positions in the order of the batches.
    sink : BatchSink
    max_rows : int
        Rows that may be in memory before they are taken: at least a batch.
    is_remote : bool
        Whether rows are read through a network.
    """

    def __init__(
        self, read: Read, order: np.ndarray[Any, Any], sink: BatchSink, max_rows: int, *, is_remote: bool = False
    ) -> None:
        self._read, self._order, self._sink, self._max_rows = read, order, sink, max_rows
        self._ledger, self._changed = NullLedger(), threading.Condition()
        self._n_threads = _count_threads()
        chunk = max(1, max_rows // (2 * self._n_threads))
        self._chunk_rows = chunk if is_remote else min(chunk, MAX_CHUNK_ROWS)
        self._n_submitted = self._n_held = self._n_running = 0  # rows, rows, chunks
        self._parts: dict[int, PartitionResult] = {}  # by the number of rows before them
        self._cpu = self._wall = 0.0
        self._error: BaseException | None = None
        self._name = f"pandas_imgproc-{uuid.uuid4().hex[:8]}"
        release_import_lock()  # threads import codecs
        preinit()
        self._seats = threading.Semaphore(self._n_threads)
        self._pool = ThreadPoolExecutor((1 + is_remote) * self._n_threads, self._name)

    def __enter__(self) -> Self:
        try:
            with self._changed:
                self._submit()
        except BaseException:  # Ctrl-C; no block is entered, which would end the threads
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ledger.cancel()
        # The garbage collector may end a stream, in any thread: one of its own cannot wait for itself.
        is_own_thread = threading.current_thread().name.startswith(self._name)
        self._pool.shutdown(wait=not is_own_thread, cancel_futures=True)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        with self._changed:
            while True:
                if self._error is not None:
                    raise self._error
                batch = self._sink.pop()
                if batch is not None:
                    self._n_held -= batch.n
                    self._submit()
                    return batch
                if self._sink.is_ended and self._sink.is_empty:
                    raise StopIteration
                self._changed.wait()

    def _submit(self) -> None:
        """Submit chunks, up to the limits of rows and of threads; the lock is held."""
        is_over = self._ledger.cancelled or self._sink.is_ended or self._error is not None
        while not is_over and self._n_submitted < len(self._order) and self._n_running < self._max_running():
            n_rows = min(self._chunk_rows, self._max_rows - self._n_held)
            if n_rows < 1:
                return
            first = self._n_submitted
            positions = self._order[first : first + n_rows].tolist()
            try:
                future = self._pool.submit(copy_context().run, self._run, first, positions)
            except RuntimeError as exc:  # Python ends, and starts no more threads
                self._error = exc
                return
            self._n_submitted, self._n_held = first + len(positions), self._n_held + len(positions)
            self._n_running += 1
            future.add_done_callback(self._finish)

    def _max_running(self) -> int:
        """Return the number of threads that do not hinder each other, by the measured work of a row."""
        n_read = self._sink.n_read
        if not n_read:
            return self._n_threads
        work = max(self._cpu, self._wall / 4) / n_read
        return max(1, min(self._n_threads, math.ceil(work / GIL_SECONDS_PER_ROW)))

    def _run(self, first: int, positions: list[int]) -> None:
        """Read a chunk, and write the rows that can be added: its own, and those that waited for it."""
        with Secession(self._let_next_run, self._seats) as secession:
            self._read_and_write(first, positions, secession)

    def _read_and_write(self, first: int, positions: list[int], secession: Secession) -> None:
        part = self._read(positions, self._ledger, secession)
        if self._ledger.cancelled:
            return
        with self._changed:
            self._parts[first] = part
            writes = [write for part in self._parts_in_order() for write in self._sink.add(part)]
        for write in writes:
            write()
        with self._changed:
            for write in writes:
                write.batch.n_writes -= 1

    def _parts_in_order(self) -> list[PartitionResult]:
        """Remove the parts that come next, and return them."""
        parts, n_read = [], self._sink.n_read
        while (part := self._parts.pop(n_read, None)) is not None:
            n_read += len(part.status)
            self._cpu, self._wall = self._cpu + part.cpu, self._wall + part.wall
            if self._sink.spec.missing == "skip":
                self._n_held -= int((part.status != 0).sum())
            parts.append(part)
        return parts

    def _let_next_run(self) -> None:
        """Let another chunk run."""
        with self._changed:
            self._n_running -= 1
            self._submit()

    def _finish(self, future: Future[None]) -> None:
        """Submit more when a chunk has finished, and wake the caller."""
        if future.cancelled():
            return
        with self._changed:
            self._error = self._error or future.exception()
            self._submit()
            self._changed.notify_all()


def _count_threads() -> int:
    is_sequential = dask.config.get("scheduler", None) in ("synchronous", "sync", "single-threaded")
    return 1 if is_sequential else CPU_COUNT
