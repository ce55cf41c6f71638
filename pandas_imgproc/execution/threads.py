"""Partitions on threads of this process: the specification of what every other driver must give."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from typing import TYPE_CHECKING

from pandas_imgproc.execution.crash_ledger import CrashLedger

if TYPE_CHECKING:
    from pandas_imgproc.execution.job import JobState


def run_in_threads(state: JobState, threads: int, seconds: float) -> None:
    """Do rows on threads of this process: all, or until the rest would take longer than `seconds`."""
    ledger = CrashLedger.in_memory(len(state.job.inputs))
    state.workers = threads
    ranges = state.iter_partitions()
    with ThreadPoolExecutor(threads, "pandas_imgproc") as pool:
        try:
            waiting = {pool.submit(state.local_task(rows, ledger)) for rows in islice(ranges, 2 * threads)}
            while waiting and not state.failed_fast:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in finished:
                    state.finish(future.result())
                state.log_estimate()
                more = len(finished) if state.eta() <= seconds else 0
                waiting |= {pool.submit(state.local_task(rows, ledger)) for rows in islice(ranges, more)}
        finally:
            ledger.cancel()
            pool.shutdown(cancel_futures=True)
