"""Patches of Dask's nanny: worker processes that start without the caller's script, and are restarted until they run.

Issues are those of github.com/dask/distributed. Import this module late: distributed costs 0.4 seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import multiprocessing.process
import os
import secrets
import shutil
import signal
import tempfile
import threading
from multiprocessing import resource_tracker, spawn, util
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import SemLock
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
from distributed import Nanny
from distributed.core import Status
from distributed.nanny import WorkerProcess
from tornado.ioloop import PeriodicCallback

from pandas_imgproc._sigint import sigint_handler
from pandas_imgproc._text import describe_exit
from pandas_imgproc.cluster import preload, worker_rpc
from pandas_imgproc.cluster.stopped import LookTimer, is_stopped
from pandas_imgproc.config import setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SPAWN_SETTINGS = {"distributed.worker.multiprocessing-method": "spawn", "distributed.worker.daemon": True}
"""Settings that Dask reads at each start of a worker, hence also long after the cluster's."""

_RESTART_BACKOFF = (0.1, 0.5, 1.0, 2.0, 5.0)  # seconds; the last one repeats

_START_TIMEOUT = 300  # seconds after which a worker that has not reported is started again

_MAX_KILLED_STARTS, _MAX_FAILED_STARTS = 10, 3
"""Starts of a worker that has never run: killed by another process, or ended on its own account."""

_LOOK_INTERVAL = 1.0  # seconds between two looks whether a worker is stopped or disconnected

_MAX_DISCONNECTED = 3.0  # seconds for which a worker's process may outlive its connection to the scheduler

_spawn_lock = threading.Lock()


class PatchedNanny(Nanny):  # type: ignore[misc]
    """Nanny without a scratch directory (#1540), whose worker process is a `_PatchedWorkerProcess`.

    It kills a worker that is stopped (SIGSTOP) for as long as a row may take, also one without a row: the tasks that it
    was given, and the results that it holds, would be waited for without end. And it kills a process whose worker the
    scheduler has removed: it never reports again (a function may have closed its connections).
    """

    _disconnected_pid: int | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"silence_logs": logging.CRITICAL})
        preload.remove_scratch_dir(self)
        self._stop_timer, self._disconnect_timer = LookTimer(_LOOK_INTERVAL), LookTimer(_LOOK_INTERVAL)
        self.periodic_callbacks["unusable"] = PeriodicCallback(self._kill_unusable, _LOOK_INTERVAL * 1000)

    async def start_unsafe(self) -> Any:
        # Dask starts the callbacks after the worker has reported, which one that is stopped before never does.
        self.periodic_callbacks["unusable"].start()
        return await super().start_unsafe()

    def on_worker_removed(self) -> None:
        """Note that the scheduler has removed the worker of the running process, which may be ending."""
        self._disconnected_pid = self.pid

    def _kill_unusable(self) -> None:
        pid, max_stopped = self.pid, setting("row-timeout")
        stopped = self._stop_timer.look([pid] if pid and is_stopped(pid) else []).get(pid, 0.0)
        disconnected = self._disconnect_timer.look([pid] if pid == self._disconnected_pid else []).get(pid, 0.0)
        is_stuck = max_stopped is not None and stopped > max_stopped
        if pid and (is_stuck or (disconnected > _MAX_DISCONNECTED and self._is_active())):
            os.kill(pid, signal.SIGKILL)

    @property
    def process(self) -> Any:
        return self._process

    @process.setter
    def process(self, process: Any) -> None:
        if process is not None:
            # Dask creates and starts the process in one method; this assignment is the only moment in between.
            process.__class__ = _PatchedWorkerProcess
            process.environment, process.pre_spawn_env = process.pre_spawn_env, {}
            process.start_lock, process.should_restart = asyncio.Lock(), self._is_active
            process.n_starts = [0, 0]
        self._process = process

    def _is_active(self) -> bool:
        return self.status.name in ("init", "starting", "running")


def _nameless_queue(attribute: str) -> property:
    """Return a property that holds a queue of Dask `_without_names`."""
    return property(
        lambda self: getattr(self, attribute), lambda self, queue: setattr(self, attribute, _without_names(queue))
    )


class _PatchedWorkerProcess(WorkerProcess):  # type: ignore[misc]
    """Handle of a worker's process over all restarts, which are retried until one succeeds.

    Dask restarts a worker once, and gives up if that fails (#6426). A worker that died before its first report was
    read shares this object with its successor, which would take the other's report for its own (#1865); hence a lock.
    """

    environment: Mapping[str, str]
    start_lock: asyncio.Lock
    should_restart: Callable[[], bool]
    n_starts: list[int]  # starts before the first success that ended on their own account, and that were killed
    last_exitcode: int | None = None
    _process: Any = None  # until its first process is made
    _init_msg_interval = 0.01  # seconds between two polls for the worker's first report
    # Bound to Dask's class: the worker unpickles it, and would import this package and pandas before its first report.
    _run = WorkerProcess._run

    @property
    def process(self) -> Any:
        return self._process

    @process.setter
    def process(self, process: Any) -> None:
        if process is not None:
            process._process.__class__ = _PatchedProcess
            process._process.environment = self.environment
        self._process = process

    init_result_q, child_stop_q = _nameless_queue("_init_result_q"), _nameless_queue("_child_stop_q")

    async def start(self) -> Any:
        async with self.start_lock:
            pauses = itertools.chain(_RESTART_BACKOFF, itertools.repeat(_RESTART_BACKOFF[-1]))
            while True:
                status, error = await self._try_start()
                # After a restart Dask itself handles the end of a process.
                if error is None and (status.name == "running" or self.worker_address is not None):
                    return status
                if self.worker_address is None:
                    self._check_first_start(error)
                if not self.should_restart():
                    raise RuntimeError("the cluster closes") from error
                await asyncio.sleep(next(pauses))

    async def _try_start(self) -> tuple[Any, Exception | None]:
        """Start the process, and return its status and the error of the start, if any."""
        try:
            return await asyncio.wait_for(self._start_once(), _START_TIMEOUT), None
        except (OSError, RuntimeError, ValueError, AttributeError, ImportError, MemoryError) as exc:
            # Its name may still be taken, or the machine be busy.
            await self._end_failed_start()
            return self.status, exc

    async def _end_failed_start(self) -> None:
        """End the process of a failed start, which Dask ends only after some of the errors."""
        if self.process is None or self.process.pid is None:  # there is none
            self.status: Status = Status.stopped
            return
        if self.status.name == "starting":  # nothing was heard from it
            self.status = Status.failed
            await self.process.kill()
        await self.kill()

    def _check_first_start(self, error: Exception | None) -> None:
        """Raise if a worker that has never run is not to be started again."""
        ended = self.last_exitcode if error is None else None
        self.n_starts[ended == -signal.SIGKILL] += 1
        if self.n_starts[True] < _MAX_KILLED_STARTS and self.n_starts[False] < _MAX_FAILED_STARTS:
            return
        if error is not None:
            raise error
        raise RuntimeError(
            f"{sum(self.n_starts)} worker processes ended while they started, the last by {describe_exit(ended)}"
        )

    async def _start_once(self) -> Any:
        self.worker_kwargs["local_directory"] = scratch = scratch_path()
        # Two starts overlap: to set a value that is set already would restore the first one's value last.
        is_set = all(dask.config.get(key) == value for key, value in SPAWN_SETTINGS.items())
        try:
            with contextlib.nullcontext() if is_set else dask.config.set(SPAWN_SETTINGS):
                return await super().start()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)  # a worker that died while starting has not removed it

    def mark_stopped(self) -> None:
        ended = self.process if self.status.name != "stopped" else None
        pid, code = (ended.pid, ended.exitcode) if ended else (0, 0)
        super().mark_stopped()
        if ended:
            self.last_exitcode = code
        if ended and self.should_restart():
            for observer in list(worker_rpc.death_observers):
                observer.on_worker_exit(pid, code)

    async def kill(self, timeout: float = 5, *args: Any, **kwargs: Any) -> None:
        # Rows in flight are not waited for when the cluster closes.
        await super().kill(min(timeout, 1), *args, **kwargs)


class _PatchedProcess(SpawnProcess):
    """Process that does not run the caller's script, ignores Ctrl-C, and changes no environment but its own.

    A plain one runs a script without a ``__main__`` guard again (#4751), ends at Ctrl-C in the caller (#1925), and
    copies its environment into the caller's (#6749), so that a later ``import torch`` has one thread.
    """

    environment: Mapping[str, str]

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802
        # A plain process again, which the worker can unpickle without this package and its pandas.
        process_obj.__class__ = SpawnProcess
        with _spawn_lock, _environment(process_obj.environment), _without_main_module(), _sigint_blocked():
            return SpawnProcess._Popen(process_obj)


def scratch_path() -> str:
    """Return an unpredictable path for a scratch directory, which Dask creates and `preload` removes."""
    parent = dask.config.get("temporary-directory", default=None) or tempfile.gettempdir()
    # Without Dask's own name in it, Dask creates a second directory inside.
    return str(Path(parent) / f"pandas-imgproc-dask-scratch-space-{secrets.token_hex(8)}")


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables.keys() - before.keys():
            os.environ.pop(name, None)
        os.environ.update(before)


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """Prevent processes that this thread starts from running the caller's script."""
    original, thread = spawn.get_preparation_data, threading.get_ident()

    def without_main(name: str) -> dict[str, Any]:
        data = original(name)
        if threading.get_ident() == thread:
            data.pop("init_main_from_name", None)
            data.pop("init_main_from_path", None)
            if data.get("start_method") not in ("fork", "spawn", "forkserver", None):
                data["start_method"] = "spawn"  # inside a worker of joblib: a plain process lacks the method
        return data

    spawn.get_preparation_data = without_main
    try:
        yield
    finally:
        spawn.get_preparation_data = original


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Let processes that this thread starts inherit a blocked SIGINT: they cannot ignore the signal before they run."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _ThreadSemaphore(threading.Semaphore):
    """Semaphore of the threads of one process; a process that it is sent to has one of its own."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self._free = value

    def __reduce__(self) -> tuple[Any, ...]:
        return threading.Semaphore, (self._free,)


def _without_names(queue: Any) -> Any:
    """Return a queue of Dask between two processes, without semaphores that the two share.

    These have names until they are deleted, and would stay in shared memory when the whole process group is killed;
    when only the caller is, Python's resource tracker would print a warning (#1049). One process alone writes to each
    of the queues, and one alone reads, one message at a time: threads are all that there is to exclude.
    """
    if queue is not None:
        queue._rlock, queue._sem = _ThreadSemaphore(1), _ThreadSemaphore(queue._maxsize)
        queue._wlock = queue._wlock and _ThreadSemaphore(1)  # Windows needs none
    return queue


def _unlink_semaphores() -> None:
    """Remove the names of all semaphores of this process, which ends without its finalizers."""
    for finalizer in list(util._finalizer_registry.values()):  # type: ignore[attr-defined]
        if finalizer._callback is SemLock._cleanup:  # type: ignore[attr-defined]
            finalizer()


def _end_at_once() -> None:
    """Kill the workers, also those that start, and unlink the semaphores, of which Python would warn."""
    for child in list(multiprocessing.process._children):  # type: ignore[attr-defined]
        with contextlib.suppress(OSError, TypeError):
            os.kill(child.pid, signal.SIGKILL)
    _unlink_semaphores()


sigint_handler.at_end.append(_end_at_once)
