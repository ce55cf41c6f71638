"""Client of a job: the user's active client, or that of one managed local cluster.

The user's always has priority and is never closed. The managed cluster is started once per process, at the first job
that needs it, reused, and closed at exit. Its client is not Dask's default, so that the user's own ``dask.compute``
keeps its scheduler. Nothing here imports distributed before a cluster is started: a check takes microseconds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from dask.system import CPU_COUNT

from pandas_imgproc.cluster import managed, worker_rpc
from pandas_imgproc.cluster.dashboard import dashboard_link, images_link
from pandas_imgproc.cluster.managed import ManagedCluster
from pandas_imgproc.cluster.monitor import WorkerMonitor
from pandas_imgproc.cluster.validation import check_size, configured_dashboard, configured_size
from pandas_imgproc.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

    from pandas_imgproc.cluster.worker_rpc import DeathObserver

logger = logging.getLogger("pandas_imgproc")


_managed: ManagedCluster | None = None
# Clusters of other sizes with calls on them: a call that requests one of these sizes takes it back.
_replaced: list[ManagedCluster] = []


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
    From then on, calls that are predicted to take more than 0.3 seconds run on the cluster (configuration
    ``pandas-imgproc.inline-threshold-warm``).

    Another size than that of the running managed cluster replaces it by a new one: futures of the first are lost, but
    calls of ``.img`` in other threads finish on it before it is closed. Every socket listens on 127.0.0.1 and requires
    a certificate, except the dashboard, which requires the token in ``client.dashboard_link`` (configuration
    ``pandas-imgproc.dashboard``). Its page *Profile* is empty, because profiling costs a twentieth of the speed.

    Examples
    --------
    >>> client = get_client(n_workers=2)  # doctest: +SKIP
    >>> client.dashboard_link  # doctest: +SKIP
    'http://127.0.0.1:8787/status?token=…'
    """
    with leased_cluster(n_workers, memory_limit) as lease:
        client = lease.wait()[0]
        own = managed.find(client)
        if own is not None:
            own.is_requested = True
        return client


class ClusterLease:
    """Lease of a cluster by a call, from `leased_cluster`."""

    def __init__(self, user_client: Client | None, leased: ManagedCluster | None) -> None:
        self._user_client, self._managed = user_client, leased

    def begin_start(self) -> None:
        """Start a managed cluster, unless it runs, and do not wait for it."""
        if self._managed is not None:
            self._managed.begin_start()

    @property
    def is_started(self) -> bool:
        """Whether `wait` returns, or raises, at once."""
        return self._managed is None or self._managed.is_start_finished

    def wait(self) -> tuple[Client, str]:
        """Return the client and the name of the cluster, once it is up; raise a ClusterError if it cannot start."""
        if self._managed is None:
            assert self._user_client is not None
            return self._user_client, describe(self._user_client)
        client = self._managed.wait()
        if self._managed.log_start:
            self._managed.log_start = False
            logger.info("Started a %s", self._managed)
        return client, str(self._managed)


@contextlib.contextmanager
def leased_cluster(n_workers: int | None = None, memory_limit: str | float | None = None) -> Iterator[ClusterLease]:
    """Lease the cluster of `get_client` to a call.

    During the block a managed cluster stays up, also if other threads replace or close it: then the end of the block
    closes it.
    """
    n_workers, memory_limit = check_size(n_workers, memory_limit)
    active = _user_client_or_none()
    if active is not None:
        yield ClusterLease(_user_client(active, n_workers, memory_limit), None)
        return
    leased, replaced = _lease(n_workers, memory_limit)
    try:
        if replaced is not None:
            replaced.close()
        yield ClusterLease(None, leased)
    finally:
        leased.release()


def close() -> None:
    """Close the managed cluster, if there is one. A client of the user is never closed.

    Calls of ``.img`` that run on it in other threads finish first: the last of them closes it.

    Examples
    --------
    >>> close()
    """
    global _managed
    with managed.lock:
        closing, _managed = _managed, None
        closes = closing is not None and closing.retire()
    if closing is not None and closes:
        closing.close()


def existing_client() -> Client | None:
    """Return the user's active client or that of the managed cluster, None without either. Nothing is started."""
    active = _user_client_or_none()
    if active is not None:
        return None if active.asynchronous else active
    current = _managed
    return current.client if current is not None and current.is_up else None


def nested_context() -> str | None:
    """Return the reason why this code cannot start a cluster, None if it can.

    A job that waits for a cluster inside a task blocks the thread it waits for; a daemonic process may not have
    children.

    Returns
    -------
    str or None
        Phrase for the summary line: ``"inside a Dask worker"``, ``"inside a daemonic process"`` or ``"inside a worker
        of a frozen program"``, which lacks ``multiprocessing.freeze_support()``.

    Examples
    --------
    >>> nested_context() is None
    True
    """
    if worker_rpc.current_worker() is not None:
        return "inside a Dask worker"
    if getattr(sys, "frozen", False) and "--multiprocessing-fork" in sys.argv:
        return "inside a worker of a frozen program"
    module = sys.modules.get("multiprocessing.process")
    if module is None or not module.current_process().daemon:
        return None
    # A thread that a task started knows no task, but all of a worker's process is daemonic.
    name = module.current_process().name
    return "inside a Dask worker" if name.startswith("Dask Worker") else "inside a daemonic process"


def pool_context() -> str | None:
    """Return the reason why a job of this process starts a cluster only on request, None without one.

    A pool has a process per core already, and each of them would start as many workers.

    Examples
    --------
    >>> pool_context() is None
    True
    """
    module = sys.modules.get("multiprocessing.process")
    is_loky = module is not None and module.current_process().name.startswith("LokyProcess")
    return "inside a worker of joblib" if is_loky else None


def is_managed(client: Client) -> bool:
    """Return whether a client is that of the managed cluster."""
    return managed.find(client) is not None


def is_requested(client: Client) -> bool:
    """Return whether a client is the user's, or was requested by `get_client`: calls that it may run are run on it."""
    own = managed.find(client)
    return own is None or own.is_requested


def worker_monitor(client: Client) -> WorkerMonitor:
    """Return a monitor of the client's cluster: total worker threads, and a liveness check of the scheduler."""
    own = managed.find(client)
    return WorkerMonitor(client, describe(client), None if own is None else own.n_workers)


def describe(client: Client) -> str:
    """Return the name of a client's cluster: local cluster of 2 processes, or cluster at tcp://10.0.0.7:8786."""
    own = managed.find(client)
    return f"cluster at {getattr(client.scheduler, 'address', 'a closed client')}" if own is None else str(own)


@contextlib.contextmanager
def preserved() -> Iterator[None]:
    """Restore the managed cluster after a block that resizes it: one of the same size, or none.

    The previous client is closed if the block has replaced it.
    """
    before = _managed if _managed is not None and _managed.is_up else None
    try:
        yield
    finally:
        if before is None:
            close()
        elif before is not _managed:
            get_client(*before.size)


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
    """Return the address of the dashboard's page Images, once per start of the managed cluster.

    None the second time, for a client of the user, and if a browser cannot reach the dashboard.
    """
    own = managed.find(client)
    if own is None:
        return None
    with managed.lock:
        shown, own.link_shown = own.link_shown, True
    link = None if shown else dashboard_link(client)
    return link and images_link(link)


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


def _lease(n_workers: int | None, memory_limit: str | float | None) -> tuple[ManagedCluster, ManagedCluster | None]:
    """Return the managed cluster of a size, leased, and the one that it replaces, if that is to be closed."""
    global _managed
    configured_dashboard()  # an error of the configuration closes no running cluster
    configured = configured_size()
    with managed.lock:
        size, before = _size(n_workers, memory_limit, configured), _managed
        if before is None or before.size != size or not before.is_usable:
            _check_context()
            _managed = _take_back(size) or ManagedCluster(*size)
            if before is not None:
                _replaced.append(before)
        assert _managed is not None
        _managed.config_at_request = configured
        _managed.lease()
        is_idle = before is not None and before is not _managed and before.retire()
        _replaced[:] = [other for other in _replaced if other.is_leased]
        return _managed, before if is_idle else None


def _size(
    n_workers: int | None, memory_limit: str | float | None, configured: tuple[Any, Any]
) -> tuple[int, str | float]:
    """Return a requested size: an explicit one lasts until another is requested, also by a changed configuration."""
    current = _managed if _managed is not None and _managed.is_usable else None
    unchanged = [current is not None and current.config_at_request[i] == configured[i] for i in (0, 1)]
    n_workers = n_workers or (current.n_workers if current and unchanged[0] else configured[0]) or CPU_COUNT
    memory_limit = memory_limit or (current.memory_limit if current and unchanged[1] else configured[1]) or "auto"
    return n_workers, memory_limit


def _take_back(size: tuple[int, str | float]) -> ManagedCluster | None:
    """Return the cluster of a size that another one has replaced, and that calls still keep open."""
    return next((other for other in _replaced if other.size == size and other.is_leased and other.is_usable), None)


def _check_context() -> None:
    context = nested_context()
    if context is not None:
        raise ClusterError(f"a cluster cannot be started {context}; call it outside, or let it run inline")


def _reset_after_fork() -> None:
    """Forget the managed clusters in a forked child: their sockets and threads are the parent's."""
    global _managed
    utils = sys.modules.get("distributed.utils")
    if utils is not None:
        # Its one thread is the parent's: what a client of the child submits would wait forever.
        vars(utils)["_offload_executor"] = ThreadPoolExecutor(max_workers=1, thread_name_prefix="Dask-Offload")
    patches = sys.modules.get("pandas_imgproc.cluster._dask_patches")
    if patches is not None:
        patches.detach_in_child()
    managed.abandon_in_child()
    _replaced.clear()
    _managed = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
