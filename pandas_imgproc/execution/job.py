"""Jobs: calls of a method, with the state of a running one."""

from __future__ import annotations

import functools
import math
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc import _timing
from pandas_imgproc.codec import PillowSettings
from pandas_imgproc.config import setting
from pandas_imgproc.errors import failure
from pandas_imgproc.execution.probation import Probation, probation_rows
from pandas_imgproc.execution.process_task import ProcessTask
from pandas_imgproc.execution.progress import ESTIMATE_THRESHOLD, Progress, format_bytes, format_duration
from pandas_imgproc.execution.reporting import FailureTally
from pandas_imgproc.execution.stats import JobStats
from pandas_imgproc.kernel import run_partition
from pandas_imgproc.partition import (
    PartitionInput,
    PartitionResult,
    PendingRows,
    as_position_array,
    to_positions,
    values_at,
)
from pandas_imgproc.sinks import CopyWriter
from pandas_imgproc.sinks.object_files import ObjectCopyWriter
from pandas_imgproc.source import InputFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd

    from pandas_imgproc.execution.reporting import CallReport
    from pandas_imgproc.execution.secession import Secession
    from pandas_imgproc.kernel import RowLedger
    from pandas_imgproc.partition import Mask
    from pandas_imgproc.regions import Regions
    from pandas_imgproc.sinks import MemorySink, PartitionWriter
    from pandas_imgproc.source import Source
    from pandas_imgproc.tasks import Task

SAMPLE_ROWS = 16
"""Rows that are timed inline before the execution of the rest is planned; also the minimum of a partition."""

PROBE_ROWS = 2
"""Rows of a partition before the schema is known: until then images pass through the socket."""

MAX_PARTITION_ROWS = 8192
"""Maximum rows of a partition: submitting one costs a millisecond or two, regardless of its size."""

MAX_PARTITION_NBYTES = 24 * 2**20
"""Maximum bytes of a partition's values: the C library does not reuse larger ones, and the first touch of fresh memory
costs a fifth of decoding to 600 x 600 pixels."""

MAX_IMAGE_ROWS = 512
"""Maximum rows of a partition that is longer only because all of them are regions of one image, decoded once."""

MAX_WRITTEN_NBYTES = 4 * MAX_PARTITION_NBYTES
"""The same of values that workers write themselves, if there are so many workers that shorter partitions could not be
submitted in time. A worker holds up to three copies of them."""


@dataclass(frozen=True)
class Job:
    """Call of a method, ready to run."""

    task: Task  # operation on one row
    source: Source  # reader of the inputs
    inputs: Sequence[Any]  # values of the column, None where missing
    npartitions: int | None = None  # a job with a number always runs on a cluster
    progress: bool | None = None  # whether progress is shown; None: where there is a terminal or a notebook
    fail_fast: bool = False  # whether the first failure ends the job
    ends_on_bug: bool = False  # whether failures of the user's function in all of the first rows end the job
    targets: Sequence[str | None] = ()  # output paths, `task.n_outputs` for each row, for tasks that write files
    columns: pd.DataFrame | None = None  # other columns of the frame, for tasks that use them
    regions: Regions | None = None  # boxes and frames of the rows
    # For the dashboard:
    index: pd.Index[Any] | None = None  # labels of the rows
    column: str = ""  # name of the column
    target: str = ""  # location of the results on disk

    def path(self, position: int) -> str:
        """Return the name of a row's file in the failure table."""
        return InputFile(self.inputs[position], self.source).path

    def partition(self, positions: Sequence[int], offset: int = 0, *, probation_rows: int = 0) -> PartitionInput:
        """Return the partition at these positions; `offset` is the position of row 0 in the user's frame."""
        targets = values_at(self.targets, positions, self.task.n_outputs)
        columns = None if self.columns is None else self.columns.iloc[as_position_array(positions)]
        regions = None if self.regions is None else self.regions.take(as_position_array(positions))
        inputs = values_at(self.inputs, positions)
        return PartitionInput(positions, inputs, targets, offset, columns, regions, probation_rows)


@dataclass
class JobState:
    """State of a running job."""

    job: Job
    sink: MemorySink
    progress: Progress
    unfinished: Mask  # rows whose results are written
    settings: PillowSettings = field(default_factory=PillowSettings.current)
    started_at: float = field(default_factory=time.perf_counter)
    n_done: int = 0
    n_failed: int = 0
    wall: float = 0.0  # seconds of all workers together, inside of partitions
    cpu: float = 0.0
    idle_seconds: float = 0.0  # wall time in which the caller only waited for workers
    stage_seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    estimate_logged: bool = False
    n_workers: int = 1  # partitions that run concurrently
    min_seconds: float = 0.0  # shortest partitions of which all workers can be given the next one in time
    values_travel: bool = True  # whether the values of the last result were returned to the caller
    failure_tally: FailureTally = field(default_factory=FailureTally)
    report: CallReport | None = None  # to the dashboard of the job's cluster
    _seconds: float | None = None  # of the finished job

    def __post_init__(self) -> None:
        self.n_finished = self.sink.n_finished  # before this job finishes others
        self.n_total = int(self.unfinished.sum(dtype=np.int64))
        # Rows that are in no partition yet: all of a block are processed together, also those that are finished.
        self.block_rows = max(self.job.task.block_rows, self.sink.block_rows)
        order, self._image_ends = self._work_order()
        self.pending = PendingRows(fill_blocks(self.unfinished, self.block_rows), order)
        task = self.job.task  # not `self`, which would keep the result until Python collects garbage
        self._process_task = ProcessTask(lambda: task)
        may_end = self.job.ends_on_bug and self.pending and not self.sink.has_results
        n_rows = probation_rows(self.block_rows) if may_end else 0
        self.probation = Probation(self.job.task.name, self.pending.mask() if may_end else self.unfinished, n_rows)

    def _work_order(self) -> tuple[np.ndarray[Any, Any] | None, list[int]]:
        """Return the order of the work, if it is not that of the rows, and the places where the image changes."""
        regions = self.job.regions
        if regions is None:
            return None, []
        rows = np.arange(len(regions))
        # Rows of one image are neighbors in it, unless rows that are neighbors in the frame must stay together.
        order = regions.work_order() if self.block_rows == 1 and self.sink.takes_any_rows else rows
        return None if (order == rows).all() else order, regions.ends(order)

    @property
    def failed_fast(self) -> bool:
        """Whether a failure has ended the job."""
        return self.job.fail_fast and self.n_failed > 0

    @property
    def max_partitions(self) -> int:
        """Maximum number of partitions that may be outstanding."""
        return self.sink.max_partitions or sys.maxsize

    @property
    def n_remaining(self) -> int:
        """Number of unfinished rows."""
        return self.n_total - self.n_done

    @functools.cached_property
    def is_remote(self) -> bool:
        """Whether the inputs are read through a network."""
        return self.job.source.is_remote(self.job.inputs)

    def iter_partitions(self) -> Iterator[Sequence[int]]:
        """Yield the positions of partitions: `npartitions` equal ones, or of a second's work, and smaller at the end.

        A partition goes on across finished rows: a resumed job has as many as the same work without gaps. The iterator
        is lazy, so that each partition follows the measured rate and the current number of workers.
        """
        yield from self._split_evenly() if self.job.npartitions else self._split_by_time()

    def _split_evenly(self) -> Iterator[Sequence[int]]:
        n_partitions = min(self.job.npartitions or 1, math.ceil(len(self.pending) / self.block_rows))
        n_left = n_partitions
        while self.pending:
            yield self.take(len(self.pending) // max(1, n_left), self._image_ends)
            n_left -= 1

    def _split_by_time(self) -> Iterator[Sequence[int]]:
        while self.pending:
            n = self._next_partition_rows() if self.sink.schema_known else PROBE_ROWS
            yield self.take_images(n)

    def take_images(self, n: int) -> Sequence[int]:
        """Remove the next pending rows, about n or all of an image, and return them (see `take`)."""
        if self._image_ends and self.sink.schema_known:
            limit = min(MAX_IMAGE_ROWS, self._rows_of(MAX_WRITTEN_NBYTES))
            n = max(n, min(self.pending.n_to_end(n, self._image_ends), limit))
        return self.take(n, self._image_ends or self.sink.part_ends)

    def take(self, n: int, ends: Sequence[int] = ()) -> Sequence[int]:
        """Remove the next pending rows, about n, and return them: whole blocks, at most as many as the sink allows.

        Rows that are no blocks end where a part or an image ends (see `PendingRows.take`).
        """
        n = min(n, self.sink.max_partition_rows or n)
        n = self.block_rows * max(1, math.ceil(n / self.block_rows))
        return self.pending.take(n, ends if self.block_rows == 1 else ())

    def _next_partition_rows(self) -> int:
        work = self.cpu_seconds_per_row
        target = int(setting("partition-seconds") / work) if work else SAMPLE_ROWS
        shortest = self._rows_in(self.min_seconds)
        target = max(target, 2 * shortest)
        # Half of an equal share: a worker with slow images delays the end less. Not less than a twentieth of the
        # target: submitting takes a tenth of that.
        share = max(len(self.pending) // (2 * self.n_workers), target // 20)
        # A few slow rows are worth a task: the fewer there are in the last ones, the shorter is the wait for them.
        # But a partition of remote files begins with a request that was not prefetched.
        quarter = self._rows_in(setting("partition-seconds") / 4)
        minimum = target // 2 if self.is_remote else max(1, shortest, min(SAMPLE_ROWS, quarter))
        n_bytes_allow = self._rows_of(MAX_PARTITION_NBYTES)
        if not self.values_travel:
            n_bytes_allow = min(max(shortest, n_bytes_allow), self._rows_of(MAX_WRITTEN_NBYTES))
        return min(max(minimum, min(target, share, MAX_PARTITION_ROWS)), n_bytes_allow)

    def _rows_in(self, seconds: float) -> int:
        """Return the number of rows for which one worker needs at least so much time."""
        return math.ceil(seconds / self.seconds_per_row) if self.seconds_per_row else SAMPLE_ROWS

    def _rows_of(self, nbytes: int) -> int:
        """Return the number of rows whose values have at most so many bytes."""
        return max(1, nbytes * len(self.job.inputs) // max(1, self.sink.nbytes))

    @property
    def seconds_per_row(self) -> float:
        """Measured wall time of one row on one worker; 0 before the first."""
        return self.wall / self.n_done if self.n_done else 0.0

    @property
    def cpu_seconds_per_row(self) -> float:
        """Measured work of one row, in seconds; 0 before the first.

        Waiting is not work, up to a limit: a server that is slow, or fails now and then, would make tasks small.
        """
        return max(self.cpu / self.n_done, self.seconds_per_row / 4) if self.n_done else 0.0

    def local_task(self, positions: Sequence[int], ledger: RowLedger) -> Callable[..., PartitionResult]:
        """Return a callable that runs a partition in this process and writes its values to the sink.

        Its argument is the `Secession` of the partition, None if no other waits for its end.
        """
        job, partition, writer = self.job, self.partition(positions), self.writer(positions, in_caller=True)
        return lambda secession=None: run_and_write(
            self._process_task.for_thread(), partition, job.source, ledger, self.settings, writer, secession
        )

    def partition(self, positions: Sequence[int]) -> PartitionInput:
        """Return the partition at these positions."""
        return self.job.partition(positions, probation_rows=self.probation.n_rows_of(positions[0]))

    def writer(self, positions: Sequence[int], *, in_caller: bool = False) -> PartitionWriter:
        """Return the writer of a partition, which leaves out the rows that were finished before."""
        return unfinished_writer(self.sink, self.unfinished, positions, in_caller=in_caller)

    def finish(self, result: PartitionResult) -> None:
        """Commit the result of a partition, and count its rows."""
        self.values_travel = result.values is not None
        result = self.sink.process(result)
        for admitted in self.probation.admit(result):
            self.sink.commit(admitted)
        self.n_done += len(result.status)
        self.n_failed += len(result.failures)
        self.failure_tally.add(result.failures)
        self.wall += result.wall
        self.cpu += result.cpu
        for stage, seconds in result.seconds.items():
            self.stage_seconds[stage] += seconds
        self.progress.update(len(result.status), self.n_failed)

    def end_probation(self) -> None:
        """Commit the results that are held; raise a UserFunctionError if the function has failed on all of them."""
        for result in self.probation.end():
            self.sink.commit(result)

    def reject_mismatched(self) -> None:
        """Fail the rows whose results have another form than most."""
        for position, message in self.sink.reject_mismatched():
            failed = failure(position, self.job.path(position), "function", message)
            self.sink.fail(failed)
            self.failure_tally.add([failed])
            self.n_failed += 1

    def eta(self) -> float:
        """Return the predicted seconds of the remaining rows, at the measured rate."""
        return self.n_remaining * self.seconds_per_row / self.n_workers

    def log_estimate(self) -> None:
        """Log the predicted time and memory of a long job, once."""
        eta = self.eta()
        if not self.estimate_logged and eta > ESTIMATE_THRESHOLD:
            self.estimate_logged = True
            memory = f", and {format_bytes(self.sink.nbytes)} in all" if self.sink.nbytes else ""
            n_done, n = len(self.unfinished) - self.n_remaining, len(self.unfinished)
            self.progress.write(
                f"{self.job.task.name}: about {format_duration(eta)} left after {n_done:,} of {n:,} images{memory}"
            )

    @property
    def seconds(self) -> float:
        """Wall time since the start, or of the finished job."""
        return time.perf_counter() - self.started_at if self._seconds is None else self._seconds

    def stats(self, plan: str) -> JobStats:
        """Return the statistics of the finished job."""
        self._seconds = self.seconds
        return JobStats(
            name=self.job.task.name, plan=plan, rows=self.n_done, n_skipped=len(self.job.inputs) - self.n_total,
            n_finished=self.n_finished, failures=self.n_failed, seconds=self.seconds, idle_seconds=self.idle_seconds,
            worker_seconds=self.wall, cpu=self.cpu, stages=dict(self.stage_seconds),
        )  # fmt: skip


def fill_blocks(rows: Mask, n: int) -> Mask:
    """Return a mask of all rows of the blocks of n rows in which any row is True.

    Examples
    --------
    >>> fill_blocks(np.array([False, True, False, False, False]), 2).tolist()
    [True, True, False, False, False]
    """
    if n == 1 or not len(rows):
        return rows
    filled: Mask = np.repeat(np.logical_or.reduceat(rows, np.arange(0, len(rows), n)), n)[: len(rows)]
    return filled


def unfinished_writer(
    sink: MemorySink, unfinished: Mask, positions: Sequence[int], *, in_caller: bool
) -> PartitionWriter:
    """Return the writer of the unfinished rows of a partition into a sink; `unfinished` is a mask of the job's rows."""
    rows = as_position_array(positions)
    if unfinished[rows].all():
        return sink.writer(positions, in_caller=in_caller)
    writer = sink.writer(to_positions(rows[unfinished[rows]]), in_caller=in_caller)
    return UnfinishedWriter(writer, unfinished[rows])


@dataclass(frozen=True)
class UnfinishedWriter:
    """Writer of some rows of a partition, a mask."""

    writer: PartitionWriter
    rows: Mask

    def __call__(self, part: PartitionResult) -> PartitionResult:
        """Write the rows, and drop the others."""
        selected = part.select(self.rows)
        selected.seconds, selected.bytes_read, selected.wall, selected.cpu = (
            part.seconds, part.bytes_read, part.wall, part.cpu
        )  # fmt: skip
        return self.writer(selected)


def run_and_write(
    task: Task,
    partition: PartitionInput,
    source: Source,
    ledger: RowLedger,
    settings: PillowSettings,
    writer: PartitionWriter,
    secession: Secession | None = None,
) -> PartitionResult:
    """Run a partition in this thread, and write its values; with a `secession` the next one begins early.

    The values of a cancelled or ended job are dropped: some of its rows are unfinished, and the next job may have
    written to the same buffer.
    """
    output = writer.output if isinstance(writer, CopyWriter | ObjectCopyWriter) else None
    result = run_partition(task, partition, source, ledger, settings, output, secession)
    if ledger.cancelled or result.is_ended:
        result.values = None
        return result
    started_at = time.perf_counter()
    with _timing.collect_timings() as seconds:
        result = writer(result)
    result.seconds.update(seconds)
    result.wall += time.perf_counter() - started_at
    if secession is not None:
        result.wall -= secession.seconds  # which are those of the next partition
    return result
