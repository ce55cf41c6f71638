"""Results on disk with a journal: the location and the opening of a result, and the rows that are retried."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args

import numpy as np
import pandas as pd

from pandas_imgproc._validation import check_choice
from pandas_imgproc.partition import to_positions, values_at
from pandas_imgproc.sinks.arrow_columns import check_index
from pandas_imgproc.sinks.directory import Directory
from pandas_imgproc.sinks.job_spec import JobContext, JobSpec
from pandas_imgproc.sinks.journal import Journal
from pandas_imgproc.sinks.lease import Lease, LeaseHandle, discard
from pandas_imgproc.sinks.memory import ArraySpec, MemorySink
from pandas_imgproc.source import UNKNOWN_SIGNATURE, StorageOptions

if TYPE_CHECKING:
    from pandas_imgproc.errors import Failure
    from pandas_imgproc.partition import Mask, PartitionResult
    from pandas_imgproc.sinks.journal_storage import JournalStorage
    from pandas_imgproc.sinks.memory import Array, Status

logger = logging.getLogger("pandas_imgproc")

Retry = Literal["transient", "all"]

_SIGNATURE_ROWS = 2**14
"""Rows whose signatures are compared at a time."""

TRANSIENT_KINDS = frozenset({"remote", "timeout", "missing", "worker_died"})
"""Kinds of failure whose rows are retried when a job is continued."""


def check_retry(retry: object) -> Retry:
    """Return `retry`, or raise a ValueError with the legal values."""
    retry_checked: Retry = check_choice("retry", retry, get_args(Retry))
    return retry_checked


@dataclass(frozen=True)
class ResultStore:
    """Location of a result on disk, and the treatment of an earlier one: a parsed ``out=``."""

    sink_class: type[JournaledSink]
    path: str  # absolute, or a URL
    overwrite: bool = False  # delete an earlier result
    retry: Retry = "transient"  # which failed rows of an earlier run
    options: StorageOptions = field(default_factory=StorageOptions)

    @property
    def directory(self) -> Directory:
        """Directory of a result in parts."""
        return Directory(self.path, self.options)

    def open_sink(self, job: JobContext) -> JournaledSink:
        """Return the sink of a job, which continues an earlier result or starts one.

        Raises
        ------
        JournalError
            If the result belongs to another job, is damaged, or is being written.
        OSError
            If the result cannot be written.
        """
        return self.sink_class.open(self, job)


class JournaledSink(MemorySink):
    """Sink on disk, with a journal of the finished rows, also those of earlier runs."""

    returns_parts: ClassVar[bool] = False  # whether the result names the parts that hold the values

    def __init__(self, store: ResultStore, job: JobContext, journal: Journal) -> None:
        super().__init__(ArraySpec.from_task(job.task, job.n))
        self._store, self._job, self.journal = store, job, journal
        self._is_pending = np.zeros(job.n, dtype=bool)
        self._lease = Lease()
        if self._lease_path is not None:
            discard(self._lease_path)  # of a caller that was killed: the journal is locked

    def _allocate(self) -> Array:
        return np.empty(0)  # the values are on disk

    # ---- the format's part

    @classmethod
    def check_task(cls, store: ResultStore, task: Any) -> None:
        """Raise a ValueError if the format cannot hold the results of a task."""

    @classmethod
    @abstractmethod
    def journal_storage(cls, store: ResultStore) -> JournalStorage:
        """Return the storage of the journal."""

    @property
    @abstractmethod
    def _lease_path(self) -> str | None:
        """Path of the file of the lease; None where workers on all hosts may write."""

    def _grant_lease(self) -> LeaseHandle | None:
        """Return the lease with which workers write; None where all of them may."""
        return None if self._lease_path is None else self._lease.grant(self._lease_path)

    @classmethod
    @abstractmethod
    def prepare(cls, store: ResultStore) -> None:
        """Create the directories that the journal needs; raise if another program's file is in the way."""

    def _intact_rows(self) -> Mask:
        """Return the mask of the rows whose values exist, if they are done."""
        return np.ones(self.n, dtype=bool)

    @abstractmethod
    def _reserve(self, on_error: contextlib.ExitStack) -> None:
        """Allocate the space of the pending rows, beside the finished ones; add the undoing to `on_error`."""

    @abstractmethod
    def _delete_stale(self) -> None:
        """Delete the files of no row of the job: of a result that was replaced, or of a run that was killed."""

    @classmethod
    @abstractmethod
    def read(cls, store: ResultStore, journal: Journal) -> pd.Series[Any] | pd.DataFrame:
        """Return the result with its index, without the failures."""

    # ---- opening

    @classmethod
    def open(cls, store: ResultStore, job: JobContext) -> Self:
        """Return the sink of a job (see `ResultStore.open_sink`)."""
        cls.check_task(store, job.task)
        _check_index_storable(store.path, job.index)
        spec = JobSpec.from_job(job)
        try:
            cls.prepare(store)
            storage = cls.journal_storage(store)
            storage.lock()
            with contextlib.ExitStack() as on_error:
                on_error.callback(storage.close)
                sink = cls(store, job, cls._open_journal(store, storage, spec))
                sink._resume(spec, on_error)
                on_error.pop_all()  # from now on the sink closes it
            return sink
        except OSError as exc:
            raise OSError(exc.errno, f"out={store.path!r} cannot be written: {exc.strerror or exc}") from exc

    @classmethod
    def _open_journal(cls, store: ResultStore, storage: JournalStorage, spec: JobSpec) -> Journal:
        journal = Journal(storage, lenient=store.overwrite)
        # A job that could read nothing is replaced: the next one, with the right root=, has nothing to lose.
        if not journal.is_empty and (store.overwrite or (journal.mismatch(spec) and not journal.has_results)):
            journal.replace()
        return journal

    def _resume(self, spec: JobSpec, on_error: contextlib.ExitStack) -> None:
        """Find the pending rows, and allocate their space; finished rows do not change."""
        self.journal.check(spec)
        warn_version_change(self.journal.versions)
        is_new = self.journal.spec is None and not self.journal.replaces
        self.journal.begin(spec, versions())
        self.journal.reopen(true_runs(self.journal.done & ~self._intact_rows()))
        self._is_pending = ~self.journal.done
        self._is_pending[self._rows_to_retry() + self._changed_rows()] = True
        self._reserve(on_error)
        self.journal.compact()
        if is_new:
            self.journal.write_header()
        self._delete_stale()

    def _rows_to_retry(self) -> list[int]:
        return [
            position
            for position, failure in self.journal.failures.items()
            if self._store.retry == "all" or failure["kind"] in TRANSIENT_KINDS
        ]

    def _changed_rows(self) -> list[int]:
        """Return the finished rows with a source that has changed since it was read; a deleted one is ignored."""
        finished = np.flatnonzero(self.journal.done & (self.journal.signatures[:, 0] >= 0))
        changed: list[int] = []
        # Python objects of a few rows at a time: those of a million take a quarter of a gigabyte.
        for start in range(0, len(finished), _SIGNATURE_ROWS):
            rows = finished[start : start + _SIGNATURE_ROWS]
            inputs = values_at(self._job.inputs, to_positions(rows))
            current = np.array(self._job.source.signatures(inputs, of=len(finished)), dtype=np.int64)
            differs = (current != self.journal.signatures[rows]).any(axis=1)
            changed += rows[differs & (current != UNKNOWN_SIGNATURE).any(axis=1)].tolist()
        return changed

    # ---- running

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return self.spec.nbytes

    def pending(self) -> Mask:
        """Return the mask of the rows that are unfinished, or retried."""
        return self._is_pending

    def commit(self, part: PartitionResult) -> None:
        """Store the values that were returned to the caller, and journal the rows as finished.

        Rows that have failed as before are left out: they cost no line of the journal, and no part is written again.
        """
        part = self.journal.news(part)
        if len(part.status):
            self._commit(part)

    @abstractmethod
    def _commit(self, part: PartitionResult) -> None:
        """Store the values that were returned to the caller, and journal the rows."""

    def status(self) -> tuple[Status, tuple[Failure, ...]]:
        """Return the status of each row and the failures, also those of earlier runs."""
        return self.journal.results()

    def close(self) -> None:
        """Revoke the lease of workers, and release the lock of the journal."""
        self._lease.revoke()
        self.journal.close()


def _check_index_storable(path: str, index: pd.Index[Any]) -> None:
    try:
        check_index(index)
    except TypeError as exc:
        raise TypeError(
            f"out={path!r} cannot hold the labels of the index, of {_describe_dtypes(index)} ({exc}); "
            "use .reset_index() or .set_axis(index.astype(str))"
        ) from exc


def _describe_dtypes(index: pd.Index[Any]) -> str:
    """Return the dtypes of an index; of objects the types that pandas infers."""
    levels = index.levels if isinstance(index, pd.MultiIndex) else [index]
    return ", ".join(f"{level.dtype} ({level.inferred_type})" for level in levels)


def true_runs(mask: Mask) -> list[range]:
    """Return the runs of True.

    Examples
    --------
    >>> true_runs(np.array([True, True, False, True]))
    [range(0, 2), range(3, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [range(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def versions() -> dict[str, str]:
    """Return the versions of the libraries that write pixels."""
    return {name: importlib.metadata.version(name) for name in ("pillow", "numpy", "pandas", "pyarrow")}


def warn_version_change(old: dict[str, str]) -> None:
    """Log a warning if an earlier run had other versions of the libraries: its pixels may differ a little."""
    new = versions()
    changed = [f"{name} {old[name]} (now {new[name]})" for name in new if old.get(name, new[name]) != new[name]]
    if changed:
        logger.warning("the earlier part of this job was written by other versions: %s", ", ".join(changed))
