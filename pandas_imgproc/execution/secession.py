"""Secession of a partition from the threads of its process while its last remote files are awaited.

The next partition runs beside it, so that the first round trip of that one does not wait::

    thread 1   request ─ read, decode ─ ... ─┬─ last files ──┐
                                             │ secedes       │ ends: another may secede
    thread 2                                 └─ request ─ read, decode ─ ...

`distributed.secede` has the same meaning for a task of Dask, and is how workers do it.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Self

from pandas_imgproc.cluster import worker_rpc

if TYPE_CHECKING:
    from collections.abc import Callable


class Secession:
    """Secession of a partition, once at most, as a context manager around the partition.

    Parameters
    ----------
    secede : callable
        Function that lets the next partition run.
    seats : threading.Semaphore
        Seats of the partitions of a process that have seceded: without a limit all of them would run at a time.
    at_end : bool, default True
        Whether a partition that has not seceded lets the next one run at its end; Dask does so itself.
    """

    def __init__(self, secede: Callable[[], None], seats: threading.Semaphore, *, at_end: bool = True) -> None:
        self._secede, self._seats, self._at_end, self._seceded_at = secede, seats, at_end, 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._seceded_at:
            self._seats.release()
        elif self._at_end:
            self._secede()

    def __call__(self) -> None:
        """Secede, if the partition has not, and if there is a seat."""
        if not self._seceded_at and self._seats.acquire(blocking=False):
            self._seceded_at = time.perf_counter()
            self._secede()

    @property
    def seconds(self) -> float:
        """Seconds since the partition has seceded, which are those of another one; 0 before."""
        return time.perf_counter() - self._seceded_at if self._seceded_at else 0.0


def worker_secession() -> contextlib.AbstractContextManager[Secession | None]:
    """Return the secession of the partition that this thread runs from the threads of its worker, if it has one."""
    worker = worker_rpc.current_worker()
    if worker is None:
        return contextlib.nullcontext()
    seats = _worker_seats.get(worker)
    if seats is None:
        seats = _worker_seats.setdefault(worker, threading.Semaphore(worker.state.nthreads))
    return Secession(_secede_from_worker, seats, at_end=False)


_worker_seats: weakref.WeakKeyDictionary[Any, threading.Semaphore] = weakref.WeakKeyDictionary()


def _secede_from_worker() -> None:
    from distributed import secede

    # An executor of the user has no threads of Dask; and a worker that is closing runs no other partition.
    with contextlib.suppress(AttributeError, KeyError, RuntimeError, ValueError):
        secede()
