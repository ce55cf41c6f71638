"""One call of a method, and what is known of it while it runs."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pandas_imgproc import _timing
from pandas_imgproc.codec import PillowSettings
from pandas_imgproc.config import setting
from pandas_imgproc.execution.progress import ESTIMATE_THRESHOLD, Progress, format_bytes, format_duration
from pandas_imgproc.execution.stats import JobStats
from pandas_imgproc.kernel import run_partition
from pandas_imgproc.partition import PartitionInput, PartitionResult

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterator, Sequence

    from pandas_imgproc.execution.crash_ledger import CrashLedger
    from pandas_imgproc.sinks import MemorySink, PartitionWriter
    from pandas_imgproc.source import Source
    from pandas_imgproc.tasks import Task

SAMPLE_ROWS = 16
"""Rows that are timed in line before it is decided where the rest runs; also the least rows of a partition."""

PROBE_ROWS = 2
"""Rows of a partition before the form of the answers is known: until then images travel through the socket."""

MAX_PARTITION_ROWS = 8192
"""The most rows of a partition: submitting it costs a millisecond or two, whatever its size."""

MAX_PARTITION_NBYTES = 24 * 2**20
"""The most bytes of a partition's values: greater ones are not reused by the C library, and the first touch of fresh
memory costs a fifth of decoding to 600 x 600 pixels."""


@dataclass(frozen=True)
class Job:
    """One call of a method, ready to run.

    Attributes
    ----------
    task : Task
        What one row means.
    source : Source
        How cells become files.
    inputs : list
        What stands in the column, row by row; None where missing.
    npartitions : int, optional
        How many partitions; a call that says so always runs on a cluster.
    progress : bool, optional
        Whether progress is shown.
    fail_fast : bool
        Whether the first failure ends the call.
    targets : sequence of str or None
        Where each answer is written, for tasks that write files: ``task.copies`` for each row.
    """

    task: Task
    source: Source
    inputs: Sequence[Any]
    npartitions: int | None = None
    progress: bool | None = None
    fail_fast: bool = False
    targets: Sequence[str | None] = ()


@dataclass
class JobState:
    """A call under way: what is known of it so far.

    Attributes
    ----------
    pending : deque of range
        The rows that nobody has been given yet.
    workers : int
        How many partitions are done at a time.
    """

    job: Job
    sink: MemorySink
    progress: Progress
    pending: deque[range]
    settings: PillowSettings = field(default_factory=PillowSettings.current)
    started: float = field(default_factory=time.perf_counter)
    done: int = 0
    failures: int = 0
    timed: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    waited: float = 0.0
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    estimate_logged: bool = False
    workers: int = 1

    @property
    def failed_fast(self) -> bool:
        """Whether a failure has ended the call."""
        return self.job.fail_fast and self.failures > 0

    @property
    def n_remaining(self) -> int:
        """Rows that are not done."""
        return self.total - self.done

    @functools.cached_property
    def is_remote(self) -> bool:
        """Whether images come through a network."""
        return self.job.source.is_remote(self.job.inputs)

    def __post_init__(self) -> None:
        self.total = sum(map(len, self.pending))

    def take(self, rows: int) -> range:
        """Return the next rows that nobody has been given, at most so many."""
        first = self.pending.popleft()
        if len(first) > rows:
            self.pending.appendleft(first[rows:])
        return first[:rows]

    def iter_partitions(self) -> Iterator[range]:
        """Yield ranges of rows: as many as asked for, or of about a second's work, and smaller at the end.

        It is lazy, so that each range follows the rate measured so far, and the workers that there are.
        """
        yield from self._split_evenly() if self.job.npartitions else self._split_by_time()

    def _split_evenly(self) -> Iterator[range]:
        rest = sum(map(len, self.pending))
        for count in range(min(self.job.npartitions or 1, rest), 0, -1):
            if self.pending:
                rows = self.take(rest // count)
                rest -= len(rows)
                yield rows
        while self.pending:  # ranges with gaps between them need more pieces than were asked for
            yield self.pending.popleft()

    def _split_by_time(self) -> Iterator[range]:
        while self.pending:
            second = (
                int(setting("partition-seconds") / self.cpu_seconds_per_row)
                if self.cpu_seconds_per_row
                else SAMPLE_ROWS
            )
            # Half of an equal share: whoever gets the slow images has less left to hold the others up with. Not
            # less than a twentieth of a second: handing it out takes a tenth of that.
            share = max(sum(map(len, self.pending)) // (2 * self.workers), second // 20)
            # A few slow rows are worth a task: the fewer there are in the last ones, the less waits for them.
            # But where files are elsewhere, each task begins with a request that nobody has sent ahead.
            least = second // 2 if self.is_remote else min(SAMPLE_ROWS, max(1, second // 4))
            rows = min(max(least, min(second, share, MAX_PARTITION_ROWS)), self._max_rows_in_bytes)
            yield self.take(rows if self.sink.schema_known else PROBE_ROWS)

    @property
    def _max_rows_in_bytes(self) -> int:
        """Rows whose values are not more than `MAX_PARTITION_NBYTES`."""
        return max(1, MAX_PARTITION_NBYTES * len(self.job.inputs) // max(1, self.sink.nbytes))

    @property
    def seconds_per_row(self) -> float:
        """Seconds that one worker takes for one row, as measured so far; 0 before anything was."""
        return self.wall / self.timed if self.timed else 0.0

    @property
    def cpu_seconds_per_row(self) -> float:
        """Seconds of work in one row, as measured so far; 0 before anything was.

        Waiting is not work, up to a limit: a server that is slow, or fails now and then, would make tasks small.
        """
        return max(self.cpu / self.timed, self.seconds_per_row / 4) if self.timed else 0.0

    def rows(self, positions: range) -> PartitionInput:
        """Return the rows at some positions with what stands in them."""
        n_outputs = self.job.task.n_outputs
        targets = self.job.targets[positions.start * n_outputs : positions.stop * n_outputs]
        return PartitionInput(positions, self.job.inputs[positions.start : positions.stop], targets)

    def local_task(self, positions: range, ledger: CrashLedger) -> Callable[[], PartitionResult]:
        """Return what does some rows and puts their values where they belong, in any thread of this process."""
        rows, put = self.rows(positions), self.sink.writer(positions)
        return lambda: run_and_write(self.job.task, rows, self.job.source, ledger, self.settings, put)

    def finish(self, part: PartitionResult) -> None:
        """Take a finished partition."""
        self.sink.commit(part)
        self.done += len(part.status)
        self.failures += len(part.failures)
        self.timed += len(part.status)
        self.wall += part.wall
        self.cpu += part.cpu
        for name, seconds in part.seconds.items():
            self.seconds[name] += seconds
        self.progress.update(len(part.status), self.failures)

    def eta(self) -> float:
        """Return how long the rest takes at the rate measured so far."""
        return self.n_remaining * self.seconds_per_row / self.workers

    def log_estimate(self) -> None:
        """Say once, of a long call, what it will take."""
        left = self.eta()
        if not self.estimate_logged and left > ESTIMATE_THRESHOLD:
            self.estimate_logged = True
            need = f" and {format_bytes(self.sink.nbytes)}" if self.sink.nbytes else ""
            self.progress.write(
                f"{self.job.task.name}: about {format_duration(left)}{need} for {self.n_remaining:,} images"
            )

    def stats(self, plan: str) -> JobStats:
        """Return what was done, and where the time went, now that the call is over."""
        return JobStats(
            name=self.job.task.name, plan=plan, rows=self.done, n_skipped=len(self.job.inputs) - self.total,
            failures=self.failures, seconds=time.perf_counter() - self.started, idle_seconds=self.waited, worker_seconds=self.wall,
            cpu=self.cpu, stages=dict(self.seconds),
        )  # fmt: skip


def run_and_write(
    task: Task,
    rows: PartitionInput,
    source: Source,
    ledger: CrashLedger,
    settings: PillowSettings,
    put: PartitionWriter,
) -> PartitionResult:
    """Do some rows, on whatever thread or worker this is, and put their values where they belong.

    Those of a call that has been given up go nowhere: not all of its rows are done, and by now the next call may have
    written there.
    """
    part = run_partition(task, rows, source, ledger, settings)
    if ledger.cancelled:
        part.values = None
        return part
    started = time.perf_counter()
    with _timing.collect_timings() as seconds:
        part = put(part)
    part.seconds.update(seconds)
    part.wall += time.perf_counter() - started
    return part
