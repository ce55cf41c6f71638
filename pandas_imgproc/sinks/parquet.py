"""A folder of Parquet parts, one per partition, written by the workers: on this machine or wherever fsspec writes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pandas_imgproc._timing import timed
from pandas_imgproc.partition import PartitionInput, PartitionResult
from pandas_imgproc.sinks.journaled import JournaledSink
from pandas_imgproc.sinks.memory import return_to_caller, row_nbytes
from pandas_imgproc.sinks.parquet_part import (
    EMPTY_PART,
    concat_parts,
    parse_part_names,
    part_filename,
    read_part,
    to_parquet_bytes,
    to_part_frame,
)
from pandas_imgproc.tasks import with_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_imgproc.sinks.directory import Directory
    from pandas_imgproc.sinks.journal import JobSpec, Journal
    from pandas_imgproc.sinks.memory import PartitionWriter
    from pandas_imgproc.source import Source
    from pandas_imgproc.tasks import Task


class ParquetSink(JournaledSink):
    """Values in a folder of parts; the answer names the part of each row.

    Parameters
    ----------
    task : Task
        Whose answers they are.
    n : int
        Rows of the frame.
    journal : Journal
        What is done.
    folder : Directory
        Where.
    index : Index
        Of the frame: each part holds its labels.
    """

    def __init__(self, task: Task, n: int, journal: Journal, folder: Directory, index: pd.Index[Any]) -> None:
        super().__init__(task, n, journal)
        self._task, self._folder, self._index = task, folder, index
        self._nbytes = n * task.n_outputs * row_nbytes(task)
        self._owner = np.full(n, -1, dtype=np.int64)
        self._parts: dict[int, range] = {}

    def open(self, asked: JobSpec, source: Source, inputs: Sequence[Any], retry: Any) -> None:
        """Continue what stands there, or start (see `Kept.begin`)."""
        super().open(asked, source, inputs, retry)
        for rows in parse_part_names(self._folder.names()):
            # A part that a crash has left before it was written down: its rows may be cut otherwise now.
            if rows.stop <= self.n and self.journal.done[rows.start : rows.stop].all():
                self._add(rows)
            else:
                self._folder.remove(part_filename(rows))
        self._left |= self._owner < 0
        if not self.n:
            nothing = PartitionResult.empty(PartitionInput([], []), self._task.allocate(0))
            self._folder.write(EMPTY_PART, to_parquet_bytes(self._frame(range(0), nothing)))

    def _add(self, rows: range) -> None:
        self._owner[rows.start : rows.stop] = rows.start
        self._parts[rows.start] = rows

    def pending(self) -> list[range]:
        """Return the ranges of rows that are not done, cut where parts begin."""
        return [piece for rows in super().pending() for piece in self._pieces(rows)]

    def _pieces(self, rows: range) -> list[range]:
        cuts = np.flatnonzero(np.diff(self._owner[rows.start : rows.stop])) + 1
        edges = [rows.start, *(rows.start + cuts).tolist(), rows.stop]
        return [range(a, b) for a, b in pairwise(edges)]

    def writer(self, positions: range) -> PartitionWriter:
        """Return what a worker does with a finished partition: it writes a new part, but never changes one."""
        if self._owner[positions.start] >= 0:
            return return_to_caller
        return ParquetWriter(self._task, self._folder, self._index[positions.start : positions.stop])

    def commit(self, part: PartitionResult) -> None:
        """Write what came back, and write down that it is done."""
        rows = range(part.positions[0], part.positions[-1] + 1)
        owner = self._parts.get(int(self._owner[rows.start]))
        if owner is not None:
            self._write_again(owner, rows, part)
        else:
            if part.values is not None:
                ParquetWriter(self._task, self._folder, self._index[rows.start : rows.stop])(part)
            self._add(rows)
        self.journal.record(part)

    def _write_again(self, owner: range, rows: range, part: PartitionResult) -> None:
        """Put rows that were done again into the part that holds them."""
        old, new = read_part(self._folder.read(part_filename(owner))), self._frame(rows, part)
        first, last = ((edge - owner.start) * self._copies for edge in (rows.start, rows.stop))
        whole = concat_parts([old.iloc[:first], new, old.iloc[last:]])
        whole.attrs = new.attrs
        self._folder.write(part_filename(owner), to_parquet_bytes(whole))

    def _frame(self, rows: range, part: PartitionResult) -> pd.DataFrame:
        return to_part_frame(part, self._task, self._index[rows.start : rows.stop])

    @property
    def nbytes(self) -> int:
        """Bytes of the values of all rows."""
        return self._nbytes

    def to_pandas(self, task: Task, index: pd.Index[Any]) -> pd.Series[Any]:
        """Return the part that holds each row of the answer: Series of str named ``part``."""
        names = np.full(self.n, None, dtype=object)
        for rows in self._parts.values():
            names[rows.start : rows.stop] = f"{self._folder.url}/{part_filename(rows)}"
        parts = pd.Series(np.repeat(names, self._copies), index=task.index(index), name="part", dtype="str")
        parts.attrs["failures"] = with_labels(self.status()[1], index)
        return parts


@dataclass(frozen=True)
class ParquetWriter:
    """Write a finished partition as a part, whole or not at all."""

    task: Task
    folder: Directory
    labels: pd.Index[Any]

    def __call__(self, part: PartitionResult) -> PartitionResult:
        """Write the part and drop its values."""
        rows = range(part.positions[0], part.positions[-1] + 1)
        with timed("write"):
            self.folder.write(part_filename(rows), to_parquet_bytes(to_part_frame(part, self.task, self.labels)))
        part.values = None
        return part
