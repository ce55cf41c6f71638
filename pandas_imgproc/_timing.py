"""Seconds by stage: ``with stage("decode"):`` anywhere below a `collect_timings`, whoever measures and why.

It knows no Dask: the kernel starts a clock around a partition and hands on what it has collected.
"""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Timings(defaultdict[str, float]):
    """Seconds by stage, growing.

    Attributes
    ----------
    bytes_read : int
        What came from disks and networks.
    """

    def __init__(self) -> None:
        super().__init__(float)
        self.bytes_read = 0


_clock: contextvars.ContextVar[Timings | None] = contextvars.ContextVar("pandas_imgproc_clock", default=None)


class timed:  # noqa: N801  reads as a statement: with stage("decode")
    """Add the seconds of a block to the stage of that name; without a clock it costs nothing.

    A class and not a generator, because a generator's frame costs a microsecond per row and stage.

    Examples
    --------
    >>> with collect_timings() as seconds, timed("decode"):
    ...     pass
    >>> list(seconds)
    ['decode']
    """

    __slots__ = ("_name", "_started")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        seconds = _clock.get()
        if seconds is not None:
            seconds[self._name] += time.perf_counter() - self._started


def add_bytes_read(nbytes: int) -> None:
    """Add bytes that came from a disk or a network.

    Examples
    --------
    >>> with collect_timings() as seconds:
    ...     add_bytes_read(1000)
    >>> seconds.bytes_read
    1000
    """
    seconds = _clock.get()
    if seconds is not None:
        seconds.bytes_read += nbytes


@contextlib.contextmanager
def collect_timings() -> Iterator[Timings]:
    """Collect the seconds of every stage inside the block, and the bytes that were read.

    Yields
    ------
    Timings
    """
    seconds = Timings()
    token = _clock.set(seconds)
    try:
        yield seconds
    finally:
        _clock.reset(token)
