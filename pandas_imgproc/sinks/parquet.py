"""Result in a folder of Parquet parts, one per partition, which workers write locally or through fsspec."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc._atomic import is_temporary
from pandas_imgproc._timing import timed
from pandas_imgproc.errors import JournalError
from pandas_imgproc.partition import PartitionInput, PartitionResult, as_position_array, runs
from pandas_imgproc.sinks.directory import Directory
from pandas_imgproc.sinks.journal_storage import LocalJournal, ObjectStoreJournal
from pandas_imgproc.sinks.journaled import JournaledSink
from pandas_imgproc.sinks.memory import return_to_caller
from pandas_imgproc.sinks.parquet_part import (
    EMPTY_PART,
    parse_part_names,
    part_filename,
    read_parts,
    to_parquet_bytes,
    to_part_frame,
    to_part_table,
)
from pandas_imgproc.sinks.parquet_update import PartUpdate, UpdateWriter
from pandas_imgproc.source import paths_to_series
from pandas_imgproc.tasks import with_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from pandas_imgproc.partition import Mask
    from pandas_imgproc.sinks.job_spec import JobContext
    from pandas_imgproc.sinks.journal import Journal
    from pandas_imgproc.sinks.journal_storage import JournalStorage
    from pandas_imgproc.sinks.journaled import ResultStore
    from pandas_imgproc.sinks.lease import LeaseHandle
    from pandas_imgproc.sinks.memory import Array, PartitionWriter
    from pandas_imgproc.tasks import Task

_LEASE = "_lease"
"""Name of the file of the lease: readers of the folder ignore names that begin with a line."""


class ParquetSink(JournaledSink):
    """Sink in a folder of Parquet parts, with its journal in the folder; the result names the part of each row."""

    returns_parts = True
    takes_any_rows = False  # a part for each run of neighbors

    def __init__(self, store: ResultStore, job: JobContext, journal: Journal) -> None:
        super().__init__(store, job, journal)
        self._folder = store.directory
        self._owner = np.full(job.n, -1, dtype=np.int64)  # first row of the part that holds a row
        self._parts: dict[int, range] = {}  # parts of finished rows by first row
        self._generation = journal.generation
        self._stale: list[str] = []  # parts that hold no row of the job
        self._replaced: list[str] = []  # parts of the result that the job replaces with its first part

    @classmethod
    def journal_storage(cls, store: ResultStore) -> JournalStorage:
        """Return the storage of the journal: a file or a folder in the folder of the parts."""
        if store.directory.is_local:
            return LocalJournal(f"{store.path}/_journal.jsonl")
        return ObjectStoreJournal(Directory(f"{store.path}/_journal", store.options))

    @property
    def _lease_path(self) -> str | None:
        return f"{self._store.path}/{_LEASE}" if self._store.directory.is_local else None

    @classmethod
    def prepare(cls, store: ResultStore) -> None:
        """Create the folder; raise if it has entries, but no journal."""
        store.directory.create()
        if store.overwrite or cls.journal_storage(store).read():
            return
        if set(store.directory.names()) - {"_journal", "_journal.jsonl", _LEASE}:
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
                self._add_part(rows)
            else:
                self._stale.append(self._part_name(rows))
        other = 1 - self._generation
        self._replaced = [part_filename(rows, other) for rows in parse_part_names(names, other)]
        return self._owner >= 0

    def _reserve(self, on_error: contextlib.ExitStack) -> None:  # noqa: ARG002  the size of parts is unknown
        if not self.n:
            if EMPTY_PART not in self._folder.names():
                empty = PartitionResult.empty(PartitionInput([], []), self._job.task.allocate(0))
                self._folder.write(EMPTY_PART, to_parquet_bytes(to_part_table(self._frame(empty))))
            self.journal.write_header()

    def _delete_stale(self) -> None:
        if not self.journal.replaces:
            self._stale.extend(self._replaced)
            self._replaced = []
        while self._stale:
            self._folder.remove(self._stale.pop())

    @functools.cached_property
    def part_ends(self) -> list[int]:
        """Ends of the parts of earlier runs: each partition writes all parts again of which it has a row."""
        return sorted(rows.stop for rows in self._parts.values())

    def _part_name(self, rows: range) -> str:
        return part_filename(rows, self._generation)

    def _add_part(self, rows: range) -> None:
        self._owner[rows.start : rows.stop], self._parts[rows.start] = rows.start, rows

    def writer(self, positions: Sequence[int], *, in_caller: bool = False) -> PartitionWriter:
        """Return the writer of new parts, or of updates of existing ones; other rows return to the caller.

        A worker updates parts of which no other partition has rows: otherwise two workers might read a part at a time,
        and the last one to write it would undo the update of the other.
        """
        owner = self._owner[as_position_array(positions)]
        if (owner < 0).all():
            return self._part_writer(positions, None if in_caller else self._grant_lease())
        starts, counts = np.unique(owner, return_counts=True)
        if in_caller or starts[0] < 0 or any(map(self._has_other_rows, starts.tolist(), counts.tolist())):
            return return_to_caller
        return UpdateWriter(self._folder, [*map(self._update_of, starts.tolist())], self._grant_lease())

    def _has_other_rows(self, start: int, n: int) -> bool:
        """Return whether a part has more pending rows than n."""
        rows = self._parts[start]
        return int(self._is_pending[rows.start : rows.stop].sum()) > n

    def _part_writer(self, positions: Sequence[int], lease: LeaseHandle | None = None) -> ParquetWriter:
        labels = [(self._part_name(rows), self._job.index[rows.start : rows.stop]) for rows in runs(positions)]
        return ParquetWriter(self._job.task, self._folder, labels, lease)

    def _commit(self, part: PartitionResult) -> None:
        """Write the new parts and update the existing ones, each of which is journaled: the bytes of one are held."""
        owner = self._owner[as_position_array(part.positions)]
        if (owner < 0).any():
            self._commit_new(part.select(owner < 0))
        if (owner >= 0).any():
            self._commit_updated(part.select(owner >= 0), owner[owner >= 0])
        self._delete_stale()

    def _commit_new(self, part: PartitionResult) -> None:
        parts = runs(part.positions)
        with self._removed_on_error(parts):
            if part.values is not None:
                self._part_writer(part.positions)(part)
            self.journal.record(part)
        for rows in parts:
            self._add_part(rows)

    @contextlib.contextmanager
    def _removed_on_error(self, parts: list[range]) -> Iterator[None]:
        try:
            yield
        except BaseException:
            for rows in parts:
                with contextlib.suppress(OSError):
                    self._folder.remove(self._part_name(rows))
            raise

    def _commit_updated(self, part: PartitionResult, owner: Array) -> None:
        """Replace rows that were retried in the parts that hold them; if that fails, a part is as before."""
        if part.values is None:  # a worker has done so
            self.journal.record(part)
            return
        for start in np.unique(owner).tolist():
            update, piece = self._update_of(start), part.select(owner == start)
            old = self._folder.read(update.name)
            updated = update.updated(old, piece)
            try:
                if updated is not None:
                    self._folder.write(update.name, updated)
                self.journal.record(piece)
            except BaseException:
                with contextlib.suppress(OSError):
                    self._folder.write(update.name, old)
                raise

    def _update_of(self, start: int) -> PartUpdate:
        """Return the update of the part that begins with a row."""
        rows = self._parts[start]
        return PartUpdate(self._job.task, self._part_name(rows), rows, self._job.index[rows.start : rows.stop])

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

    def _frame(self, part: PartitionResult) -> pd.DataFrame:
        return to_part_frame(part, self._job.task, self._job.index[as_position_array(part.positions)])

    def to_pandas(self, task: Task, index: pd.Index[Any]) -> pd.Series[Any]:
        """Return the part that holds each row of the result: Series of str named ``part``."""
        names = np.full(self.n, None, dtype=object)
        for rows in self._parts.values():
            names[rows.start : rows.stop] = f"{self._folder.url}/{self._part_name(rows)}"
        names = np.repeat(names, self.spec.n_outputs)
        parts = paths_to_series(names, task.index(index)).rename("part")
        parts.attrs["failures"] = with_labels(self.status()[1], parts.index, self.spec.n_outputs)
        return parts


@dataclass(frozen=True)
class ParquetWriter:
    """Writer of a partition as parts, one for each run of neighbors, each of them atomically."""

    task: Task
    folder: Directory
    parts: list[tuple[str, pd.Index[Any]]]  # name and labels of each
    lease: LeaseHandle | None  # of a local folder, for workers

    def __call__(self, part: PartitionResult) -> PartitionResult:
        """Write the parts and drop the values; return them to the caller without a valid lease."""
        if self.lease is not None and not self.lease.is_valid():
            return part
        start = 0
        with timed("write"):
            for name, labels in self.parts:
                rows = np.zeros(len(part.status), dtype=bool)
                rows[start : start + len(labels)] = True
                table = to_part_table(to_part_frame(part.select(rows), self.task, labels))
                self.folder.write(name, to_parquet_bytes(table))
                start += len(labels)
        part.values = None
        return part
