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
from pandas_imgproc.execution.crash_ledger import (
    DIED_OUTSIDE,
    MAX_DEATHS,
    WORKER_DIED,
    CrashLedger,
    DeadlyPartitionError,
    LedgerHandle,
    shared_ledger,
)
from pandas_imgproc.execution.crash_loop import CrashLoop
from pandas_imgproc.execution.payload import PayloadFactory
from pandas_imgproc.execution.watchdog import kill_slow_rows
from pandas_imgproc.partition import PartitionResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distributed import Client, Future

    from pandas_imgproc.errors import FailureKind
    from pandas_imgproc.execution.job import JobState

TASKS_PER_THREAD = 2
"""Outstanding partitions per thread of the managed cluster, or before the schema is known: one runs, one waits."""

TASKS_PER_THREAD_FOREIGN = 10
"""The same on other clusters: an adaptive one scales by the seconds of outstanding work, five for each worker."""

POLL_INTERVAL = 1.0
"""Seconds without a finished partition after which the number of workers is queried."""

CANCEL_TIMEOUT = 5.0
"""Seconds in which the scheduler should confirm that the outstanding partitions of a failed call are cancelled."""


def run_on_client(state: JobState, client: Client) -> None:
    """Run partitions on the workers of a client, a few outstanding per worker."""
    from distributed import span

    link = cluster.pop_dashboard_link(client)
    if link:
        state.progress.write_link("Dask dashboard", link)
    with contextlib.ExitStack() as stack:
        ledger, handle = stack.enter_context(shared_ledger(len(state.job.inputs)))
        ledger.set_pending(state.pending.mask())
        stack.enter_context(kill_slow_rows(ledger, setting("row-timeout")))
        crash_loop = CrashLoop(ledger, cluster.describe(client))
        if cluster.is_managed(client):
            stack.enter_context(cluster.worker_deaths_observed(crash_loop))
        stack.enter_context(span("pandas_imgproc", state.job.task.name))
        run = _ClientRun(state, client, ledger, handle, crash_loop)
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

    def __init__(
        self, state: JobState, client: Client, ledger: CrashLedger, handle: LedgerHandle, crash_loop: CrashLoop
    ) -> None:
        self._state, self._client, self._ledger, self._crash_loop = state, client, ledger, crash_loop
        self._payloads = PayloadFactory(state, handle)
        self._ranges = state.iter_partitions()
        self._monitor = cluster.worker_monitor(client)
        self._cluster = cluster.describe(client)
        self._job_id, self._key_suffix = uuid.uuid4().hex[:8], count(1)
        self._warned_no_workers = False
        # Not `as_completed`: between looking and waiting it may miss a finished future, for a tenth of a second.
        self._finished: SimpleQueue[Future] = SimpleQueue()
        self._outstanding: dict[Future, Sequence[int]] = {}

    def fill(self) -> int:
        """Submit partitions up to the limit, and return the number of outstanding ones."""
        self._state.n_workers = max(1, self._monitor.n_threads())
        self._crash_loop.check(self._state.n_workers)
        is_fixed = self._monitor.fixed_n_threads or not self._state.sink.schema_known
        limit = self._state.n_workers * (TASKS_PER_THREAD if is_fixed else TASKS_PER_THREAD_FOREIGN)
        for positions in islice(self._ranges, max(0, limit - len(self._outstanding))):
            future = self._submit(positions)
            self._outstanding[future] = positions
            future.add_done_callback(self._finished.put)
        return len(self._outstanding)

    def _submit(self, positions: Sequence[int]) -> Future:
        partition, writer = self._state.job.partition(positions), self._state.sink.writer(positions)
        payload = self._payloads.build(partition, writer)
        # The dashboard groups tasks by the key's text before the first dash.
        name = self._state.job.task.name
        key = f"{name}-{self._job_id}-{positions[0]}-{positions[-1]}-{next(self._key_suffix)}"
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
        if not self._outstanding:
            return
        with contextlib.suppress(ClusterError, OSError, TimeoutError):
            self._monitor.check()
            self._monitor.run(self._client.cancel(list(self._outstanding), asynchronous=True), CANCEL_TIMEOUT)

    def gather(self, future: Future) -> Iterator[PartitionResult]:
        """Yield the result of a finished partition, or of its rows one by one if too many workers died."""
        positions = self._outstanding.pop(future)
        result = self._result(future)
        if isinstance(result, PartitionResult):
            yield result
            return
        self._ledger.reset_attempts(positions[0])
        for position in positions:
            yield self._run_alone(range(position, position + 1))

    def _run_alone(self, row: range) -> PartitionResult:
        # Sequentially: the scheduler blames all tasks that wait on a worker that dies.
        finished: SimpleQueue[Future] = SimpleQueue()
        future = self._submit(row)
        self._outstanding[future] = row
        future.add_done_callback(finished.put)
        result = self._result(self._wait(finished))
        del self._outstanding[future]
        return result if isinstance(result, PartitionResult) else self._failed_result(row, *result)

    def _result(self, future: Future) -> PartitionResult | tuple[FailureKind, str]:
        """Return the result of a task, or the failure of its rows if its workers died."""
        from distributed import KilledWorker

        try:
            result = self._fetch(future)
        except (KilledWorker, DeadlyPartitionError) as exc:
            if not cluster.is_managed(self._client):  # whose processes are counted one by one
                self._crash_loop.count(getattr(exc, "allowed_failures", MAX_DEATHS - 1) + 1)
            return DIED_OUTSIDE if isinstance(exc, DeadlyPartitionError) else WORKER_DIED
        finally:
            # Its error references the frames of this call, and with them the call's memory.
            future.release()
        if isinstance(result, str):
            raise ClusterError(result)
        self._crash_loop.reset()
        return result

    def _fetch(self, future: Future) -> PartitionResult | str:
        """Return the return value of a task while its scheduler responds; Dask alone would wait forever."""
        from distributed.scheduler import NoWorkerError

        try:
            # A result may be lost with its worker, and its task run again: meanwhile other partitions finish.
            gathering = self._client.gather(future, asynchronous=True)
            result: PartitionResult | str = self._monitor.run(gathering, poll=self.fill)
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
        return result

    def _failed_result(self, positions: Sequence[int], kind: FailureKind, message: str) -> PartitionResult:
        job = self._state.job
        partition = job.partition(positions)
        result = PartitionResult.empty(partition, job.task.allocate(job.task.n_outputs))
        for i, file in job.source.read(partition):
            result.add_failure(i, file.path, kind, message)
        return result
