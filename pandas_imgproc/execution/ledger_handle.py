"""Shared memory of a crash ledger, and its handle for workers."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pandas_imgproc._shared_memory import MemfdHandle, SharedBuffer, mmap_array
from pandas_imgproc.execution.crash_ledger import CrashLedger, ledger_nbytes
from pandas_imgproc.kernel import NullLedger

if TYPE_CHECKING:
    from collections.abc import Iterator


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
