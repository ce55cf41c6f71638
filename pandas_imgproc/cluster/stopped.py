"""Processes that are stopped (SIGSTOP), and the time for which something has lasted while this process ran."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable


class LookTimer:
    """Timer of how long items have been seen without a break, by a process that looks at them every few seconds.

    A look that comes much later than `interval` counts as little: this process was stopped itself, as by Ctrl-Z.

    Parameters
    ----------
    interval : float
        Seconds between two looks.
    """

    def __init__(self, interval: float) -> None:
        self._max_step = 2 * interval
        self._seconds: dict[Any, float] = {}
        self._looked_at = time.monotonic()

    def look(self, items: Iterable[Any]) -> dict[Any, float]:
        """Return the seconds for which each item of a look has been seen.

        Examples
        --------
        >>> timer = LookTimer(interval=1.0)
        >>> timer.look(["a", "b"])
        {'a': 0.0, 'b': 0.0}
        >>> timer.look(["b", "c"])["c"]
        0.0
        """
        now = time.monotonic()
        step, self._looked_at = min(now - self._looked_at, self._max_step), now
        seconds = {item: self._seconds[item] + step if item in self._seconds else 0.0 for item in items}
        self._seconds = dict(seconds)
        return seconds


def process_status(pid: int) -> str | None:
    """Return the status of a process in the words of psutil; None if there is no such process."""
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return None


def is_stopped(pid: int) -> bool:
    """Return whether a process is stopped, and not by a debugger."""
    return bool(process_status(pid) == psutil.STATUS_STOPPED)
