"""Managed clusters: each has a size, and a retired one is closed when the last call on it has ended."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

from pandas_imgproc._uninterrupted import EXIT_TIMEOUT, Step, import_atomically

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

lock = threading.RLock()
"""Lock of the state of all managed clusters: held for a moment, never while one starts or closes."""

_open: set[ManagedCluster] = set()
# A forked child must hold its parent's handles: garbage collection would close the parent's clusters.
_abandoned: list[ManagedCluster] = []


class ManagedCluster:
    """Local cluster that this package starts, with its client.

    Parameters
    ----------
    n_workers : int
    memory_limit : str, int or float
        Memory of each worker.
    """

    def __init__(self, n_workers: int, memory_limit: str | float) -> None:
        self.n_workers, self.memory_limit = n_workers, memory_limit
        self.config_at_request: tuple[Any, Any] = (None, None)  # configured size when it was last requested
        self.link_shown, self.log_start = False, True
        self.is_requested = False  # by `get_client`, and not only needed by a call
        self._n_leases, self._is_retired = 0, False
        self._start = Step(_start, n_workers, memory_limit)
        self._stop = Step(self._stop_started)
        _open.add(self)

    def __str__(self) -> str:
        return f"local cluster of {self.n_workers} process{'es' if self.n_workers > 1 else ''}"

    @property
    def size(self) -> tuple[int, str | float]:
        """Number of workers, and memory limit."""
        return self.n_workers, self.memory_limit

    @property
    def client(self) -> Client | None:
        """Client of the cluster, None before it is up and if it could not be started."""
        return self._started[1] if self._started else None

    @property
    def cluster(self) -> LocalCluster | None:
        """Cluster of Dask, None before it is up and if it could not be started."""
        return self._started[0] if self._started else None

    @property
    def _started(self) -> tuple[LocalCluster, Client] | None:
        return self._start.result() if self._start.is_finished and not self._start.has_failed else None

    @property
    def is_up(self) -> bool:
        """Whether the cluster runs and its client is connected."""
        if self._started is None:
            return False
        from pandas_imgproc.cluster import local

        cluster, client = self._started
        return client.status == "running" and local.is_up(cluster)

    @property
    def is_usable(self) -> bool:
        """Whether the cluster is up, or will be."""
        return self.is_up or not self._start.is_finished

    # A lease is a call on the cluster. These three need the `lock`.

    def lease(self) -> None:
        """Keep the cluster open for a call, until `release`."""
        self._n_leases += 1
        self._is_retired = False

    def retire(self) -> bool:
        """Leave it to the last call to close the cluster; return whether none runs, and the cluster is to be closed."""
        self._is_retired = True
        return not self._n_leases

    @property
    def is_leased(self) -> bool:
        """Whether a call runs on the cluster."""
        return self._n_leases > 0

    def begin_start(self) -> None:
        """Start the cluster, unless it has been, and do not wait for it."""
        self._start.begin()

    @property
    def is_start_finished(self) -> bool:
        """Whether `wait` returns, or raises, at once."""
        return self._start.is_finished

    def wait(self) -> Client:
        """Wait until the cluster is up, and return its client; it is started by the first wait.

        Ctrl-C ends only the wait.
        """
        return self._start.result()[1]

    def release(self) -> None:
        """End a lease, and close the cluster if it is retired and this was the last one."""
        with lock:
            self._n_leases -= 1
            closes = self._is_retired and not self._n_leases
        if closes:
            self.close()

    def close(self) -> None:
        """Close the cluster and its client, in any state."""
        self._stop.result()

    def _stop_started(self) -> None:
        if self._start.is_begun:
            with contextlib.suppress(Exception):  # that it could not be started was reported to the call
                cluster, client = self._start.result()
                from pandas_imgproc.cluster import local

                local.stop(cluster, client)
        _open.discard(self)

    def kill_workers(self) -> None:
        """Kill the worker processes at once."""
        for nanny in self.cluster.workers.values() if self.cluster else ():
            if nanny.pid:
                with contextlib.suppress(OSError):
                    os.kill(nanny.pid, signal.SIGKILL)


def _start(n_workers: int, memory_limit: str | float) -> tuple[LocalCluster, Client]:
    local: Any = import_atomically("pandas_imgproc.cluster.local")
    _register_at_exit()
    started: tuple[LocalCluster, Client] = local.start(n_workers, memory_limit)
    return started


def _register_at_exit() -> None:
    # Before the functions that distributed has registered: the last registered one is called first.
    atexit.unregister(_close_at_exit)
    atexit.register(_close_at_exit)
    # A process of a pool first ends its daemonic children: a cluster that is still open would start them again.
    from multiprocessing import util

    util.Finalize(None, _close_at_exit, exitpriority=100)


def find(client: Client) -> ManagedCluster | None:
    """Return the managed cluster of a client, also a retired one; None for a client of the user."""
    with lock:
        return next((managed for managed in _open if managed.client is client), None)


@atexit.register
def _close_at_exit() -> None:
    """Close all clusters, also those of calls in daemon threads; at Ctrl-C end their workers at once."""
    try:
        for managed in list(_open):
            managed._stop.result(EXIT_TIMEOUT)
    except (KeyboardInterrupt, TimeoutError):
        for managed in list(_open):
            managed.kill_workers()


def abandon_in_child() -> None:
    """Forget all clusters in a forked child: their sockets and threads are the parent's."""
    global lock
    lock = threading.RLock()  # another thread of the parent may hold it
    _abandoned.extend(_open)
    _open.clear()
