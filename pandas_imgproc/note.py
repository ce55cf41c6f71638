"""Which row is in flight, so that a row that kills its process can be told from its neighbours.

One byte per row in a shared file: bit 0 while the row is in flight, above it how often a process died there. An
attempt that finds a row in flight when it begins knows that the one before it died of that row: one strike, it
is tried again; two, it is skipped. The last byte is the caller's: set, workers stop after the row they are at.
"""

from __future__ import annotations

import contextlib
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

DIED: Verdict = ("worker_died", "the processes that read it died, each time")

_IN_FLIGHT = 1
_STRIKE = 2
_MOST = 0xFE - _STRIKE


class Note:
    """The marks of a call, as the kernel and the caller see them.

    Parameters
    ----------
    marks : ndarray of uint8, shape (n + 1,)
        A byte for each of n rows, and the caller's.
    """

    __slots__ = ("_marks",)

    def __init__(self, marks: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        self._marks = marks

    @classmethod
    def blank(cls, n: int) -> Note:
        """Return a note of n rows in plain memory: where a death ends the caller too, nobody reads it again."""
        return cls(np.zeros(n + 1, dtype=np.uint8))

    def attempt(self, positions: Sequence[int]) -> dict[int, Verdict]:
        """Begin a partition: give a strike to the row that was in flight, return the rows that have had their last."""
        where = np.asarray(positions, dtype=np.int64)
        marks = self._marks[where]
        died = (marks & _IN_FLIGHT).astype(bool)
        self._marks[where[died]] = np.minimum(marks[died], _MOST) + (_STRIKE - _IN_FLIGHT)
        return dict.fromkeys(where[self._marks[where] >= STRIKES * _STRIKE].tolist(), DIED)

    def begin(self, position: int) -> None:
        """Mark a row as in flight."""
        self._marks[position] |= _IN_FLIGHT

    def end(self, position: int) -> None:
        """Mark a row as survived."""
        self._marks[position] &= ~_IN_FLIGHT & 0xFF

    def stop(self) -> None:
        """Ask every partition of the call to stop after the row it is at."""
        self._marks[-1] = 1

    @property
    def stopped(self) -> bool:
        """Whether the caller has given up."""
        return bool(self._marks[-1])


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
            yield Note.blank(self.n) if fd is None else Note(mapped(fd, self.n + 1, writeable=True))


@contextlib.contextmanager
def shared_note(n: int) -> Iterator[tuple[Note, NoteAddress]]:
    """Give the note of a call of n rows, and the address that workers are told."""
    try:
        file = SharedFile(n + 1)
    except OSError:  # no nameless files on this system: each side keeps its own
        yield Note.blank(n), NoteAddress(None, n)
        return
    with file:
        yield Note(file.map(writeable=True)), NoteAddress(file.address, n)
