"""Flow control: how many partitions are outstanding, and how long they are, follows the measured round trip and rate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

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
end, the question for its place, its result, the submission."""

MAX_PER_THREAD = 100

WINDOW_SECONDS, WINDOW_PARTITIONS = 5.0, 3
"""Shortest time over which the rate is measured: so many seconds, and the duration of so many partitions."""

MAX_IDLE_WORKERS = 0.2
"""Fraction of the workers' time without work, though there are rows, from which on partitions become longer."""

MIN_IDLE_CALLER = 0.1
"""Fraction of its time that a caller waits, or of the CPU time of one core that it has left, if it is not the limit."""

MAX_MANAGING_SECONDS = 5.0
"""Longest time that the caller may take to submit a partition to each thread, by the measured rate."""


class FlowControl:
    """Flow control of a job on a client.

    Parameters
    ----------
    state : JobState
        `manage_seconds` is measured: the time that caller and scheduler need for a partition.
    """

    def __init__(self, state: JobState) -> None:
        self._state = state
        self._duration = 0.0  # seconds of a recent partition
        self._has_told, self._is_first = False, True
        self._begin_window()

    def max_outstanding(self, round_trip: float, *, is_foreign: bool) -> int:
        """Return the number of partitions that may be outstanding, at this duration of a round trip in seconds."""
        duration = max(self._duration, 1e-3)
        per_thread = PER_THREAD + ROUND_TRIPS * round_trip / duration
        if is_foreign:
            per_thread = max(per_thread, min(PER_THREAD_FOREIGN, SECONDS_PER_THREAD / duration))
        return int(self._state.n_workers * min(per_thread, MAX_PER_THREAD))

    def add(self, result: PartitionResult) -> None:
        """Measure the duration of a partition."""
        self._duration += (result.wall - self._duration) / (5 if self._duration else 1)
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
            longest = MAX_MANAGING_SECONDS / self._state.n_workers
            measured = min(longest, seconds / self._n_partitions)
            self._state.manage_seconds = max(self._state.manage_seconds, measured)
            self._tell_limit(busy, seconds)
        self._is_first = False
        self._begin_window()

    def _begin_window(self) -> None:
        self._started_at, self._idle_at_start = time.perf_counter(), self._state.idle_seconds
        self._cpu_at_start = time.process_time()
        self._n_partitions, self._busy_seconds, self._n_done_at_start = 0, 0.0, self._state.n_done

    def _tell_limit(self, busy: float, seconds: float) -> None:
        """Tell, once, that the caller is the limit and not the workers."""
        idle = (self._state.idle_seconds - self._idle_at_start) / seconds
        cpu = (time.process_time() - self._cpu_at_start) / seconds
        if self._has_told or (idle > MIN_IDLE_CALLER and cpu < 1 - MIN_IDLE_CALLER):
            return
        self._has_told = True
        per_image = 1000 * seconds / max(1, self._state.n_done - self._n_done_at_start)
        self._state.progress.write(
            f"{self._state.job.task.name}: this program is the limit, at {per_image:.2f} ms an image: workers are busy "
            f"for {busy:.0%} of the time, and fewer would do",
            always=True,
        )
