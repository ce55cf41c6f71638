"""Which row is in flight, so that a row that kills its process, or never ends, can be told from its neighbours.

One byte per row in a shared file: bit 0 while the row is in flight, above it how often a process died there. An
attempt that finds a row in flight when it begins knows that the one before it died of that row: one strike, it
is tried again; two, it is skipped. Beside it stands who does a partition (at its first row), who died at a row, and
how many of its strikes were taken back.

The caller writes three things: that a row took too long, before it ends the process that is at it; that a process was
killed from outside, which says little about its row; and in the last byte that workers are to stop after the row they
are at.

A process of several threads does several partitions at a time, and at its death each has a row in flight. Hence a row
with a strike runs alone: the other threads wait before their next row, and nobody is in flight beside it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc._shared_memory import MemfdHandle, SharedBuffer, mmap_array

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pandas_imgproc.errors import FailureKind

Verdict = tuple["FailureKind", str]

MAX_CRASHES = 2
"""How many processes a row may kill before it is skipped. One would blame whoever was in flight at any death."""

GRACE_SECONDS = 0.05
"""Seconds that a row stays in flight after its end, where a process has died at it or at one of the next two.

Also those that a verdict waits.
"""

MAX_DISCOUNTED_KILLS = 2
"""How many strikes are taken back from a row, at most: a row may also be killed because it needs all memory."""

WORKER_DIED: Verdict = ("worker_died", "the processes that read it died, each time")
TIMED_OUT: Verdict = ("timeout", "it took longer than pandas-imgproc.row-timeout allows")

_IN_FLIGHT = 1
_STRIKE = 2
_SLOW = 0x80
_MOST = _SLOW - _STRIKE - _IN_FLIGHT


class _IsolationGate:
    """The rows that the threads of this process are at: all of them together, or a suspected one alone.

    Rows that nobody suspects pay for two assignments and a look, not for a lock: under Python's lock a thread that
    says it is in before it looks whether the door is shut cannot be missed by one that shuts it before it looks
    who is in.
    """

    def __init__(self) -> None:
        self.ledgers: weakref.WeakSet[CrashLedger] = weakref.WeakSet()
        self.holder: weakref.ref[CrashLedger] | None = None
        self._lock = threading.Lock()

    def is_exclusive(self) -> bool:
        return self.holder is not None and self.holder() is not None

    def acquire_exclusive(self, suspect: CrashLedger) -> None:
        while not self._try_acquire(suspect):
            time.sleep(GRACE_SECONDS / 10)
        while any(ledger.in_row for ledger in list(self.ledgers) if ledger is not suspect):
            time.sleep(GRACE_SECONDS / 10)

    def _try_acquire(self, suspect: CrashLedger) -> bool:
        with self._lock:
            if not self.is_exclusive():
                self.holder = weakref.ref(suspect)
                return True
        return False


_gate = _IsolationGate()


class CrashLedger:
    """The marks of a call, as the kernel and the caller see them.

    Parameters
    ----------
    data : ndarray of uint8, shape (nbytes(n),)
        The bytes of a call of n rows.
    n : int
        Rows.
    """

    __slots__ = (
        "__weakref__", "_deaths", "_forgiven", "_is_alone", "_marks", "_patient", "_processes", "_suspects", "in_row"
    )  # fmt: skip

    def __init__(self, data: np.ndarray[Any, np.dtype[np.uint8]], n: int) -> None:
        self._patient = self._suspects = frozenset[int]()
        self._is_alone = self.in_row = False
        numbers = data[: 8 * n].view(np.int32)
        self._processes, self._deaths = numbers[:n], numbers[n:]
        self._forgiven, self._marks = data[8 * n : 9 * n], data[9 * n :]

    @classmethod
    def in_memory(cls, n: int) -> CrashLedger:
        """Return a note of n rows in plain memory: where a death ends the caller too, nobody reads it again."""
        return cls(np.zeros(ledger_nbytes(n), dtype=np.uint8), n)

    def start_attempt(self, positions: Sequence[int]) -> dict[int, Verdict]:
        """Begin a partition: give a strike to the row that was in flight, return the rows that have had their last."""
        self.release()
        where = np.asarray(positions, dtype=np.int64)
        if not len(where):
            return {}
        self._strike(where)
        self._processes[where[0]] = os.getpid()
        known = np.flatnonzero(self._marks[where] >= _STRIKE)
        self._suspects = frozenset(where[known].tolist())
        _gate.ledgers.add(self)
        self._patient = frozenset(where[np.unique(np.maximum(known[:, None] - [0, 1, 2], 0))].tolist())
        guilty = [row for row in where[known].tolist() if self._strikes(row) >= MAX_CRASHES]
        return {row: TIMED_OUT if self._marks[row] & _SLOW else WORKER_DIED for row in guilty}

    def _strike(self, where: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        marks = self._marks[where]
        died = where[(marks & _IN_FLIGHT).astype(bool)]
        self._deaths[died] = self._processes[where[0]]
        self._marks[where] = _struck(marks)
        if any(self._strikes(row) == MAX_CRASHES for row in died):
            time.sleep(GRACE_SECONDS)  # the caller may be about to say that it was killed from outside

    def _strikes(self, row: int) -> int:
        """Return the strikes of a row that stand; those of a row that took too long are enough."""
        mark = int(self._marks[row])
        return mark if mark & _SLOW else mark // _STRIKE - int(self._forgiven[row])

    def discount_kill(self, process: int) -> None:
        """Take back the strike for the death of a process that was killed from outside, a few times for each row.

        The row that it was at may be in flight still, or have been given its strike already.
        """
        flying = [row for row, owner in self.in_flight() if owner == process]
        for row in {*flying, *np.flatnonzero(self._deaths == process).tolist()}:
            self._forgiven[row] = min(int(self._forgiven[row]) + 1, MAX_DISCOUNTED_KILLS)

    @property
    def has_crashes(self) -> bool:
        """Whether a process has died at one of the rows."""
        return bool((self._marks[:-1] >= _STRIKE).any())

    def enter_row(self, position: int) -> None:
        """Mark a row as in flight; one that has a strike when no other row of this process is."""
        if position in self._suspects:
            self._is_alone = True
            _gate.acquire_exclusive(self)
        else:
            self.in_row = True
            while _gate.holder is not None and _gate.is_exclusive():
                self.in_row = False
                time.sleep(GRACE_SECONDS / 10)
                self.in_row = True
        self._marks[position] |= _IN_FLIGHT

    def exit_row(self, position: int) -> None:
        """Mark a row as survived; one beside a row that was struck only after a while."""
        if position in self._patient:
            # A signal may reach a process when its row is over: the next one must not be blamed for it.
            time.sleep(GRACE_SECONDS)
        self._marks[position] &= ~_IN_FLIGHT & 0xFF
        self.release()

    def release(self) -> None:
        """Let the other threads of this process go on; also when a row ended in a way that ends the call."""
        self.in_row = False
        if self._is_alone:
            self._is_alone, _gate.holder = False, None

    def in_flight(self) -> list[tuple[int, int]]:
        """Return the rows that are in flight, each with the process that is at it."""
        rows = np.flatnonzero(self._marks[:-1] & _IN_FLIGHT)
        if not len(rows):
            return []
        first = np.flatnonzero(self._processes)  # rows that a partition begins with
        processes = self._processes[first[np.searchsorted(first, rows, side="right") - 1]]
        return list(zip(rows.tolist(), processes.tolist(), strict=True))

    def mark_timed_out(self, position: int) -> None:
        """Mark a row as one that is not tried again."""
        self._marks[position] |= _SLOW

    def cancel(self) -> None:
        """Ask every partition of the call to stop after the row it is at."""
        self._marks[-1] = 1

    @property
    def cancelled(self) -> bool:
        """Whether the caller has given up."""
        return bool(self._marks[-1])


def _struck(marks: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return marks with a strike for each row that was in flight, which then no longer is."""
    strikes = np.minimum(marks & (_SLOW - 1), _MOST) + (_STRIKE - _IN_FLIGHT)
    return np.where(marks & _IN_FLIGHT, strikes | (marks & _SLOW), marks).astype(np.uint8)


def ledger_nbytes(n: int) -> int:
    """Return the bytes of a note: of a row its process, who died at it, what was forgiven, its mark; the caller's."""
    return 10 * n + 1


@dataclass(frozen=True)
class LedgerHandle:
    """Where workers find the note of a call; n is its number of rows."""

    file: MemfdHandle | None
    n: int

    @contextlib.contextmanager
    def open(self) -> Iterator[CrashLedger]:
        """Give the shared note, or a blank one where it cannot be reached."""
        if self.file is None:
            yield CrashLedger.in_memory(self.n)
            return
        with self.file.open() as fd:
            ledger = (
                CrashLedger.in_memory(self.n)
                if fd is None
                else CrashLedger(mmap_array(fd, ledger_nbytes(self.n), writeable=True), self.n)
            )
            try:
                yield ledger
            finally:
                ledger.release()


@contextlib.contextmanager
def shared_ledger(n: int) -> Iterator[tuple[CrashLedger, LedgerHandle]]:
    """Give the note of a call of n rows, and the address that workers are told."""
    try:
        file = SharedBuffer(ledger_nbytes(n))
    except OSError:  # no nameless files on this system: each side keeps its own
        yield CrashLedger.in_memory(n), LedgerHandle(None, n)
        return
    with file:
        yield CrashLedger(file.map(writeable=True), n), LedgerHandle(file.address, n)
