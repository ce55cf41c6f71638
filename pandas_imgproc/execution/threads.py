"""Inline execution on threads of this process: the specification of every other execution's result."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from itertools import islice
from typing import TYPE_CHECKING

from pandas_imgproc.execution.secession import Secession
from pandas_imgproc.kernel import NullLedger

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas_imgproc.execution.job import JobState
    from pandas_imgproc.partition import PartitionResult


def run_in_threads(state: JobState, n_threads: int, should_stop: Callable[[], bool]) -> None:
    """Run partitions on threads: all, or until `should_stop` returns True, which is called after each."""
    ledger = NullLedger()
    state.n_workers = n_threads
    free, seats = threading.Semaphore(n_threads), threading.Semaphore(n_threads)
    waiting: deque[Callable[[Secession], PartitionResult]] = deque()

    def run_next() -> PartitionResult:
        free.acquire()
        # Taken only now: threads may get their turn in any order, and partitions start in that of the rows.
        with Secession(free.release, seats) as secession:
            return waiting.popleft()(secession)

    def submit(task: Callable[[Secession], PartitionResult]) -> Future[PartitionResult]:
        waiting.append(task)
        # In the context of the caller: it may be a user's function, which holds locks while it waits for these threads.
        return pool.submit(copy_context().run, run_next)

    partitions = (state.local_task(positions, ledger) for positions in state.iter_partitions())
    with ThreadPoolExecutor((1 + state.is_remote) * n_threads, "pandas_imgproc") as pool:
        try:
            running = set(map(submit, islice(partitions, min(2 * n_threads, state.max_partitions))))
            while running and not state.failed_fast:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    state.finish(future.result())
                state.log_estimate()
                n_more = 0 if should_stop() else len(finished)
                running |= set(map(submit, islice(partitions, n_more)))
        finally:
            ledger.cancel()
            pool.shutdown(cancel_futures=True)
