"""Kernel: the only loop over rows, and the only ``try`` around one row."""

from __future__ import annotations

import itertools
import operator
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pandas_imgproc import _timing, codec
from pandas_imgproc._text import INTERRUPTS
from pandas_imgproc.errors import BatchLengthError, OutputError, UserFunctionError
from pandas_imgproc.partition import PartitionInput, PartitionResult
from pandas_imgproc.source import ReadControl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pandas_imgproc.errors import FailureKind
    from pandas_imgproc.partition import Mask
    from pandas_imgproc.source import InputFile, Source
    from pandas_imgproc.source.copies import Output
    from pandas_imgproc.tasks import Task, Values


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

    def call_group(self, position: int) -> int | None:
        """Return the group of a row; only rows of one group may be in one call."""

    def enter_rows(self, positions: Sequence[int]) -> None:
        """Mark rows as in flight, together if there are several."""

    def exit_rows(self, positions: Sequence[int]) -> None:
        """Mark rows as survived."""

    def exit_partition(self) -> None:
        """Mark all rows as survived."""


class NullLedger:
    """Ledger that records only the cancellation, for rows whose crash would end the caller too."""

    cancelled = False

    poisoned: Mapping[int, tuple[FailureKind, str]] = {}

    def set_pending(self, pending: Mask) -> None: ...  # noqa: D102

    def start_attempt(self, positions: Sequence[int]) -> None: ...  # noqa: D102

    def call_group(self, position: int) -> None: ...  # noqa: D102

    def enter_rows(self, positions: Sequence[int]) -> None: ...  # noqa: D102

    def exit_rows(self, positions: Sequence[int]) -> None: ...  # noqa: D102

    def exit_partition(self) -> None: ...  # noqa: D102

    def enter_build(self, names: str) -> None: ...  # noqa: D102

    def exit_build(self) -> None: ...  # noqa: D102

    def cancel(self) -> None:
        """Stop every partition of the job after its current row."""
        self.cancelled = True


def run_partition(
    task: Task,
    partition: PartitionInput,
    source: Source,
    ledger: RowLedger,
    settings: codec.PillowSettings,
    output: Callable[[int], Output | None] | None = None,
    on_last_reads: Callable[[], None] | None = None,
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
    output : callable, optional
        Function of a row of the partition that returns the output into which its file is copied.
    on_last_reads : callable, optional
        Called while the last remote files are awaited, for each of them: the next partition may start to read.

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
        block_rows = task.block_rows if task.fills_blocks else None
        control = ReadControl(lambda: ledger.cancelled, on_last_reads)
        files = source.read(partition, control, output, block_rows, task.convert)
        _Run(result, task, partition, ledger).run(files)
    result.wall, result.cpu = time.perf_counter() - wall, time.thread_time() - cpu
    result.seconds, result.bytes_read = dict(seconds), seconds.bytes_read
    return result


@dataclass(slots=True)
class _Row:
    """Row of a partition: its number there, its position in the job, its file, and its loaded image, if it has one."""

    i: int
    position: int
    file: InputFile
    item: Any = None


_position = operator.attrgetter("position")
"""Position of a row: those of a block may be loaded in another order, image by image."""


class _Run:
    """Run of a task on the rows of a partition, block by block.

    ::

        block of rows ── load each, if the task does so ──> rows that can be read ── fill them together ──> results
                              │ raises: a failure                                        │ raises
                              v                                                          v
                          left out                    several rows: fill each of them alone; one row: a failure

    A block is one row, or neighbors that a task processes together: those of a batch that may be in flight together.
    """

    def __init__(self, result: PartitionResult, task: Task, partition: PartitionInput, ledger: RowLedger) -> None:
        self._result, self._task, self._partition, self._ledger = result, task, partition, ledger
        self._poisoned, self._n_outputs, self._fills_blocks = ledger.poisoned, task.n_outputs, task.fills_blocks

    def run(self, files: Iterable[tuple[int, InputFile]]) -> None:
        """Run the task on all rows, or until the job is cancelled."""
        positions = self._partition.positions
        rows = (_Row(i, positions[i], file) for i, file in files)
        for block in self._blocks(rows):
            ready = [row for row in block if self._is_ready(row)]
            self._run_block(sorted(ready, key=_position) if self._fills_blocks else ready)
            if self._ledger.cancelled or self._result.is_ended:
                break
        self._ledger.exit_partition()

    def _blocks(self, rows: Iterator[_Row]) -> Iterator[Iterable[_Row]]:
        n, group = self._task.block_rows, self._ledger.call_group
        if not self._fills_blocks:
            return ((row,) for row in rows)
        return (block for _, block in itertools.groupby(rows, lambda row: (row.position // n, group(row.position))))

    def _is_ready(self, row: _Row) -> bool:
        """Return whether a row is to be filled; one that is not loaded has failed."""
        if row.position in self._poisoned:
            self._result.add_failure(row.i, row.file.path, *self._poisoned[row.position])
            return False
        return not self._fills_blocks or (not self._ledger.cancelled and self._attempt([row], self._load))

    def _run_block(self, rows: list[_Row]) -> None:
        fill = self._fill_block if self._fills_blocks else self._fill_row
        if rows and not self._attempt(rows, fill) and len(rows) > 1:
            for row in rows:
                self._attempt([row], fill)

    def _attempt(self, rows: list[_Row], function: Callable[[list[_Row]], None]) -> bool:
        """Call a function on rows in flight, and return whether it has not raised; if it has, a single row fails."""
        positions, succeeded = [row.position for row in rows] if len(rows) > 1 else (rows[0].position,), False
        self._ledger.enter_rows(positions)
        try:
            function(rows)
            succeeded = True
        except (*INTERRUPTS, BatchLengthError, OutputError):
            raise
        except BaseException as exc:  # any exception of a decoder or a user's function is a failure of this row only
            if len(rows) == 1:
                self._fail(rows[0], exc)
        for row in rows:
            self._result.signatures[row.i] = row.file.signature
        self._ledger.exit_rows(positions)
        return succeeded

    def _fail(self, row: _Row, exc: BaseException) -> None:
        self._result.add_failure(row.i, row.file.path, *self._task.classify_error(exc))
        if isinstance(exc, UserFunctionError):
            self._count_function_error(row.position, exc)
        self._out(row)[:] = self._task.allocate(self._n_outputs)

    def _count_function_error(self, position: int, error: UserFunctionError) -> None:
        errors = self._result.function_errors
        errors.add(position, error)
        if errors.n == self._partition.probation_rows and errors.are_alike:
            self._result.is_ended = not (self._result.status == 0).any()

    def _out(self, row: _Row) -> Values:
        assert self._result.values is not None
        return self._result.values[row.i * self._n_outputs : (row.i + 1) * self._n_outputs]

    def _load(self, rows: list[_Row]) -> None:
        rows[0].item = self._task.load(rows[0].file)

    def _fill_row(self, rows: list[_Row]) -> None:
        (row,) = rows
        self._task.fill(self._out(row), self._partition.offset + row.position, row.file)
        self._result.status[row.i] = 0

    def _fill_block(self, rows: list[_Row]) -> None:
        out = [self._out(row) for row in rows]
        position, files = self._partition.offset + rows[0].position, [row.file for row in rows]
        self._task.fill_block(out, position, files, [row.item for row in rows])
        self._result.status[[row.i for row in rows]] = 0
