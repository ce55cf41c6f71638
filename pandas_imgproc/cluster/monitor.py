"""Monitor of a cluster: number of worker threads, and a liveness check of the scheduler."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

from pandas_imgproc.config import setting
from pandas_imgproc.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

    from distributed import Client

POLL_INTERVAL = 1.0
"""Seconds between two queries of the scheduler, which take five milliseconds, and two checks of the client."""

LOST_SECONDS = 20.0
"""Seconds after which a lost worker counts as lost for good: a nanny starts it again within a few."""


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
        self._n_threads, self.fixed_n_threads, self.threads_per_worker = n_threads or 0, n_threads is not None, 1
        self._query: Future[dict[str, int]] | None = None
        self._n_workers, self._n_max, self._fewer_since = 0, 0, math.inf
        self._was_running = False
        self._no_workers_since: float | None = None

    def n_threads(self) -> int:
        """Return the number of worker threads about a second ago; only the first query is waited for.

        Raises
        ------
        ClusterError
            If the client or the cluster is closed, or the scheduler is gone, or has not responded for
            ``pandas-imgproc.scheduler-timeout`` seconds; or if there has been no worker for
            ``pandas-imgproc.no-workers-timeout`` seconds.
        """
        self.check()
        if not self.fixed_n_threads and time.monotonic() - self._polled >= POLL_INTERVAL:
            self._query_scheduler()
        return self._n_threads

    def pop_lost(self) -> list[str]:
        """Return the addresses of workers that were lost, without being retired, and not replaced; each once."""
        if time.monotonic() - self._fewer_since < LOST_SECONDS:
            return []
        n_fewer = self._n_max - self._n_workers
        self._n_max, self._fewer_since = self._n_workers, math.inf
        with contextlib.suppress(OSError, TimeoutError):
            events = self.run(self._client.scheduler.events(topic="all"), POLL_INTERVAL)
            removed = [event for _, event in events if event.get("action") == "remove-worker"]
            lost = [event["worker"] for event in removed if not event.get("expected", False)]
            return lost[-n_fewer:]
        return []

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

    def run(self, coroutine: Coroutine[Any, Any, Any], timeout: float | None = None) -> Any:
        """Run a coroutine in the event loop of the client while the cluster is up, and return its result.

        Dask's own calls wait for a closed client.
        """
        running = self._begin(coroutine)
        started_at = time.monotonic()
        try:
            while True:
                try:
                    return running.result(POLL_INTERVAL)
                except TimeoutError:
                    if running.done() or (timeout is not None and time.monotonic() - started_at > timeout):
                        raise
                self.check()
        finally:
            running.cancel()

    def _query_scheduler(self) -> None:
        """Begin a query, or read the result of the last one: the caller does not wait for a distant scheduler."""
        seconds = setting("scheduler-timeout")
        try:
            if self._polled < 0:
                self._count_threads(self.run(self._client.scheduler.ncores(), seconds))
            elif self._query is None:
                self._query, self._queried = self._begin(self._client.scheduler.ncores()), time.monotonic()
            elif self._query.done():
                finished, self._query = self._query, None
                self._count_threads(finished.result())
            elif time.monotonic() - self._queried > seconds:
                raise TimeoutError
        except (OSError, TimeoutError) as exc:
            raise ClusterError(
                f"the {self._description} is gone: its scheduler has not answered for {seconds:g} seconds "
                "(pandas-imgproc.scheduler-timeout)"
            ) from exc

    def _count_threads(self, n_by_worker: dict[str, int]) -> None:
        self._n_threads, self._polled = sum(n_by_worker.values()), time.monotonic()
        self.threads_per_worker = max(n_by_worker.values(), default=1)
        self._n_workers, self._n_max = len(n_by_worker), max(self._n_max, len(n_by_worker))
        self._fewer_since = min(self._fewer_since, self._polled) if self._n_workers < self._n_max else math.inf
        self._check_workers()

    def _begin(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._client.loop.asyncio_loop)
