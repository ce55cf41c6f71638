"""Crash ledger: rows in flight and their numbers of crashes, in memory that survives the worker.

Byte layout, in memory that the caller and all workers of its machine map:

======  ===================  ======  ===============================================================
dtype   field                length  meaning
======  ===================  ======  ===============================================================
int32   ``_pids``            n       process of a partition, at the partition's first row
int32   ``_crashed_pids``    n       last process that died while the row was in flight
uint8   ``_discounted``      n       crashes of the row that do not count
uint8   ``_flags``           n       bit 0 in flight, bits 1 to 6 number of crashes, bit 7 timed out
uint8   ``_cancelled``       1       1 once the caller has cancelled the job
======  ===================  ======  ===============================================================

States of a row::

    idle ── enter_row ──> in flight ── exit_row ──> idle (survived)
                              │ its process dies: the next start_attempt finds the flag
                              v
                          crashed once ── retried alone, crashes again ──> crashed twice: poisoned, skipped
                              └───────── retried alone, exit_row ────────> idle

    in flight ── mark_timed_out by the caller, which then kills the process ──> poisoned
    in flight or crashed ── discount_kill by the caller, MAX_DISCOUNTED_KILLS times ──> one crash fewer

A process of several threads has a row in flight in each. Hence a row that has crashed once is *suspect* and runs
alone in its process (see `_IsolationGate`): at the next crash no other row is in flight that could be blamed for it.
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
from pandas_imgproc.kernel import NullLedger
from pandas_imgproc.partition import as_position_array

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pandas_imgproc.errors import FailureKind

Flags = np.ndarray[Any, np.dtype[np.uint8]]

MAX_CRASHES = 2
"""Crashes after which a row is skipped. A limit of one would blame every row in flight at any crash."""

MAX_DISCOUNTED_KILLS = 2
"""Crashes of a row that are not counted: a row may also be killed because it needs all memory."""

GRACE_SECONDS = 0.05
"""Seconds that a suspect row, and the two rows before, stay in flight after their end; also before poisoning a row."""

POLL_SECONDS = GRACE_SECONDS / 10
"""Seconds between two checks of the isolation gate."""

WORKER_DIED: tuple[FailureKind, str] = ("worker_died", "the processes that read it died, each time")
TIMED_OUT: tuple[FailureKind, str] = ("timeout", "it took longer than pandas-imgproc.row-timeout allows")

# Flags of a row. Plain integers and no IntFlag, which NumPy would promote to int64, and which costs more per row.
_IN_FLIGHT = 1
_CRASH_UNIT = 2
_MAX_COUNT = 63
_TIMED_OUT = 0x80


class _IsolationGate:
    """Process-wide gate that lets a suspect row run exclusively: other threads wait before their next row.

    ::

        shared ── a suspect row: holder = its ledger ──> draining: no other row may start
          ^                                                 │ every other ledger has left its row
          └── release(), or the holder is collected ── exclusive: the suspect row runs

    Lock-free on the fast path, which relies on the GIL's ordering: a thread sets ``in_row`` before it reads
    ``holder``, and a suspect sets ``holder`` before it reads ``in_row``.
    """

    def __init__(self) -> None:
        self.ledgers: weakref.WeakSet[CrashLedger] = weakref.WeakSet()
        self.holder: weakref.ref[CrashLedger] | None = None
        self._lock = threading.Lock()

    def is_exclusive(self) -> bool:
        return self.holder is not None and self.holder() is not None

    def acquire_exclusive(self, suspect: CrashLedger) -> None:
        while not self._try_acquire(suspect):
            time.sleep(POLL_SECONDS)
        while any(ledger.in_row for ledger in list(self.ledgers) if ledger is not suspect):
            time.sleep(POLL_SECONDS)

    def _try_acquire(self, suspect: CrashLedger) -> bool:
        with self._lock:
            if not self.is_exclusive():
                self.holder = weakref.ref(suspect)
                return True
        return False


_gate = _IsolationGate()


class CrashLedger:
    """Crash ledger of one job: per-row in-flight flags and crash counts, in memory shared by caller and workers.

    `data` is an array of uint8 of shape ``(ledger_nbytes(n),)``, for n rows, with the layout above.
    """

    __slots__ = (
        "__weakref__", "_cancelled", "_crashed_pids", "_delayed_rows", "_discounted", "_flags", "_is_exclusive",
        "_pids", "_suspect_rows", "in_row",
    )  # fmt: skip

    def __init__(self, data: Flags, n: int) -> None:
        self._delayed_rows = self._suspect_rows = frozenset[int]()
        self._is_exclusive = self.in_row = False
        pids = data[: 8 * n].view(np.int32)
        self._pids, self._crashed_pids = pids[:n], pids[n:]
        self._discounted, self._flags, self._cancelled = data[8 * n : 9 * n], data[9 * n : 10 * n], data[10 * n :]

    @classmethod
    def in_memory(cls, n: int) -> CrashLedger:
        """Return a ledger of n rows in memory of this process."""
        return cls(np.zeros(ledger_nbytes(n), dtype=np.uint8), n)

    def start_attempt(self, positions: Sequence[int]) -> dict[int, tuple[FailureKind, str]]:
        """Start an attempt at a partition: count the crash of the last one, and return the poisoned rows."""
        self.release()
        rows = as_position_array(positions)
        if not len(rows):
            return {}
        self._count_crashes(rows)
        self._pids[rows[0]] = os.getpid()
        crashed = np.flatnonzero(self._flags[rows] >= _CRASH_UNIT)
        self._suspect_rows = frozenset(rows[crashed].tolist())
        self._delayed_rows = frozenset(rows[np.unique(np.maximum(crashed[:, None] - [0, 1, 2], 0))].tolist())
        _gate.ledgers.add(self)
        poisoned = [row for row in rows[crashed].tolist() if self._effective_crashes(row) >= MAX_CRASHES]
        return {row: TIMED_OUT if self._flags[row] & _TIMED_OUT else WORKER_DIED for row in poisoned}

    def _count_crashes(self, rows: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        died = rows[(self._flags[rows] & _IN_FLIGHT).astype(bool)]
        self._crashed_pids[died] = self._pids[rows[0]]
        self._flags[died] = _increment_crashes(self._flags[died])
        if any(self._effective_crashes(row) == MAX_CRASHES for row in died):
            time.sleep(GRACE_SECONDS)  # the caller may be about to report an external kill

    def _effective_crashes(self, row: int) -> int:
        """Return the crashes that count; a timeout, the bit above the count, is 64 of them."""
        return int(self._flags[row]) // _CRASH_UNIT - int(self._discounted[row])

    def discount_kill(self, pid: int) -> None:
        """Discount the crash of a process that was killed from outside.

        The crash of its row may have been counted already, or the row may still be in flight.
        """
        in_flight = [row for row, owner in self.in_flight() if owner == pid]
        for row in {*in_flight, *np.flatnonzero(self._crashed_pids == pid).tolist()}:
            self._discounted[row] = min(int(self._discounted[row]) + 1, MAX_DISCOUNTED_KILLS)

    @property
    def has_crashes(self) -> bool:
        """Whether a process has died at one of the rows."""
        return bool((self._flags >= _CRASH_UNIT).any())

    def enter_row(self, position: int) -> None:
        """Mark a row as in flight; a suspect one when no other row of this process is."""
        if position in self._suspect_rows:
            self._is_exclusive = True
            _gate.acquire_exclusive(self)
        else:
            self.in_row = True
            while _gate.holder is not None and _gate.is_exclusive():
                self.in_row = False
                time.sleep(POLL_SECONDS)
                self.in_row = True
        self._flags[position] |= _IN_FLIGHT

    def exit_row(self, position: int) -> None:
        """Mark a row as survived; a delayed one after the grace period.

        A signal may arrive after the end of the row that caused it, and the next row must not be blamed for it.
        """
        if position in self._delayed_rows:
            time.sleep(GRACE_SECONDS)
        self._flags[position] &= ~_IN_FLIGHT & 0xFF
        self.release()

    def release(self) -> None:
        """Leave the row, and open the gate to the other threads of this process."""
        self.in_row = False
        if self._is_exclusive:
            self._is_exclusive, _gate.holder = False, None

    def in_flight(self) -> list[tuple[int, int]]:
        """Return the rows in flight, each with the pid of its process."""
        rows = np.flatnonzero(self._flags & _IN_FLIGHT)
        if not len(rows):
            return []
        starts = np.flatnonzero(self._pids)  # first rows of partitions
        pids = self._pids[starts[np.searchsorted(starts, rows, side="right") - 1]]
        return list(zip(rows.tolist(), pids.tolist(), strict=True))

    def mark_timed_out(self, position: int) -> None:
        """Mark a row as poisoned by a timeout."""
        self._flags[position] |= _TIMED_OUT

    def cancel(self) -> None:
        """Stop every partition of the job after its current row."""
        self._cancelled[0] = 1

    @property
    def cancelled(self) -> bool:
        """Whether the caller has cancelled the job."""
        return bool(self._cancelled[0])


def _increment_crashes(flags: Flags) -> Flags:
    """Return the flags of rows in flight with one crash more, and no longer in flight."""
    count: Flags = np.minimum(flags % _TIMED_OUT // _CRASH_UNIT + 1, _MAX_COUNT)
    return count * _CRASH_UNIT + (flags & _TIMED_OUT)


def ledger_nbytes(n: int) -> int:
    """Return the size of a ledger of n rows, in bytes."""
    return 10 * n + 1


@dataclass(frozen=True)
class LedgerHandle:
    """Handle by which workers open the shared ledger of a job of n rows."""

    file: MemfdHandle | None
    n: int

    @contextlib.contextmanager
    def open(self) -> Iterator[CrashLedger | NullLedger]:
        """Open the shared ledger, or a null ledger where its memory cannot be reached."""
        with contextlib.nullcontext() if self.file is None else self.file.open() as fd:
            if fd is None:
                yield NullLedger()
                return
            ledger = CrashLedger(mmap_array(fd, ledger_nbytes(self.n), writeable=True), self.n)
            try:
                yield ledger
            finally:
                ledger.release()


@contextlib.contextmanager
def shared_ledger(n: int) -> Iterator[tuple[CrashLedger, LedgerHandle]]:
    """Create the ledger of a job of n rows, with its handle for workers."""
    try:
        buffer = SharedBuffer(ledger_nbytes(n))
    except OSError:  # no anonymous shared memory on this system: crashes are not counted
        yield CrashLedger.in_memory(n), LedgerHandle(None, n)
        return
    with buffer:
        yield CrashLedger(buffer.map(writeable=True), n), LedgerHandle(buffer.handle, n)
