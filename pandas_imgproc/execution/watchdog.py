"""A clock beside the note: it ends the process of a row that takes too long.

A thread of its own: the caller may be waiting for a partition that cannot go on before a slow row is ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandas_imgproc.execution.crash_ledger import CrashLedger


@contextlib.contextmanager
def kill_slow_rows(ledger: CrashLedger, seconds: float | None) -> Iterator[None]:
    """End the process of each row that takes more than so many seconds, as long as the block lasts.

    Parameters
    ----------
    ledger : CrashLedger
        Which rows are in flight.
    seconds : float, optional
        How long a row may take; None is for ever.
    """
    if seconds is None:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(ledger, seconds, over), name="pandas_imgproc row timeout")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(ledger: CrashLedger, seconds: float, over: threading.Event) -> None:
    since: dict[tuple[int, int], float] = {}
    while not over.wait(min(1.0, seconds / 4)):
        now = time.monotonic()
        since = {who: since.get(who, now) for who in ledger.in_flight() if _is_killable(who[1])}
        for (row, process), begun in since.items():
            if now - begun > seconds:
                ledger.mark_timed_out(row)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)


def _is_killable(process: int) -> bool:
    # A thread of this very process cannot be: its row is waited for. The row of a process that is dead stays in
    # flight until it is tried again.
    if process in (0, os.getpid()):
        return False
    try:
        return bool(psutil.Process(process).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD))
    except psutil.NoSuchProcess:
        return False
