"""Dask's own `LocalCluster`, made safe to start from anywhere and to leave in any way.

The package decides when there is one; this file knows only how it has to be. Import it late: it imports
distributed, which costs 0.4 seconds.

Each thing here answers something that happens to a plain ``LocalCluster``:

- its workers run the user's script again unless it has a ``__main__`` guard: `_Process`;
- it puts its workers' environment into the caller's, so that a later ``import torch`` has one thread: `_Process`;
- it gives up a worker that needs 15 seconds to come back, and then hangs: `_LocalCluster`;
- it leaves folders and semaphores behind when the caller is killed: `_scratch`, `_WorkerProcess`;
- its dashboard listens on every interface, and any account of the machine can run code on it: `start`;
- the user's Dask configuration overrides all that makes it safe: `SETTINGS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import logging
import multiprocessing.process
import os
import secrets
import shutil
import signal
import socket
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
from distributed.security import Security

from pandas_imgproc.cluster import preload
from pandas_imgproc.cluster.worker_rpc import handlers, on_closed, on_task_done, on_task_released

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# glibc gives a buffer of this size back to the system at each free; this is the highest value it accepts.
_MMAP_THRESHOLD = 32 * 2**20

# As Dask has it.
_DEATHS_OF_A_TASK = 3

SETTINGS: dict[str, Any] = {
    # What Dask's own tasks may cost; calls of ours have another limit, see `_Scheduler.remove_worker`.
    "distributed.scheduler.allowed-failures": _DEATHS_OF_A_TASK,
    # All workers gone for good: an error instead of a hang.
    "distributed.scheduler.no-workers-timeout": "60s",
    # The nanny sees a death at once. A missing heartbeat only means that native code holds the GIL, here or
    # there, or that the laptop slept.
    "distributed.scheduler.worker-ttl": None,
    "distributed.scheduler.idle-timeout": None,
    "distributed.scheduler.contact-address": None,
    "distributed.scheduler.preload": [],
    "distributed.nanny.preload": [],
    "distributed.nanny.pre-spawn-environ": {
        # Each image's buffers would go back to the system and be faulted in again: a tenth of the time.
        "MALLOC_TRIM_THRESHOLD_": 8 * _MMAP_THRESHOLD,
        "MALLOC_MMAP_THRESHOLD_": _MMAP_THRESHOLD,
        # One process per core already.
        "OMP_NUM_THREADS": 1,
        "MKL_NUM_THREADS": 1,
        "OPENBLAS_NUM_THREADS": 1,
        "OPENCV_FOR_THREADS_NUM": 1,
        "NUMBA_NUM_THREADS": 1,
    },
    "distributed.worker.multiprocessing-method": "spawn",
    "distributed.worker.daemon": True,
    "distributed.worker.use-file-locking": False,
    "distributed.worker.blocked-handlers": [],
    "distributed.worker.lifetime.duration": None,
    "distributed.worker.resources": {},
    "distributed.worker.profile.enabled": False,
    # Every server looks fifty times a second whether its loop is late, and twice how the machine is: one percent of
    # each worker, and three of the caller.
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "2s",
    # No spilling: pixels do not stay in workers, and scratch folders outlive a kill. No pausing: without
    # spilling nothing would ever wake a worker up. What is too big is ended, and its row is explained.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
}
"""What must hold whatever stands in the user's configuration and ``DASK_…`` variables."""

# Read at each start of a worker, hence also long after the cluster's.
_SPAWNING = {key: SETTINGS[key] for key in ("distributed.worker.multiprocessing-method", "distributed.worker.daemon")}

# Dask's word for "for ever": the value is a delay, and an infinite one is refused.
_FOR_EVER = "365 days"

# Seconds before a worker that failed to come back is started again.
_PAUSES = (0.1, 0.5, 1.0, 2.0, 5.0)

on_worker_killed: set[Callable[[int], None]] = set()
"""What is told the number of each worker process that somebody has killed; in the thread of the cluster."""

_launching = threading.Lock()


def start(n_workers: int, memory_limit: str | float) -> LocalCluster:
    """Start worker processes of one thread each, and their scheduler in this process.

    Parameters
    ----------
    n_workers : int
        Number of processes.
    memory_limit : str, int or float
        Of each worker, as Dask has it.

    Returns
    -------
    distributed.LocalCluster
        Ready: every worker has reported.
    """
    scratch = _scratch()
    with dask.config.set(SETTINGS):
        try:
            return _LocalCluster(
                name="pandas_imgproc",
                n_workers=n_workers,
                threads_per_worker=1,
                memory_limit=memory_limit,
                host="127.0.0.1",
                security=Security.temporary(),
                dashboard_address=f"127.0.0.1:{_free_port()}",
                worker_class=_Nanny,
                silence_logs=logging.CRITICAL,  # a worker that dies is said by the row's failure
                preload=[preload.__file__],
                preload_argv=[],
                local_directory=scratch,
                scheduler_kwargs={"local_directory": scratch},
                # A copy, because leaving `dask.config.set` takes the settings away from workers that come later.
                config=copy.deepcopy(dask.config.config),
            )
        except BaseException:
            # Ctrl-C while it starts: nobody has a handle on it yet.
            for started in list(_LocalCluster._instances):
                if started.status.name != "running":
                    stop(started)
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def stop(cluster: LocalCluster) -> None:
    """Close a cluster, in whatever state it is: half started, dying, or closed by hand."""
    with contextlib.suppress(AssertionError, OSError, RuntimeError, TimeoutError):
        cluster.close(timeout=15)


def make_client(cluster: LocalCluster) -> Client:
    """Return a client of a cluster, which is not Dask's default one."""
    return _Client(cluster, set_as_default=False)


def is_up(cluster: LocalCluster) -> bool:
    """Return whether a cluster runs, with a worker that is there or coming back."""
    return cluster.status.name == "running" and any(
        nanny.status.name in ("init", "starting", "running") for nanny in cluster.workers.values()
    )


def detach_in_child(cluster: LocalCluster) -> None:
    """Make a forked child leave its parent's worker processes alone.

    At its exit, `multiprocessing` would end all daemonic children it knows of, and these are not its own.

    Parameters
    ----------
    cluster : distributed.LocalCluster
        The parent's.
    """
    children: set[Any] = multiprocessing.process._children  # type: ignore[attr-defined]
    for nanny in cluster.workers.values():
        running = nanny.process and nanny.process.process
        if running:
            running._proc_finalizer.detach()
            children.discard(running._process)


def _free_port() -> int:
    """Return 8787, where people look for a dashboard, or 0 for any if somebody else is there."""
    with socket.socket() as probe:
        # As the dashboard's own server does it: connections that are still closing do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8787))
            probe.listen(1)
        except OSError:
            return 0
    return 8787


def _scratch() -> str:
    """Return the name of a folder that nobody can guess; Dask makes it, and `preload.remove_scratch_dir` removes it."""
    parent = dask.config.get("temporary-directory", default=None) or tempfile.gettempdir()
    # Without Dask's own name in it, Dask makes a second folder inside.
    return str(Path(parent) / f"pandas-imgproc-dask-scratch-space-{secrets.token_hex(8)}")


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """Let processes that this thread launches not run the caller's script."""
    original, thread = spawn.get_preparation_data, threading.get_ident()

    def prepared(name: str) -> dict[str, Any]:
        data = original(name)
        if threading.get_ident() == thread:
            data.pop("init_main_from_name", None)
            data.pop("init_main_from_path", None)
        return data

    spawn.get_preparation_data = prepared
    try:
        yield
    finally:
        spawn.get_preparation_data = original


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Let processes that this thread launches inherit a blocked SIGINT: they cannot ignore it before they run."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which would unblock it again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Process(SpawnProcess):
    """A process of our own cluster: the only ones that are launched differently, and only while they are."""

    environment: Mapping[str, str]

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802
        # A plain process again, which the worker can unpickle without this package and its pandas.
        process_obj.__class__ = SpawnProcess
        with _launching, _environment(process_obj.environment), _without_main_module(), _sigint_blocked():
            return SpawnProcess._Popen(process_obj)


class _WorkerProcess(WorkerProcess):  # type: ignore[misc]
    """What a nanny keeps of its worker's process, over all restarts."""

    environment: Mapping[str, str]
    starting: asyncio.Lock
    is_wanted: Callable[[], bool]
    _init_msg_interval = 0.01  # seconds between looks whether the worker has reported

    @property
    def process(self) -> Any:
        return self._process

    @process.setter
    def process(self, process: Any) -> None:
        if process is not None:
            process._process.__class__ = _Process
            process._process.environment = self.environment
        self._process = process

    async def start(self) -> Any:
        # A worker can die before its report was read: its successor would share this object with an attempt
        # that is not over, and take its report for its own.
        async with self.starting:
            pauses = itertools.chain(_PAUSES, itertools.repeat(_PAUSES[-1]))
            while True:
                try:
                    return await self._start_once()
                except (OSError, RuntimeError, ValueError):
                    # Dask would give up a worker for good that fails to come back once: its name may still be
                    # taken, or a busy machine be slow to answer. One that never came at all is told.
                    if self.worker_address is None or not self.is_wanted():
                        raise
                await self.kill()
                await asyncio.sleep(next(pauses))

    async def _start_once(self) -> Any:
        self.worker_kwargs["local_directory"] = scratch = _scratch()
        try:
            with dask.config.set(_SPAWNING) if _needs_setting(_SPAWNING) else contextlib.nullcontext():
                status = await super().start()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)  # a worker that died on its way did not come to it
        if status.name == "running":
            _unlink_semaphores(self.init_result_q, self.child_stop_q)
        return status

    def mark_stopped(self) -> None:
        ended = self.process if self.status.name != "stopped" else None
        pid, code = (ended.pid, ended.exitcode) if ended else (0, 0)
        super().mark_stopped()
        if code == -signal.SIGKILL:
            for tell in list(on_worker_killed):
                tell(pid)

    async def kill(self, timeout: float = 5, *args: Any, **kwargs: Any) -> None:
        # Nobody waits for the rows in flight of a cluster that is being closed.
        await super().kill(min(timeout, 1), *args, **kwargs)


_EVENT_HANDLERS = {"memory": on_task_done, "erred": on_task_released, "forgotten": on_task_released}


class _Client(Client):  # type: ignore[misc]
    """A client of our own cluster: what it is given to compute is shuffled by plain tasks.

    Dask's peer-to-peer shuffle keeps what it moves in the workers' scratch folders, which would outlive a kill.
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


class _TaskEventPlugin(SchedulerPlugin):  # type: ignore[misc]
    """Tells what becomes of tasks."""

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        for tell in _EVENT_HANDLERS.get(finish, ()):
            tell(str(key))

    async def close(self) -> None:
        for tell in on_closed:
            tell()


class _Scheduler(Scheduler):  # type: ignore[misc]
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        preload.remove_scratch_dir(self)
        self.handlers.update(handlers)
        self.add_plugin(_TaskEventPlugin(), name="pandas_imgproc")

    async def remove_worker(self, address: str, *args: Any, **kwargs: Any) -> Any:
        worker = self.workers.get(address)
        if worker is not None and worker.nbytes > worker.memory_limit / 2 > 0:
            self.allowed_failures = 0  # it died of the answers that it keeps: so would all that come after it
        elif on_worker_killed:
            # A call of ours is under way: its note counts the deaths, and knows the row. Dask would blame whoever
            # stood beside it.
            self.allowed_failures = 1_000_000
        else:
            self.allowed_failures = _DEATHS_OF_A_TASK
        return await super().remove_worker(address, *args, **kwargs)

    def start_http_server(self, *args: Any, **kwargs: Any) -> None:
        # Somebody took the port since it was looked at: Dask takes a free one, and the link that is shown says which.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Port 8787 is already in use")
            super().start_http_server(*args, **kwargs)


class _Nanny(Nanny):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        preload.remove_scratch_dir(self)

    @property
    def process(self) -> Any:
        return self._process

    @process.setter
    def process(self, process: Any) -> None:
        if process is not None:
            # The nanny makes it and starts it in one breath; this is the moment between.
            process.__class__ = _WorkerProcess
            process.environment, process.pre_spawn_env = process.pre_spawn_env, {}
            process.starting, process.is_wanted = asyncio.Lock(), self._goes_on
        self._process = process

    def _goes_on(self) -> bool:
        return self.status.name in ("init", "starting", "running")


class _LocalCluster(LocalCluster):  # type: ignore[misc]
    # Its own register: Dask's would also be closed at the exit of a forked child, which hangs there.
    _instances: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()

    async def _start(self) -> None:
        self.scheduler_spec["cls"] = _Scheduler  # Dask's constructor leaves no choice
        await super()._start()

    def _update_worker_status(self, op: str, msg: Any) -> None:
        # Read at each loss of a worker: after it the cluster gives a restarting worker up for good and hangs.
        with dask.config.set({"distributed.deploy.lost-worker-timeout": _FOR_EVER}):
            super()._update_worker_status(op, msg)


def _needs_setting(settings: Mapping[str, Any]) -> bool:
    # Two starts overlap: setting what is set already would put the first one's value back last.
    return any(dask.config.get(key) != value for key, value in settings.items())


def _unlink_semaphores(*queues: Any) -> None:
    """Remove the names of queues' semaphores as soon as the worker has opened them.

    Otherwise each stays in shared memory when the whole process group is killed, and when only the caller is,
    Python's tracker complains about them on the terminal.
    """
    names = {lock._semlock.name for queue in queues for lock in (queue._rlock, queue._wlock, queue._sem)}
    forget = SemLock._cleanup  # type: ignore[attr-defined]
    for finalizer in list(util._finalizer_registry.values()):  # type: ignore[attr-defined]
        if finalizer._callback is forget and finalizer._args[0] in names:
            finalizer()
