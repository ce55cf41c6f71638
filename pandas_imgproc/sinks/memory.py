"""Values that stay in memory: plain, or one block that workers write into."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import psutil

from pandas_imgproc._shared_memory import FileHandle, MemfdHandle, SharedBuffer
from pandas_imgproc._timing import timed
from pandas_imgproc.errors import ResultTooLargeError
from pandas_imgproc.partition import as_position_array

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from pandas_imgproc.errors import Failure
    from pandas_imgproc.partition import PartitionResult
    from pandas_imgproc.tasks import Task

SHARED_MEMORY_THRESHOLD = 2**20
"""Bytes up to which values come back through the socket: a block would cost more than it saves."""

MEMORY_CHECK_THRESHOLD = 2**28
"""Bytes up to which free memory is not looked at, which costs 0.4 seconds the first time."""

Status = np.ndarray[Any, np.dtype[np.int32]]


class PartitionWriter(Protocol):
    """What a destination gives a worker to do with a finished partition."""

    def __call__(self, part: PartitionResult) -> PartitionResult:
        """Keep the values, or leave them in the partition for the caller."""
        ...


class Room(Protocol):
    """What must be known of a task to reserve memory for its answers."""

    @property
    def name(self) -> str:  # noqa: D102  see `Task`
        ...

    @property
    def n_outputs(self) -> int:  # noqa: D102  see `Task`
        ...

    def allocate(self, n: int) -> np.ndarray[Any, np.dtype[Any]]:  # noqa: D102  see `Task`
        ...


def allocate_sink(task: Room, n: int) -> MemorySink:
    """Return where the values of n rows go: a shared block if they are many, plain memory if not.

    Raises
    ------
    ResultTooLargeError
        If they cannot fit into memory.
    """
    nbytes = n * task.n_outputs * row_nbytes(task)
    _check_fits(task, n, nbytes)
    if nbytes <= SHARED_MEMORY_THRESHOLD:
        return MemorySink(task, n)
    try:
        return SharedMemorySink(task, n)
    except OSError:  # no nameless files here: values come back through the socket
        return MemorySink(task, n)


def row_nbytes(task: Room) -> int:
    """Return the bytes of one row of a task's answer."""
    one = task.allocate(0)
    return int(np.prod(one.shape[1:])) * one.dtype.itemsize


def _check_fits(task: Room, n: int, nbytes: int) -> None:
    if nbytes < MEMORY_CHECK_THRESHOLD:
        return
    free = available_memory()
    if nbytes > free:
        raise ResultTooLargeError(
            f"{task.name}: {n:,} rows need {nbytes / 1e9:.2f} GB of memory, and {free / 1e9:.2f} GB are free; "
            f"write them to disk with out='{task.name}.npy', or ask for a smaller size="
        )


def check_row_memory(task: Task) -> None:
    """Raise a ResultTooLargeError if one row of a task needs more memory than there is."""
    if task.nbytes_per_row < MEMORY_CHECK_THRESHOLD:
        return
    free = available_memory()
    if task.nbytes_per_row > free:
        raise ResultTooLargeError(
            f"{task.name}: one image of this size needs {task.nbytes_per_row / 1e9:.2f} GB of memory, and {free / 1e9:.2f} GB "
            "are free; ask for a smaller size="
        )


def available_memory() -> int:
    """Return the bytes that this process can still get, of the machine and of its container."""
    from distributed.system import MEMORY_LIMIT

    container = MEMORY_LIMIT - psutil.Process().memory_info().rss
    return int(max(0, min(psutil.virtual_memory().available, container)))


class MemorySink:
    """Values that come back to the caller, in plain memory.

    Parameters
    ----------
    task : Task
        Whose answers they are.
    n : int
        Rows of the frame.
    """

    def __init__(self, task: Room, n: int) -> None:
        self.n = n
        self._copies = task.n_outputs
        self._status: Status = np.full(n, -1, dtype=np.int32)
        self._failures: list[Failure] = []
        self._values = self._reserve(task)

    def _reserve(self, task: Room) -> np.ndarray[Any, np.dtype[Any]]:
        return task.allocate(self.n * task.n_outputs)

    def writer(self, positions: range) -> PartitionWriter:  # noqa: ARG002  others need them
        """Return what a worker does with a finished partition."""
        return return_to_caller

    def pending(self) -> list[range]:
        """Return the ranges of rows that are not done."""
        return [range(self.n)] if self.n else []

    def commit(self, part: PartitionResult) -> None:
        """Place in the caller what came back, and note it as done."""
        if part.values is not None:
            self._write(part.positions, part.values)
        self._record_status(part)

    def _record_status(self, part: PartitionResult) -> None:
        status = part.status.copy()
        status[status > 0] += len(self._failures)
        self._status[as_position_array(part.positions)] = status
        self._failures.extend(part.failures)

    def _write(self, positions: Sequence[int], values: np.ndarray[Any, np.dtype[Any]]) -> None:
        for first, own in contiguous_runs(positions, values, self._copies):
            self._values[first : first + len(own)] = own

    @property
    def schema_known(self) -> bool:
        """Whether it is known what form the values have."""
        return True

    @property
    def nbytes(self) -> int:
        """Bytes of the values of all rows."""
        return self._values.nbytes

    def values(self) -> np.ndarray[Any, np.dtype[Any]]:
        """Return the values of all rows, read-only."""
        self._values.flags.writeable = False
        return self._values

    def status(self) -> tuple[Status, tuple[Failure, ...]]:
        """Return the status of each row and the failures, in the order of the rows whatever ran first."""
        order = sorted(range(len(self._failures)), key=lambda k: self._failures[k]["position"])
        code = np.zeros(len(order) + 1, dtype=np.int32)
        code[[k + 1 for k in order]] = np.arange(1, len(order) + 1)
        status = np.where(self._status > 0, code[np.maximum(self._status, 0)], self._status)
        return status.astype(np.int32), tuple(self._failures[k] for k in order)

    def to_pandas(self, task: Task, index: pd.Index[Any]) -> Any:
        """Return the answer as pandas."""
        return task.to_pandas(self.values(), *self.status(), index)

    def close(self) -> None:
        """Let go of what only a running call needs."""


def return_to_caller(part: PartitionResult) -> PartitionResult:
    """Leave the values in the partition: they travel to the caller."""
    return part


class SharedMemorySink(MemorySink):
    """Values that workers write straight into one nameless block, which the caller maps.

    No pixel travels through a socket, unless a worker cannot reach the block.

    Raises
    ------
    OSError
        If the system cannot give such a block.
    """

    def _reserve(self, task: Room) -> np.ndarray[Any, np.dtype[Any]]:
        one, rows = task.allocate(0), self.n * task.n_outputs
        self._row_bytes = row_nbytes(task)
        self._file = SharedBuffer(rows * self._row_bytes)
        # The caller's own rows, and those of workers out of reach, go through the same map.
        return self._file.map(writeable=True).view(one.dtype).reshape(rows, *one.shape[1:])

    def writer(self, positions: range) -> PartitionWriter:  # noqa: ARG002  others need them
        """Return what a worker does with a finished partition."""
        return BufferWriter(self._file.address, self._copies, self._row_bytes)

    def close(self) -> None:
        """Let go of the name that workers use; the map stays."""
        self._file.close()


@dataclass(frozen=True)
class BufferWriter:
    """Write a partition's values into a shared block, if this machine has it."""

    address: MemfdHandle | FileHandle
    n_outputs: int
    row_nbytes: int
    offset: int = 0

    def __call__(self, part: PartitionResult) -> PartitionResult:
        """Write the values and drop them; out of reach, leave them."""
        assert part.values is not None
        with timed("transfer"), self.address.open() as fd:
            if fd is None:
                return part
            for first, own in contiguous_runs(part.positions, part.values, self.n_outputs):
                pwrite_all(fd, own, self.offset + first * self.row_nbytes)
            self.address.flush(fd)
        part.values = None
        return part


def pwrite_all(fd: int, values: np.ndarray[Any, np.dtype[Any]], offset: int) -> None:
    """Write an array at an offset; the system may take it in several pieces (2 GB at most each)."""
    # A private buffer and pwrite, not a map: the first touch of a mmap_array page costs five times as much.
    rest = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    while rest:
        written = os.pwrite(fd, rest, offset)
        offset, rest = offset + written, rest[written:]


def contiguous_runs(
    positions: Sequence[int], values: np.ndarray[Any, np.dtype[Any]], n_outputs: int
) -> Iterator[tuple[int, np.ndarray[Any, np.dtype[Any]]]]:
    """Yield ``(first row of the answer, values)`` for each run of neighbouring rows."""
    where = as_position_array(positions)
    cuts = [0, *(np.flatnonzero(np.diff(where) != 1) + 1).tolist(), len(where)]
    for a, b in pairwise(cuts):
        if b > a:
            yield int(where[a]) * n_outputs, values[a * n_outputs : b * n_outputs]
