"""What a scheduler is asked while a call runs: how many threads its workers have, and with that whether it is there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pandas_imgproc.config import setting
from pandas_imgproc.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

POLL_INTERVAL = 1.0
"""Seconds between looks: one takes five milliseconds."""


class WorkerMonitor:
    """The workers of a client, who come and go.

    Parameters
    ----------
    client : distributed.Client
    where : str
        How the cluster is called in an error.
    fixed : int, optional
        How many threads there always are: our own cluster brings its workers back itself.
    """

    def __init__(self, client: Client, where: str, fixed: int | None = None) -> None:
        self._client, self._where, self._looked = client, where, -POLL_INTERVAL
        self._threads, self.fixed_n_threads = fixed or 0, fixed is not None

    def n_threads(self) -> int:
        """Return how many partitions the workers do at a time, as of a second ago at most.

        Raises
        ------
        ClusterError
            If the scheduler is gone, or does not answer for ``pandas-imgproc.scheduler-timeout`` seconds.
        """
        if self._client.status not in ("running", "connecting"):
            raise ClusterError(f"the {self._where} is gone: its scheduler cannot be reached any more")
        if not self.fixed_n_threads and time.monotonic() - self._looked >= POLL_INTERVAL:
            self._threads = self._query_scheduler()
            self._looked = time.monotonic()
        return self._threads

    def _query_scheduler(self) -> int:
        seconds = setting("scheduler-timeout")
        try:
            found: dict[str, int] = self._client.sync(self._client.scheduler.ncores, callback_timeout=seconds)
        except (OSError, TimeoutError) as exc:
            raise ClusterError(
                f"the {self._where} is gone: its scheduler has not answered for {seconds:g} seconds "
                "(pandas-imgproc.scheduler-timeout)"
            ) from exc
        return sum(found.values())
