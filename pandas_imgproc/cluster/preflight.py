"""Checks of the environment before a local cluster starts: without, Dask fails late, at length or without a reason."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import tempfile
from multiprocessing import get_context, spawn
from typing import TYPE_CHECKING

import dask
from distributed.worker_memory import parse_memory_limit

from pandas_imgproc._text import truncate
from pandas_imgproc.cluster.validation import MIN_WORKER_MEMORY
from pandas_imgproc.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES_PER_CLUSTER, FILES_PER_WORKER = 24, 12
"""Open files of this process that a cluster needs: sockets, pipes, and those of a start."""

MIN_ADDRESS_SPACE = 1_500_000_000
"""Bytes of address space that a worker with its threads maps, most of it without using the memory."""

CONNECT_TIMEOUT = 5.0
"""Seconds for a connection of this process to itself."""


def check_environment(n_workers: int, memory_limit: str | float) -> None:
    """Raise a ClusterError with the reason if this process cannot start a cluster of this size."""
    with _reason("the working directory cannot be read"):
        os.getcwd()
    _check_executable()
    with _reason("the temporary folder cannot be written"):
        _write_file()
    with _reason("processes cannot share semaphores, for which /dev/shm must be writable"):
        get_context("fork" if hasattr(os, "fork") else "spawn").Lock()
    with _reason("this process cannot connect to itself at 127.0.0.1: the loopback device is missing or down"):
        _connect_to_self()
    n_files = FILES_PER_CLUSTER + FILES_PER_WORKER * n_workers
    with _reason(f"{_count(n_workers)} need {n_files} open files more than the limit allows (ulimit -n)"):
        _open_files(n_files)
    limit = _address_space_limit()
    if limit < MIN_ADDRESS_SPACE:
        raise start_error(
            f"a worker process needs {MIN_ADDRESS_SPACE / 1e9:.1f} GB of address space, and the limit is "
            f"{limit / 1e9:.1f} GB (ulimit -v)"
        )
    nbytes = parse_memory_limit(memory_limit, 1, n_workers, logger=logging.getLogger("pandas_imgproc"))
    if nbytes is not None and nbytes < MIN_WORKER_MEMORY:
        raise start_error(
            f"each of {_count(n_workers)} would have {nbytes / 1e9:.2f} GB of memory and needs "
            f"{MIN_WORKER_MEMORY / 1e9:.2f} GB; have fewer of them (n_workers=)"
        )


def start_error(reason: str) -> ClusterError:
    """Return the error of a cluster that cannot be started, in one line: reasons of Python and Dask may be long."""
    reason = truncate(" ".join(reason.split()))
    return ClusterError(f"the local cluster cannot be started: {reason}; a call without npartitions= runs inline then")


def root_cause(error: BaseException) -> str:
    """Return the first cause of an error as text: Dask wraps it several times."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{error}" if isinstance(error, RuntimeError) and str(error) else f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _reason(reason: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ImportError, UnicodeError) as exc:
        raise start_error(f"{reason} ({exc})") from exc


def _count(n_workers: int) -> str:
    return f"{n_workers} worker process{'es' if n_workers > 1 else ''}"


def _check_executable() -> None:
    """Raise a ClusterError if new processes of Python cannot run: a missing program would end without a reason."""
    path = spawn.get_executable()  # none in a program that embeds Python
    if not path or not os.access(os.fsdecode(path), os.X_OK):
        name = os.fsdecode(path or "")
        raise start_error(f"this user cannot execute Python at {name!r} (sys.executable)")


def _address_space_limit() -> float:
    """Return the limit of this process' address space in bytes, which its workers inherit."""
    try:
        import resource
    except ImportError:  # not on Windows
        return math.inf
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return math.inf if limit == resource.RLIM_INFINITY else limit


def _write_file() -> None:
    folder = dask.config.get("temporary-directory", default=None) or tempfile.gettempdir()
    folder.encode()  # Dask sends the name, and cannot send one that is not UTF-8
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(2**14))


def _connect_to_self() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=CONNECT_TIMEOUT).close()


def _open_files(n: int) -> None:
    with contextlib.ExitStack() as opened:
        first = opened.enter_context(open(os.devnull, "rb"))
        for _ in range(n - 1):
            opened.callback(os.close, os.dup(first.fileno()))
