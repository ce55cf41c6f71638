"""Crash ledger: rows in flight and their numbers of crashes, in memory that survives the worker.

Byte layout, in memory that the caller and all workers of its machine map:

======  ===================  ======  ===============================================================
dtype   field                length  meaning
======  ===================  ======  ===============================================================
int32   ``_pids``            n       process of a partition, at the partition's first row
int32   ``_crashed_pids``    n       last process that died while the row was in flight
int32   ``_first_rows``      n       first row of the latest partition of a row
uint8   ``_discounted``      n       crashes of the row that do not count
uint8   ``_deaths``          n       attempts of a partition that died with no row in flight, at its first row
uint8   ``_flags``           n       bit 0 in flight, 1 suspect, 2 to 6 number of crashes, 7 timed out
uint8   ``_survived``        n       1 once the row has ended and its process had not, or if it is not part of the job
uint8   ``_building``        n       1 while a process receives and builds the function, at a partition's first row
uint8   ``_together``        n       bit 0 in flight together with others, in one call; 1 to 7 number of deaths of these
uint8   ``_build_deaths``    1       deaths of processes that built the function
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

Rows in one call of a function, a batch, are suspect together when their process dies. At first they are one group: the
process may have died of any cause, and the result of a batch may depend on its rows. If it dies again they are several.

States of a partition whose process dies with no row in flight: between rows, before the first one, or before its result
has arrived. The row that ended it, if any, is found by division::

    running ── SUSPECT_DEATHS deaths ──> all rows suspect ── MAX_DEATHS deaths ──> DeadlyPartitionError
                                           │ groups of rows are in flight together, one group after the other
                                           v
                                     a group dies: its rows are suspect, in smaller groups ──> a row dies alone: crashed

A process that dies while it receives or builds the function of the job, before its first row, blames no row:
`MAX_BUILD_DEATHS` of them end the job (DeadlyBuildError).

The group of a suspect row runs exclusively in its process (see `IsolationGate`), starts when the rows before have been
over for a grace period, and stays in flight for one after its end: a process may die some time after the row that was
the cause. Rows that have crashed are groups of one, and so are the two rows before.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc.execution.deadly import DeadlyBuildError, DeadlyPartitionError, DeadlyRowsError
from pandas_imgproc.execution.isolation_gate import GATE, GRACE_SECONDS, POLL_SECONDS
from pandas_imgproc.partition import as_position_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_imgproc.errors import FailureKind
    from pandas_imgproc.partition import Mask

Flags = np.ndarray[Any, np.dtype[np.uint8]]
Positions = np.ndarray[Any, np.dtype[np.int64]]

MAX_CRASHES = 2
"""Crashes after which a row is skipped. A limit of one would blame every row in flight at any crash."""

MAX_DISCOUNTED_KILLS = 2
"""Crashes of a row that are not counted: a row may also be killed because it needs all memory."""

SUSPECT_DEATHS = 2
"""Deaths of a partition with no row in flight after which all of its rows are suspect; the first may have any cause."""

MAX_DEATHS = 4
"""The same after which the partition is not attempted any more."""

MAX_BUILD_DEATHS = 3
"""Deaths of processes that built the function of a job after which the job ends; one or two may have any cause."""

MAX_POISONED = 20
"""Rows poisoned by crashes after which a job ends, if fewer rows have survived: its function ends every process."""

MAX_GROUPS = 8
"""Groups into which a run of suspect rows is divided: each costs a grace period."""

LOOKBACK_ROWS = 2
"""Rows before a crashed one that are groups of one: the death may have been noticed late."""

WORKER_DIED: tuple[FailureKind, str] = (
    "worker_died",
    "the processes that worked on it died, each time: by an exit, a crash, or too little memory (memory-limit)",
)
DIED_OUTSIDE: tuple[FailureKind, str] = (
    "worker_died",
    "the processes that received it died before its row began, or before its result had arrived, each time",
)
TIMED_OUT: tuple[FailureKind, str] = ("timeout", "it took longer than pandas-imgproc.row-timeout allows")

# Flags of a row. Plain integers and no IntFlag, which NumPy would promote to int64, and which costs more per row.
_IN_FLIGHT = 1
_SUSPECT = 2
_CRASH_UNIT = 4
_MAX_COUNT = 31
_TIMED_OUT = 0x80
_TOGETHER_UNIT, _MAX_TOGETHER = 2, 250


class CrashLedger:
    """Crash ledger of one job: per-row in-flight flags and crash counts, in memory shared by caller and workers.

    `data` is an array of uint8 of shape ``(ledger_nbytes(n),)``, for n rows, with the layout above.
    """

    __slots__ = (
        "__weakref__", "_build_deaths", "_building", "_cancelled", "_crashed_pids", "_deaths", "_discounted", "_first",
        "_first_rows", "_flags", "_group", "_groups", "_pids", "_survived", "_together", "in_row", "poisoned",
    )  # fmt: skip

    def __init__(self, data: Flags, n: int) -> None:
        self.poisoned: dict[int, tuple[FailureKind, str]] = {}
        self._groups: dict[int, int] = {}  # last row of its group by suspect row
        self._group: list[int] = []  # rows in flight of the current group
        self.in_row, self._first = False, 0
        self._pids, self._crashed_pids, self._first_rows = data[: 12 * n].view(np.int32).reshape(3, n)
        self._discounted, self._deaths, self._flags, self._survived, self._building, self._together = (
            data[k * n : (k + 1) * n] for k in range(12, 18)
        )
        self._build_deaths, self._cancelled = data[18 * n : 18 * n + 1], data[18 * n + 1 :]

    @classmethod
    def in_memory(cls, n: int) -> CrashLedger:
        """Return a ledger of n rows in memory of this process."""
        return cls(np.zeros(ledger_nbytes(n), dtype=np.uint8), n)

    def start_attempt(self, positions: Sequence[int]) -> None:
        """Start an attempt at a partition: count the death of the last one, and set `poisoned`.

        Raises
        ------
        DeadlyPartitionError
            If the attempts of the partition have died too often with no row in flight.
        DeadlyRowsError
            If more rows of the job are poisoned by crashes than have survived, and at least `MAX_POISONED`.
        """
        self.release()
        rows = as_position_array(positions)
        if not len(rows):
            return
        self._first = int(rows[0])
        self._count_death(rows)
        self._pids[rows[0]] = os.getpid()
        self._first_rows[rows] = rows[0]
        if self._deaths[rows[0]] >= MAX_DEATHS:
            raise DeadlyPartitionError(MAX_DEATHS, len(rows))
        GATE.ledgers.add(self)
        crashed = rows[self._flags[rows] >= _CRASH_UNIT].tolist()
        poisoned = [row for row in crashed if self._effective_crashes(row) >= MAX_CRASHES]
        if poisoned:
            self._check_survivors()
        self.poisoned = {row: TIMED_OUT if self._flags[row] & _TIMED_OUT else WORKER_DIED for row in poisoned}
        self._groups = self._group_suspects(rows)

    def enter_build(self, names: str) -> None:
        """Mark this attempt as one that receives and builds the functions of the job, with these names.

        Raises
        ------
        DeadlyBuildError
            If that has ended too many processes.
        """
        if self._build_deaths[0] >= MAX_BUILD_DEATHS:
            raise DeadlyBuildError(int(self._build_deaths[0]), names)
        self._building[self._first] = 1

    def exit_build(self) -> None:
        """Mark the functions of this attempt as built."""
        self._building[self._first] = 0

    def _count_death(self, rows: Positions) -> None:
        together = rows[(self._together[rows] & _IN_FLIGHT).astype(bool)]
        self._together[rows] &= 0xFF - _IN_FLIGHT
        if self._building[rows[0]]:
            self._building[rows[0]] = 0
            self._build_deaths[0] = min(int(self._build_deaths[0]) + 1, MAX_BUILD_DEATHS)
            return
        exposed = rows[(self._flags[rows] & _IN_FLIGHT).astype(bool)]
        self._flags[exposed] &= 0xFF - _IN_FLIGHT
        if len(exposed) == 1:
            self._count_crash(exposed, int(self._pids[rows[0]]))
        elif len(exposed) and not (self._flags[exposed] & _TIMED_OUT).any():
            self._flags[rows] &= 0xFF - _SUSPECT
            self._flags[exposed] |= _SUSPECT
            self._together[together] = np.minimum(self._together[together], _MAX_TOGETHER) + _TOGETHER_UNIT
        elif not len(exposed) and self._pids[rows[0]]:
            self._deaths[rows[0]] = min(int(self._deaths[rows[0]]) + 1, MAX_DEATHS)
        if not len(exposed) and self._deaths[rows[0]] >= SUSPECT_DEATHS:
            self._flags[rows] |= _SUSPECT

    def _check_survivors(self) -> None:
        is_crashed = self._flags // _CRASH_UNIT >= MAX_CRASHES + self._discounted
        n_poisoned = int((is_crashed & (self._flags < _TIMED_OUT)).sum())
        n_survived = int(self._survived.sum(dtype=np.int64))
        if n_poisoned >= MAX_POISONED and n_poisoned > n_survived:
            raise DeadlyRowsError(n_poisoned, n_survived)

    def _count_crash(self, row: Positions, pid: int) -> None:
        self._crashed_pids[row] = pid
        self._flags[row] = _increment_crashes(self._flags[row])
        if self._effective_crashes(int(row[0])) == MAX_CRASHES:
            time.sleep(GRACE_SECONDS)  # the caller may be about to report an external kill

    def _group_suspects(self, rows: Positions) -> dict[int, int]:
        """Return the last row of the group of each suspect row; groups are runs of neighbors."""
        if not self._flags[rows].any():  # nearly always
            return {}
        is_poisoned = np.isin(rows, list(self.poisoned))
        crashed = np.flatnonzero((self._flags[rows] >= _CRASH_UNIT) & ~is_poisoned)
        is_alone = np.zeros(len(rows), dtype=bool)
        is_alone[np.unique(np.maximum(crashed[:, None] - np.arange(LOOKBACK_ROWS + 1), 0))] = True
        is_grouped = (self._flags[rows] & _SUSPECT).astype(bool) & ~is_alone & ~is_poisoned
        suspects = np.flatnonzero(is_grouped)
        runs = np.split(suspects, np.flatnonzero(np.diff(suspects) > 1) + 1)
        groups = [group for run in runs for group in np.array_split(run, self._n_groups(rows[run]))]
        groups += np.split(np.flatnonzero(is_alone), int(is_alone.sum())) if is_alone.any() else []
        return {row: int(rows[group[-1]]) for group in groups for row in rows[group].tolist()}

    def _n_groups(self, rows: Positions) -> int:
        """Return the number of groups of a run of suspects: at the first death of rows in one call it is repeated."""
        is_first = len(rows) > 0 and (self._together[rows] // _TOGETHER_UNIT == 1).all()
        return 1 if is_first else MAX_GROUPS

    def _effective_crashes(self, row: int) -> int:
        """Return the crashes that count; a timeout, the bit above the count, is 32 of them."""
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

    def call_group(self, position: int) -> int | None:
        """Return the group of a row that may be in one call with others, None with any of its batch."""
        is_divided = self._groups and self._together[position] >= 2 * _TOGETHER_UNIT
        return self._groups.get(position) if is_divided else None

    def enter_rows(self, positions: Sequence[int]) -> None:
        """Mark rows as in flight, together if there are several."""
        if len(positions) == 1:
            self.enter_row(positions[0])
            return
        rows = as_position_array(positions)
        # Rows of several groups were loaded group by group, since a process had died while it loaded one of them.
        self.enter_row(positions[0])
        for position in positions[1:] if self._is_one_group(positions) else ():
            self.enter_row(position)
        self._flags[rows] |= _IN_FLIGHT
        self._together[rows] |= _IN_FLIGHT
        self._survived[rows] = 0  # they were loaded, and have survived that

    def exit_rows(self, positions: Sequence[int]) -> None:
        """Mark rows as survived."""
        if len(positions) == 1:
            self.exit_row(positions[0])
            return
        rows = as_position_array(positions)
        self._together[rows] &= 0xFF - _IN_FLIGHT
        for position in positions if self._is_one_group(positions) else ():
            self.exit_row(position)
        if not self._is_one_group(positions):
            self.exit_partition()
            self._flags[rows] &= 0xFF - _IN_FLIGHT
            self._survived[rows] = 1
            self.in_row = False

    def _is_one_group(self, positions: Sequence[int]) -> bool:
        return not self._groups or len({self._groups.get(position) for position in positions}) == 1

    def enter_row(self, position: int) -> None:
        """Mark a row as in flight; a suspect one when no other row of this process is but those of its group."""
        group = self._groups.get(position) if self._groups else None
        if self._group and group != self._groups[self._group[0]]:
            self._end_group()
        if group is None:
            self.in_row = True
            while GATE.holder is not None and GATE.is_exclusive():
                self.in_row = False
                time.sleep(POLL_SECONDS)
                self.in_row = True
            GATE.is_quiet = False
        else:
            if not self._group:
                GATE.acquire_exclusive(self)
            self._group.append(position)
        self._flags[position] |= _IN_FLIGHT

    def exit_row(self, position: int) -> None:
        """Mark a row as survived; one of a group at the end of the group."""
        if not self._group:
            self._flags[position] &= 0xFF - _IN_FLIGHT
            self._survived[position] = 1
            self.in_row = False
        elif self._groups[position] == position:
            self._end_group()

    def exit_partition(self) -> None:
        """Mark the rows of a group as survived whose last row has no input."""
        if self._group:
            self._end_group()

    def _end_group(self) -> None:
        """Mark the rows of the current group as survived, after the grace period."""
        GATE.wait_grace_period()
        self._flags[self._group] &= 0xFF - _IN_FLIGHT - _SUSPECT
        self._survived[self._group] = 1
        self.release()

    def release(self) -> None:
        """Leave the row, and open the gate to the other threads of this process."""
        self.in_row, self._group = False, []
        GATE.release(self)

    def set_pending(self, pending: Mask) -> None:
        """Mark all rows but these as survived: they are finished already."""
        self._survived[:] = ~pending

    def reset_attempts(self, positions: Any = slice(None)) -> None:
        """Reset the attempts of partitions that start at these rows, not the crashes of rows."""
        self._pids[positions] = self._deaths[positions] = 0

    def explains_death(self, pid: int) -> bool:
        """Return whether a process has a row in flight, also a dead one whose row no attempt has counted yet."""
        return any(owner == pid for _, owner in self.in_flight())

    def on_worker_exit(self, pid: int, exitcode: int) -> None:
        """Discount a kill from outside: by the system or a user."""
        if exitcode == -signal.SIGKILL:
            self.discount_kill(pid)

    def in_flight(self) -> list[tuple[int, int]]:
        """Return the row that each process works on, with the pid of the process; of a group it is the last one."""
        rows = np.flatnonzero(self._flags & _IN_FLIGHT)
        if not len(rows):
            return []
        # By the first row of their partition: rows of several may lie between each other.
        last = dict(zip(self._first_rows[rows].tolist(), rows.tolist(), strict=True))
        return [(row, int(self._pids[first])) for first, row in last.items()]

    def mark_timed_out(self, position: int) -> None:
        """Mark a row as poisoned by a timeout; rows in one call are none, and are found by division."""
        if not self._together[position] & _IN_FLIGHT:
            self._flags[position] |= _TIMED_OUT

    def cancel(self) -> None:
        """Stop every partition of the job after its current row."""
        self._cancelled[0] = 1

    @property
    def cancelled(self) -> bool:
        """Whether the caller has cancelled the job."""
        return bool(self._cancelled[0])


def _increment_crashes(flags: Flags) -> Flags:
    """Return the flags of rows with one crash more, which are alone henceforth and no longer in a group."""
    count: Flags = np.minimum(flags % _TIMED_OUT // _CRASH_UNIT + 1, _MAX_COUNT)
    return count * _CRASH_UNIT + (flags & _TIMED_OUT)


def ledger_nbytes(n: int) -> int:
    """Return the size of a ledger of n rows, in bytes."""
    return 18 * n + 2
