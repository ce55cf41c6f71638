"""Budgets of the bytes that the reads and the uploads of a process hold in memory."""

from __future__ import annotations

import asyncio
import os
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_STEP_NBYTES = 2**20  # that a read takes at once, if they are free: not for each chunk


class ByteBudget:
    """Budget of bytes; its methods are for fsspec's event loop, so that it needs no lock."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = self.free = nbytes
        self._changed = asyncio.Event()

    async def acquire(self, nbytes: int, at_once: Callable[[], bool] = lambda: False) -> None:
        """Take bytes when so many are free, or at once if `at_once` is true; see `notify`."""
        while self.free < nbytes and not at_once():
            await self._changed.wait()
        self.free -= nbytes

    def release(self, nbytes: int) -> None:
        """Give bytes back."""
        self.free += nbytes
        self.notify()

    def notify(self) -> None:
        """Let those that wait look again."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


_budgets: dict[tuple[int, str, int], ByteBudget] = {}


def process_budget(purpose: str, nbytes: int) -> ByteBudget:
    """Return the budget of this process for a purpose; a forked child has its own."""
    return _budgets.setdefault((os.getpid(), purpose, nbytes), ByteBudget(nbytes))


class OverBudgetError(Exception):
    """Error of an attempt whose next bytes are not free: it gives up its connection, and begins anew when they are.

    With its connection it would delay others, also the read that it waits for, and the server would close an idle one.
    """

    def __init__(self, nbytes: int) -> None:
        super().__init__(nbytes)
        self.nbytes = nbytes  # of the read in all: those announced, or those that have arrived


class Reservation:
    """Bytes that one read may hold: a first number, and more from the budget.

    As a context manager it is an attempt at the read, which gives back the bytes of the budget if it fails.

    Parameters
    ----------
    budget : ByteBudget
    first : int
        Bytes without the budget.
    is_next : bool
        Whether the row of the file is the next one of its partition: then it need not wait, or none would go on.
        Another thread may set it later; if `is_waiting` is true after that, it notifies the budget.
    """

    __slots__ = ("_first", "_taken", "budget", "is_next", "is_waiting", "nbytes")

    def __init__(self, budget: ByteBudget, first: int, *, is_next: bool = False) -> None:
        self.budget, self.is_next, self.is_waiting = budget, is_next, False
        self._first, self._taken, self.nbytes = first, 0, first

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        if exc_type is not None:
            self.release()

    @property
    def is_beyond_first(self) -> bool:
        """Whether there are bytes to give back."""
        return self._taken > 0

    def reserve(self, nbytes: int) -> None:
        """Take the missing ones of so many bytes in all, or raise an OverBudgetError."""
        missing = nbytes - self.nbytes
        if missing <= 0:  # nearly always
            return
        if missing > self.budget.free and not self.is_next:
            raise OverBudgetError(nbytes)
        missing = max(missing, min(_STEP_NBYTES, self.budget.free))
        self.budget.free -= missing
        self._add(missing)

    async def wait(self, nbytes: int) -> None:
        """Wait for so many bytes in all, or until the row is the next one."""
        missing = max(0, nbytes - self.nbytes)
        self.is_waiting = True  # before the look at `is_next`, which is set before the look at this one
        await self.budget.acquire(missing, lambda: self.is_next)
        self.is_waiting = False
        self._add(missing)

    def _add(self, nbytes: int) -> None:
        self._taken += nbytes
        self.nbytes += nbytes

    def settle(self, nbytes: int) -> None:
        """Set the bytes of a read that has ended, and give back the others."""
        taken, self._taken = self._taken, max(0, nbytes - self._first)
        self.nbytes = nbytes
        if taken != self._taken:
            self.budget.release(taken - self._taken)

    def release(self) -> None:
        """Give back all that was taken."""
        self.settle(self._first)


UNLIMITED = Reservation(ByteBudget(0), sys.maxsize)
"""Of a read that its caller awaits, without others before it."""

reservation: ContextVar[Reservation] = ContextVar("reservation", default=UNLIMITED)
"""Reservation of the file that this task reads. The index of an archive is read in a thread, and so without it."""


async def reserve_memory(nbytes: int) -> None:
    """Wait until the file that this task reads may have so many bytes in all, of which it holds some already."""
    memory = reservation.get()
    if nbytes > memory.nbytes:
        await memory.wait(nbytes)
