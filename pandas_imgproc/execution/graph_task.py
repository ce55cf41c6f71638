"""Partitions of a Dask frame, each a task of the user's graph: Dask decides where and when they run."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

import numpy as np

from pandas_imgproc.execution.graph_ledger import graph_ledger
from pandas_imgproc.execution.isolated import run_isolated
from pandas_imgproc.kernel import run_partition
from pandas_imgproc.partition import PendingRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pandas_imgproc.codec import PillowSettings
    from pandas_imgproc.execution.job import Job
    from pandas_imgproc.execution.process_task import ProcessTask
    from pandas_imgproc.kernel import RowLedger
    from pandas_imgproc.partition import Mask, PartitionInput, PartitionResult
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
    with _attempts(job, process_task, settings, step, np.ones(len(job.inputs), dtype=bool)) as run:
        return run(job.partition(range(len(job.inputs)), offset))


def write_in_graph(
    job: Job, process_task: ProcessTask, sink: ImageFileSink, settings: PillowSettings, step: str, offset: int = 0
) -> None:
    """Run the pending rows of a partition as `run_in_graph` does, and write their files batch by batch."""
    pending = PendingRows(sink.pending())
    with _attempts(job, process_task, settings, step, pending.mask()) as run:
        while pending:
            sink.commit(run(job.partition(pending.take(WRITE_BATCH_ROWS), offset)))


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
