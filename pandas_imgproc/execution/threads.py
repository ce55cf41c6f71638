"""Inline execution on threads of this process: the specification of every other execution's result."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from typing import TYPE_CHECKING

from pandas_imgproc.kernel import NullLedger

if TYPE_CHECKING:
    from pandas_imgproc.execution.job import JobState


def run_in_threads(state: JobState, n_threads: int, max_seconds: float) -> None:
    """Run partitions on threads: all, or until the rest is predicted to take longer than `max_seconds`."""
    ledger = NullLedger()
    state.n_workers = n_threads
    partitions = (state.local_task(positions, ledger) for positions in state.iter_partitions())
    with ThreadPoolExecutor(n_threads, "pandas_imgproc") as pool:
        try:
            running = {pool.submit(task) for task in islice(partitions, 2 * n_threads)}
            while running and not state.failed_fast:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    state.finish(future.result())
                state.log_estimate()
                n_more = len(finished) if state.eta() <= max_seconds else 0
                running |= {pool.submit(task) for task in islice(partitions, n_more)}
        finally:
            ledger.cancel()
            pool.shutdown(cancel_futures=True)
