"""Partitions of a Dask frame, each a task of the user's graph: Dask decides where and when they run."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

import numpy as np

from pandas_imgproc.execution.graph_ledger import graph_ledger
from pandas_imgproc.execution.isolated import run_isolated
from pandas_imgproc.execution.probation import Probation, probation_rows
from pandas_imgproc.execution.reporting import PartitionReport
from pandas_imgproc.kernel import run_partition
from pandas_imgproc.partition import PendingRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pandas_imgproc.codec import PillowSettings
    from pandas_imgproc.execution.job import Job
    from pandas_imgproc.execution.process_task import ProcessTask
    from pandas_imgproc.kernel import RowLedger
    from pandas_imgproc.partition import FunctionErrors, Mask, PartitionInput, PartitionResult
    from pandas_imgproc.sinks import ImageFileSink

WRITE_BATCH_ROWS = 256
"""Rows whose files are held in memory before they are written."""


def run_in_graph(
    job: Job, process_task: ProcessTask, settings: PillowSettings, step: str, offset: int = 0
) -> PartitionResult:
    """Run one partition of a Dask frame, as a job, in this thread, and return its values.

    `process_task` is the job's task in this process; `settings` are Pillow's in the process that built the graph;
    `step` names the step among those that Dask has fused into one task; `offset` is the position of the first row in
    the user's frame.
    """
    pending = np.ones(len(job.inputs), dtype=bool)
    probation = _probation(job, pending)
    with _attempts(job, process_task, settings, step, pending) as run:
        result = run(job.partition(range(len(job.inputs)), offset, probation_rows=probation.n_rows_of(0)))
    probation.admit(result)
    result.function_errors = probation.errors
    report = PartitionReport(step, job.task.name)
    report.add(result)
    report.send_of_graph(job)
    return result


def write_in_graph(
    job: Job, process_task: ProcessTask, sink: ImageFileSink, settings: PillowSettings, step: str, offset: int = 0
) -> FunctionErrors:
    """Run the pending rows of a partition as `run_in_graph` does, and write their files batch by batch."""
    pending, report = PendingRows(sink.pending()), PartitionReport(step, job.task.name)
    probation = _probation(job, pending.mask(), has_results=sink.has_results)
    with _attempts(job, process_task, settings, step, pending.mask()) as run:
        while pending:
            positions = pending.take(WRITE_BATCH_ROWS)
            n_rows = probation.n_rows_of(positions[0])
            result = run(job.partition(positions, offset, probation_rows=n_rows))
            report.add(result)
            for admitted in probation.admit(result):
                sink.commit(admitted)
    for admitted in probation.release():  # no end of the computation: other partitions may have results
        sink.commit(admitted)
    report.send_of_graph(job)
    return probation.errors


def _probation(job: Job, pending: Mask, *, has_results: bool = False) -> Probation:
    """Return the probation of a function over the first rows of a partition: no task knows those of the frame."""
    may_end = job.ends_on_bug and not has_results and bool(pending.any())
    return Probation(job.task.name, pending, probation_rows(job.task.block_rows) if may_end else 0)


@contextlib.contextmanager
def _attempts(
    job: Job, process_task: ProcessTask, settings: PillowSettings, step: str, pending: Mask
) -> Iterator[Callable[[PartitionInput], PartitionResult]]:
    """Provide the function that runs pending rows: in this thread, or in isolation if workers were lost before."""
    with graph_ledger(len(job.inputs), step) as (ledger, isolated_handle):
        ledger.set_pending(pending)
        if isolated_handle is None:
            yield functools.partial(_attempt, job, process_task, ledger, settings)
        else:
            yield functools.partial(run_isolated, job, ledger, isolated_handle, settings)


def _attempt(
    job: Job, process_task: ProcessTask, ledger: RowLedger, settings: PillowSettings, partition: PartitionInput
) -> PartitionResult:
    ledger.start_attempt(partition.positions)
    task = process_task.build(ledger, job.task.function_names)
    return run_partition(task, partition, job.source, ledger, settings)
