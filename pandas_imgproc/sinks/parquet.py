"""Result in a folder of Parquet parts, one per partition, which workers write locally or through fsspec."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc._atomic import is_temporary
from pandas_imgproc._timing import timed
from pandas_imgproc.errors import JournalError
from pandas_imgproc.partition import PartitionInput, PartitionResult
from pandas_imgproc.sinks.directory import Directory
from pandas_imgproc.sinks.journal_storage import LocalJournal, ObjectStoreJournal
from pandas_imgproc.sinks.journaled import JournaledSink
from pandas_imgproc.sinks.memory import return_to_caller
from pandas_imgproc.sinks.parquet_part import (
    EMPTY_PART,
    concat_parts,
    parse_part_names,
    part_filename,
    read_part,
    read_parts,
    to_parquet_bytes,
    to_part_frame,
)
from pandas_imgproc.source import paths_to_series
from pandas_imgproc.tasks import with_labels

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from pandas_imgproc.sinks.journal import JobContext, Journal
    from pandas_imgproc.sinks.journal_storage import JournalStorage
    from pandas_imgproc.sinks.journaled import Mask, ResultStore
    from pandas_imgproc.sinks.memory import PartitionWriter
    from pandas_imgproc.tasks import Task


class ParquetSink(JournaledSink):
    """Sink in a folder of Parquet parts, with its journal in the folder; the result names the part of each row."""

    def __init__(self, store: ResultStore, job: JobContext, journal: Journal) -> None:
        super().__init__(store, job, journal)
        self._folder = store.directory
        self._owner = np.full(job.n, -1, dtype=np.int64)  # first row of the part that holds a row
        self._generation = journal.generation
        self._stale: list[str] = []  # parts that hold no row of the job
        self._replaced: list[str] = []  # parts of the result that the job replaces with its first part

    @classmethod
    def journal_storage(cls, store: ResultStore) -> JournalStorage:
        """Return the storage of the journal: a file or a folder in the folder of the parts."""
        if store.directory.is_local:
            return LocalJournal(f"{store.path}/_journal.jsonl")
        return ObjectStoreJournal(Directory(f"{store.path}/_journal", store.options))

    @classmethod
    def prepare(cls, store: ResultStore) -> None:
        """Create the folder; raise if it has entries, but no journal."""
        store.directory.create()
        if store.overwrite or cls.journal_storage(store).read():
            return
        if store.directory.names() not in ([], ["_journal"], ["_journal.jsonl"]):
            raise JournalError(f"out={store.path!r} is a folder without a journal; overwrite=True replaces its parts")

    @classmethod
    def read(cls, store: ResultStore, journal: Journal) -> pd.Series[Any] | pd.DataFrame:
        """Return the result of all parts, read into memory."""
        return read_parts(store.directory, journal.done, journal.generation)

    def _intact_rows(self) -> Mask:
        names = self._folder.names()
        self._stale = [name for name in names if is_temporary(name)]
        for rows in parse_part_names(names, self._generation):
            block = slice(rows.start, rows.stop)
            # A crash may leave a part that is not in the journal, whose rows other partitions hold now.
            if rows.stop <= self.n and self.journal.done[block].all() and (self._owner[block] < 0).all():
                self._owner[block] = rows.start
            else:
                self._stale.append(self._part_name(rows))
        other = 1 - self._generation
        self._replaced = [part_filename(rows, other) for rows in parse_part_names(names, other)]
        return self._owner >= 0

    def _reserve(self, on_error: contextlib.ExitStack) -> None:  # noqa: ARG002  the size of parts is unknown
        if not self.n:
            if EMPTY_PART not in self._folder.names():
                empty = PartitionResult.empty(PartitionInput([], []), self._job.task.allocate(0))
                self._folder.write(EMPTY_PART, to_parquet_bytes(self._frame(range(0), empty)))
            self.journal.write_header()

    def _delete_stale(self) -> None:
        if not self.journal.replaces:
            self._stale.extend(self._replaced)
            self._replaced = []
        while self._stale:
            self._folder.remove(self._stale.pop())

    def _part_name(self, rows: range) -> str:
        return part_filename(rows, self._generation)

    def _part_at(self, position: int) -> range | None:
        """Return the rows of the part that holds a row; None if no part does."""
        start = int(self._owner[position])
        return None if start < 0 else range(start, start + int((self._owner == start).sum()))

    def pending(self) -> list[range]:
        """Return the ranges of rows that are unfinished, or retried, split where parts begin."""
        return [piece for rows in super().pending() for piece in self._split_at_parts(rows)]

    def _split_at_parts(self, rows: range) -> list[range]:
        cuts = np.flatnonzero(np.diff(self._owner[rows.start : rows.stop])) + 1
        edges = [rows.start, *(rows.start + cuts).tolist(), rows.stop]
        return [range(a, b) for a, b in pairwise(edges)]

    def writer(self, positions: range) -> PartitionWriter:
        """Return the writer of a new part; rows of an existing part return to the caller, which updates the part."""
        return return_to_caller if self._owner[positions.start] >= 0 else self._part_writer(positions)

    def _part_writer(self, rows: range) -> ParquetWriter:
        labels = self._job.index[rows.start : rows.stop]
        return ParquetWriter(self._job.task, self._folder, self._part_name(rows), labels)

    def commit(self, part: PartitionResult) -> None:
        """Write the values that were returned to the caller, and journal the rows as finished."""
        rows = range(part.positions[0], part.positions[-1] + 1)
        owner = self._part_at(rows.start)
        with self._part_restored_on_error(owner or rows, is_new=owner is None):
            if owner is not None:
                self._update_part(owner, rows, part)
            elif part.values is not None:
                self._part_writer(rows)(part)
            self.journal.record(part)
        if owner is None:
            self._owner[rows.start : rows.stop] = rows.start
        self._delete_stale()

    @contextlib.contextmanager
    def _part_restored_on_error(self, rows: range, *, is_new: bool) -> Iterator[None]:
        name = self._part_name(rows)
        old = None if is_new else self._folder.read(name)
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):
                self._folder.remove(name) if old is None else self._folder.write(name, old)
            raise

    def _update_part(self, owner: range, rows: range, part: PartitionResult) -> None:
        """Replace rows that were retried in the part that holds them."""
        old, new = read_part(self._folder.read(self._part_name(owner))), self._frame(rows, part)
        start, stop = ((edge - owner.start) * self.spec.n_outputs for edge in (rows.start, rows.stop))
        old_columns = old.columns.set_axis(new.columns, axis=1)
        updated = concat_parts([old_columns.iloc[:start], new, old_columns.iloc[stop:]])
        updated.index = self._job.task.index(self._job.index[owner.start : owner.stop])
        updated.attrs = new.attrs
        self._folder.write(self._part_name(owner), to_parquet_bytes(updated))

    def close(self) -> None:
        """Delete the parts that workers have written but not recorded, if the job has failed, and release the lock."""
        try:
            if not self.journal.done.all():
                with contextlib.suppress(OSError):  # readers ignore them, and the next job deletes them
                    for rows in parse_part_names(self._folder.names(), self._generation):
                        if not self.journal.done[rows.start : rows.stop].all() or rows.stop > self.n:
                            self._folder.remove(self._part_name(rows))
        finally:
            super().close()

    def _frame(self, rows: range, part: PartitionResult) -> pd.DataFrame:
        return to_part_frame(part, self._job.task, self._job.index[rows.start : rows.stop])

    def to_pandas(self, task: Task, index: pd.Index[Any]) -> pd.Series[Any]:
        """Return the part that holds each row of the result: Series of str named ``part``."""
        names = np.full(self.n, None, dtype=object)
        for start, n in zip(*np.unique(self._owner[self._owner >= 0], return_counts=True), strict=True):
            names[start : start + n] = f"{self._folder.url}/{self._part_name(range(start, start + n))}"
        names = np.repeat(names, self.spec.n_outputs)
        parts = paths_to_series(names, task.index(index)).rename("part")
        parts.attrs["failures"] = with_labels(self.status()[1], parts.index, self.spec.n_outputs)
        return parts


@dataclass(frozen=True)
class ParquetWriter:
    """Writer of a partition as one part, atomically."""

    task: Task
    folder: Directory
    name: str
    labels: pd.Index[Any]

    def __call__(self, part: PartitionResult) -> PartitionResult:
        """Write the part and drop its values."""
        with timed("write"):
            self.folder.write(self.name, to_parquet_bytes(to_part_frame(part, self.task, self.labels)))
        part.values = None
        return part
