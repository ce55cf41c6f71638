"""Calls from a task on a worker to the client process of the managed cluster, and events of that cluster."""

from __future__ import annotations

import contextlib
import pickle
import sys
import warnings
from typing import TYPE_CHECKING, Any, Protocol

from pandas_imgproc.cluster.images_page.names import TOPIC

if TYPE_CHECKING:
    from collections.abc import Callable


class DeathObserver(Protocol):
    """Observer of the deaths of worker processes."""

    def explains_death(self, pid: int) -> bool:
        """Return whether a row explains the loss of a worker, before its tasks are assigned to others."""

    def on_worker_exit(self, pid: int, exitcode: int) -> None:
        """Record the end of a worker process, also of one that has not been up yet; negative is a signal."""


handlers: dict[str, Callable[..., Any]] = {}
"""Functions of the client process that workers of the managed cluster may call (see `call_parent`)."""

# Callbacks, called in the thread of the managed cluster.

death_observers: set[DeathObserver] = set()
"""Observers of the deaths of worker processes: one for each running job."""

on_task_done: list[Callable[[str], None]] = []
"""Callbacks for a task that is done, with its key. Its result may still be lost with a worker."""

on_task_released: list[Callable[[str], None]] = []
"""Callbacks for a task that has failed or was released, or whose scheduler ends, with its key."""


def current_task_key() -> str | None:
    """Return the key of the Dask task that this thread runs on a worker, None outside of a task.

    Examples
    --------
    >>> current_task_key() is None
    True
    """
    worker = current_worker()
    return None if worker is None else str(worker.get_current_task())


def call_parent(handler: str, **kwargs: Any) -> Any:
    """Call one of the `handlers` in the client process of the managed cluster; None on workers of any other cluster.

    Arguments are of type str or int.
    """
    worker = current_worker()
    if worker is None or not getattr(worker, "_pandas_imgproc_managed", False):
        return None
    from distributed.utils import sync

    return sync(worker.loop, getattr(worker.scheduler, handler), **kwargs)


def report_mode() -> str | None:
    """Return the mode in which the worker of this thread's task reports partitions to the dashboard; None: not at all.

    ``"counts"`` or ``"details"``, which are paths, messages and labels of failures, and thumbnails.
    """
    mode: str | None = getattr(current_worker(), "_pandas_imgproc_reports", None)
    return mode


def report(event: dict[str, Any]) -> None:
    """Send the event of a partition to the scheduler, with the next messages of the worker."""
    worker = current_worker()
    worker.log_event(TOPIC, {"threads": worker.state.nthreads, **event})


def count_losses() -> tuple[int, int]:
    """Return how often a lost worker took the Dask task of this thread along, and any task of the same collection.

    Whether the task was running, waiting or finished: Dask itself does not count the losses of a finished one, and runs
    it again each time. They are in the scheduler's event log, on any cluster: the last 1,000 events, 100 if managed.
    """
    worker = current_worker()
    if worker is None:
        return 0, 0
    from distributed.utils import sync

    key = worker.get_current_task()
    losses = [
        {*event["processing-tasks"], *event["lost-computed-tasks"]}
        for _, event in sync(worker.loop, worker.scheduler.events, topic="all")
        if event.get("action") == "remove-worker" and not event.get("expected", False)
    ]
    collection = _collection(key)
    return sum(key in keys for keys in losses), sum(any(_collection(k) == collection for k in keys) for keys in losses)


def _collection(key: Any) -> Any:
    return key[0] if isinstance(key, tuple) else key


def memory_limit() -> float:
    """Return the memory limit of the worker of this thread's task, in bytes; infinity without one."""
    worker = current_worker()
    return float(getattr(getattr(worker, "memory_manager", None), "memory_limit", None) or "inf")


def warn_on_client(message: Warning) -> None:
    """Issue a warning; from within a task, on each client of its cluster."""
    worker = current_worker()
    if worker is None:
        warnings.warn(message, stacklevel=3)
    else:
        # As in `distributed.warn`, which also writes to the terminal that workers share with the user.
        event = {"message": pickle.dumps(str(message)), "category": pickle.dumps(type(message))}
        worker.log_event("warn", event)


def current_worker() -> Any:
    """Return the worker whose task this thread runs, None outside of a task."""
    module = sys.modules.get("distributed.worker")
    with contextlib.suppress(AttributeError, ValueError):
        return None if module is None else module.get_worker()
    return None
