"""The cluster a call runs on: borrow the user's active `Client`, or own one local process cluster.

The user's always wins and is never closed. Our own is started once per process, at the first call that needs
it, used again and closed at exit; its `Client` is not made Dask's default, so that the user's own
``dask.compute`` keeps its scheduler. What such a cluster must be like stands in `local`.

Nothing here imports distributed before a cluster is really started: looking is a matter of microseconds.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import numbers
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dask
from dask.system import CPU_COUNT
from dask.utils import parse_bytes

from pandas_imgproc.cluster import worker_rpc
from pandas_imgproc.cluster.dashboard import dashboard_link
from pandas_imgproc.cluster.monitor import WorkerMonitor
from pandas_imgproc.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributed import Client, LocalCluster

logger = logging.getLogger("pandas_imgproc")

MIN_WORKER_MEMORY = 256_000_000
"""Bytes that a worker has used up before its first image, and some for that; with less it would never start."""


@dataclass
class _ManagedCluster:
    """Our own cluster, and what it was asked to be."""

    client: Client
    cluster: LocalCluster
    n_workers: int
    memory_limit: str | float
    config_at_start: tuple[Any, Any]
    link_shown: bool = field(default=False)


_managed: _ManagedCluster | None = None
_lock = threading.RLock()
# A forked child keeps its parent's handle here: were it collected, it would be closed, and it is not the child's.
_abandoned: list[_ManagedCluster] = []


def get_client(n_workers: int | None = None, memory_limit: str | float | None = None) -> Client:
    """Return the active Dask client, or start a local cluster of processes.

    Parameters
    ----------
    n_workers : int, optional
        Number of worker processes, one thread each. By default what is running, else Dask's configuration
        ``pandas-imgproc.n-workers``, else the cores this process may use.
    memory_limit : str, int or float, optional
        Memory of each worker: ``"2 GiB"``, a number of bytes, a fraction of the machine's memory up to 1.0, or
        ``"auto"``, an equal share. A worker that needs more is ended and the row that needed it is missing. By
        default what is running, else ``pandas-imgproc.memory-limit``, else ``"auto"``.

    Returns
    -------
    distributed.Client
        The user's active client, if there is one; it is never closed by us. Otherwise that of our own cluster,
        which is closed at exit or by `close`. It is not Dask's default client: ``dask.compute`` goes where it
        went before; ``with get_client().as_current():`` sends it here.

    Raises
    ------
    TypeError, ValueError
        If an argument is no number of processes or amount of memory; if there is an argument and the active
        client is the user's, whose cluster we do not change.
    ClusterError
        If no cluster can be started here (`nested_context`), or the active client is asynchronous.

    Notes
    -----
    Asking for other numbers than those of our running cluster closes it and starts another: futures of the first
    are lost. Every socket listens on 127.0.0.1 and asks for a certificate. The dashboard is at
    ``client.dashboard_link``; its page *Profile* is empty, because profiling costs a twentieth of the speed.

    Examples
    --------
    >>> client = get_client(n_workers=2)  # doctest: +SKIP
    >>> client.dashboard_link  # doctest: +SKIP
    'http://127.0.0.1:8787/status'
    """
    n_workers = None if n_workers is None else _checked_workers(n_workers, "n_workers")
    memory_limit = None if memory_limit is None else _checked_memory(memory_limit, "memory_limit")
    active = _user_client_or_none()
    if active is not None:
        return _user_client(active, n_workers, memory_limit)
    with _lock:
        return _managed_client(n_workers, memory_limit)


def close() -> None:
    """Close our own cluster; there need not be one. A client that is not ours is left alone.

    Examples
    --------
    >>> close()
    """
    global _managed
    with _lock:
        own, _own = _managed, None
        if own is not None:
            from pandas_imgproc.cluster import local

            # The scheduler of a cluster that died does not answer; the client is gone either way.
            with contextlib.suppress(OSError, RuntimeError, TimeoutError):
                own.client.close(timeout=5)
            local.stop(own.cluster)


def existing_client() -> Client | None:
    """Return the client that is up: the user's active one, or our own; None when there is neither.

    It starts nothing and imports nothing.

    Returns
    -------
    distributed.Client or None
    """
    active = _user_client_or_none()
    if active is not None:
        return None if active.asynchronous else active
    own = _managed
    return own.client if own is not None and _is_up(own) else None


def nested_context() -> str | None:
    """Return where this code runs, if no cluster can be started there.

    A call that waits for a cluster inside a task blocks the thread it waits for; a daemonic process may not have
    children.

    Returns
    -------
    str or None
        A phrase for the summary: ``"inside a Dask worker"`` or ``"inside a daemonic process"``.

    Examples
    --------
    >>> nested_context() is None
    True
    """
    if worker_rpc.current_worker() is not None:
        return "inside a Dask worker"
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.current_process().daemon:
        # A thread that a task started knows no task, but all of a worker's process is daemonic.
        name = process.current_process().name
        return "inside a Dask worker" if name.startswith("Dask Worker") else "inside a daemonic process"
    return None


def is_managed(client: Client) -> bool:
    """Return whether a client is that of our own cluster.

    Parameters
    ----------
    client : distributed.Client

    Returns
    -------
    bool
    """
    own = _managed
    return own is not None and own.client is client


def worker_monitor(client: Client) -> WorkerMonitor:
    """Return who tells how many threads a client's workers have, and whether its scheduler is there.

    Parameters
    ----------
    client : distributed.Client

    Returns
    -------
    WorkerMonitor
    """
    own = _managed
    return WorkerMonitor(client, describe(client), own.n_workers if own is not None and own.client is client else None)


def describe(client: Client) -> str:
    """Return where a client computes, as the summary line says it.

    Parameters
    ----------
    client : distributed.Client

    Returns
    -------
    str
        ``"local cluster of 2 processes"``, or ``"cluster at tcp://10.0.0.7:8786"`` for a client that is not ours.
    """
    own = _managed
    if own is None or own.client is not client:
        return f"cluster at {client.scheduler.address}"
    return f"local cluster of {own.n_workers} process{'es' if own.n_workers > 1 else ''}"


@contextlib.contextmanager
def preserved() -> Iterator[None]:
    """Put our own cluster back as it was before a block that asks for others: of the same numbers, or none.

    It is another one then: the client of before is closed.
    """
    before = _managed if _managed is not None and _is_up(_managed) else None
    try:
        yield
    finally:
        if before is None:
            close()
        elif before is not _managed:
            get_client(before.n_workers, before.memory_limit)


@contextlib.contextmanager
def notify_worker_kills(client: Client, tell: Callable[[int], None]) -> Iterator[None]:
    """Do as `notify_managed_worker_kills`, unless the client is not ours: of its cluster nothing is known.

    Parameters
    ----------
    client : distributed.Client
    tell : callable
    """
    with notify_managed_worker_kills(tell) if is_managed(client) else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def notify_managed_worker_kills(tell: Callable[[int], None]) -> Iterator[None]:
    """Tell the number of each worker process of our own that is killed during a block, by the system or by hand.

    Parameters
    ----------
    tell : callable
        Of the number of the process; called in the thread of the cluster.
    """
    from pandas_imgproc.cluster import local

    local.on_worker_killed.add(tell)
    try:
        yield
    finally:
        local.on_worker_killed.discard(tell)


def pop_dashboard_link(client: Client) -> str | None:
    """Return the dashboard's address once per start of our own cluster, for whoever is first to say it.

    Parameters
    ----------
    client : distributed.Client

    Returns
    -------
    str or None
        None when it was said already, for a client that is not ours, and where a browser cannot reach it.
    """
    with _lock:
        if _managed is None or _managed.client is not client or _managed.link_shown:
            return None
        _managed.link_shown = True
    return dashboard_link(client)


def default_client() -> Client | None:
    """Return the client that Dask would use here, ours too where it was made current; it imports nothing.

    Returns
    -------
    distributed.Client or None
    """
    module = sys.modules.get("distributed.client")
    find = getattr(module, "default_client", None)  # None while another thread is importing it
    if find is None:
        return None
    try:
        client: Client = find()
    except ValueError:
        return None
    # One that never came up, or is going down, still stands in Dask's list.
    return client if client.status in ("running", "connecting") else None


def _user_client_or_none() -> Client | None:
    """Return the user's active client."""
    client = default_client()
    return None if client is None or is_managed(client) else client


def _user_client(client: Client, n_workers: int | None, memory_limit: str | float | None) -> Client:
    for name, value in (("n_workers", n_workers), ("memory_limit", memory_limit)):
        if value is not None:
            raise ValueError(
                f"{name}={value!r} asks for a cluster of our own, but a client of yours is active "
                f"({client.scheduler.address}) and always used; change its cluster, or close it first"
            )
    if client.asynchronous:
        raise ClusterError(
            f"the active client ({client.scheduler.address}) is asynchronous and cannot be waited for; "
            "open it without asynchronous=True, or close it"
        )
    return client


def _managed_client(n_workers: int | None, memory_limit: str | float | None) -> Client:
    configured = _configured()
    own = _managed if _managed is not None and _is_up(_managed) else None
    # What was asked for by hand stays until something else is asked for, by hand or by a changed configuration.
    unchanged = [own is not None and own.config_at_start[i] == configured[i] for i in (0, 1)]
    n_workers = n_workers or (own.n_workers if own and unchanged[0] else configured[0]) or CPU_COUNT
    memory_limit = memory_limit or (own.memory_limit if own and unchanged[1] else configured[1]) or "auto"
    if own is not None and (own.n_workers, own.memory_limit) == (n_workers, memory_limit):
        own.config_at_start = configured
        return own.client
    close()
    return _start(n_workers, memory_limit, configured)


def _start(n_workers: int, memory_limit: str | float, configured: tuple[Any, Any]) -> Client:
    global _managed
    place = nested_context()
    if place is not None:
        raise ClusterError(f"a cluster cannot be started {place}; call it outside, or let it run in line")
    from pandas_imgproc.cluster import local

    cluster = local.start(n_workers, memory_limit)
    try:
        client = local.make_client(cluster)
    except BaseException:
        local.stop(cluster)
        raise
    _managed = _ManagedCluster(client, cluster, n_workers, memory_limit, configured)
    atexit.unregister(close)
    atexit.register(close)
    logger.info("Started a %s", describe(client))
    return client


def _is_up(own: _ManagedCluster) -> bool:
    from pandas_imgproc.cluster import local

    return own.client.status == "running" and local.is_up(own.cluster)


def _configured() -> tuple[int | None, str | float | None]:
    """Return the configuration's number of workers and memory limit, checked."""
    names = ("pandas-imgproc.n-workers", "pandas-imgproc.memory-limit")
    n_workers, memory_limit = (dask.config.get(name, default=None) for name in names)
    return (
        None if n_workers is None else _checked_workers(n_workers, names[0]),
        None if memory_limit is None else _checked_memory(memory_limit, names[1]),
    )


def _checked_workers(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}={value!r} is {type(value).__name__}; give a number of processes, an int from 1 up")
    if value < 1:
        raise ValueError(f"{name}={value!r} is no number of processes; give an int from 1 up")
    return int(value)


def _checked_memory(value: Any, name: str) -> str | float:
    legal = "give 'auto', a size such as '2 GiB', a number of bytes, or a fraction up to 1.0"
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, (str, numbers.Real)):
        raise TypeError(f"{name}={value!r} is {type(value).__name__}; {legal}")
    if isinstance(value, str):
        try:
            value = parse_bytes(value)
        except ValueError:
            raise ValueError(f"{name}={value!r} is no amount of memory; {legal}") from None
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name}={value!r} is no amount of memory; {legal}")
    if 1 < value < MIN_WORKER_MEMORY or (value == 1 and not isinstance(value, float)):
        raise ValueError(
            f"{name}={value!r} is less than the {MIN_WORKER_MEMORY:,} bytes that an idle worker needs; {legal}"
        )
    return float(value) if isinstance(value, float) and value <= 1 else int(value)


def _reset_after_fork() -> None:
    """Drop the handle in a forked child: the cluster, its sockets and its threads are the parent's."""
    global _managed, _lock
    _lock = threading.RLock()  # another thread of the parent may have held it
    utils = sys.modules.get("distributed.utils")
    if utils is not None:
        # Its one thread is the parent's: whatever a client of the child hands to it would wait for ever.
        vars(utils)["_offload_executor"] = ThreadPoolExecutor(max_workers=1, thread_name_prefix="Dask-Offload")
    if _managed is not None:
        from pandas_imgproc.cluster import local

        local.detach_in_child(_managed.cluster)
        _abandoned.append(_managed)
        _managed = None
        atexit.unregister(close)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
