"""Isolated attempts: a partition of a Dask graph in a child process, which may die in place of its Dask worker.

Dask runs a lost partition again, and does not count the losses of a finished one. The child is counted: its result is
read before it may die unnoticed, and no other task of the worker is lost with it::

    worker ── ledger, settings, positions; task, partition ──> child: start_attempt, "started", kernel
       ^  ^────────────────────── result, or exception ──────────┘ │
       └── the ledger has its row: the next child ── dies ─────────┘
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from multiprocessing import process
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import dask
import psutil

from pandas_imgproc._pickling import dumps
from pandas_imgproc._text import describe_exit, truncate
from pandas_imgproc.cluster import worker_rpc
from pandas_imgproc.cluster.stopped import LookTimer, is_stopped
from pandas_imgproc.config import setting
from pandas_imgproc.errors import ClusterError
from pandas_imgproc.execution.crash_ledger import CrashLedger
from pandas_imgproc.execution.deadly import DeadlyPartitionError
from pandas_imgproc.execution.payload import portable_partition, serialize_task
from pandas_imgproc.execution.process_task import ProcessTask
from pandas_imgproc.kernel import run_partition
from pandas_imgproc.partition import PartitionResult

if TYPE_CHECKING:
    from pandas_imgproc.codec import PillowSettings
    from pandas_imgproc.execution.job import Job
    from pandas_imgproc.execution.ledger_handle import LedgerHandle
    from pandas_imgproc.kernel import RowLedger
    from pandas_imgproc.partition import PartitionInput

MAX_FAILED_STARTS = 3
"""Children of a partition that die before they have started an attempt, of which no ledger knows."""

MEMORY_FRACTION = 0.95
"""Fraction of the worker's memory limit that the worker and its children may use together, as in Dask's nanny."""

_POLL_SECONDS = 0.2
_STARTED = b"started"
_COMMAND = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from pandas_imgproc.execution.isolated import run_child; run_child()"
)


def run_isolated(
    job: Job, ledger: RowLedger, handle: LedgerHandle, settings: PillowSettings, partition: PartitionInput
) -> PartitionResult:
    """Run a partition in child processes, one after the other, until one survives; the kernel's result.

    Raises
    ------
    ClusterError
        If most rows end their process, or the partition does so with no row in flight, or no child can be started.
    """
    header = pickle.dumps(sys.path) + dumps((os.getpid(), dask.config.config, partition.positions))
    shared = pickle.dumps((handle, job.source, settings, job.task.function_names))
    payload = header + shared + pickle.dumps((serialize_task(job.task), dumps(portable_partition(partition))))
    n_failed_starts = 0
    while True:
        with _Child(payload) as child:
            message = child.receive()
            has_started = message == _STARTED
            message = child.receive() if has_started else message
        if message is not None:
            return _unwrap(message)
        # Without shared memory no attempt is counted.
        n_failed_starts += not has_started or not isinstance(ledger, CrashLedger)
        if n_failed_starts >= MAX_FAILED_STARTS:
            raise ClusterError(
                f"{n_failed_starts} processes that were started for a partition of {len(partition):,} rows, which was "
                f"lost with its worker, died too, the last by {describe_exit(child.exitcode)} ({describe_task()})"
            )
        if isinstance(ledger, CrashLedger) and not child.exceeded_memory:
            ledger.on_worker_exit(child.pid, child.exitcode)


class _Child:
    """Child process that runs one attempt; it is killed at the end of the block, and with its worker."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self.exceeded_memory = False
        self._max_nbytes = MEMORY_FRACTION * worker_rpc.memory_limit()

    def __enter__(self) -> _Child:
        command = [sys.executable, "-c", _COMMAND]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as exc:
            raise ClusterError(f"a process for a partition that was lost with its worker cannot start: {exc}") from exc
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.pid = self._process.pid
        # A reader of its own descriptor, which it closes.
        self._results = Connection(os.dup(self._process.stdout.fileno()), writable=False)
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(self._payload)
            self._process.stdin.flush()
        return self

    def receive(self) -> bytes | None:
        """Return the next message of the child, None if it has died."""
        timer = LookTimer(_POLL_SECONDS)
        while not self._results.poll(_POLL_SECONDS):
            if self._process.poll() is not None and not self._results.poll():
                return None
            self._check_memory()
            self._check_stopped(timer)
        try:
            return self._results.recv_bytes()
        except (EOFError, OSError):  # died before or while it wrote
            return None

    def _check_memory(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker = psutil.Process()
            if sum(running.memory_info().rss for running in (worker, *worker.children())) > self._max_nbytes:
                self.exceeded_memory = True
                self._process.kill()

    def _check_stopped(self, timer: LookTimer) -> None:
        # Also between two rows, where no watchdog looks.
        seconds = setting("row-timeout")
        elapsed = timer.look([self.pid] if is_stopped(self.pid) else []).get(self.pid, 0.0)
        if seconds is not None and elapsed > seconds:
            self._process.kill()

    def __exit__(self, *_: object) -> None:
        self._results.close()
        # Its own exit code, if it is ending.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.1)
        self._process.kill()
        self.exitcode = self._process.wait()
        # Not read to their end, which does not come while a process lives that a function has forked.
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe and pipe.close()


def describe_task() -> str:
    """Return the name of the Dask task for the error of a lost partition, with a way to find the cause."""
    return (
        f"Dask task {truncate(str(worker_rpc.current_task_key()), 100)}; the same computation with "
        "dask.config.set(scheduler='synchronous') runs without workers"
    )


def _unwrap(message: bytes) -> PartitionResult:
    result = pickle.loads(message)
    if isinstance(result, DeadlyPartitionError):
        raise ClusterError(f"{result} ({describe_task()})") from result
    if isinstance(result, BaseException):
        raise result
    assert isinstance(result, PartitionResult)
    return result


# ---- in the child


def run_child() -> None:
    """Run the attempt that the standard input describes, and write its result to the standard output."""
    parent, config, positions = pickle.load(sys.stdin.buffer)
    _end_with_parent(parent)
    dask.config.set(config)
    # As in the worker itself: no cluster and no daemonic children are started from a user's function.
    process.current_process()._config["daemon"] = True  # type: ignore[attr-defined]
    process.current_process().name = "Dask Worker process (isolated)"
    with Connection(_detached_stdout(), readable=False) as results:
        results.send_bytes(_attempt(positions, results))
    os._exit(0)  # threads of the function are not waited for


def _attempt(positions: Any, results: Connection) -> bytes:
    try:
        handle, source, settings, names = pickle.load(sys.stdin.buffer)
        with handle.open() as ledger:
            ledger.start_attempt(positions)  # before the function is unpickled, which may end the process
            results.send_bytes(_STARTED)
            pickled, partition = pickle.load(sys.stdin.buffer)
            task = ProcessTask(lambda: pickle.loads(pickled)).build(ledger, names)
            return dumps(run_partition(task, pickle.loads(partition), source, ledger, settings))
    except BaseException as exc:  # the worker raises it: the task fails as it would there
        return _dump_exception(exc)


def _dump_exception(exc: BaseException) -> bytes:
    try:
        return dumps(exc)
    except Exception:  # an argument that cannot be pickled
        return dumps(ClusterError(f"an isolated attempt of a partition failed: {type(exc).__name__}: {exc}"))


def _detached_stdout() -> int:
    """Return a descriptor of the pipe to the worker; the output of functions goes to the standard error stream."""
    pipe = os.dup(1)
    try:
        os.dup2(2, 1)
    except OSError:  # there is none
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return pipe


def _end_with_parent(parent: int) -> None:
    """Let this process be killed when its worker ends, which may be killed, too."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
