"""Isolation gate: a suspect row runs while no other row of its process does."""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas_imgproc.execution.crash_ledger import CrashLedger

GRACE_SECONDS = 0.25
"""Seconds before and after a group of suspect rows; also before poisoning a row."""

POLL_SECONDS = 0.005
"""Seconds between two checks of the isolation gate."""


class IsolationGate:
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
        self.is_quiet = True  # whether no row has run since the last grace period
        self._lock = threading.Lock()

    def is_exclusive(self) -> bool:
        """Return whether a suspect row waits or runs."""
        return self.holder is not None and self.holder() is not None

    def acquire_exclusive(self, suspect: CrashLedger) -> None:
        """Close the gate to other ledgers, and wait until they have left their rows."""
        while not self._try_acquire(suspect):
            time.sleep(POLL_SECONDS)
        while any(ledger.in_row for ledger in list(self.ledgers) if ledger is not suspect):
            time.sleep(POLL_SECONDS)
        if not self.is_quiet:
            self.wait_grace_period()

    def release(self, suspect: CrashLedger) -> None:
        """Open the gate, if this ledger has closed it."""
        if self.holder is not None and self.holder() is suspect:
            self.holder = None

    def wait_grace_period(self) -> None:
        """Wait for the deaths of which the rows before are the cause."""
        time.sleep(GRACE_SECONDS)
        self.is_quiet = True

    def _try_acquire(self, suspect: CrashLedger) -> bool:
        with self._lock:
            if not self.is_exclusive():
                self.holder = weakref.ref(suspect)
                return True
        return False


GATE = IsolationGate()
