"""The kernel: the only loop over rows, and the only ``try`` around one row."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pandas_imgproc import _timing, codec
from pandas_imgproc.partition import Partition, Rows

if TYPE_CHECKING:
    from pandas_imgproc.execution.crash_ledger import Note
    from pandas_imgproc.source import Source
    from pandas_imgproc.tasks import Task


def run_partition(task: Task, rows: Rows, source: Source, note: Note, settings: codec.PillowSettings) -> Partition:
    """Do some rows.

    Parameters
    ----------
    task : Task
        What one row means.
    rows : Rows
        Which rows, and what stands in them.
    source : Source
        How that becomes files.
    note : Note
        Which row is in flight; rows that have killed two processes are skipped.
    settings : PillowSettings
        The caller's settings of Pillow, so that every process decodes alike.

    Returns
    -------
    Partition
        A row for each of `rows`, in their order.
    """
    task = task.own()
    part = Partition.blank(rows, task.empty(len(rows) * task.copies))
    wall, cpu = time.perf_counter(), time.thread_time()
    with codec.pillow_settings(settings), _timing.clock() as seconds:
        _fill(part, task, rows, source, note)
    part.wall, part.cpu = time.perf_counter() - wall, time.thread_time() - cpu
    part.seconds, part.bytes_read = dict(seconds), seconds.bytes_read
    return part


def _fill(part: Partition, task: Task, rows: Rows, source: Source, note: Note) -> None:
    guilty = note.attempt(rows.positions)
    copies, values = task.copies, part.values
    assert values is not None
    for number, file in source.read(rows, lambda: note.stopped):
        position = rows.positions[number]
        if position in guilty:
            part.fail(number, file.path, *guilty[position])
            continue
        note.begin(position)
        out = values[number * copies : (number + 1) * copies]
        try:
            task.fill(out, rows.first + position, file)
            part.status[number] = 0
        except codec.STOPS:
            raise
        except BaseException as exc:  # whatever a decoder or a function raises costs this row only
            part.fail(number, file.path, *task.explain(exc))
            out[:] = task.empty(copies)
        part.stamps[number] = file.stamp
        note.end(position)
        if note.stopped:
            break
