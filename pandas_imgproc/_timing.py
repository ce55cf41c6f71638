"""Timings by stage: ``with timed("decode"):`` anywhere below a `collect_timings`, which the kernel opens."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Timings(defaultdict[str, float]):
    """Seconds by stage, and ``bytes_read``: the bytes read from disks and networks."""

    def __init__(self) -> None:
        super().__init__(float)
        self.bytes_read = 0


_timings: contextvars.ContextVar[Timings | None] = contextvars.ContextVar("pandas_imgproc_timings", default=None)


class timed:  # noqa: N801  reads as a statement: with timed("decode")
    """Context manager that adds the seconds of its block to a stage.

    A class and not a generator, because a generator's frame costs a microsecond per row and stage.

    Examples
    --------
    >>> with collect_timings() as seconds, timed("decode"):
    ...     pass
    >>> list(seconds)
    ['decode']
    """

    __slots__ = ("_stage", "_started_at")

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def __enter__(self) -> None:
        self._started_at = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        timings = _timings.get()
        if timings is not None:
            timings[self._stage] += time.perf_counter() - self._started_at


def add_bytes_read(nbytes: int) -> None:
    """Add bytes that were read from a disk or a network.

    Examples
    --------
    >>> with collect_timings() as seconds:
    ...     add_bytes_read(1000)
    >>> seconds.bytes_read
    1000
    """
    timings = _timings.get()
    if timings is not None:
        timings.bytes_read += nbytes


@contextlib.contextmanager
def collect_timings() -> Iterator[Timings]:
    """Collect the seconds of every stage inside the block, and the bytes that were read."""
    timings = Timings()
    token = _timings.set(timings)
    try:
        yield timings
    finally:
        _timings.reset(token)


def smoothed(average: float, value: float) -> float:
    """Return the moving average of recent values, with one more; before the first one it is 0.

    Examples
    --------
    >>> smoothed(0.0, 2.0), smoothed(2.0, 7.0)
    (2.0, 3.0)
    """
    return average + (value - average) / (5 if average else 1)
