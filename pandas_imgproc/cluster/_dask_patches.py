"""Patches of Dask for the managed cluster: subclasses with the upstream issue or the behavior that each works around.

Issues are those of github.com/dask/distributed. Import this module late: distributed costs 0.4 seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import shutil
import signal
import tempfile
import threading
import warnings
import weakref
from multiprocessing import resource_tracker, spawn, util
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import SemLock
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import dask
from distributed import Client, LocalCluster, Nanny, Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.nanny import WorkerProcess

from pandas_imgproc.cluster import preload, worker_rpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ALLOWED_FAILURES = 3
"""Worker deaths after which Dask gives up one of its own tasks: Dask's default."""

ALLOWED_FAILURES_OF_JOBS = 10
"""The same while a job runs: deaths of which its crash ledger knows the row are not among them."""

SPAWN_SETTINGS = {"distributed.worker.multiprocessing-method": "spawn", "distributed.worker.daemon": True}
"""Settings that Dask reads at each start of a worker, hence also long after the cluster's."""

_RESTART_BACKOFF = (0.1, 0.5, 1.0, 2.0, 5.0)  # seconds; the last one repeats
_NEVER = "365 days"  # Dask refuses an infinite delay

_spawn_lock = threading.Lock()


class PatchedLocalCluster(LocalCluster):  # type: ignore[misc]
    """Local cluster that never gives up a restarting worker, and that forked children do not close.

    Dask forgets a worker that is not back 15 seconds after its loss, and then hangs (discussed in #3088). At exit Dask
    closes all clusters in `_instances` (#2730), which hangs in a forked child; hence a separate registry.
    """

    _instances: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()

    async def _start(self) -> None:
        self.scheduler_spec["cls"] = _PatchedScheduler  # the constructor has no parameter for it
        await super()._start()

    def _update_worker_status(self, op: str, msg: Any) -> None:
        with dask.config.set({"distributed.deploy.lost-worker-timeout": _NEVER}):
            super()._update_worker_status(op, msg)


class PatchedClient(Client):  # type: ignore[misc]
    """Client whose computations shuffle by plain tasks.

    The peer-to-peer shuffle always writes to the workers' scratch directories (#7572), which would outlive a kill.
    """

    @contextlib.contextmanager
    def as_current(self) -> Iterator[None]:
        with super().as_current(), dask.config.set({"dataframe.shuffle.method": "tasks"}):
            yield

    def compute(self, *args: Any, **kwargs: Any) -> Any:
        with self.as_current():
            return super().compute(*args, **kwargs)

    def persist(self, *args: Any, **kwargs: Any) -> Any:
        with self.as_current():
            return super().persist(*args, **kwargs)


class PatchedNanny(Nanny):  # type: ignore[misc]
    """Nanny without a scratch directory (#1540), whose worker process is a `_PatchedWorkerProcess`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        preload.remove_scratch_dir(self)

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
        self._process = process

    def _is_active(self) -> bool:
        return self.status.name in ("init", "starting", "running")


class _PatchedWorkerProcess(WorkerProcess):  # type: ignore[misc]
    """Handle of a worker's process over all restarts, which are retried until one succeeds.

    Dask restarts a worker once, and gives up if that fails (#6426). A worker that died before its first report was
    read shares this object with its successor, which would take the other's report for its own (#1865); hence a lock.
    """

    environment: Mapping[str, str]
    start_lock: asyncio.Lock
    should_restart: Callable[[], bool]
    _init_msg_interval = 0.01  # seconds between two polls for the worker's first report

    @property
    def process(self) -> Any:
        return self._process

    @process.setter
    def process(self, process: Any) -> None:
        if process is not None:
            process._process.__class__ = _PatchedProcess
            process._process.environment = self.environment
        self._process = process

    async def start(self) -> Any:
        async with self.start_lock:
            pauses = itertools.chain(_RESTART_BACKOFF, itertools.repeat(_RESTART_BACKOFF[-1]))
            while True:
                try:
                    return await self._start_once()
                except (OSError, RuntimeError, ValueError):
                    # Its name may still be taken, or the machine be busy. A worker that has never run is an error.
                    if self.worker_address is None or not self.should_restart():
                        raise
                await self.kill()
                await asyncio.sleep(next(pauses))

    async def _start_once(self) -> Any:
        self.worker_kwargs["local_directory"] = scratch = scratch_path()
        # Two starts overlap: to set a value that is set already would restore the first one's value last.
        is_set = all(dask.config.get(key) == value for key, value in SPAWN_SETTINGS.items())
        try:
            with contextlib.nullcontext() if is_set else dask.config.set(SPAWN_SETTINGS):
                status = await super().start()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)  # a worker that died while starting has not removed it
        if status.name == "running":
            _unlink_semaphores(self.init_result_q, self.child_stop_q)
        return status

    def mark_stopped(self) -> None:
        ended = self.process if self.status.name != "stopped" else None
        pid, code = (ended.pid, ended.exitcode) if ended else (0, 0)
        super().mark_stopped()
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


class _PatchedScheduler(Scheduler):  # type: ignore[misc]
    """Scheduler without a scratch directory (#1540), which serves `worker_rpc` and counts deaths by their cause.

    Dask counts a worker's death against all tasks that were assigned to it, not only the running one (#5234).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        preload.remove_scratch_dir(self)
        self.handlers.update(worker_rpc.handlers)
        self.add_plugin(_TaskEventPlugin(), name="pandas_imgproc")

    async def remove_worker(self, address: str, *args: Any, **kwargs: Any) -> Any:
        worker = self.workers.get(address)
        self.allowed_failures = ALLOWED_FAILURES
        if worker is not None and worker.nbytes > worker.memory_limit / 2 > 0:
            self.allowed_failures = 0  # it died of the results in its memory: so would all that run its tasks next
        elif worker is not None and worker_rpc.death_observers:
            self.allowed_failures = ALLOWED_FAILURES_OF_JOBS
            is_explained = [observer.explains_death(worker.pid) for observer in list(worker_rpc.death_observers)]
            for task in worker.processing if any(is_explained) else ():
                task.suspicious -= 1  # a crash ledger counts this death
        return await super().remove_worker(address, *args, **kwargs)

    def start_http_server(self, *args: Any, **kwargs: Any) -> None:
        # The port was taken after the check: Dask takes another, and the link of the dashboard has its number.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Port 8787 is already in use")
            super().start_http_server(*args, **kwargs)


class _TaskEventPlugin(SchedulerPlugin):  # type: ignore[misc]
    """Scheduler plugin that passes transitions of tasks on to the callbacks of `worker_rpc`."""

    _event_handlers: ClassVar[dict[str, list[Callable[[str], None]]]] = {
        "memory": worker_rpc.on_task_done,
        "erred": worker_rpc.on_task_released,
        "forgotten": worker_rpc.on_task_released,
    }

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        for notify in self._event_handlers.get(finish, ()):
            notify(str(key))

    async def close(self) -> None:
        for notify in worker_rpc.on_closed:
            notify()


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


def _unlink_semaphores(*queues: Any) -> None:
    """Remove the names of queues' semaphores, which the worker has opened.

    Each would stay in shared memory when the whole process group is killed; when only the caller is, Python's
    resource tracker would print a warning (#1049).
    """
    names = {lock._semlock.name for queue in queues for lock in (queue._rlock, queue._wlock, queue._sem)}
    for finalizer in list(util._finalizer_registry.values()):  # type: ignore[attr-defined]
        is_cleanup = finalizer._callback is SemLock._cleanup  # type: ignore[attr-defined]
        if is_cleanup and finalizer._args[0] in names:
            finalizer()
