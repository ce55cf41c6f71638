"""Flow control: number and size of the outstanding partitions follow the measured round trip and rate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pandas_imgproc._timing import smoothed

if TYPE_CHECKING:
    from pandas_imgproc.execution.job import JobState
    from pandas_imgproc.partition import PartitionResult

PER_THREAD = 2
"""Outstanding partitions per thread at least: one runs, one waits."""

PER_THREAD_FOREIGN, SECONDS_PER_THREAD = 10, 10.0
"""The same on clusters of the user: so many, but not more than seconds of work. An adaptive cluster scales by the
seconds of outstanding work, five for each worker."""

ROUND_TRIPS = 4
"""Round trips from the end of a partition to the start of the one that is submitted in its place: the report of its
end, the query for its worker, its result, the submission."""

MAX_PER_THREAD = 100
"""Outstanding partitions per thread at most."""

MANAGE_SECONDS, WORKER_SECONDS = 0.003, 0.006
"""CPU time for a partition, however small: of the caller, and of the scheduler; and of the process of a worker, of
which one thread at a time runs Python."""

WINDOW_SECONDS, WINDOW_PARTITIONS = 5.0, 3
"""Shortest time over which the rate is measured: so many seconds, and the duration of so many partitions."""

MAX_IDLE_WORKERS = 0.2
"""Fraction of the workers' time without work, though there are rows, from which on partitions become longer."""

MIN_IDLE_CALLER = 0.1
"""Fraction of its time that a caller waits, or of the CPU time of one core that it has left, if it is not the limit."""

MAX_MIN_SECONDS = 5.0
"""Limit of the shortest duration of a partition that the measured rate suggests."""


class FlowControl:
    """Flow control of a job on a client.

    Parameters
    ----------
    state : JobState
    """

    def __init__(self, state: JobState) -> None:
        self._state = state
        self._manage_seconds = MANAGE_SECONDS
        self._duration = 0.0  # seconds of a recent partition
        self._is_shown, self._is_first = False, True
        self._begin_window()

    def set_workers(self, n_threads: int, threads_per_worker: int) -> None:
        """Adapt the state to the number of workers."""
        self._state.n_workers = n_threads
        self._state.min_seconds = max(self._manage_seconds * n_threads, WORKER_SECONDS * threads_per_worker)

    def accepts(self, n: int, n_rows: int, round_trip: float, *, is_foreign: bool) -> bool:
        """Return whether a partition may be submitted beside n outstanding ones with so many rows.

        `round_trip` is the time in seconds of a query of the scheduler; `is_foreign` marks a cluster of the user.
        """
        n_threads, seconds = self._state.n_workers, n_rows * self._state.seconds_per_row
        n_during_trip = ROUND_TRIPS * round_trip * n / seconds if seconds else 0.0
        per_thread = PER_THREAD + self._state.is_remote  # one more has seceded
        if n < n_threads * min(per_thread + n_during_trip, MAX_PER_THREAD):
            return True
        return is_foreign and n < n_threads * PER_THREAD_FOREIGN and seconds < n_threads * SECONDS_PER_THREAD

    def add(self, result: PartitionResult) -> None:
        """Measure the duration of a partition."""
        self._duration = smoothed(self._duration, result.wall)
        self._n_partitions += 1
        self._busy_seconds += result.wall

    def adapt(self) -> None:
        """Adapt the state to the rate, after each window of time in which all workers had work to do."""
        seconds = time.perf_counter() - self._started_at
        if seconds < max(WINDOW_SECONDS, WINDOW_PARTITIONS * self._duration):
            return
        busy = self._busy_seconds / seconds / self._state.n_workers
        # In the first window the workers import their modules; without pending rows some have nothing left to do.
        if not self._is_first and self._state.pending and self._n_partitions and busy < 1 - MAX_IDLE_WORKERS:
            measured = min(seconds / self._n_partitions, MAX_MIN_SECONDS / self._state.n_workers)
            self._manage_seconds = max(self._manage_seconds, measured)
            self._show_limit(busy, seconds)
        self._is_first = False
        self._begin_window()

    def _begin_window(self) -> None:
        self._started_at, self._idle_at_start = time.perf_counter(), self._state.idle_seconds
        self._cpu_at_start = time.process_time()
        self._n_partitions, self._busy_seconds, self._n_done_at_start = 0, 0.0, self._state.n_done

    def _show_limit(self, busy: float, seconds: float) -> None:
        """Show, once, that the caller is the limit and not the workers."""
        idle = (self._state.idle_seconds - self._idle_at_start) / seconds
        cpu = (time.process_time() - self._cpu_at_start) / seconds
        if self._is_shown or (idle > MIN_IDLE_CALLER and cpu < 1 - MIN_IDLE_CALLER):
            return
        self._is_shown = True
        per_image = 1000 * seconds / max(1, self._state.n_done - self._n_done_at_start)
        self._state.progress.write(
            f"{self._state.job.task.name}: this program is the limit, at {per_image:.2f} ms an image: workers are busy "
            f"for {busy:.0%} of the time, and fewer would do",
            always=True,
        )
