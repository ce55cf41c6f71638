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
from pandas_imgproc.execution.crash_ledger import Note, shared_note
from pandas_imgproc.execution.watchdog import slow_rows_ended
from pandas_imgproc.kernel import run_partition
from pandas_imgproc.partition import Partition, Rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandas_imgproc.codec import PillowSettings
    from pandas_imgproc.execution.crash_ledger import NoteAddress
    from pandas_imgproc.execution.job import Call
    from pandas_imgproc.sinks import Files

ROWS = 256
"""Rows whose files are held in memory before they are written."""


def run_in_graph(call: Call, settings: PillowSettings, step: str, first: int = 0) -> Partition:
    """Do all rows of a call in this thread, and keep their values.

    Parameters
    ----------
    call : Call
        One partition as a call of its own.
    settings : PillowSettings
        Of the process that has built the graph.
    step : str
        What tells this step from others of the same task, where Dask has made one task of several.
    first : int
        The position of the first row in the user's frame, for tasks that depend on it.
    """
    rows = Rows(range(len(call.cells)), call.cells, first=first)
    with _note(len(rows), step) as note:
        return run_partition(call.task, rows, call.source, note, settings)


def write_in_graph(call: Call, destination: Files, settings: PillowSettings, step: str, first: int = 0) -> None:
    """Do what is left of a call in this thread, and write its files as they are made.

    Parameters
    ----------
    call, settings, step, first
        As in `run_in_graph`.
    destination : Files
        Where they are written; it knows what is done.
    """
    copies = call.task.copies
    with _note(len(call.cells), step) as note:
        for left in destination.todo():
            for some in (left[k : k + ROWS] for k in range(0, len(left), ROWS)):
                cells = call.cells[some.start : some.stop]
                targets = call.targets[some.start * copies : some.stop * copies]
                rows = Rows(some, cells, targets, first)
                destination.collect(run_partition(call.task, rows, call.source, note, settings))


@contextlib.contextmanager
def _note(n: int, step: str) -> Iterator[Note]:
    """Give the note of a partition: one that outlives this process where there is somebody to keep it."""
    kept = worker_rpc.ask("keep_note", key=worker_rpc.task_here(), step=step, n=n) if n else None
    if kept is None:  # a death ends the graph too, or is counted by a cluster that is not ours
        yield Note.blank(n)
        return
    address: NoteAddress = pickle.loads(kept)
    with address.open() as note:
        yield note


# ---- in the process that has started the cluster


class _Kept:
    """The note of a step of a task, watched while the task is done."""

    def __init__(self, n: int) -> None:
        self._file, self._watch = contextlib.ExitStack(), contextlib.ExitStack()
        self.note, self.address = self._file.enter_context(shared_note(n))

    def begin(self) -> bytes:
        """Watch it, and return where it is."""
        self.rest()
        self._watch.enter_context(slow_rows_ended(self.note, setting("row-timeout")))
        self._watch.enter_context(cluster.own_kills_told(self.note.forgive))
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
    if not any(kept.note.has_strikes for kept in notes.values()):
        _task_over(key)


def _task_over(key: str) -> None:
    """Forget the notes of a task that has failed, or that nobody wants any more."""
    for kept in _notes.pop(key, {}).values():
        kept.close()


def _all_over() -> None:
    for key in list(_notes):
        _task_over(key)


worker_rpc.answers["keep_note"] = _keep_note
worker_rpc.when_task_done.append(_task_done)
worker_rpc.when_task_over.append(_task_over)
worker_rpc.when_closed.append(_all_over)
