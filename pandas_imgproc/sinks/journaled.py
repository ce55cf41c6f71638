"""What the places on disk share: a journal of what is done, and what is to be tried again."""

from __future__ import annotations

import importlib.metadata
import logging
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from pandas_imgproc.sinks.memory import Returned
from pandas_imgproc.source import NO_STAMP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_imgproc.errors import Failure
    from pandas_imgproc.partition import Partition
    from pandas_imgproc.sinks.journal import Asked, Journal
    from pandas_imgproc.sinks.memory import Room
    from pandas_imgproc.source import Source
    from pandas_imgproc.tasks import Task

logger = logging.getLogger("pandas_imgproc")

Retry = Literal["passing", "all"]


def check_retry(retry: object) -> Retry:
    """Return `retry`, or raise a ValueError that names the legal values."""
    if retry not in get_args(Retry):
        raise ValueError(f"retry={retry!r} is not one of {', '.join(map(repr, get_args(Retry)))}")
    return retry  # type: ignore[return-value]


PASSING = frozenset({"remote", "timeout", "missing", "worker_died"})
"""Kinds of failure whose rows are tried again when a job is continued."""


class Kept(Returned):
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
        return task.empty(0)

    def begin(self, asked: Asked, source: Source, cells: Sequence[Any], retry: Retry) -> None:
        """Continue what stands there, or start: from now on `todo` is what is left.

        Parameters
        ----------
        asked : Asked
            What is asked.
        source : Source
            How cells become files.
        cells : list
            What stands in the column.
        retry : {"passing", "all"}
            Which failed rows are tried again.
        """
        self.journal.check(asked)
        warn_of_versions(self.journal.versions)
        self.journal.ask(asked, versions())
        again = self._failed(retry) + self._changed(source, cells)
        self._left = ~self.journal.done
        self._left[again] = True

    def _failed(self, retry: Retry) -> list[int]:
        failures = self.journal.failures
        return [position for position, failed in failures.items() if retry == "all" or failed["kind"] in PASSING]

    def _changed(self, source: Source, cells: Sequence[Any]) -> list[int]:
        """Return the done rows whose file is not the one that was read; one that is gone stays done."""
        read = np.flatnonzero(self.journal.done & (self.journal.stamps[:, 0] >= 0)).tolist()
        now = source.stamps([cells[position] for position in read])
        return [
            position
            for position, stamp in zip(read, now, strict=True)
            if stamp not in (NO_STAMP, tuple(self.journal.stamps[position].tolist()))
        ]

    def todo(self) -> list[range]:
        """Return the ranges of rows that are not done, or to be tried again."""
        return ranges_of(self._left)

    def collect(self, part: Partition) -> None:
        """Place in the caller what came back, and write down that it is done."""
        if part.values is not None:
            self._place(part.positions, part.values)
        self.journal.record(part)

    def status(self) -> tuple[np.ndarray[Any, np.dtype[np.int32]], tuple[Failure, ...]]:
        """Return the status of each row and the failures, those of earlier runs too."""
        return self.journal.answer()

    def close(self) -> None:
        """Let others continue the job."""
        self.journal.close()


def ranges_of(wanted: np.ndarray[Any, np.dtype[np.bool_]]) -> list[range]:
    """Return the runs of True.

    Examples
    --------
    >>> ranges_of(np.array([True, True, False, True]))
    [range(0, 2), range(3, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(np.int8)))
    return [range(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def versions() -> dict[str, str]:
    """Return the versions of what makes pixels."""
    return {name: importlib.metadata.version(name) for name in ("pillow", "numpy", "pandas", "pyarrow")}


def warn_of_versions(before: dict[str, str]) -> None:
    """Log a warning if an earlier run was made by other versions: their pixels may differ a little."""
    now = versions()
    changed = [f"{name} {before[name]} (now {now[name]})" for name in now if before.get(name, now[name]) != now[name]]
    if changed:
        logger.warning("the earlier part of this job was made by other versions: %s", ", ".join(changed))
