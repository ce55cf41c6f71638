"""What a call did and where its time went: what the summary line says, and what whoever observes calls is told."""

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
    """A call that is over, in figures; as text the summary line.

    Attributes
    ----------
    name : str
        The method.
    plan : str
        Where it ran.
    rows, n_skipped, failures : int
        Rows that were done, rows that an earlier call had done, and rows of the first that failed.
    seconds : float
        On the clock, from the first row's start to the last row's end.
    idle_seconds : float
        Seconds of those in which the caller had nothing to do but wait for a worker.
    worker_seconds : float
        Seconds of all workers (or threads) together, on the clock, in which they were at a partition.
    cpu : float
        Seconds of the processor in `busy`.
    stages : mapping of str to float
        Seconds of `busy` by stage; what is left of it belongs to no stage.
    """

    name: str
    plan: str
    rows: int
    n_skipped: int
    failures: int
    seconds: float
    idle_seconds: float
    worker_seconds: float
    cpu: float
    stages: Mapping[str, float]

    def __str__(self) -> str:
        parts = [
            f"{self.name}: {self.rows:,} images in {format_duration(self.seconds)} ({self.rows / self.seconds:,.0f} images/s)",
            f"{format_duration(self.cpu)} of CPU time",
            f"{self.failures:,} failed",
            self.plan,
        ]
        if self.stages:
            slowest = max(self.stages, key=lambda name: self.stages[name])
            parts.append(f"slowest stage: {slowest} ({self.stages[slowest] / sum(self.stages.values()):.0%})")
        return "; ".join(parts)


_observers: contextvars.ContextVar[tuple[list[JobStats], ...]] = contextvars.ContextVar(
    "pandas_imgproc_observers", default=()
)


@contextlib.contextmanager
def collect_stats() -> Iterator[list[JobStats]]:
    """Collect the profile of every call that ends inside the block, in this thread.

    Yields
    ------
    list of JobStats
        Growing; a call that raises on its way has none.

    Examples
    --------
    >>> with collect_stats() as profiles:
    ...     _ = pd.Series(["red.png", "blue.jpg"]).img.load_resized(8, root=getfixture("photos"))
    >>> [(profile.name, profile.rows, profile.failures) for profile in profiles]
    [('load_resized', 2, 0)]
    """
    profiles: list[JobStats] = []
    token = _observers.set((*_observers.get(), profiles))
    try:
        yield profiles
    finally:
        _observers.reset(token)


def _emit(profile: JobStats) -> None:
    """Hand the profile of a call to whoever observes this thread."""
    for profiles in _observers.get():
        profiles.append(profile)
