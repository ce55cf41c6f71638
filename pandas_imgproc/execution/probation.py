"""Probation of a user's function: a job whose first images all fail in it, and all alike, ends there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np

from pandas_imgproc.errors import UserFunctionError
from pandas_imgproc.partition import FunctionErrors, PartitionResult

if TYPE_CHECKING:
    from pandas_imgproc.partition import Mask

PROBATION_ROWS = 16
"""First rows on which a function must not fail alike."""

PROBATION_BLOCKS = 2
"""The same, of a function of batches."""


def probation_rows(block_rows: int) -> int:
    """Return the number of first rows on which a function must not fail alike.

    Examples
    --------
    >>> probation_rows(1), probation_rows(64)
    (16, 128)
    """
    return PROBATION_ROWS if block_rows == 1 else PROBATION_BLOCKS * block_rows


class Probation:
    """Probation of the function of a job, over its first rows in the order of the frame.

    Results with failures of the function are held until its first result: a job that ends has nothing of them in its
    sink, and the same call runs these rows again. Rows without an image do not count.

    Parameters
    ----------
    name : str
        Name of the method.
    pending : ndarray of bool
        Mask of the pending rows.
    n_rows : int
        Rows on which the function may fail, all alike; 0 for a job that does not end.
    """

    def __init__(self, name: str, pending: Mask, n_rows: int) -> None:
        self._name, self._limit = name, n_rows
        self._order = np.flatnonzero(pending) if n_rows else np.empty(0, dtype=np.int64)
        self._next = self._n_failed = 0  # of the first rows
        self._outcomes: dict[int, int] = {}  # of rows that are finished, and others before them are not: their status
        self._held: list[PartitionResult] = []
        self.errors = FunctionErrors()

    @property
    def is_active(self) -> bool:
        """Whether the function has neither a result in the first rows nor failed in several ways."""
        return self._limit > 0

    def n_rows_of(self, first_position: int) -> int:
        """Return the rows after which a partition that begins there may end: only the one with the first row may."""
        begins = self.is_active and self._next == 0 and self._order[0] == first_position
        return self._limit if begins else 0

    def admit(self, result: PartitionResult) -> list[PartitionResult]:
        """Return the results that may be stored.

        Raises
        ------
        UserFunctionError
            If the function has failed on all of the first rows.
        """
        errors, result.function_errors = result.function_errors, FunctionErrors()
        self.errors.merge(errors)
        if not self.is_active:
            return [result]
        self._record(result)
        if not self.is_active:
            return [*self.release(), result]
        if result.is_ended or self._n_failed >= self._limit:
            self._raise(self._limit, "the first ")
        if not errors.n:
            return [result]
        self._held.append(result)
        return []

    def end(self) -> list[PartitionResult]:
        """Return the results that are held at the end of the job.

        Raises
        ------
        UserFunctionError
            If the function has failed on all of several rows, which are fewer than the first ones.
        """
        if self.is_active and self._n_failed > 1:
            self._raise(self._n_failed, "")
        return self.release()

    def release(self) -> list[PartitionResult]:
        """Return the results that are held; the probation is over."""
        self._limit, held, self._held = 0, self._held, []
        return held

    def _record(self, result: PartitionResult) -> None:
        """Count the failures of the first rows up to the first one that is not finished."""
        function = {failed["position"] for failed in result.failures if failed["kind"] == "function"}
        for position, status in zip(result.positions, result.status.tolist(), strict=True):
            self._outcomes[position] = 1 if position in function else min(-status, status)
        while self._n_failed < self._limit and self._next < len(self._order):
            if self._order[self._next] not in self._outcomes:
                return
            outcome = self._outcomes.pop(self._order[self._next])
            self._next += 1
            self._n_failed += outcome == 1
            if outcome == 0 or not self.errors.are_alike:
                self._limit = 0

    def _raise(self, n: int, first: str) -> NoReturn:
        cause = self.errors.first
        raise UserFunctionError(
            f"{self._name}: the function failed with the same error on all of {first}{n:,} images: {cause}\n"
            "The call ends here, and stores nothing of these rows; errors='coerce' goes on, with missing values."
        ) from (cause and cause.__cause__)
