"""Watchdog of a crash ledger: a thread that kills the process of a row in flight for too long."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

import psutil

from pandas_imgproc.cluster.stopped import LookTimer, process_status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandas_imgproc.execution.crash_ledger import CrashLedger

MAX_POLL_INTERVAL = 5.0
"""Seconds between two looks at the ledger, which take 0.1 ms for a million rows."""

Suspect = tuple[int | None, int]
"""Row in flight, None in a process that is stopped (SIGSTOP), and the pid of its process."""


@contextlib.contextmanager
def kill_slow_rows(ledger: CrashLedger, seconds: float | None) -> Iterator[None]:
    """Kill, during the block, the process of each row that is in flight for more than `seconds`; None is no limit.

    A process that is stopped for as long is killed too, but its row is not to blame, and runs again.

    In a thread, because the caller may be waiting for a partition that cannot continue before its slow row is ended.
    """
    if seconds is None:
        yield
        return
    finished = threading.Event()
    thread = threading.Thread(target=_watch, args=(ledger, seconds, finished), name="pandas_imgproc row timeout")
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


def _watch(ledger: CrashLedger, seconds: float, finished: threading.Event) -> None:
    interval = min(MAX_POLL_INTERVAL, seconds / 4)
    timer = LookTimer(interval)
    while not finished.wait(interval):
        for (position, pid), elapsed in timer.look(_suspects(ledger)).items():
            if elapsed > seconds:
                if position is not None:
                    ledger.mark_timed_out(position)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _suspects(ledger: CrashLedger) -> Iterator[Suspect]:
    for position, pid in ledger.in_flight():
        # This process itself is not one: its row is waited for. The row of a dead process is in flight until its next
        # attempt.
        status = process_status(pid) if pid not in (0, os.getpid()) else None
        if status == psutil.STATUS_STOPPED:
            yield None, pid
        elif status not in (None, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            yield position, pid
