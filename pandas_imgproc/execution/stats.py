"""Statistics of finished jobs: the summary line, and `collect_stats` for observers."""

from __future__ import annotations

import contextlib
import contextvars
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pandas_imgproc.execution.progress import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class JobStats:
    """Statistics of a finished job; as text, its summary line."""

    name: str  # of the method
    plan: str  # inline, or the cluster
    rows: int  # that ran
    n_skipped: int  # rows that an earlier job had finished, or without a path
    n_finished: int  # of them, finished ones
    failures: int  # failed rows among `rows`
    seconds: float  # wall time, from the first row's start to the last row's end
    idle_seconds: float  # wall time in which the caller only waited for workers
    worker_seconds: float  # wall time of all workers (or threads) together, inside of partitions
    cpu: float  # CPU time in `worker_seconds`
    stages: Mapping[str, float]  # seconds of `worker_seconds` by stage; the remainder belongs to no stage

    @property
    def _images(self) -> str:
        if not self.n_finished:
            return f"{self.rows:,} images"
        return f"the other {self.rows:,} of {self.rows + self.n_skipped:,} images"

    def __str__(self) -> str:
        rate = f"{self.rows / self.seconds:,.0f} images/s"
        text = (
            f"{self.name}: {self._images} in {format_duration(self.seconds)} ({rate}); "
            f"{format_duration(self.cpu)} of CPU time; {self.failures:,} failed; {self.plan}"
        )
        if not self.stages:
            return text
        slowest = max(self.stages, key=lambda stage: self.stages[stage])
        return f"{text}; slowest stage: {slowest} ({self.stages[slowest] / sum(self.stages.values()):.0%})"


_collectors: contextvars.ContextVar[tuple[list[JobStats], ...]] = contextvars.ContextVar(
    "pandas_imgproc_collectors", default=()
)


@contextlib.contextmanager
def collect_stats() -> Iterator[list[JobStats]]:
    """Collect the statistics of every job that finishes inside the block, in this thread; none of one that raises.

    Examples
    --------
    >>> from PIL import Image
    >>> Image.new("RGB", (30, 20), "red").save("red.png")
    >>> Image.new("RGB", (20, 30), "blue").save("blue.jpg")
    >>> with collect_stats() as jobs:
    ...     _ = pd.Series(["red.png", "blue.jpg"]).img.load_resized(8)
    >>> [(job.name, job.rows, job.failures) for job in jobs]
    [('load_resized', 2, 0)]
    """
    jobs: list[JobStats] = []
    token = _collectors.set((*_collectors.get(), jobs))
    try:
        yield jobs
    finally:
        _collectors.reset(token)


def _emit(stats: JobStats) -> None:
    """Add the statistics of a job to the collectors of this thread."""
    for jobs in _collectors.get():
        jobs.append(stats)
