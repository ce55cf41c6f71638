"""Which row is in flight, so that a row that kills its process, or never ends, can be told from its neighbours.

One byte per row in a shared file: bit 0 while the row is in flight, above it how often a process died there. An
attempt that finds a row in flight when it begins knows that the one before it died of that row: one strike, it
is tried again; two, it is skipped. The caller writes two things: that a row took too long, before it ends the
process that is at it, and in the last byte that workers are to stop after the row they are at. Behind the bytes
stand the processes: at the first row of a partition, the one that does it.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc.shared import Address, SharedFile, mapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pandas_imgproc.errors import FailureKind

Verdict = tuple["FailureKind", str]

STRIKES = 2
"""How many processes a row may kill before it is skipped. One would blame whoever was in flight at any death."""

PATIENCE = 0.05
"""Seconds that a row stays in flight after its end, where a process has died at it or at one of the next two."""

DIED: Verdict = ("worker_died", "the processes that read it died, each time")
SLOW: Verdict = ("timeout", "it took longer than pandas-imgproc.row-timeout allows")

_IN_FLIGHT = 1
_STRIKE = 2
_SLOW = 0x80
_MOST = _SLOW - _STRIKE - _IN_FLIGHT


class Note:
    """The marks of a call, as the kernel and the caller see them.

    Parameters
    ----------
    data : ndarray of uint8, shape (nbytes(n),)
        The bytes of a call of n rows.
    n : int
        Rows.
    """

    __slots__ = ("_marks", "_patient", "_processes")

    def __init__(self, data: np.ndarray[Any, np.dtype[np.uint8]], n: int) -> None:
        self._patient: frozenset[int] = frozenset()
        self._marks = data[: n + 1]
        self._processes = data[-4 * n :].view(np.int32) if n else np.zeros(0, dtype=np.int32)

    @classmethod
    def blank(cls, n: int) -> Note:
        """Return a note of n rows in plain memory: where a death ends the caller too, nobody reads it again."""
        return cls(np.zeros(nbytes(n), dtype=np.uint8), n)

    def attempt(self, positions: Sequence[int]) -> dict[int, Verdict]:
        """Begin a partition: give a strike to the row that was in flight, return the rows that have had their last."""
        where = np.asarray(positions, dtype=np.int64)
        if not len(where):
            return {}
        self._processes[where[0]] = os.getpid()
        marks = self._marks[where] = _struck(self._marks[where])
        known = np.flatnonzero(marks >= _STRIKE)
        self._patient = frozenset(where[np.unique(np.maximum(known[:, None] - [0, 1, 2], 0))].tolist())
        guilty = np.flatnonzero(marks >= STRIKES * _STRIKE)
        return {int(where[row]): SLOW if marks[row] & _SLOW else DIED for row in guilty}

    def begin(self, position: int) -> None:
        """Mark a row as in flight."""
        self._marks[position] |= _IN_FLIGHT

    def end(self, position: int) -> None:
        """Mark a row as survived; one beside a row that was struck only after a while."""
        if position in self._patient:
            # A signal may reach a process when its row is over: the next one must not be blamed for it.
            time.sleep(PATIENCE)
        self._marks[position] &= ~_IN_FLIGHT & 0xFF

    def in_flight(self) -> list[tuple[int, int]]:
        """Return the rows that are in flight, each with the process that is at it."""
        rows = np.flatnonzero(self._marks[:-1] & _IN_FLIGHT)
        if not len(rows):
            return []
        first = np.flatnonzero(self._processes)  # rows that a partition begins with
        processes = self._processes[first[np.searchsorted(first, rows, side="right") - 1]]
        return list(zip(rows.tolist(), processes.tolist(), strict=True))

    def too_slow(self, position: int) -> None:
        """Mark a row as one that is not tried again."""
        self._marks[position] |= _SLOW

    def stop(self) -> None:
        """Ask every partition of the call to stop after the row it is at."""
        self._marks[-1] = 1

    @property
    def stopped(self) -> bool:
        """Whether the caller has given up."""
        return bool(self._marks[-1])


def _struck(marks: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return marks with a strike for each row that was in flight, which then no longer is."""
    strikes = np.minimum(marks & (_SLOW - 1), _MOST) + (_STRIKE - _IN_FLIGHT)
    return np.where(marks & _IN_FLIGHT, strikes | (marks & _SLOW), marks).astype(np.uint8)


def nbytes(n: int) -> int:
    """Return the bytes of a note: a mark a row, the caller's, and a process a row, aligned."""
    return (n + 1 + 3) // 4 * 4 + 4 * n


@dataclass(frozen=True)
class NoteAddress:
    """Where workers find the note of a call; n is its number of rows."""

    file: Address | None
    n: int

    @contextlib.contextmanager
    def open(self) -> Iterator[Note]:
        """Give the shared note, or a blank one where it cannot be reached."""
        if self.file is None:
            yield Note.blank(self.n)
            return
        with self.file.open() as fd:
            yield Note.blank(self.n) if fd is None else Note(mapped(fd, nbytes(self.n), writeable=True), self.n)


@contextlib.contextmanager
def shared_note(n: int) -> Iterator[tuple[Note, NoteAddress]]:
    """Give the note of a call of n rows, and the address that workers are told."""
    try:
        file = SharedFile(nbytes(n))
    except OSError:  # no nameless files on this system: each side keeps its own
        yield Note.blank(n), NoteAddress(None, n)
        return
    with file:
        yield Note(file.map(writeable=True), n), NoteAddress(file.address, n)
