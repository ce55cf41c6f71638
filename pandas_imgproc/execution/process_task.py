"""Task of a call in one process: a user's class is built there once, and a plain function is copied for each thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandas_imgproc.kernel import RowLedger
    from pandas_imgproc.tasks import Task


class ProcessTask:
    """Task of a call in one process.

    ::

        task of functions ── for_thread ──> a copy of each thread
        task of a class   ── for_thread ──> built by the first thread; the others wait, and share it

    Parameters
    ----------
    load : callable
        Function that returns the task, a new copy if it can.
    """

    def __init__(self, load: Callable[[], Task]) -> None:
        self._load, self._lock = load, threading.Lock()
        self._built: Task | None = None
        self._copies: dict[int, Task] = {}  # by thread

    def for_thread(self) -> Task:
        """Return the task for this thread.

        Raises
        ------
        UserFunctionError
            If the user's class cannot be built.
        """
        thread = threading.get_ident()
        task = self._built or self._copies.get(thread)
        if task is None:
            with self._lock:
                task = self._built or self._new(thread)
        return task

    def build(self, ledger: RowLedger, names: str) -> Task:
        """Return the task for this thread; the ledger counts the deaths of processes that unpickle or build it."""
        ledger.enter_build(names)
        try:
            return self.for_thread()
        finally:
            ledger.exit_build()

    def _new(self, thread: int) -> Task:
        task = self._load()
        if task.has_class:
            self._built = task.build()
            return self._built
        self._copies[thread] = task.clone_for_thread()
        return self._copies[thread]
