"""Kernel: the only loop over rows, and the only ``try`` around one row."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from pandas_imgproc import _timing, codec
from pandas_imgproc._text import INTERRUPTS
from pandas_imgproc.partition import PartitionInput, PartitionResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pandas_imgproc.errors import FailureKind
    from pandas_imgproc.partition import Mask
    from pandas_imgproc.source import Source
    from pandas_imgproc.tasks import Task


class RowLedger(Protocol):
    """Record of the rows in flight, which outlives the process that fills a partition."""

    @property
    def cancelled(self) -> bool:
        """Whether the caller has cancelled the job."""

    @property
    def poisoned(self) -> Mapping[int, tuple[FailureKind, str]]:
        """Rows to skip, with the failure of each."""

    def set_pending(self, pending: Mask) -> None:
        """Mark all rows but these as survived."""

    def start_attempt(self, positions: Sequence[int]) -> None:
        """Start an attempt at a partition, before anything of it is unpickled."""

    def enter_build(self, names: str) -> None:
        """Mark the attempt as one that builds the functions of the job, before its first row."""

    def exit_build(self) -> None:
        """Mark the functions as built."""

    def enter_row(self, position: int) -> None:
        """Mark a row as in flight."""

    def exit_row(self, position: int) -> None:
        """Mark a row as survived."""

    def exit_partition(self) -> None:
        """Mark all rows as survived."""


class NullLedger:
    """Ledger that records only the cancellation, for rows whose crash would end the caller too."""

    cancelled = False

    poisoned: Mapping[int, tuple[FailureKind, str]] = {}

    def set_pending(self, pending: Mask) -> None: ...  # noqa: D102

    def start_attempt(self, positions: Sequence[int]) -> None: ...  # noqa: D102

    def enter_row(self, position: int) -> None: ...  # noqa: D102

    def exit_row(self, position: int) -> None: ...  # noqa: D102

    def exit_partition(self) -> None: ...  # noqa: D102

    def enter_build(self, names: str) -> None: ...  # noqa: D102

    def exit_build(self) -> None: ...  # noqa: D102

    def cancel(self) -> None:
        """Stop every partition of the job after its current row."""
        self.cancelled = True


def run_partition(
    task: Task, partition: PartitionInput, source: Source, ledger: RowLedger, settings: codec.PillowSettings
) -> PartitionResult:
    """Run a task on the rows of a partition.

    Parameters
    ----------
    task : Task
        Operation on one row, of which no other thread has the same copy.
    partition : PartitionInput
        Rows, with their inputs.
    source : Source
        Reader of the inputs.
    ledger : RowLedger
        Record of the row in flight, after `start_attempt`; rows that have killed two processes are skipped.
    settings : PillowSettings
        Pillow's settings in the caller, so that every process decodes alike.

    Returns
    -------
    PartitionResult
        One row per row of the partition, in their order.

    Raises
    ------
    MissingExtraError
        If this process lacks a package that the caller has: other pixels would be mixed into its result.
    """
    task.check_installed()
    result = PartitionResult.empty(partition, task.allocate(len(partition) * task.n_outputs))
    wall, cpu = time.perf_counter(), time.thread_time()
    with codec.pillow_settings(settings), _timing.collect_timings() as seconds:
        _fill(result, task, partition, source, ledger)
    result.wall, result.cpu = time.perf_counter() - wall, time.thread_time() - cpu
    result.seconds, result.bytes_read = dict(seconds), seconds.bytes_read
    return result


def _fill(result: PartitionResult, task: Task, partition: PartitionInput, source: Source, ledger: RowLedger) -> None:
    n_outputs, values, poisoned = task.n_outputs, result.values, ledger.poisoned
    assert values is not None
    for i, file in source.read(partition, lambda: ledger.cancelled):
        position = partition.positions[i]
        if position in poisoned:
            result.add_failure(i, file.path, *poisoned[position])
            continue
        ledger.enter_row(position)
        out = values[i * n_outputs : (i + 1) * n_outputs]
        try:
            task.fill(out, partition.offset + position, file)
            result.status[i] = 0
        except INTERRUPTS:
            raise
        except BaseException as exc:  # any exception of a decoder or a user's function is a failure of this row only
            result.add_failure(i, file.path, *task.classify_error(exc))
            out[:] = task.allocate(n_outputs)
        result.signatures[i] = file.signature
        ledger.exit_row(position)
        if ledger.cancelled:
            break
    ledger.exit_partition()
