"""Seconds by stage: ``with stage("decode"):`` anywhere below a `clock`, whoever measures and why.

It knows no Dask: the kernel starts a clock around a partition and hands its seconds on.
"""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_seconds: contextvars.ContextVar[defaultdict[str, float] | None] = contextvars.ContextVar(
    "pandas_imgproc_seconds", default=None
)


class stage:  # noqa: N801  reads as a statement: with stage("decode")
    """Add the seconds of a block to the stage of that name; without a clock it costs nothing.

    A class and not a generator, because a generator's frame costs a microsecond per row and stage.

    Examples
    --------
    >>> with clock() as seconds, stage("decode"):
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
        seconds = _seconds.get()
        if seconds is not None:
            seconds[self._name] += time.perf_counter() - self._started


@contextlib.contextmanager
def clock() -> Iterator[defaultdict[str, float]]:
    """Collect the seconds of every stage inside the block.

    Yields
    ------
    dict of str to float
        Seconds by stage, growing.
    """
    token = _seconds.set(defaultdict(float))
    try:
        seconds = _seconds.get()
        assert seconds is not None
        yield seconds
    finally:
        _seconds.reset(token)
