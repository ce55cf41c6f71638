"""A partition of a Dask frame: one task of the user's graph, done by the thread that was given it.

Dask decides where it runs and when. What is left to do here is the note: on a worker of our own cluster it is kept by
the process that has started the cluster, and survives the worker.
"""

from __future__ import annotations

import contextlib
import pickle
from typing import TYPE_CHECKING

from pandas_imgproc import cluster
from pandas_imgproc.cluster import worker_rpc
from pandas_imgproc.config import setting
from pandas_imgproc.execution.crash_ledger import CrashLedger, shared_ledger
from pandas_imgproc.execution.watchdog import kill_slow_rows
from pandas_imgproc.kernel import run_partition
from pandas_imgproc.partition import PartitionInput, PartitionResult

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandas_imgproc.codec import PillowSettings
    from pandas_imgproc.execution.crash_ledger import LedgerHandle
    from pandas_imgproc.execution.job import Job
    from pandas_imgproc.sinks import ImageFileSink

ROWS = 256
"""Rows whose files are held in memory before they are written."""


def run_in_graph(call: Job, settings: PillowSettings, step: str, first: int = 0) -> PartitionResult:
    """Do all rows of a call in this thread, and keep their values.

    Parameters
    ----------
    call : Job
        One partition as a call of its own.
    settings : PillowSettings
        Of the process that has built the graph.
    step : str
        What tells this step from others of the same task, where Dask has made one task of several.
    first : int
        The position of the first row in the user's frame, for tasks that depend on it.
    """
    rows = PartitionInput(range(len(call.inputs)), call.inputs, offset=first)
    with _note(len(rows), step) as ledger:
        return run_partition(call.task, rows, call.source, ledger, settings)


def write_in_graph(call: Job, sink: ImageFileSink, settings: PillowSettings, step: str, first: int = 0) -> None:
    """Do what is left of a call in this thread, and write its files as they are made.

    Parameters
    ----------
    call, settings, step, first
        As in `run_in_graph`.
    sink : ImageFileSink
        Where they are written; it knows what is done.
    """
    n_outputs = call.task.n_outputs
    with _note(len(call.inputs), step) as ledger:
        for left in sink.pending():
            for some in (left[k : k + ROWS] for k in range(0, len(left), ROWS)):
                inputs = call.inputs[some.start : some.stop]
                targets = call.targets[some.start * n_outputs : some.stop * n_outputs]
                rows = PartitionInput(some, inputs, targets, first)
                sink.commit(run_partition(call.task, rows, call.source, ledger, settings))


@contextlib.contextmanager
def _note(n: int, step: str) -> Iterator[CrashLedger]:
    """Give the note of a partition: one that outlives this process where there is somebody to keep it."""
    kept = worker_rpc.call_parent("keep_note", key=worker_rpc.current_task_key(), step=step, n=n) if n else None
    if kept is None:  # a death ends the graph too, or is counted by a cluster that is not ours
        yield CrashLedger.in_memory(n)
        return
    address: LedgerHandle = pickle.loads(kept)
    with address.open() as ledger:
        yield ledger


# ---- in the process that has started the cluster


class _Kept:
    """The note of a step of a task, watched while the task is done."""

    def __init__(self, n: int) -> None:
        self._file, self._watch = contextlib.ExitStack(), contextlib.ExitStack()
        self.ledger, self.address = self._file.enter_context(shared_ledger(n))

    def begin(self) -> bytes:
        """Watch it, and return where it is."""
        self.rest()
        self._watch.enter_context(kill_slow_rows(self.ledger, setting("row-timeout")))
        self._watch.enter_context(cluster.notify_managed_worker_kills(self.ledger.discount_kill))
        return pickle.dumps(self.address)

    def rest(self) -> None:
        self._watch.close()

    def close(self) -> None:
        self.rest()
        self._file.close()


_notes: dict[str, dict[str, _Kept]] = {}


def _keep_note(key: str, step: str, n: int) -> bytes:
    """Return where the note of a step of a task is, the same one for each attempt."""
    notes = _notes.setdefault(key, {})
    if step not in notes:
        notes[step] = _Kept(n)
    return notes[step].begin()


def _task_done(key: str) -> None:
    """Let the notes of a task rest: its answer may be lost with a worker, and then who was guilty must be known."""
    notes = _notes.get(key, {})
    for kept in notes.values():
        kept.rest()
    if not any(kept.ledger.has_crashes for kept in notes.values()):
        _task_over(key)


def _task_over(key: str) -> None:
    """Forget the notes of a task that has failed, or that nobody wants any more."""
    for kept in _notes.pop(key, {}).values():
        kept.close()


def _all_over() -> None:
    for key in list(_notes):
        _task_over(key)


worker_rpc.handlers["keep_note"] = _keep_note
worker_rpc.on_task_done.append(_task_done)
worker_rpc.on_task_released.append(_task_over)
worker_rpc.on_closed.append(_all_over)
