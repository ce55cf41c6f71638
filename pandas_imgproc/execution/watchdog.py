"""Watchdog of a crash ledger: a thread that kills the process of a row in flight for too long, or a stopped one."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import psutil

from pandas_imgproc import cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandas_imgproc.execution.crash_ledger import CrashLedger

MAX_POLL_INTERVAL = 5.0
"""Seconds between two looks at the ledger, which take 0.1 ms for a million rows."""


@contextlib.contextmanager
def kill_slow_rows(ledger: CrashLedger, seconds: float | None) -> Iterator[None]:
    """Kill, during the block, the process of each row that is in flight for more than `seconds`; None is no limit.

    A worker of the managed cluster that is stopped (SIGSTOP) for as long is killed too: without a row in flight, the
    tasks that it was given would wait forever.

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
    seen_at: dict[tuple[int | None, int], float] = {}
    while not finished.wait(min(MAX_POLL_INTERVAL, seconds / 4)):
        now = time.monotonic()
        suspects: list[tuple[int | None, int]] = [item for item in ledger.in_flight() if _is_killable(item[1])]
        suspects += [(None, pid) for pid in cluster.worker_pids() if _status(pid) == psutil.STATUS_STOPPED]
        seen_at = {item: seen_at.get(item, now) for item in suspects}
        for (position, pid), first_seen in seen_at.items():
            if now - first_seen > seconds:
                if position is not None:
                    ledger.mark_timed_out(position)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _is_killable(pid: int) -> bool:
    # This process itself is not: its row is waited for. The row of a dead process is in flight until its next attempt.
    return pid not in (0, os.getpid()) and _status(pid) not in (None, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def _status(pid: int) -> str | None:
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return None
