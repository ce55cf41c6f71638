"""Local cluster of worker processes: start, stop, and the settings that must hold.

Import this module late: distributed costs 0.4 seconds.
"""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import socket
import threading
from typing import TYPE_CHECKING, Any

import dask

from pandas_imgproc.cluster import preload
from pandas_imgproc.cluster._dask_nanny import SPAWN_SETTINGS, PatchedNanny, scratch_path
from pandas_imgproc.cluster._dask_patches import ALLOWED_FAILURES, PatchedClient, PatchedLocalCluster
from pandas_imgproc.cluster.preflight import check_environment, root_cause, start_error
from pandas_imgproc.cluster.tls import TemporaryTLS
from pandas_imgproc.cluster.validation import configured_dashboard
from pandas_imgproc.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

# glibc returns a buffer of this size to the system at each free; this is the highest value it accepts.
_MMAP_THRESHOLD = 32 * 2**20

_start_lock = threading.Lock()

SETTINGS: dict[str, Any] = SPAWN_SETTINGS | {
    # Limit for Dask's own tasks; `_dask_patches` raises it while a job of this package runs.
    "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
    # All workers lost: an error instead of a hang.
    "distributed.scheduler.no-workers-timeout": "180s",
    # The nanny sees a death at once. A missing heartbeat only means that native code holds the GIL, in the caller or
    # a worker, or that the laptop slept.
    "distributed.scheduler.worker-ttl": None,
    "distributed.scheduler.idle-timeout": None,
    "distributed.scheduler.contact-address": None,
    "distributed.scheduler.preload": [],
    "distributed.nanny.preload": [],
    "distributed.worker.http.routes": [],  # no HTTP server serves them
    "distributed.worker.use-file-locking": False,
    "distributed.worker.blocked-handlers": [],
    "distributed.worker.lifetime.duration": None,
    "distributed.worker.resources": {},
    "distributed.worker.profile.enabled": False,
    # Every server checks fifty times a second whether its loop is late, and twice the state of the machine: one
    # percent of each worker, and three of the caller.
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "2s",
    # Each connection keeps this many of its last messages, for debugging, and a message to the scheduler holds the
    # paths of a partition: with Dask's 1,000, a caller that makes many calls grows by all that these have sent. The
    # scheduler's events are cut to the same number, among which `worker_rpc.count_losses` finds a task's losses.
    "distributed.admin.low-level-log-length": 100,
    # No spilling: pixels do not stay in workers, and scratch directories outlive a kill. No pausing: without spilling
    # nothing would ever resume a worker. A worker that needs too much is ended, and its row is a failure.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
}
"""Settings that override the user's configuration and ``DASK_…`` variables."""


_MALLOC = {
    # Each image's buffers would return to the system and be faulted in again: a tenth of the time.
    "MALLOC_TRIM_THRESHOLD_": 8 * _MMAP_THRESHOLD,
    "MALLOC_MMAP_THRESHOLD_": _MMAP_THRESHOLD,
}
_N_THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM", "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip


def worker_environment() -> dict[str, Any]:
    """Return the environment variables of workers: one native thread, since there is a process for each core.

    The number of threads that the user has set holds.
    """
    return _MALLOC | {name: os.environ.get(name, 1) for name in _N_THREADS}


def start(n_workers: int, memory_limit: str | float) -> tuple[LocalCluster, Client]:
    """Start worker processes of one thread each, their scheduler in this process, and a client that is no default.

    Waits until all workers have reported.

    Raises
    ------
    ClusterError
        If the cluster cannot be started here, with the reason.
    """
    dashboard = configured_dashboard()
    # One start at a time: the first to end would take the other's settings away.
    environment = {"distributed.nanny.pre-spawn-environ": worker_environment()}
    with _start_lock, dask.config.set(SETTINGS | environment | _http_routes(dashboard)):
        try:
            check_environment(n_workers, memory_limit)
            cluster = _start_cluster(n_workers, memory_limit, dashboard)
        except ClusterError:
            raise
        except Exception as exc:
            raise start_error(root_cause(exc)) from exc
        try:
            return cluster, PatchedClient(cluster, set_as_default=False)
        except Exception as exc:
            stop(cluster)
            raise start_error(root_cause(exc)) from exc


def _start_cluster(n_workers: int, memory_limit: str | float, dashboard: str) -> LocalCluster:
    scratch = scratch_path()
    try:
        return PatchedLocalCluster(
            name="pandas_imgproc",
            n_workers=n_workers,
            threads_per_worker=1,
            memory_limit=memory_limit,
            host="127.0.0.1",
            # Dask's dashboard listens on every interface, and any account of the machine can run code on a cluster
            # without certificates.
            tls=TemporaryTLS(),
            dashboard=dashboard,
            dashboard_address=None if dashboard == "off" else f"127.0.0.1:{_free_port()}",
            worker_class=PatchedNanny,
            silence_logs=False,  # `PatchedLocalCluster` and `PatchedNanny` do it
            preload=[preload.__file__],
            preload_argv=[],
            local_directory=scratch,
            scheduler_kwargs={"local_directory": scratch},
            # A copy, because leaving `dask.config.set` removes the settings from workers that start later.
            config=copy.deepcopy(dask.config.config),
        )
    except BaseException:
        for started in list(PatchedLocalCluster._instances):
            if getattr(started.status, "name", None) in ("created", "starting", "failed"):
                stop(started)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def stop(cluster: LocalCluster, client: Client | None = None) -> None:
    """Close a cluster in any state (half started, failing, or closed by the user), and its client."""
    # The scheduler of a cluster that died does not respond; the client is closed either way.
    with contextlib.suppress(OSError, RuntimeError, TimeoutError):
        if client is not None:
            client.close(timeout=5)
    with contextlib.suppress(AssertionError, OSError, RuntimeError, TimeoutError):
        cluster.close(timeout=15)


def is_up(cluster: LocalCluster) -> bool:
    """Return whether a cluster runs, with a worker that is running or restarting."""
    return cluster.status.name == "running" and any(nanny._is_active() for nanny in cluster.workers.values())


def _http_routes(dashboard: str) -> dict[str, list[str]]:
    """Return the setting of the scheduler's HTTP routes: the user's, without the proxy to pages of workers."""
    name = "distributed.scheduler.http.routes"
    # The proxy would also reach any other server of the machine, and explain at length that there is no page.
    routes = [route for route in dask.config.get(name) if route != "distributed.http.proxy"]
    return {name: [] if dashboard == "off" else routes}


def _free_port() -> int:
    """Return Dask's usual port of a dashboard, 8787, or 0 for any port: Dask's own attempt would leak a socket."""
    with socket.socket() as probe:
        # As the dashboard's own server: connections that are still closing do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8787))
            probe.listen(1)
        except OSError:
            return 0
    return 8787
