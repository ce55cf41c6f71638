"""Join of a whole-frame result back to partitions, by row content.

Positions cannot be used, because a shuffle may order rows differently in each computation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from dask.tokenize import tokenize

from pandas_imgproc.accessor.base import column_inputs
from pandas_imgproc.dask_frames.map_partitions import content_digest
from pandas_imgproc.errors import failure
from pandas_imgproc.source import is_encoded
from pandas_imgproc.tasks import with_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pandas_imgproc.errors import Failure

_SCALAR_TYPES = (str, int, float, type(None))


def row_keys(rows: Any) -> list[Any]:
    """Return the key of each row of a column or frame: equal images, paths or numbers have equal keys.

    Examples
    --------
    >>> row_keys(pd.Series(["a.jpg", None]))
    ['a.jpg', None]
    >>> row_keys(pd.DataFrame({"width": [30.0, None], "height": [20.0, 8.0]}))
    [(30.0, 20.0), (None, 8.0)]
    """
    if isinstance(rows, pd.DataFrame):
        return list(zip(*(row_keys(rows[name]) for name in rows.columns), strict=True))
    return [
        value if isinstance(value, _SCALAR_TYPES) else tokenize(content_digest(value) if is_encoded(value) else value)
        for value in column_inputs(rows)
    ]


def with_row_keys(rows: Any, result: Any = None) -> tuple[list[Any], Any]:
    """Return the row keys of a partition with its result from the same computation, by default the rows themselves."""
    return row_keys(rows), rows if result is None else result


@dataclass(frozen=True)
class ResultLookup:
    """Result of a whole frame, by row key.

    Attributes
    ----------
    values : Series or DataFrame
        Row for each key.
    positions : dict
        Position in `values` by key.
    failures : dict, optional
        Failures by key; None if the rows have their failures in ``attrs``.
    """

    values: Any
    positions: dict[Any, int]
    failures: dict[Any, Failure] | None

    @classmethod
    def build(
        cls, parts: Sequence[tuple[list[Any], Any]], function: Callable[[Any], Any], *, failures_inline: bool
    ) -> ResultLookup:
        """Return the lookup of a function's value for all partitions; `failures_inline` if `failures` is None."""
        first_positions: dict[Any, int] = {}
        failures: dict[Any, Failure] = {}
        offset = 0
        for keys, part in parts:
            failed = {item["position"]: item for item in part.attrs.get("failures", ())}
            for i, key in enumerate(keys):
                if first_positions.setdefault(key, offset + i) == offset + i and i in failed:
                    failures[key] = failed[i]
            offset += len(keys)
        values = function(pd.concat([part for _, part in parts])).iloc[list(first_positions.values())]
        values.attrs.clear()
        positions = {key: position for position, key in enumerate(first_positions)}
        return cls(values.reset_index(drop=True), positions, None if failures_inline else failures)

    def lookup(self, rows: Any) -> Any:
        """Return the result of the rows of one partition.

        Raises
        ------
        ValueError
            If a row did not exist when the whole frame was computed.
        """
        keys = row_keys(rows)
        try:
            positions = [self.positions[key] for key in keys]
        except KeyError as exc:
            raise ValueError(
                f"{exc.args[0]!r:.200} was not among the rows that were compared; rows that differ in each "
                "computation, such as a random sample, need ddf = ddf.persist() before"
            ) from exc
        result = self.values.iloc[positions].set_axis(rows.index)
        result.attrs["failures"] = self._failures(keys, rows)
        return result

    def _failures(self, keys: list[Any], rows: Any) -> tuple[Any, ...]:
        if self.failures is None:
            return tuple(rows.attrs.get("failures", ()))
        failed = [(i, self.failures[key]) for i, key in enumerate(keys) if key in self.failures]
        by_position = tuple(failure(i, item["path"], item["kind"], item["message"]) for i, item in failed)
        return with_labels(by_position, rows.index)


def lookup(rows: Any, table: ResultLookup) -> Any:
    """Return the result of the rows of one partition (see `ResultLookup.lookup`)."""
    return table.lookup(rows)
