"""Results in memory: in the caller's own, or in a shared buffer that workers write into."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import psutil

from pandas_imgproc._shared_memory import MemfdHandle, SharedBuffer
from pandas_imgproc._timing import timed
from pandas_imgproc._uninterrupted import import_atomically
from pandas_imgproc.errors import ResultTooLargeError
from pandas_imgproc.partition import as_position_array, runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from pandas_imgproc.errors import Failure
    from pandas_imgproc.partition import Mask, PartitionResult
    from pandas_imgproc.sinks.lease import LeasedFile
    from pandas_imgproc.tasks import Task

SHARED_MEMORY_THRESHOLD = 2**20
"""Bytes up to which values return through the socket: a shared buffer would cost more than it saves."""

MEMORY_CHECK_THRESHOLD = 2**28
"""Bytes up to which free memory is not checked, which costs 0.4 seconds the first time."""

Array = np.ndarray[Any, np.dtype[Any]]
Status = np.ndarray[Any, np.dtype[np.int32]]


class PartitionWriter(Protocol):
    """Writer of a partition's values, called by the worker that has finished the partition."""

    def __call__(self, part: PartitionResult) -> PartitionResult:
        """Write the values and drop them, or return them to the caller in the partition."""
        ...


@dataclass(frozen=True)
class ArraySpec:
    """Shape and dtype of the values of a job."""

    name: str  # method, as messages call it
    n: int  # rows of the frame
    n_outputs: int  # rows of the values for each row of the frame
    row_shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def from_task(cls, task: Task, n: int) -> ArraySpec:
        """Return shape and dtype of the values of n rows."""
        empty = task.allocate(0)
        return cls(task.name, n, task.n_outputs, empty.shape[1:], empty.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all values."""
        return (self.n * self.n_outputs, *self.row_shape)

    @property
    def row_nbytes(self) -> int:
        """Bytes of one row of the values."""
        return int(np.prod(self.row_shape)) * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return self.n * self.n_outputs * self.row_nbytes

    def allocate(self) -> Array:
        """Return an array of zeros, or of None."""
        return np.full(self.shape, None) if self.dtype == object else np.zeros(self.shape, self.dtype)

    def matches(self, value: Any) -> bool:
        """Return whether a value has the shape and dtype of a row."""
        is_array = isinstance(value, np.ndarray | np.void)
        return is_array and value.shape == self.row_shape and value.dtype == self.dtype

    def too_large_error(self, reason: str) -> ResultTooLargeError:
        """Return the error for values that do not fit into memory."""
        return ResultTooLargeError(
            f"{self.name}: {self.n:,} rows need {self.nbytes / 1e9:.2f} GB of memory, and {reason}; write them to disk "
            f"with out='{self.name}.npy', or pass a smaller size="
        )

    def stack(self, part: PartitionResult) -> Array:
        """Return the objects of a partition as one array, zeros where missing."""
        assert part.values is not None
        block = np.zeros((len(part.values), *self.row_shape), self.dtype)
        for i in np.flatnonzero(np.repeat(part.status == 0, self.n_outputs)):
            block[i] = part.values[i]
        return block


def allocate_sink(spec: ArraySpec, *, in_background: bool = False) -> MemorySink:
    """Return a sink with a shared buffer for many values, or with plain memory for few.

    With `in_background` the memory is reserved beside the first rows, for a sink of which each row is written.

    Raises
    ------
    ResultTooLargeError
        If the values do not fit into memory.
    """
    if spec.nbytes >= MEMORY_CHECK_THRESHOLD and spec.nbytes > (free := available_memory()):
        raise spec.too_large_error(f"{free / 1e9:.2f} GB are free")
    if spec.nbytes <= SHARED_MEMORY_THRESHOLD:
        return MemorySink(spec)
    try:
        return SharedMemorySink(spec, in_background=in_background)
    except OSError:  # no anonymous memory on this system: values return through the socket
        return MemorySink(spec)


def check_row_memory(task: Task) -> None:
    """Raise a ResultTooLargeError if one row of a task does not fit into memory."""
    check_memory(f"{task.name}: one image of this size needs", task.nbytes_per_row, "pass a smaller size=")


def check_memory(subject: str, nbytes: int, advice: str) -> None:
    """Raise a ResultTooLargeError if so many bytes do not fit into memory; its message begins with the subject."""
    if nbytes >= MEMORY_CHECK_THRESHOLD and nbytes > (free := available_memory()):
        raise ResultTooLargeError(
            f"{subject} {nbytes / 1e9:.2f} GB of memory, and {free / 1e9:.2f} GB are free; {advice}"
        )


def available_memory() -> int:
    """Return the bytes that this process can still allocate, by the limits of the machine and of its container."""
    container = import_atomically("distributed.system").MEMORY_LIMIT - psutil.Process().memory_info().rss
    return int(max(0, min(psutil.virtual_memory().available, container)))


class MemorySink:
    """Sink of a job: values in the caller's memory, and the status of each row.

    Subclasses store the values in another way. The execution layer uses `pending`, `writer(positions)`,
    `process(part)`, `commit(part)`, `has_results`, `reject_mismatched()`, `fail(failure)`, `schema_known`, `nbytes` and
    `close()`; afterwards the
    accessor uses `status()` and `to_pandas(task, index)`.

    Parameters
    ----------
    spec : ArraySpec
        Shape and dtype of the values.
    """

    block_rows = 1
    """Neighboring rows of which a partition has all or none."""

    takes_any_rows = True
    """Whether rows of a partition may be anywhere in the frame: their values are stored one by one."""

    max_partition_rows: int | None = None
    """Maximum rows of a partition."""

    max_partitions: int | None = None
    """Maximum number of partitions that run or wait for their `commit`."""

    def __init__(self, spec: ArraySpec) -> None:
        self.spec = spec
        self._status: Status = np.full(spec.n, -1, dtype=np.int32)
        self._failures: list[Failure] = []
        self._values = self._allocate()

    def _allocate(self) -> Array:
        return self.spec.allocate()

    @property
    def n(self) -> int:
        """Rows of the frame."""
        return self.spec.n

    @property
    def schema_known(self) -> bool:
        """Whether shape and dtype of the values are known."""
        return True

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return self._values.nbytes

    @property
    def part_ends(self) -> Sequence[int]:
        """Positions, ascending, at which a partition of pending rows should end: it costs more to go on."""
        return ()

    def pending(self) -> Mask:
        """Return the mask of the unfinished rows."""
        return np.ones(self.n, dtype=bool)

    @property
    def n_finished(self) -> int:
        """Number of rows that earlier calls have finished."""
        return self.n - int(self.pending().sum())

    def writer(self, positions: Sequence[int], *, in_caller: bool = False) -> PartitionWriter:  # noqa: ARG002
        """Return the writer that is called with the finished partition at these positions.

        With `in_caller` it is called in this process, before the job ends, and else by a worker.
        """
        return return_to_caller

    def process(self, part: PartitionResult) -> PartitionResult:
        """Return the result of a partition, after the work that is left to the caller, before its `commit`."""
        return part

    @property
    def has_results(self) -> bool:
        """Whether any row has a result, also of an earlier run."""
        return bool((self.status()[0] == 0).any())

    def commit(self, part: PartitionResult) -> None:
        """Store the values that were returned to the caller, and record the rows as finished."""
        if part.values is not None:
            self._write(part.positions, part.values)
        self._record_status(part)

    def _write(self, positions: Sequence[int], values: Array) -> None:
        for offset, block in contiguous_runs(positions, values, self.spec.n_outputs):
            self._values[offset : offset + len(block)] = block

    def _record_status(self, part: PartitionResult) -> None:
        status = part.status.copy()
        status[status > 0] += len(self._failures)
        self._status[as_position_array(part.positions)] = status
        self._failures.extend(part.failures)

    def reject_mismatched(self) -> Iterator[tuple[int, str]]:
        """Yield the position and the message of each row whose result has another form than most."""
        return iter(())

    def fail(self, failed: Failure) -> None:
        """Record the failure of a row that was finished."""
        self._failures.append(failed)
        self._status[failed["position"]] = len(self._failures)

    def status(self) -> tuple[Status, tuple[Failure, ...]]:
        """Return the status of each row and the failures, in the order of the rows, in any order of execution."""
        order = sorted(range(len(self._failures)), key=lambda k: self._failures[k]["position"])
        code = np.zeros(len(order) + 1, dtype=np.int32)
        code[[k + 1 for k in order]] = np.arange(1, len(order) + 1)
        status = np.where(self._status > 0, code[np.maximum(self._status, 0)], self._status)
        return status.astype(np.int32), tuple(self._failures[k] for k in order)

    def values(self) -> Array:
        """Return the values of all rows, read-only."""
        self._values.flags.writeable = False
        return self._values

    def to_pandas(self, task: Task, index: pd.Index[Any]) -> Any:
        """Return the result as a Series or DataFrame."""
        return task.to_pandas(self.values(), *self.status(), index)

    def close(self) -> None:
        """Release the resources that only a running job needs."""


def return_to_caller(part: PartitionResult) -> PartitionResult:
    """Return a partition with its values: they travel to the caller."""
    return part


class SharedMemorySink(MemorySink):
    """Sink in anonymous memory, which the caller maps and workers write into.

    No pixel travels through a socket, unless a worker cannot reach the memory.

    Parameters
    ----------
    spec : ArraySpec
        Shape and dtype of the values.
    in_background : bool
        Whether the memory is reserved beside the first rows: no partition begins before its own is.

    Raises
    ------
    OSError
        If the system has no such memory.
    """

    def __init__(self, spec: ArraySpec, *, in_background: bool) -> None:
        self._in_background = in_background
        super().__init__(spec)

    def _allocate(self) -> Array:
        self._buffer = SharedBuffer(self.spec.nbytes, in_background=self._in_background)
        return self._buffer.map(writeable=True).view(self.spec.dtype).reshape(self.spec.shape)

    def writer(self, positions: Sequence[int], *, in_caller: bool = False) -> PartitionWriter:  # noqa: ARG002
        """Return the writer of values into the shared buffer, when its memory is reserved.

        Raises
        ------
        ResultTooLargeError
            If that is not available.
        """
        self._wait_reserved(positions)
        return BufferWriter(self._buffer.handle, self.spec.n_outputs, self.spec.row_nbytes)

    def _wait_reserved(self, positions: Sequence[int]) -> None:
        try:
            self._buffer.wait_reserved((positions[-1] + 1) * self.spec.n_outputs * self.spec.row_nbytes)
        except OSError as exc:
            raise self.spec.too_large_error(f"the system has no more: {exc.strerror or exc}") from exc

    def _write(self, positions: Sequence[int], values: Array) -> None:
        self._wait_reserved(positions)
        # As workers do: through the map it would take several times as long.
        for offset, block in contiguous_runs(positions, values, self.spec.n_outputs):
            pwrite_all(self._buffer.handle.fd, block, offset * self.spec.row_nbytes)

    def close(self) -> None:
        """Close the descriptor by which workers reach the buffer; the map stays."""
        self._buffer.close()


@dataclass(frozen=True)
class BufferWriter:
    """Writer of a partition's values into a shared buffer, or into a file after `offset` bytes."""

    handle: MemfdHandle | LeasedFile
    n_outputs: int
    row_nbytes: int
    offset: int = 0

    def __call__(self, part: PartitionResult) -> PartitionResult:
        """Write the values and drop them; return them to the caller if the buffer cannot be reached."""
        assert part.values is not None
        with timed("transfer"), self.handle.open() as fd:
            if fd is None:
                return part
            for offset, block in contiguous_runs(part.positions, part.values, self.n_outputs):
                pwrite_all(fd, block, self.offset + offset * self.row_nbytes)
            self.handle.flush(fd)
        part.values = None
        return part


def pwrite_all(fd: int, values: Array, offset: int) -> None:
    """Write an array at an offset, in as many system calls as are needed (2 GB at most each)."""
    # A private buffer and pwrite, not a map: the first touch of a mapped page costs five times as much.
    view = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    while view:
        written = os.pwrite(fd, view, offset)
        offset, view = offset + written, view[written:]


def contiguous_runs(positions: Sequence[int], values: Array, n_outputs: int) -> Iterator[tuple[int, Array]]:
    """Yield ``(offset in the values of the job, block)`` for each run of neighboring rows."""
    start = 0
    for run in runs(positions):
        stop = start + len(run) * n_outputs
        yield run.start * n_outputs, values[start:stop]
        start = stop
