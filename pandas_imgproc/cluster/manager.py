"""Client of a job: the user's active client, or that of one managed local cluster.

The user's always has priority and is never closed. The managed cluster is started once per process, at the first job
that needs it, reused, and closed at exit. Its client is not Dask's default, so that the user's own ``dask.compute``
keeps its scheduler. Nothing here imports distributed before a cluster is started: a check takes microseconds.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask.system import CPU_COUNT

from pandas_imgproc.cluster import worker_rpc
from pandas_imgproc.cluster.dashboard import dashboard_link
from pandas_imgproc.cluster.monitor import WorkerMonitor
from pandas_imgproc.cluster.validation import check_size, configured_size
from pandas_imgproc.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client, LocalCluster

    from pandas_imgproc.cluster.worker_rpc import DeathObserver

logger = logging.getLogger("pandas_imgproc")


@dataclass
class _ManagedCluster:
    """Managed cluster with its client, its size, and the configured size when it was last requested."""

    client: Client
    cluster: LocalCluster
    n_workers: int
    memory_limit: str | float
    config_at_start: tuple[Any, Any]
    link_shown: bool = False


_managed: _ManagedCluster | None = None
_lock = threading.RLock()
# A forked child must hold its parent's handles: garbage collection would close the parent's cluster.
_abandoned: list[_ManagedCluster] = []


def get_client(n_workers: int | None = None, memory_limit: str | float | None = None) -> Client:
    """Return the active Dask client, or start a local cluster of processes.

    Parameters
    ----------
    n_workers : int, optional
        Number of worker processes, one thread each. The default is the number that is running, else Dask's
        configuration ``pandas-imgproc.n-workers``, else the cores available to this process.
    memory_limit : str, int or float, optional
        Memory of each worker: ``"2 GiB"``, a number of bytes, a fraction of the machine's memory up to 1.0, or
        ``"auto"``, an equal share. A worker that needs more is ended and the row that needed it is missing. The
        default is the running cluster's limit, else ``pandas-imgproc.memory-limit``, else ``"auto"``.

    Returns
    -------
    distributed.Client
        Active client of the user, which this package never closes. Without one, the client of the managed cluster,
        which is closed at exit or by `close`. It is not Dask's default client: ``dask.compute`` runs where it ran
        before; ``with get_client().as_current():`` runs it on the managed cluster.

    Raises
    ------
    TypeError, ValueError
        If an argument is no number of processes or amount of memory; if there is an argument and the active
        client is the user's, whose cluster this package does not change.
    ClusterError
        If no cluster can be started in this process or thread, or the active client is asynchronous.

    Notes
    -----
    Another size than that of the running managed cluster closes it and starts a new one: futures of the first are
    lost. Every socket listens on 127.0.0.1 and requires a certificate. The dashboard is at ``client.dashboard_link``;
    its page *Profile* is empty, because profiling costs a twentieth of the speed.

    Examples
    --------
    >>> client = get_client(n_workers=2)  # doctest: +SKIP
    >>> client.dashboard_link  # doctest: +SKIP
    'http://127.0.0.1:8787/status'
    """
    n_workers, memory_limit = check_size(n_workers, memory_limit)
    active = _user_client_or_none()
    if active is not None:
        return _user_client(active, n_workers, memory_limit)
    with _lock:
        return _managed_client(n_workers, memory_limit)


def close() -> None:
    """Close the managed cluster, if there is one. A client of the user is never closed.

    Examples
    --------
    >>> close()
    """
    global _managed
    with _lock:
        closing, _managed = _managed, None
        if closing is not None:
            from pandas_imgproc.cluster import local

            # The scheduler of a cluster that died does not respond; the client is closed either way.
            with contextlib.suppress(OSError, RuntimeError, TimeoutError):
                closing.client.close(timeout=5)
            local.stop(closing.cluster)


def existing_client() -> Client | None:
    """Return the user's active client or that of the managed cluster, None without either. Nothing is started."""
    active = _user_client_or_none()
    if active is not None:
        return None if active.asynchronous else active
    managed = _running()
    return managed.client if managed else None


def nested_context() -> str | None:
    """Return the reason why this code cannot start a cluster, None if it can.

    A job that waits for a cluster inside a task blocks the thread it waits for; a daemonic process may not have
    children.

    Returns
    -------
    str or None
        Phrase for the summary line: ``"inside a Dask worker"`` or ``"inside a daemonic process"``.

    Examples
    --------
    >>> nested_context() is None
    True
    """
    if worker_rpc.current_worker() is not None:
        return "inside a Dask worker"
    module = sys.modules.get("multiprocessing.process")
    if module is None or not module.current_process().daemon:
        return None
    # A thread that a task started knows no task, but all of a worker's process is daemonic.
    name = module.current_process().name
    return "inside a Dask worker" if name.startswith("Dask Worker") else "inside a daemonic process"


def is_managed(client: Client) -> bool:
    """Return whether a client is that of the managed cluster."""
    return _managed_by(client) is not None


def worker_monitor(client: Client) -> WorkerMonitor:
    """Return a monitor of the client's cluster: total worker threads, and a liveness check of the scheduler."""
    managed = _managed_by(client)
    return WorkerMonitor(client, describe(client), None if managed is None else managed.n_workers)


def describe(client: Client) -> str:
    """Return the name of a client's cluster: local cluster of 2 processes, or cluster at tcp://10.0.0.7:8786."""
    managed = _managed_by(client)
    if managed is None:
        return f"cluster at {client.scheduler.address}"
    return f"local cluster of {managed.n_workers} process{'es' if managed.n_workers > 1 else ''}"


@contextlib.contextmanager
def preserved() -> Iterator[None]:
    """Restore the managed cluster after a block that resizes it: one of the same size, or none.

    The previous client is closed if the block has replaced it.
    """
    before = _running()
    try:
        yield
    finally:
        if before is None:
            close()
        elif before is not _managed:
            get_client(before.n_workers, before.memory_limit)


@contextlib.contextmanager
def worker_deaths_observed(observer: DeathObserver) -> Iterator[None]:
    """Report the deaths of workers of the managed cluster to an observer during a block, in the cluster's thread."""
    worker_rpc.death_observers.add(observer)
    try:
        yield
    finally:
        worker_rpc.death_observers.discard(observer)


def worker_pids() -> list[int]:
    """Return the process ids of the workers of the managed cluster."""
    patches = sys.modules.get("pandas_imgproc.cluster._dask_patches")
    clusters = [] if patches is None else list(patches.PatchedLocalCluster._instances)
    nannies = [nanny for started in clusters for nanny in list(started.workers.values())]
    return [nanny.pid for nanny in nannies if nanny.pid]


def pop_dashboard_link(client: Client) -> str | None:
    """Return the dashboard's address, once per start of the managed cluster.

    None the second time, for a client of the user, and if a browser cannot reach the dashboard.
    """
    with _lock:
        managed = _managed_by(client)
        if managed is None or managed.link_shown:
            return None
        managed.link_shown = True
    return dashboard_link(client)


def default_client() -> Client | None:
    """Return Dask's default client, also the managed one if it is current. Nothing is imported."""
    module = sys.modules.get("distributed.client")
    find = getattr(module, "default_client", None)  # None while another thread is importing it
    if find is None:
        return None
    try:
        client: Client = find()
    except ValueError:
        return None
    # A client that has failed to connect, or is closing, is still in Dask's list.
    return client if client.status in ("running", "connecting") else None


def _managed_by(client: Client) -> _ManagedCluster | None:
    """Return the managed cluster if a client is its own."""
    managed = _managed
    return managed if managed is not None and managed.client is client else None


def _user_client_or_none() -> Client | None:
    client = default_client()
    return None if client is None or is_managed(client) else client


def _user_client(client: Client, n_workers: int | None, memory_limit: str | float | None) -> Client:
    for name, value in (("n_workers", n_workers), ("memory_limit", memory_limit)):
        if value is not None:
            raise ValueError(
                f"{name}={value!r} sets the size of the managed cluster, but a client of yours is active "
                f"({client.scheduler.address}) and always used; change its cluster, or close it first"
            )
    if client.asynchronous:
        raise ClusterError(
            f"the active client ({client.scheduler.address}) is asynchronous and cannot be waited for; "
            "open it without asynchronous=True, or close it"
        )
    return client


def _managed_client(n_workers: int | None, memory_limit: str | float | None) -> Client:
    configured, managed = configured_size(), _running()
    # An explicit size lasts until another one is requested, explicitly or by a changed configuration.
    unchanged = [managed is not None and managed.config_at_start[i] == configured[i] for i in (0, 1)]
    n_workers = n_workers or (managed.n_workers if managed and unchanged[0] else configured[0]) or CPU_COUNT
    memory_limit = memory_limit or (managed.memory_limit if managed and unchanged[1] else configured[1]) or "auto"
    if managed is not None and (managed.n_workers, managed.memory_limit) == (n_workers, memory_limit):
        managed.config_at_start = configured
        return managed.client
    close()
    return _start(n_workers, memory_limit, configured)


def _start(n_workers: int, memory_limit: str | float, configured: tuple[Any, Any]) -> Client:
    global _managed
    context = nested_context()
    if context is not None:
        raise ClusterError(f"a cluster cannot be started {context}; call it outside, or let it run inline")
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


def _running() -> _ManagedCluster | None:
    """Return the managed cluster if it is up."""
    managed = _managed
    if managed is None:
        return None
    from pandas_imgproc.cluster import local

    return managed if managed.client.status == "running" and local.is_up(managed.cluster) else None


def _reset_after_fork() -> None:
    """Forget the managed cluster in a forked child: its sockets and threads are the parent's."""
    global _managed, _lock
    _lock = threading.RLock()  # another thread of the parent may hold it
    utils = sys.modules.get("distributed.utils")
    if utils is not None:
        # Its one thread is the parent's: what a client of the child submits would wait forever.
        vars(utils)["_offload_executor"] = ThreadPoolExecutor(max_workers=1, thread_name_prefix="Dask-Offload")
    if _managed is not None:
        from pandas_imgproc.cluster import local

        local.detach_in_child(_managed.cluster)
        _abandoned.append(_managed)
        _managed = None
        atexit.unregister(close)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
