"""Monitor of a cluster: number of worker threads, and a liveness check of the scheduler."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from pandas_imgproc.config import setting
from pandas_imgproc.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from distributed import Client

POLL_INTERVAL = 1.0
"""Seconds between two queries of the scheduler, which take five milliseconds, and two checks of the client."""


class WorkerMonitor:
    """Monitor of the workers of a client, which join and leave.

    Parameters
    ----------
    client : distributed.Client
    description : str
        Name of the cluster in an error.
    n_threads : int, optional
        Constant number of threads: the managed cluster restarts its workers itself.
    """

    def __init__(self, client: Client, description: str, n_threads: int | None = None) -> None:
        self._client, self._description, self._polled = client, description, -POLL_INTERVAL
        self._n_threads, self.fixed_n_threads = n_threads or 0, n_threads is not None
        self._was_running = False
        self._no_workers_since: float | None = None

    def n_threads(self) -> int:
        """Return the number of worker threads, at most a second old.

        Raises
        ------
        ClusterError
            If the client or the cluster is closed, or the scheduler is gone, or has not responded for
            ``pandas-imgproc.scheduler-timeout`` seconds; or if there has been no worker for
            ``pandas-imgproc.no-workers-timeout`` seconds.
        """
        self.check()
        if not self.fixed_n_threads and time.monotonic() - self._polled >= POLL_INTERVAL:
            self._n_threads = self._query_scheduler()
            self._polled = time.monotonic()
            self._check_workers()
        return self._n_threads

    def check(self) -> None:
        """Raise a ClusterError if the client has lost its scheduler, or is closed, or its cluster is."""
        status, cluster = self._client.status, getattr(self._client, "cluster", None)
        # A client that lost its scheduler has cancelled all futures, also if it connects again.
        lost = ("closing", "closed", "connecting") if self._was_running else ("closing", "closed")
        if status in lost or (cluster is not None and cluster.status.name in ("closing", "closed", "failed")):
            raise ClusterError(f"the {self._description} is gone: its scheduler cannot be reached any more")
        self._was_running = self._was_running or status == "running"

    def _check_workers(self) -> None:
        # A LocalCluster forgets a worker that is not back soon after its death; Dask itself has no limit by default.
        if self._n_threads:
            self._no_workers_since = None
            return
        self._no_workers_since = self._no_workers_since or self._polled
        seconds = setting("no-workers-timeout")
        if seconds is not None and self._polled - self._no_workers_since >= seconds:
            raise ClusterError(
                f"the {self._description} has had no worker for {seconds:g} seconds "
                "(pandas-imgproc.no-workers-timeout); if its workers start later, wait for them first with "
                "client.wait_for_workers(1)"
            )

    def run(
        self,
        coroutine: Coroutine[Any, Any, Any],
        timeout: float | None = None,
        poll: Callable[[], object] = lambda: None,
    ) -> Any:
        """Run a coroutine in the event loop of the client while the cluster is up, and return its result.

        Dask's own calls wait for a closed client, or begin a long transfer anew at each timeout. `poll` is called once
        a second, and may raise an exception that ends the wait.
        """
        running = asyncio.run_coroutine_threadsafe(coroutine, self._client.loop.asyncio_loop)
        started_at = time.monotonic()
        try:
            while True:
                try:
                    return running.result(POLL_INTERVAL)
                except TimeoutError:
                    if running.done() or (timeout is not None and time.monotonic() - started_at > timeout):
                        raise
                self.check()
                poll()
        finally:
            running.cancel()

    def _query_scheduler(self) -> int:
        seconds = setting("scheduler-timeout")
        try:
            cores: dict[str, int] = self.run(self._client.scheduler.ncores(), seconds)
        except (OSError, TimeoutError) as exc:
            raise ClusterError(
                f"the {self._description} is gone: its scheduler has not answered for {seconds:g} seconds "
                "(pandas-imgproc.scheduler-timeout)"
            ) from exc
        return sum(cores.values())
