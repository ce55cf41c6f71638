"""What a task on a worker and the process that has started our own cluster tell each other."""

from __future__ import annotations

import contextlib
import pickle
import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

handlers: dict[str, Callable[..., Any]] = {}
"""What workers of our own cluster may ask the process that has started it (see `call_parent`)."""

on_task_done: list[Callable[[str], None]] = []
"""What is told the key of each task of our own cluster that is done; in its thread. Its answer may still be lost."""

on_task_released: list[Callable[[str], None]] = []
"""What is told the key of each task of our own cluster that has failed, or that nobody wants any more."""

on_closed: list[Callable[[], None]] = []
"""What is told that the scheduler of our own cluster ends; in its thread."""


def current_task_key() -> str | None:
    """Return the key of the Dask task that this thread does on a worker of a cluster, None where it does none.

    Examples
    --------
    >>> current_task_key() is None
    True
    """
    worker = current_worker()
    return None if worker is None else str(worker.get_current_task())


def call_parent(question: str, **how: Any) -> Any:
    """Ask the process that has started the cluster that this thread works for, if that is our own.

    Parameters
    ----------
    question : str
        One of `handlers`.
    **how : str or int
        What the answering function is given.

    Returns
    -------
    object
        What it returned; None on workers that are not ours.
    """
    worker = current_worker()
    if worker is None or not getattr(worker, "of_pandas_imgproc", False):
        return None
    from distributed.utils import sync

    return sync(worker.loop, getattr(worker.scheduler, question), **how)


def warn_on_client(message: Warning) -> None:
    """Give a warning, from within a task too: there each client of its cluster gives it, once."""
    worker = current_worker()
    if worker is None:
        warnings.warn(message, stacklevel=3)
    else:
        # What `distributed.warn` does; it would also write to the terminal that workers share with the user.
        said = {"message": pickle.dumps(str(message)), "category": pickle.dumps(type(message))}
        worker.log_event("warn", said)


def current_worker() -> Any:
    """Return the worker whose task this thread does, None where it does none."""
    module = sys.modules.get("distributed.worker")
    with contextlib.suppress(AttributeError, ValueError):
        return None if module is None else module.get_worker()
    return None
