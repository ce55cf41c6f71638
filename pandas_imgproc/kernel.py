"""The kernel: the only loop over rows, and the only ``try`` around one row."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pandas_imgproc import _timing, codec
from pandas_imgproc.partition import PartitionInput, PartitionResult

if TYPE_CHECKING:
    from pandas_imgproc.execution.crash_ledger import CrashLedger
    from pandas_imgproc.source import Source
    from pandas_imgproc.tasks import Task


def run_partition(
    task: Task, rows: PartitionInput, source: Source, ledger: CrashLedger, settings: codec.PillowSettings
) -> PartitionResult:
    """Do some rows.

    Parameters
    ----------
    task : Task
        What one row means.
    rows : PartitionInput
        Which rows, and what stands in them.
    source : Source
        How that becomes files.
    ledger : CrashLedger
        Which row is in flight; rows that have killed two processes are skipped.
    settings : PillowSettings
        The caller's settings of Pillow, so that every process decodes alike.

    Returns
    -------
    PartitionResult
        A row for each of `rows`, in their order.
    """
    task = task.clone_for_partition()
    part = PartitionResult.empty(rows, task.allocate(len(rows) * task.n_outputs))
    wall, cpu = time.perf_counter(), time.thread_time()
    with codec.pillow_settings(settings), _timing.collect_timings() as seconds:
        _fill(part, task, rows, source, ledger)
    part.wall, part.cpu = time.perf_counter() - wall, time.thread_time() - cpu
    part.seconds, part.bytes_read = dict(seconds), seconds.bytes_read
    return part


def _fill(part: PartitionResult, task: Task, rows: PartitionInput, source: Source, ledger: CrashLedger) -> None:
    guilty = ledger.start_attempt(rows.positions)
    n_outputs, values = task.n_outputs, part.values
    assert values is not None
    for number, file in source.read(rows, lambda: ledger.cancelled):
        position = rows.positions[number]
        if position in guilty:
            part.add_failure(number, file.path, *guilty[position])
            continue
        ledger.enter_row(position)
        out = values[number * n_outputs : (number + 1) * n_outputs]
        try:
            task.fill(out, rows.offset + position, file)
            part.status[number] = 0
        except codec.INTERRUPTS:
            raise
        except BaseException as exc:  # whatever a decoder or a function raises costs this row only
            part.add_failure(number, file.path, *task.explain(exc))
            out[:] = task.allocate(n_outputs)
        part.signatures[number] = file.signature
        ledger.exit_row(position)
        if ledger.cancelled:
            break
