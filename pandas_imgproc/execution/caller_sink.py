"""Sink of a call whose function runs in the caller: workers read and decode, and the caller runs the function.

Workers write the pixels of a partition into a slot of a ring. The caller runs the function on them when it commits the
partition, while other slots are filled::

    free ── writer ──> a worker fills it ── commit: the kernel runs the function in the caller ──> free
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.system import CPU_COUNT

from pandas_imgproc._shared_memory import MemfdHandle, SharedBuffer
from pandas_imgproc.codec import PillowSettings
from pandas_imgproc.execution.job import fill_blocks, unfinished_writer
from pandas_imgproc.execution.process_task import ProcessTask
from pandas_imgproc.kernel import NullLedger, run_partition
from pandas_imgproc.partition import PartitionInput, PartitionResult, as_position_array
from pandas_imgproc.sinks import MemorySink
from pandas_imgproc.sinks.memory import pwrite_all, return_to_caller
from pandas_imgproc.source import FailedInput, RowInputs, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd

    from pandas_imgproc.errors import Failure
    from pandas_imgproc.partition import Mask
    from pandas_imgproc.sinks.memory import Array, PartitionWriter, Status
    from pandas_imgproc.tasks import MapBatches, Task

MIN_SLOTS = 4
"""Partitions that may be decoded, or wait for the function, together; more with more cores."""

MIN_SLOT_ROWS = 32
"""Rows of a slot at least: to submit a partition costs a few milliseconds."""


def n_slots() -> int:
    """Return the number of slots of the ring: a core decodes one, and two wait."""
    return max(MIN_SLOTS, int(CPU_COUNT) + 2)


class CallerSink(MemorySink):
    """Sink that runs a task in the caller on the pixels of each partition, and stores its results in another sink.

    Parameters
    ----------
    sink : MemorySink
        Sink of the results.
    task : MapBatches
    row_shape : tuple of int
        Shape of the pixels of a row: (columns, height, width, channels).
    columns : DataFrame or None
        Other columns of the frame that the function uses.
    path_of : callable
        Function of a position that returns the name of the row's file: the inputs of the function are pixels.
    """

    def __init__(
        self,
        sink: MemorySink,
        task: MapBatches,
        row_shape: tuple[int, ...],
        columns: pd.DataFrame | None,
        path_of: Callable[[int], str],
    ) -> None:
        self._sink, self._task, self._row_shape, self._columns = sink, task, row_shape, columns
        self._path_of = path_of
        self._unfinished = sink.pending()
        self._process_task = ProcessTask(lambda: dataclasses.replace(task, is_decoded=True))
        self._ledger, self._settings = NullLedger(), PillowSettings.current()
        self.block_rows = task.batch_size
        slot_rows, self._n_slots = task.batch_size * math.ceil(MIN_SLOT_ROWS / task.batch_size), n_slots()
        self.max_partition_rows, self.max_partitions = slot_rows, self._n_slots
        self._slot_nbytes = slot_rows * math.prod(row_shape)
        self._slots: dict[int, int] = {}  # by first position
        self._ring = self._allocate_ring()

    def _allocate_ring(self) -> SharedBuffer | None:
        try:
            return SharedBuffer(self._n_slots * self._slot_nbytes)
        except OSError:  # no anonymous memory on this system: pixels return through the socket
            return None

    # ---- as the executors know a sink

    @property
    def n(self) -> int:
        """Rows of the frame."""
        return self._sink.n

    @property
    def nbytes(self) -> int:
        """Bytes of all values, which are not those of a partition."""
        return 0

    def pending(self) -> Mask:
        """Return the mask of the rows of all batches in which any is unfinished: the function is given all of them."""
        return fill_blocks(self._unfinished, self.block_rows)

    def writer(self, positions: Sequence[int], *, in_caller: bool = False) -> PartitionWriter:  # noqa: ARG002
        """Return the writer of pixels into a slot, which is that of the partition until its `commit`."""
        free = set(range(self._n_slots)) - set(self._slots.values())
        if self._ring is None or (positions[0] not in self._slots and not free):
            return return_to_caller
        slot = self._slots.setdefault(positions[0], next(iter(free), 0))
        return SlotWriter(self._ring.handle, slot * self._slot_nbytes)

    def process(self, part: PartitionResult) -> PartitionResult:
        """Return the results of the function for the pixels of a partition."""
        rows = as_position_array(part.positions)
        columns = None if self._columns is None else self._columns.iloc[rows]
        partition = PartitionInput(part.positions, self._inputs(part), columns=columns)
        task = self._process_task.for_thread()
        result = run_partition(task, partition, Source(), self._ledger, self._settings)
        result.signatures[:] = part.signatures
        for failed in result.failures:
            if failed["kind"] == "function":  # others were read by a worker, and have the path
                failed["path"] = self._path_of(failed["position"])
        self._slots.pop(part.positions[0], None)
        result.seconds, result.wall, result.cpu, result.bytes_read = part.seconds, part.wall, part.cpu, part.bytes_read
        return result

    def commit(self, part: PartitionResult) -> None:
        """Store the results of the function."""
        writer = unfinished_writer(self._sink, self._unfinished, part.positions, in_caller=True)
        self._sink.commit(writer(part))

    def _inputs(self, part: PartitionResult) -> list[Any]:
        """Return the pixels of rows as inputs of the function; those of a slot are views of it."""
        pixels = self._pixels(part)
        return [
            None if code < 0 else _failed_input(part.failures[code - 1]) if code else RowInputs(tuple(pixels[i]))
            for i, code in enumerate(part.status.tolist())
        ]

    def _pixels(self, part: PartitionResult) -> Array:
        if part.values is not None:
            return part.values
        assert self._ring is not None
        start = self._slots[part.positions[0]] * self._slot_nbytes
        nbytes = len(part.positions) * math.prod(self._row_shape)
        return self._ring.map()[start : start + nbytes].reshape(-1, *self._row_shape)

    def reject_mismatched(self) -> Iterator[tuple[int, str]]:
        """Yield the position and the message of each row whose result has another form than most."""
        return self._sink.reject_mismatched()

    def fail(self, failed: Failure) -> None:
        """Record the failure of a row that was finished."""
        self._sink.fail(failed)

    def status(self) -> tuple[Status, tuple[Failure, ...]]:
        """Return the status of each row and the failures."""
        return self._sink.status()

    def to_pandas(self, task: Task, index: pd.Index[Any]) -> Any:  # noqa: ARG002  that of the workers
        """Return the result of the function."""
        return self._sink.to_pandas(self._task, index)

    def close(self) -> None:
        """Close the ring and the sink of the results."""
        if self._ring is not None:
            self._ring.close()
        self._sink.close()


def _failed_input(failed: Failure) -> Any:
    return RowInputs((FailedInput(failed["path"], failed["kind"], failed["message"]),))


@dataclass(frozen=True)
class SlotWriter:
    """Writer of a partition's pixels into shared memory after `offset` bytes."""

    handle: MemfdHandle
    offset: int

    def __call__(self, part: PartitionResult) -> PartitionResult:
        """Write the values and drop them; return them to the caller if the memory cannot be reached."""
        assert part.values is not None
        with self.handle.open() as fd:
            if fd is None:
                return part
            pwrite_all(fd, np.ascontiguousarray(part.values), self.offset)
        part.values = None
        return part
