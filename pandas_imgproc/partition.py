"""Some rows of a call: `PartitionInput` before they are done, a `PartitionResult` after."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc.errors import Failure, FailureKind, failure

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class PartitionInput:
    """Some rows of a call: where they stand, and what stands there.

    Attributes
    ----------
    positions : sequence of int
        Positions in the frame, ascending.
    inputs : sequence
        For each a path, bytes, a ``{bytes, path}`` mapping, an image in memory, or None where missing.
    targets : sequence of str or None, ``len(inputs) * n_outputs`` long, or empty
        Where each answer is written, for tasks that write files.
    offset : int
        The position, in the user's frame, of the row that has position 0 here.
    """

    positions: Sequence[int]
    inputs: Sequence[Any] = field(repr=False)  # Dask logs what a task was given, and a URL may hold a password
    targets: Sequence[str | None] = ()
    offset: int = 0

    def __len__(self) -> int:
        return len(self.inputs)


def as_position_array(positions: Sequence[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return positions as an array; of a range without looking at each, which NumPy does.

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
    """Some finished rows.

    Attributes
    ----------
    positions : sequence of int
        Where the rows stand in the frame.
    values : ndarray, ``len(positions) * n_outputs`` rows, or None
        The answers; None once they are where they belong.
    status : ndarray of int32, shape (len(positions),)
        0 an answer, -1 missing, k > 0 is ``failures[k - 1]``.
    failures : list of dict
        Why some have no answer.
    signatures : ndarray of int64, shape (len(positions), 2)
        Size in bytes and time of modification in nanoseconds of each file that was read, else -1.
    seconds : dict of str to float
        Seconds by stage.
    wall, cpu : float
        Seconds on the clock, and of the processor; the first with what putting the values away took.
    bytes_read : int
        What came from disks and networks.
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
    def empty(cls, rows: PartitionInput, values: np.ndarray[Any, np.dtype[Any]]) -> PartitionResult:
        """Return room for the answers of some rows, all of them missing."""
        n = len(rows)
        return cls(rows.positions, values, np.full(n, -1, dtype=np.int32), np.full((n, 2), -1, dtype=np.int64))

    def add_failure(self, number: int, path: str, kind: FailureKind, message: str) -> None:
        """Note why a row has no answer."""
        self.failures.append(failure(self.positions[number], path, kind, message))
        self.status[number] = len(self.failures)
