"""Execution on the workers of a Dask client."""

from __future__ import annotations

import contextlib
import time
import uuid
from concurrent.futures import CancelledError
from itertools import count, islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from pandas_imgproc import cluster
from pandas_imgproc.config import setting
from pandas_imgproc.errors import ClusterError
from pandas_imgproc.execution.crash_ledger import WORKER_DIED, LedgerHandle, shared_ledger
from pandas_imgproc.execution.payload import PayloadFactory
from pandas_imgproc.execution.watchdog import kill_slow_rows
from pandas_imgproc.partition import PartitionResult

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client, Future

    from pandas_imgproc.execution.job import JobState

TASKS_PER_THREAD = 2
"""Outstanding partitions per thread of the managed cluster, or before the schema is known: one runs, one waits."""

TASKS_PER_THREAD_FOREIGN = 10
"""The same on other clusters: an adaptive one scales by the seconds of outstanding work, five for each worker."""

POLL_INTERVAL = 1.0
"""Seconds without a finished partition after which the number of workers is queried."""


def run_on_client(state: JobState, client: Client) -> None:
    """Run partitions on the workers of a client, a few outstanding per worker."""
    from distributed import span

    link = cluster.pop_dashboard_link(client)
    if link:
        state.progress.write_link("Dask dashboard", link)
    with (
        shared_ledger(len(state.job.inputs)) as (ledger, handle),
        kill_slow_rows(ledger, setting("row-timeout")),
        cluster.notify_worker_kills(client, ledger.discount_kill),
        span("pandas_imgproc", state.job.task.name),
    ):
        run = _ClientRun(state, client, handle)
        try:
            while run.fill() and not state.failed_fast:
                for result in run.gather(run.next_finished()):
                    state.finish(result)
                state.log_estimate()
        finally:
            ledger.cancel()
            run.cancel()


class _ClientRun:
    """Outstanding partitions of a job on a client."""

    def __init__(self, state: JobState, client: Client, handle: LedgerHandle) -> None:
        self._state, self._client = state, client
        self._payloads = PayloadFactory(state, handle)
        self._ranges = state.iter_partitions()
        self._monitor = cluster.worker_monitor(client)
        self._cluster = cluster.describe(client)
        self._job_id, self._key_suffix = uuid.uuid4().hex[:8], count(1)
        self._warned_no_workers = False
        # Not `as_completed`: between looking and waiting it may miss a finished future, for a tenth of a second.
        self._finished: SimpleQueue[Future] = SimpleQueue()
        self._outstanding: dict[Future, range] = {}

    def fill(self) -> int:
        """Submit partitions up to the limit, and return the number of outstanding ones."""
        self._state.n_workers = max(1, self._monitor.n_threads())
        is_fixed = self._monitor.fixed_n_threads or not self._state.sink.schema_known
        limit = self._state.n_workers * (TASKS_PER_THREAD if is_fixed else TASKS_PER_THREAD_FOREIGN)
        for positions in islice(self._ranges, max(0, limit - len(self._outstanding))):
            future = self._submit(positions)
            self._outstanding[future] = positions
            future.add_done_callback(self._finished.put)
        return len(self._outstanding)

    def _submit(self, positions: range) -> Future:
        partition, writer = self._state.job.partition(positions), self._state.sink.writer(positions)
        payload = self._payloads.build(partition, writer)
        # The dashboard groups tasks by the key's text before the first dash.
        name = self._state.job.task.name
        key = f"{name}-{self._job_id}-{positions.start}-{positions.stop - 1}-{next(self._key_suffix)}"
        return self._client.submit(payload, key=key, pure=False)

    def next_finished(self) -> Future:
        """Wait for a partition, and return its future, which may have failed."""
        started_at = time.perf_counter()
        future = self._wait(self._finished)
        self._state.idle_seconds += time.perf_counter() - started_at
        return future

    def _wait(self, finished: SimpleQueue[Future]) -> Future:
        while True:
            with contextlib.suppress(Empty):
                return finished.get(timeout=POLL_INTERVAL)
            self.fill()  # workers may have joined; and the loss of the scheduler is noticed
            if not self._monitor.n_threads() and not self._warned_no_workers:
                self._warned_no_workers = True
                self._state.progress.write(f"waiting for workers: the {self._cluster} has none", always=True)

    def cancel(self) -> None:
        """Cancel the outstanding partitions."""
        if self._outstanding and self._client.status in ("running", "connecting"):
            self._client.cancel(list(self._outstanding))

    def gather(self, future: Future) -> Iterator[PartitionResult]:
        """Yield the result of a finished partition, or of its rows one by one if too many workers died."""
        positions = self._outstanding.pop(future)
        result = self._result(future)
        if result is not None:
            yield result
            return
        for position in positions:
            row = range(position, position + 1)
            # Sequentially: the scheduler blames all tasks that wait on a worker that dies.
            finished: SimpleQueue[Future] = SimpleQueue()
            self._submit(row).add_done_callback(finished.put)
            yield self._result(self._wait(finished)) or self._worker_died_result(row)

    def _result(self, future: Future) -> PartitionResult | None:
        """Return the result of a task, or None if its workers died."""
        from distributed import KilledWorker
        from distributed.scheduler import NoWorkerError

        try:
            result = self._fetch(future)
        except KilledWorker:
            return None
        except NoWorkerError as exc:
            raise ClusterError(
                f"the {self._cluster} has had no worker for a while; if workers end because they need "
                "more memory, give them more (memory_limit=) or have fewer of them (n_workers=)"
            ) from exc
        except CancelledError as exc:
            raise ClusterError(f"the {self._cluster} went away during the call") from exc
        except OSError as exc:
            if future.status == "error":  # raised by the task: a disk may be full
                raise
            raise ClusterError(f"the {self._cluster} went away during the call: {exc}") from exc
        finally:
            # Its error references the frames of this call, and with them the call's memory.
            future.release()
        if isinstance(result, str):
            raise ClusterError(result)
        return result

    def _fetch(self, future: Future) -> PartitionResult | str:
        """Return the return value of a task while its scheduler responds; Dask alone would wait forever."""
        timeout = setting("scheduler-timeout")
        while True:
            try:
                result: PartitionResult | str = future.result(timeout=timeout)
            except TimeoutError:
                if future.status == "error":  # raised by the task
                    raise
                self._monitor.n_threads()
                timeout *= 2  # a large transfer starts anew
            else:
                return result

    def _worker_died_result(self, positions: range) -> PartitionResult:
        job = self._state.job
        partition = job.partition(positions)
        result = PartitionResult.empty(partition, job.task.allocate(job.task.n_outputs))
        for i, file in job.source.read(partition):
            result.add_failure(i, file.path, *WORKER_DIED)
        return result
