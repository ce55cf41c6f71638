"""Crash ledgers of Dask graphs: the process that started the managed cluster holds them, and they survive workers.

A ledger belongs to a step of a Dask task, since Dask may fuse several steps into one task. Its states::

    none ── open_ledger by a worker ──> watched ── task done ──> unwatched (held if it has crashes)
                                           ^                         │ the result is lost with its worker: task reruns
                                           └────── open_ledger ──────┘
    any ── task failed or released, or cluster closed ──> closed

On other clusters only a task that was lost with its worker has a ledger, held by the worker that runs it in isolation.
"""

from __future__ import annotations

import contextlib
import pickle
from typing import TYPE_CHECKING

from pandas_imgproc import cluster
from pandas_imgproc.cluster import worker_rpc
from pandas_imgproc.config import setting
from pandas_imgproc.errors import ClusterError
from pandas_imgproc.execution.isolated import describe_task
from pandas_imgproc.execution.ledger_handle import shared_ledger
from pandas_imgproc.execution.watchdog import kill_slow_rows
from pandas_imgproc.kernel import NullLedger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandas_imgproc.execution.ledger_handle import LedgerHandle
    from pandas_imgproc.kernel import RowLedger

ISOLATING_LOSSES = 2
"""Losses of any tasks of a collection after which all of its tasks that start are isolated.

Else each of them may end a worker, and Dask gives up a task that has waited on four of those.
"""

MAX_LOSSES = 10
"""Losses of a task after which it is not attempted any more: what ends its workers is none of its isolated rows."""


@contextlib.contextmanager
def graph_ledger(n: int, step: str) -> Iterator[tuple[RowLedger, LedgerHandle | None]]:
    """Open the ledger of a step of this thread's Dask task, with its handle if the step is to run in isolation.

    Raises
    ------
    ClusterError
        If the task was lost too often.
    """
    if not n:
        yield NullLedger(), None
        return
    is_isolated = _is_isolated(n)
    with contextlib.ExitStack() as stack:
        pickled = worker_rpc.call_parent("open_ledger", key=worker_rpc.current_task_key(), step=step, n=n)
        handle: LedgerHandle | None = pickle.loads(pickled) if pickled else None
        if handle is None and is_isolated:
            ledger, handle = stack.enter_context(shared_ledger(n))
            stack.enter_context(kill_slow_rows(ledger, setting("row-timeout")))
        opened = NullLedger() if handle is None else stack.enter_context(handle.open())
        yield opened, handle if is_isolated else None


def _is_isolated(n: int) -> bool:
    """Return whether the step is to run in isolation, because its task was lost, or several of its collection were."""
    n_own, n_collection = worker_rpc.count_losses()
    if n_own >= MAX_LOSSES:
        raise ClusterError(
            f"{n_own} workers died with a partition of {n:,} rows, or with its finished result, though its rows ran in "
            "another process: a function that Dask runs in the same task or beside it seems to end the workers, such "
            f"as one in map_partitions ({describe_task()})"
        )
    return n_own > 0 or n_collection >= ISOLATING_LOSSES


# ---- in the process that started the cluster


class _LedgerEntry:
    """Ledger of a step of a task, watched while the task runs."""

    def __init__(self, n: int) -> None:
        self._buffer, self._watch = contextlib.ExitStack(), contextlib.ExitStack()
        self.ledger, self.handle = self._buffer.enter_context(shared_ledger(n))

    def watch(self) -> None:
        self.unwatch()
        self._watch.enter_context(kill_slow_rows(self.ledger, setting("row-timeout")))
        self._watch.enter_context(cluster.worker_deaths_observed(self.ledger))

    def unwatch(self) -> None:
        self._watch.close()

    def close(self) -> None:
        self.unwatch()
        self._buffer.close()


_entries: dict[str, dict[str, _LedgerEntry]] = {}


def _open_ledger(key: str, step: str, n: int) -> bytes:
    """Return the pickled handle of a step's ledger, the same one for each attempt, and watch the ledger."""
    steps = _entries.setdefault(key, {})
    if step not in steps:
        steps[step] = _LedgerEntry(n)
    steps[step].watch()
    return pickle.dumps(steps[step].handle)


def _on_task_done(key: str) -> None:
    """Stop watching the ledgers of a finished task but hold those with crashes.

    If the result is lost with its worker the task reruns, and its poisoned rows must still be known.
    """
    steps = _entries.get(key)
    if not steps:
        return
    for entry in steps.values():
        entry.unwatch()
        entry.ledger.reset_attempts()
    if not any(entry.ledger.has_crashes for entry in steps.values()):
        _close_ledgers(key)


def _close_ledgers(key: str) -> None:
    """Close the ledgers of a task, also of one that has failed, or whose result is no longer needed."""
    for entry in _entries.pop(key, {}).values():
        entry.close()


worker_rpc.handlers["open_ledger"] = _open_ledger
worker_rpc.on_task_done.append(_on_task_done)
worker_rpc.on_task_released.append(_close_ledgers)
