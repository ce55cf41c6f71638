"""What the places on disk share: a journal of what is done, and what is to be tried again."""

from __future__ import annotations

import importlib.metadata
import logging
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from pandas_imgproc.sinks.memory import MemorySink
from pandas_imgproc.source import UNKNOWN_SIGNATURE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_imgproc.errors import Failure
    from pandas_imgproc.partition import PartitionResult
    from pandas_imgproc.sinks.journal import JobSpec, Journal
    from pandas_imgproc.sinks.memory import Room
    from pandas_imgproc.source import Source
    from pandas_imgproc.tasks import Task

logger = logging.getLogger("pandas_imgproc")

Retry = Literal["transient", "all"]


def check_retry(retry: object) -> Retry:
    """Return `retry`, or raise a ValueError that names the legal values."""
    if retry not in get_args(Retry):
        raise ValueError(f"retry={retry!r} is not one of {', '.join(map(repr, get_args(Retry)))}")
    return retry  # type: ignore[return-value]


TRANSIENT_KINDS = frozenset({"remote", "timeout", "missing", "worker_died"})
"""Kinds of failure whose rows are tried again when a job is continued."""


class JournaledSink(MemorySink):
    """Values that are kept on disk, with a journal beside them.

    Parameters
    ----------
    task : Task
        Whose answers they are.
    n : int
        Rows of the frame.
    journal : Journal
        What is done; it may be of an earlier run.
    """

    def __init__(self, task: Task, n: int, journal: Journal) -> None:
        self.journal = journal
        super().__init__(task, n)

    def _reserve(self, task: Room) -> np.ndarray[Any, np.dtype[Any]]:
        return task.allocate(0)

    def open(self, asked: JobSpec, source: Source, inputs: Sequence[Any], retry: Retry) -> None:
        """Continue what stands there, or start: from now on `todo` is what is left.

        Parameters
        ----------
        asked : JobSpec
            What is asked.
        source : Source
            How cells become files.
        inputs : list
            What stands in the column.
        retry : {"transient", "all"}
            Which failed rows are tried again.
        """
        self.journal.check(asked)
        warn_version_change(self.journal.versions)
        self.journal.write_header(asked, versions())
        again = self._failed(retry) + self._changed(source, inputs)
        self._left = ~self.journal.done
        self._left[again] = True

    def _failed(self, retry: Retry) -> list[int]:
        failures = self.journal.failures
        return [
            position for position, failed in failures.items() if retry == "all" or failed["kind"] in TRANSIENT_KINDS
        ]

    def _changed(self, source: Source, inputs: Sequence[Any]) -> list[int]:
        """Return the done rows whose file is not the one that was read; one that is gone stays done."""
        read = np.flatnonzero(self.journal.done & (self.journal.signatures[:, 0] >= 0)).tolist()
        now = source.signatures([inputs[position] for position in read])
        return [
            position
            for position, signature in zip(read, now, strict=True)
            if signature not in (UNKNOWN_SIGNATURE, tuple(self.journal.signatures[position].tolist()))
        ]

    def pending(self) -> list[range]:
        """Return the ranges of rows that are not done, or to be tried again."""
        return true_runs(self._left)

    def commit(self, part: PartitionResult) -> None:
        """Place in the caller what came back, and write down that it is done."""
        if part.values is not None:
            self._write(part.positions, part.values)
        self.journal.record(part)

    def status(self) -> tuple[np.ndarray[Any, np.dtype[np.int32]], tuple[Failure, ...]]:
        """Return the status of each row and the failures, those of earlier runs too."""
        return self.journal.results()

    def close(self) -> None:
        """Let others continue the job."""
        self.journal.close()


def true_runs(wanted: np.ndarray[Any, np.dtype[np.bool_]]) -> list[range]:
    """Return the runs of True.

    Examples
    --------
    >>> true_runs(np.array([True, True, False, True]))
    [range(0, 2), range(3, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(np.int8)))
    return [range(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def versions() -> dict[str, str]:
    """Return the versions of what makes pixels."""
    return {name: importlib.metadata.version(name) for name in ("pillow", "numpy", "pandas", "pyarrow")}


def warn_version_change(before: dict[str, str]) -> None:
    """Log a warning if an earlier run was made by other versions: their pixels may differ a little."""
    now = versions()
    changed = [f"{name} {before[name]} (now {now[name]})" for name in now if before.get(name, now[name]) != now[name]]
    if changed:
        logger.warning("the earlier part of this job was made by other versions: %s", ", ".join(changed))
