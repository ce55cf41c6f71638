"""Rows of one partition: `PartitionInput` before the kernel, `PartitionResult` after."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc.errors import Failure, FailureKind, failure

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class PartitionInput:
    """Rows of a job, with their positions and inputs.

    Attributes
    ----------
    positions : sequence of int
        Positions in the job, ascending.
    inputs : sequence
        For each row a path, bytes, a ``{bytes, path}`` mapping, an image in memory, or None where missing.
    targets : sequence of str or None, ``len(inputs) * n_outputs`` long, or empty
        Output paths, for tasks that write files.
    offset : int
        Position, in the user's frame, of the job's row 0.
    """

    positions: Sequence[int]
    inputs: Sequence[Any] = field(repr=False)  # Dask logs the arguments of tasks, and a URL may hold a password
    targets: Sequence[str | None] = ()
    offset: int = 0

    def __len__(self) -> int:
        return len(self.inputs)


def as_position_array(positions: Sequence[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return positions as an array; a range is not iterated over, as NumPy would do.

    Examples
    --------
    >>> as_position_array(range(3, 6)), as_position_array([7, 9])
    (array([3, 4, 5]), array([7, 9]))
    """
    if isinstance(positions, range):
        return np.arange(positions.start, positions.stop, positions.step, dtype=np.int64)
    return np.asarray(positions, dtype=np.int64)


@dataclass
class PartitionResult:
    """Finished rows of a partition.

    Attributes
    ----------
    positions : sequence of int
        Positions in the job.
    values : ndarray, ``len(positions) * n_outputs`` rows, or None
        Results; None once a writer has stored them.
    status : ndarray of int32, shape (len(positions),)
        0 for a result, -1 for a missing input, k > 0 for ``failures[k - 1]``.
    failures : list of dict
        Reasons for rows without a result.
    signatures : ndarray of int64, shape (len(positions), 2)
        Size in bytes and modification time in nanoseconds of each file that was read, else -1.
    seconds : dict of str to float
        Seconds by stage.
    wall, cpu : float
        Seconds of wall time, with the writing of the values, and of CPU time, without.
    bytes_read : int
        Bytes read from disks and networks.
    """

    positions: Sequence[int]
    values: np.ndarray[Any, np.dtype[Any]] | None
    status: np.ndarray[Any, np.dtype[np.int32]]
    signatures: np.ndarray[Any, np.dtype[np.int64]]
    failures: list[Failure] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    wall: float = 0.0
    cpu: float = 0.0
    bytes_read: int = 0

    @classmethod
    def empty(cls, partition: PartitionInput, values: np.ndarray[Any, np.dtype[Any]]) -> PartitionResult:
        """Return a result with this buffer of values, all rows missing."""
        n = len(partition)
        return cls(partition.positions, values, np.full(n, -1, dtype=np.int32), np.full((n, 2), -1, dtype=np.int64))

    def add_failure(self, i: int, path: str, kind: FailureKind, message: str) -> None:
        """Record the failure of row i of the partition."""
        self.failures.append(failure(self.positions[i], path, kind, message))
        self.status[i] = len(self.failures)
