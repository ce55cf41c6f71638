"""Rows of one partition: `PartitionInput` before the kernel, `PartitionResult` after.

A partition has any rows of its job, in ascending order: neighbors, or rows with gaps between them, as a job has them
that is resumed. Positions are a `range` where there is no gap, and else a list.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc._user_traceback import user_line
from pandas_imgproc.errors import Failure, FailureKind, UserFunctionError, failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from pandas_imgproc.regions import Regions

    Mask = np.ndarray[Any, np.dtype[np.bool_]]


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
    columns : DataFrame of ``len(inputs)`` rows, optional
        Other columns of the frame, for functions that use them.
    regions : Regions of ``len(inputs)`` rows, optional
        Boxes and frames of the rows; None is the image of each.
    probation_rows : int
        Number of rows on which the user's function may fail, all alike and before its first result, until the partition
        ends; 0 if it does not end.
    """

    positions: Sequence[int]
    inputs: Sequence[Any] = field(repr=False)  # Dask logs the arguments of tasks, and a URL may hold a password
    targets: Sequence[str | None] = ()
    offset: int = 0
    columns: pd.DataFrame | None = field(default=None, repr=False)
    regions: Regions | None = field(default=None, repr=False)
    probation_rows: int = 0

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


def to_positions(array: np.ndarray[Any, Any]) -> Sequence[int]:
    """Return ascending positions as a range if they are neighbors, and else as a list.

    Examples
    --------
    >>> to_positions(np.array([3, 4, 5])), to_positions(np.array([3, 5]))
    (range(3, 6), [3, 5])
    """
    if not len(array):
        return range(0)
    start, stop = int(array[0]), int(array[-1]) + 1
    return range(start, stop) if stop - start == len(array) else array.tolist()


def runs(positions: Sequence[int]) -> list[range]:
    """Return the runs of neighbors in ascending positions.

    Examples
    --------
    >>> runs(range(3, 6)), runs([3, 4, 7])
    ([range(3, 6)], [range(3, 5), range(7, 8)])
    """
    if isinstance(positions, range):
        return [positions] if positions else []
    array = as_position_array(positions)
    cuts = np.flatnonzero(np.diff(array) != 1) + 1
    starts, stops = array[np.append(0, cuts)], array[np.append(cuts, len(array)) - 1] + 1
    return list(map(range, starts.tolist(), stops.tolist()))


def values_at(values: Sequence[Any], positions: Sequence[int], n_outputs: int = 1) -> Sequence[Any]:
    """Return the values of rows, `n_outputs` for each row.

    Examples
    --------
    >>> values_at("abcdef", [0, 2], n_outputs=2)
    ['a', 'b', 'e', 'f']
    """
    blocks = [values[run.start * n_outputs : run.stop * n_outputs] for run in runs(positions)]
    return blocks[0] if len(blocks) == 1 else list(chain.from_iterable(blocks))


class PendingRows:
    """Rows of a job that are in no partition yet, taken in their order or in that of a permutation.

    Parameters
    ----------
    mask : ndarray of bool, shape (n,)
        Rows of the job that are pending.
    order : ndarray of int64, shape (n,), optional
        Order in which they are taken, if it is not that of the job; the rows of one partition are ascending all the
        same.

    Examples
    --------
    >>> pending = PendingRows(np.array([True, False, True, True]))
    >>> pending.take(2), len(pending)
    ([0, 2], 1)
    >>> PendingRows(np.ones(9, dtype=bool)).take(5, ends=[4, 8]), PendingRows(np.ones(9, dtype=bool)).take(2, ends=[4])
    (range(0, 4), range(0, 4))
    """

    _WINDOW = 2**16

    def __init__(self, mask: Mask, order: np.ndarray[Any, np.dtype[np.int64]] | None = None) -> None:
        self._mask, self._next, self._n = mask if order is None else mask[order], 0, int(mask.sum(dtype=np.int64))
        self._order = order

    def __len__(self) -> int:
        return self._n

    def mask(self) -> Mask:
        """Return the mask of the rows that are still pending."""
        mask = self._mask.copy()
        mask[: self._next] = False
        if self._order is not None:
            mask[self._order] = mask.copy()
        return mask

    def peek(self, n: int) -> Sequence[int]:
        """Return the next positions, `n` at most."""
        return self._positions(self._peek(n))

    def _positions(self, ranks: Sequence[int]) -> Sequence[int]:
        """Return the positions at these places of the order."""
        return ranks if self._order is None else to_positions(np.sort(self._order[as_position_array(ranks)]))

    def _peek(self, n: int) -> Sequence[int]:
        found, n_left = [np.empty(0, dtype=np.int64)], min(n, self._n)
        start = self._next
        while n_left:
            window = start + np.flatnonzero(self._mask[start : start + self._WINDOW])[:n_left]
            found.append(window)
            n_left, start = n_left - len(window), start + self._WINDOW
        return to_positions(np.concatenate(found))

    def n_to_end(self, n: int, ends: Sequence[int]) -> int:
        """Return the number of the next rows, n or more, up to an end; ends are places in the order of the rows."""
        ranks = self._peek(n)
        stop = ends[bisect.bisect_left(ends, ranks[-1] + 1)] if ranks else 0
        return int(self._mask[self._next : stop].sum(dtype=np.int64))

    def take(self, n: int, ends: Sequence[int] = ()) -> Sequence[int]:
        """Remove the next positions, about n, and return them; up to an end, if that does not halve or double n.

        Ends are places in the order of the rows.
        """
        ranks = self._peek(n)
        if ranks and ends:
            ranks = self._peek(self._n_near_end(ranks, ends))
        if ranks:
            self._next, self._n = ranks[-1] + 1, self._n - len(ranks)
        return self._positions(ranks)

    def _n_near_end(self, ranks: Sequence[int], ends: Sequence[int]) -> int:
        """Return the number of rows up to the last end in some, or up to the next one after them."""
        n, k = len(ranks), bisect.bisect_right(ends, ranks[-1] + 1)
        n_before = bisect.bisect_left(ranks, ends[k - 1]) if k else 0
        if n_before >= n / 2:
            return n_before
        n_after = int(self._mask[self._next : ends[k]].sum()) if k < len(ends) else n
        return n_after if n_after <= 2 * n else n


@dataclass
class FunctionErrors:
    """Errors of the user's function in some rows: that of the first row, and whether all were raised alike.

    Errors are alike if they are of one type, and from one line of the user's code.
    """

    first: UserFunctionError | None = None
    position: int = -1
    n: int = 0
    are_alike: bool = True

    def add(self, position: int, error: UserFunctionError) -> None:
        """Count an error."""
        self.merge(FunctionErrors(error, position, 1))

    def merge(self, other: FunctionErrors) -> None:
        """Count the errors of other rows."""
        self.are_alike &= other.are_alike
        if self.first is not None and other.first is not None:
            self.are_alike &= _line_of(self.first) == _line_of(other.first)
        if self.first is None or (other.first is not None and other.position < self.position):
            self.first, self.position = other.first, other.position
        self.n += other.n

    def detach(self) -> None:
        """Drop the frames of the first error, which hold the values of the partition."""
        self.__setstate__(self.__getstate__())

    def __getstate__(self) -> dict[str, Any]:
        # Not by the pickle of the exception: a program may have registered others for all exceptions (tblib).
        return vars(self) | {"first": self.first and self.first.__reduce__()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        first = state["first"]
        vars(self).update(state, first=first and first[0](*first[1]))


def _line_of(error: UserFunctionError) -> tuple[str, str, int]:
    return user_line(error.__cause__ or error)


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
    function_errors : FunctionErrors
        Errors of the user's function.
    is_ended : bool
        Whether the function failed on all of the first rows, so that the others were not run.
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
    function_errors: FunctionErrors = field(default_factory=FunctionErrors)
    is_ended: bool = False

    @classmethod
    def empty(cls, partition: PartitionInput, values: np.ndarray[Any, np.dtype[Any]]) -> PartitionResult:
        """Return a result with this buffer of values, all rows missing."""
        n = len(partition)
        return cls(partition.positions, values, np.full(n, -1, dtype=np.int32), np.full((n, 2), -1, dtype=np.int64))

    def select(self, rows: Mask) -> PartitionResult:
        """Return some rows of the result, a mask, with their failures; the result itself if these are all."""
        if rows.all():
            return self
        status, codes = self.status[rows], self.status[rows & (self.status > 0)]
        status[status > 0] = np.arange(1, len(codes) + 1)
        values = self.values
        if values is not None:
            values = values[np.repeat(rows, len(values) // len(self.status))]
        return PartitionResult(
            to_positions(as_position_array(self.positions)[rows]), values, status, self.signatures[rows],
            [self.failures[code - 1] for code in codes],
        )  # fmt: skip

    def add_failure(self, i: int, path: str, kind: FailureKind, message: str) -> None:
        """Record the failure of row i of the partition."""
        self.failures.append(failure(self.positions[i], path, kind, message))
        self.status[i] = len(self.failures)
