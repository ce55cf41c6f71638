"""Monitor of a cluster: number of worker threads, and a liveness check of the scheduler."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pandas_imgproc.config import setting
from pandas_imgproc.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

POLL_INTERVAL = 1.0
"""Seconds between two queries of the scheduler; a query takes five milliseconds."""


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

    def n_threads(self) -> int:
        """Return the number of worker threads, at most a second old.

        Raises
        ------
        ClusterError
            If the scheduler is gone, or has not responded for ``pandas-imgproc.scheduler-timeout`` seconds.
        """
        if self._client.status not in ("running", "connecting"):
            raise ClusterError(f"the {self._description} is gone: its scheduler cannot be reached any more")
        if not self.fixed_n_threads and time.monotonic() - self._polled >= POLL_INTERVAL:
            self._n_threads = self._query_scheduler()
            self._polled = time.monotonic()
        return self._n_threads

    def _query_scheduler(self) -> int:
        seconds = setting("scheduler-timeout")
        try:
            cores: dict[str, int] = self._client.sync(self._client.scheduler.ncores, callback_timeout=seconds)
        except (OSError, TimeoutError) as exc:
            raise ClusterError(
                f"the {self._description} is gone: its scheduler has not answered for {seconds:g} seconds "
                "(pandas-imgproc.scheduler-timeout)"
            ) from exc
        return sum(cores.values())
