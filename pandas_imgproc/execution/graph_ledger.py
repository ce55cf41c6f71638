"""Crash ledgers of Dask graphs: the process that started the managed cluster holds them, and they survive workers.

A ledger belongs to a step of a Dask task, since Dask may fuse several steps into one task. Its states::

    none ── open_ledger by a worker ──> watched ── task done ──> unwatched (held if it has crashes)
                                           ^                         │ the result is lost with its worker: task reruns
                                           └────── open_ledger ──────┘
    any ── task failed or released, or cluster closed ──> closed

A task that is rerun at once has probably ended its own process: its ledger opens with that many deaths.
"""

from __future__ import annotations

import contextlib
import pickle
import time
from typing import TYPE_CHECKING

from pandas_imgproc import cluster
from pandas_imgproc.cluster import worker_rpc
from pandas_imgproc.config import setting
from pandas_imgproc.execution.crash_ledger import shared_ledger
from pandas_imgproc.execution.watchdog import kill_slow_rows
from pandas_imgproc.kernel import NullLedger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandas_imgproc.execution.crash_ledger import LedgerHandle
    from pandas_imgproc.kernel import RowLedger

LOST_AT_ONCE_SECONDS = 2.0
"""Seconds between the end of a task and its rerun in which the loss of its result counts as a death of its process."""


@contextlib.contextmanager
def graph_ledger(n: int, step: str) -> Iterator[RowLedger]:
    """Open the ledger of a step of this thread's Dask task; a null ledger outside of the managed cluster.

    There a crash ends the graph too, or is counted by the user's own scheduler.
    """
    key = worker_rpc.current_task_key()
    pickled = worker_rpc.call_parent("open_ledger", key=key, step=step, n=n) if n else None
    if pickled is None:
        yield NullLedger()
        return
    handle: LedgerHandle = pickle.loads(pickled)
    with handle.open() as ledger:
        yield ledger


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
_done_at: dict[str, float] = {}
_lost_at_once: dict[str, int] = {}
"""Runs of a task, one after another, of which the result was lost within `LOST_AT_ONCE_SECONDS`."""


def _open_ledger(key: str, step: str, n: int) -> bytes:
    """Return the pickled handle of a step's ledger, the same one for each attempt, and watch the ledger."""
    done_at = _done_at.pop(key, None)
    if done_at is not None:
        is_at_once = time.monotonic() - done_at < LOST_AT_ONCE_SECONDS
        _lost_at_once[key] = _lost_at_once.get(key, 0) + 1 if is_at_once else 0
    steps = _entries.setdefault(key, {})
    if step not in steps:
        steps[step] = _LedgerEntry(n)
    steps[step].ledger.count_lost_results(_lost_at_once.get(key, 0))
    steps[step].watch()
    return pickle.dumps(steps[step].handle)


def _on_task_done(key: str) -> None:
    """Stop watching the ledgers of a finished task but hold those with crashes.

    If the result is lost with its worker the task reruns, and its poisoned rows must still be known.
    """
    steps = _entries.get(key)
    if not steps:
        return
    _done_at[key] = time.monotonic()
    for entry in steps.values():
        entry.unwatch()
        entry.ledger.reset_attempts()
    if not any(entry.ledger.has_crashes for entry in steps.values()):
        _close_ledgers(key)


def _close_ledgers(key: str) -> None:
    for entry in _entries.pop(key, {}).values():
        entry.close()


def _on_task_released(key: str) -> None:
    """Close the ledgers of a task that has failed, or whose result is no longer needed."""
    _done_at.pop(key, None)
    _lost_at_once.pop(key, None)
    _close_ledgers(key)


worker_rpc.handlers["open_ledger"] = _open_ledger
worker_rpc.on_task_done.append(_on_task_done)
worker_rpc.on_task_released.append(_on_task_released)
