"""Crash loop of workers: processes that die one after another without a result, which no row explains."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from pandas_imgproc._text import describe_exit
from pandas_imgproc.errors import ClusterError

if TYPE_CHECKING:
    from pandas_imgproc.execution.crash_ledger import CrashLedger

MAX_DEATHS, MAX_DEATHS_PER_WORKER = 6, 3
"""Deaths without a result in between after which a call ends: so many, and so many for each worker besides."""

KILL_WEIGHT = 0.2
"""Weight of a process that was killed (SIGKILL): by the system or a user, who may do so while the call recovers."""


class CrashLoop:
    """Counter of the worker processes that have died since the last result, without those that a row explains.

    It observes the deaths of the managed cluster in place of the ledger of the job. On other clusters the processes are
    not known, and `count` adds the deaths that Dask reports.
    """

    def __init__(self, ledger: CrashLedger, description: str) -> None:
        self._ledger, self._description = ledger, description
        self._exitcodes: list[int | None] = []
        self._explained: set[int] = set()

    def explains_death(self, pid: int) -> bool:
        """Return whether a row explains the loss of a worker, and remember it until its process has ended."""
        if self._ledger.explains_death(pid):
            self._explained.add(pid)
            return True
        return False

    def on_worker_exit(self, pid: int, exitcode: int) -> None:
        """Count the end of a process that no row explains."""
        if pid not in self._explained and not self._ledger.explains_death(pid):
            self._exitcodes.append(exitcode)
        self._explained.discard(pid)
        self._ledger.on_worker_exit(pid, exitcode)

    def count(self, n_deaths: int) -> None:
        """Count deaths that Dask reports."""
        self._exitcodes += [None] * n_deaths

    def reset(self) -> None:
        """Begin anew after a result."""
        self._exitcodes = []

    def check(self, n_workers: int) -> None:
        """Raise a ClusterError after too many deaths."""
        n_deaths = sum(KILL_WEIGHT if code == -signal.SIGKILL else 1 for code in self._exitcodes)
        if n_deaths >= MAX_DEATHS + MAX_DEATHS_PER_WORKER * n_workers:
            raise ClusterError(
                f"{len(self._exitcodes)} worker processes of the {self._description} died one after another without a "
                f"result{_last_exit(self._exitcodes[-1])}, and none of them during a row: they die while they "
                "start or wait, while they receive the function or the values of the column, or while they send a "
                "result; the same call with dask.config.set(scheduler='synchronous') runs without workers"
            )


def _last_exit(exitcode: int | None) -> str:
    return "" if exitcode is None else f", the last one by {describe_exit(exitcode)}"
