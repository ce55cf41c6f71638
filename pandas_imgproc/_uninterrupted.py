"""Steps that Ctrl-C must not cut in half: each runs in a thread of its own, where no signal arrives.

Python raises KeyboardInterrupt in the main thread, at any line: a package whose import ends half-way stays broken until
Python ends, and a cluster whose start does leaves processes. So the main thread only waits. Ctrl-C ends the wait at
once, with the user's own signal handlers as they are; the step itself continues, and the next caller finds its result.
"""

from __future__ import annotations

import _imp
import _thread
import atexit
import contextlib
import functools
import importlib
import math
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

T = TypeVar("T")

EXIT_TIMEOUT = 30.0
"""Seconds for which the end of Python waits for a step that still runs."""

_WAIT_INTERVAL = 0.5
"""Seconds of one turn of a wait."""

_running: set[Step[Any]] = set()


class Step(Generic[T]):
    """Future of a function that runs in a thread of its own, from the first call of `result` on.

    Parameters
    ----------
    func : callable
    *args
        Positional arguments of the function.

    Examples
    --------
    >>> Step(pow, 2, 3).result()
    8
    """

    def __init__(self, func: Callable[..., T], *args: Any) -> None:
        self._work: Callable[[], T] | None = functools.partial(func, *args)
        self.is_begun = False
        self._finished = threading.Event()
        self._value: T | None = None
        self._error: BaseException | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the function has returned or raised."""
        return self._finished.is_set()

    @property
    def has_failed(self) -> bool:
        """Whether the function has raised."""
        return self._error is not None

    def begin(self) -> None:
        """Start the function, unless it has been."""
        if not self.is_begun:
            release_import_lock()
            # Ctrl-C comes before or after these two statements, not in between. `Thread.start` here could be cut in
            # half, and then the thread may run or not.
            self.is_begun = True
            try:
                _thread.start_new_thread(self._start, ())
            except RuntimeError:  # no thread can be started: too many, or Python ends
                self._run()

    def result(self, timeout: float | None = None) -> T:
        """Wait for the function, and return its value or raise its exception; TimeoutError after `timeout` seconds."""
        self.begin()
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        # In turns: a signal that arrives just before a thread begins to wait is handled when the wait ends.
        while not self._finished.wait(max(0.0, min(_WAIT_INTERVAL, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def _start(self) -> None:
        _running.add(self)
        try:
            threading.Thread(target=self._run, name="pandas_imgproc step", daemon=True).start()
        except RuntimeError:
            self._run()

    def _run(self) -> None:
        try:
            self._value = self._work() if self._work else None
        except BaseException as exc:
            self._end(exc)
        else:
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        self._error = error
        self._work = None  # with all that the function holds
        _running.discard(self)
        self._finished.set()


def release_import_lock() -> None:
    """Release Python's import lock if this thread holds it; code outside of the import system never does.

    Ctrl-C between the search for a module and the release leaves it locked, and the next import of any other thread
    would block without end.
    """
    with contextlib.suppress(RuntimeError):  # another thread holds it, or none
        while True:
            _imp.release_lock()


def run_uninterrupted(func: Callable[..., T], *args: Any) -> T:
    """Return the result of a function that Ctrl-C does not cut in half.

    Examples
    --------
    >>> run_uninterrupted(sorted, "ba")
    ['a', 'b']
    """
    if threading.current_thread() is not threading.main_thread():
        return func(*args)  # no signal arrives here
    return Step(func, *args).result()


def import_atomically(name: str) -> ModuleType:
    """Import a module, which may be large, so that Ctrl-C does not leave it half imported.

    A package that was left so by the user's own import is imported anew.

    Examples
    --------
    >>> import_atomically("json.decoder").JSONDecoder().decode("[1]")
    [1]
    """
    module = sys.modules.get(name)
    if module is not None and not getattr(module.__spec__, "_initializing", False):
        return module
    return run_uninterrupted(_import, name)


def _import(name: str) -> ModuleType:
    package = name.partition(".")[0]
    if package not in sys.modules:
        # Submodules without their package: its import was cut in half, and they would not be its attributes.
        for submodule in [module for module in sys.modules if module.startswith(f"{package}.")]:
            del sys.modules[submodule]
    return importlib.import_module(name)


@atexit.register
def _wait_at_exit() -> None:
    """Wait for the steps that still run: the end of Python would cut them in half."""
    with contextlib.suppress(KeyboardInterrupt):
        for step in list(_running):
            step._finished.wait(EXIT_TIMEOUT)


def _clear_in_child() -> None:
    _running.clear()  # their threads are the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_clear_in_child)
