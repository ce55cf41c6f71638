"""Updates of Parquet parts: rows of a finished partition replace those of parts that exist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pandas_imgproc._timing import timed
from pandas_imgproc.partition import as_position_array
from pandas_imgproc.sinks.parquet_part import (
    FAILURE,
    Part,
    concat_parts,
    like_main,
    read_table,
    replace_rows,
    to_parquet_bytes,
    to_part,
    to_part_frame,
    to_part_table,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from pandas_imgproc.partition import Mask, PartitionResult
    from pandas_imgproc.sinks.directory import Directory
    from pandas_imgproc.sinks.lease import LeaseHandle
    from pandas_imgproc.sinks.memory import Array
    from pandas_imgproc.tasks import Task


@dataclass(frozen=True)
class PartUpdate:
    """Update of a part that exists."""

    task: Task
    name: str
    rows: range
    labels: pd.Index  # of its rows

    def updated(self, old: bytes, part: PartitionResult) -> bytes | None:
        """Return the file with the rows of a partition in place of its own; None if these have failed alike.

        Parameters
        ----------
        old : bytes
            The file.
        part : PartitionResult
            Rows of the part.
        """
        table = read_table(old)
        part = part.select(self._differs(table, part))
        if not len(part.status):
            return None
        offsets = as_position_array(part.positions) - self.rows.start
        frame = to_part_frame(part, self.task, self.labels[offsets])
        indexer = (offsets[:, None] * self.task.n_outputs + np.arange(self.task.n_outputs)).reshape(-1)
        updated = replace_rows(table, to_part_table(frame), indexer)
        if updated is None:
            updated = to_part_table(self._merged(to_part(table), indexer, frame))
        return to_parquet_bytes(updated)

    def _differs(self, table: pa.Table, part: PartitionResult) -> Mask:
        """Return the mask of the rows of a partition that have not failed for the same kind of reason before."""
        kinds = table.column(FAILURE).to_pylist()[:: self.task.n_outputs]
        before = [kinds[position - self.rows.start] for position in part.positions]
        now = [part.failures[code - 1]["kind"] if code > 0 else None for code in part.status.tolist()]
        return np.array([new is None or new != old for old, new in zip(before, now, strict=True)])

    def _merged(self, old: Part, rows: Array, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame of a part in which some rows are those of another frame; either may be of open form."""
        attrs, part = frame.attrs, Part(frame, old.levels, old.spec, frame.attrs["is_series"], frame.attrs["is_open"])
        if part.is_open and not old.is_open:
            attrs = {**attrs, "is_series": old.is_series, "is_open": False}
            attrs["declared"] = attrs["declared"][:1] * (old.columns.shape[1] - 1)
        main = part if old.is_open else old
        columns, frame = like_main(old, main).columns, like_main(part, main).columns
        columns = columns.set_axis(frame.columns, axis=1)
        indexer = np.arange(len(columns))
        indexer[rows] = len(columns) + np.arange(len(frame))
        merged = concat_parts([columns, frame]).take(indexer)
        merged.index, merged.attrs = self.task.index(self.labels), attrs
        return merged


@dataclass(frozen=True)
class UpdateWriter:
    """Writer of a partition into parts that exist, each of them atomically; no other partition has rows of them."""

    folder: Directory
    updates: list[PartUpdate]
    lease: LeaseHandle | None  # of a local folder

    def __call__(self, part: PartitionResult) -> PartitionResult:
        """Update the parts and drop the values; return them to the caller without a valid lease."""
        positions = as_position_array(part.positions)
        for update in self.updates:
            if self.lease is not None and not self.lease.is_valid():
                return part
            with timed("write"):
                rows = (update.rows.start <= positions) & (positions < update.rows.stop)
                updated = update.updated(self.folder.read(update.name), part.select(rows))
                if updated is not None:
                    self.folder.write(update.name, updated)
        part.values = None
        return part
