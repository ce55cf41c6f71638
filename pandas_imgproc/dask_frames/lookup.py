"""What was computed of all rows at once, given back to each row by what it is.

Not by its place: a shuffle may bring the rows of a partition in another order each time that it is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from dask.tokenize import tokenize

from pandas_imgproc.accessor.base import column_inputs
from pandas_imgproc.errors import failure
from pandas_imgproc.tasks import with_labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas_imgproc.errors import Failure

_THEMSELVES = (str, int, float, type(None))


def row_keys(rows: Any) -> list[Any]:
    """Return what each row of a column or frame is known by: equal images, names or numbers have equal marks.

    Examples
    --------
    >>> row_keys(pd.Series(["a.jpg", None]))
    ['a.jpg', None]
    >>> row_keys(pd.DataFrame({"width": [30.0, None], "height": [20.0, 8.0]}))
    [(30.0, 20.0), (None, 8.0)]
    """
    if isinstance(rows, pd.DataFrame):
        return list(zip(*(row_keys(rows[name]) for name in rows.columns), strict=True))
    return [cell if isinstance(cell, _THEMSELVES) else tokenize(cell) for cell in column_inputs(rows)]


def with_row_keys(rows: Any, answer: Any = None) -> tuple[list[Any], Any]:
    """Return the marks of the rows of a partition, and their answer: that of the same run; without it, they are it."""
    return row_keys(rows), rows if answer is None else answer


@dataclass(frozen=True)
class ResultLookup:
    """What was computed of all rows at once.

    Attributes
    ----------
    values : Series or DataFrame
        A row for each mark.
    places : dict
        Where in `values` the row of each mark stands.
    failures : dict, optional
        Those of the marks that have one; None where the rows tell of theirs.
    """

    values: Any
    places: dict[Any, int]
    failures: dict[Any, Failure] | None

    @classmethod
    def of(cls, parts: list[tuple[list[Any], Any]], function: Callable[[Any], Any], *, told: bool) -> ResultLookup:
        """Return what a function makes of all partitions; `told` if their rows tell of their failures themselves."""
        first: dict[Any, int] = {}
        failures: dict[Any, Failure] = {}
        start = 0
        for its_marks, part in parts:
            failed = {each["position"]: each for each in part.attrs.get("failures", ())}
            for row, mark in enumerate(its_marks):
                if first.setdefault(mark, start + row) == start + row and row in failed:
                    failures[mark] = failed[row]
            start += len(its_marks)
        values = function(pd.concat([part for _, part in parts])).iloc[list(first.values())]
        values.attrs.clear()
        places = {mark: place for place, mark in enumerate(first)}
        return cls(values.reset_index(drop=True), places, None if told else failures)

    def lookup(self, rows: Any) -> Any:
        """Return the answer for the rows of one partition.

        Raises
        ------
        ValueError
            If a row was not there when the answer was computed.
        """
        its_marks = row_keys(rows)
        try:
            places = [self.places[mark] for mark in its_marks]
        except KeyError as exc:
            raise ValueError(
                f"{exc.args[0]!r:.200} was not there when all rows were compared; rows that are others each time that "
                "they are computed, such as a random sample, need ddf = ddf.persist() before"
            ) from None
        part = self.values.iloc[places].set_axis(rows.index)
        part.attrs["failures"] = self._failures(its_marks, rows)
        return part

    def _failures(self, its_marks: list[Any], rows: Any) -> tuple[Any, ...]:
        if self.failures is None:
            return tuple(rows.attrs.get("failures", ()))
        here = [(row, self.failures[mark]) for row, mark in enumerate(its_marks) if mark in self.failures]
        mine = tuple(failure(row, each["path"], each["kind"], each["message"]) for row, each in here)
        return with_labels(mine, rows.index)


def lookup(rows: Any, whole: ResultLookup) -> Any:
    """Return the answer for the rows of one partition (see `HandedOut.lookup`)."""
    return whole.lookup(rows)
