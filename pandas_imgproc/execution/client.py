"""Partitions on the workers of a Dask client."""

from __future__ import annotations

import contextlib
import time
import uuid
from concurrent.futures import CancelledError
from itertools import islice
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
"""Partitions for each thread of our own cluster, or before their form is known: one to do, one to go on with."""

TASKS_PER_THREAD_FOREIGN = 10
"""The same on other clusters: an adaptive one sizes itself by the seconds of work it sees, five for each worker."""

POLL_INTERVAL = 1.0
"""Seconds without a partition after which it is asked how many workers there are."""


def run_on_client(state: JobState, client: Client) -> None:
    """Do rows on the workers of a client, a few partitions for each in flight."""
    from distributed import span

    link = cluster.pop_dashboard_link(client)
    if link:
        state.progress.write_link("Dask dashboard", link)
    with (
        shared_ledger(len(state.job.inputs)) as (ledger, address),
        kill_slow_rows(ledger, setting("row-timeout")),
        cluster.notify_worker_kills(client, ledger.discount_kill),
        span("pandas_imgproc", state.job.task.name),
    ):
        submission = _ClientRun(state, client, address)
        try:
            while submission.fill() and not state.failed_fast:
                for part in submission._gather(submission.next_finished()):
                    state.finish(part)
                state.log_estimate()
        finally:
            ledger.cancel()
            submission.cancel()


class _ClientRun:
    """Partitions on their way to the workers of a client and back."""

    def __init__(self, state: JobState, client: Client, ledger: LedgerHandle) -> None:
        self._state, self._client = state, client
        self._payloads = PayloadFactory(state, ledger)
        self._ranges = state.iter_partitions()
        self._monitor = cluster.worker_monitor(client)
        self._call = uuid.uuid4().hex[:8]
        self._key_suffix, self._warned_no_workers = 0, False
        # Not `as_completed`: between looking and waiting it may miss a future that is done, for a tenth of a second.
        self._done: SimpleQueue[Future] = SimpleQueue()
        self._waiting: dict[Future, range] = {}

    def fill(self) -> int:
        """Send partitions until as many are in flight as should be, and return how many are."""
        self._state.workers = max(1, self._monitor.n_threads())
        each = (
            TASKS_PER_THREAD
            if self._monitor.fixed_n_threads or not self._state.sink.schema_known
            else TASKS_PER_THREAD_FOREIGN
        )
        for positions in islice(self._ranges, max(0, each * self._state.workers - len(self._waiting))):
            future = self._submit(positions)
            self._waiting[future] = positions
            future.add_done_callback(self._done.put)
        return len(self._waiting)

    def next_finished(self) -> Future:
        """Wait for a partition and return it; it may have failed."""
        started = time.perf_counter()
        future = self._wait(self._done)
        self._state.waited += time.perf_counter() - started
        return future

    def _wait(self, done: SimpleQueue[Future]) -> Future:
        while True:
            with contextlib.suppress(Empty):
                return done.get(timeout=POLL_INTERVAL)
            self.fill()  # workers may have come; and who does not answer is found out
            if not self._monitor.n_threads() and not self._warned_no_workers:
                self._warned_no_workers = True
                where = cluster.describe(self._client)
                self._state.progress.write(f"waiting for workers: the {where} has none", of_short_jobs_too=True)

    def cancel(self) -> None:
        """Take back what nobody waits for any more."""
        if self._waiting and self._client.status in ("running", "connecting"):
            self._client.cancel(list(self._waiting))

    def _submit(self, positions: range) -> Future:
        self._key_suffix += 1
        # The dashboard groups tasks by what stands before the first dash, and shows the rest when asked.
        name = self._state.job.task.name
        key = f"{name}-{self._call}-{positions.start}-{positions.stop - 1}-{self._key_suffix}"
        parcel = self._payloads.build(self._state.rows(positions), self._state.sink.writer(positions))
        return self._client.submit(parcel, key=key, pure=False)

    def _gather(self, future: Future) -> Iterator[PartitionResult]:
        """Yield the partition of a finished task, or its rows one by one if it cost too many workers."""
        positions = self._waiting.pop(future)
        part = self._result(future)
        if part is not None:
            yield part
            return
        for row in positions:
            alone = range(row, row + 1)
            # One at a time: the scheduler blames all that wait on a worker that dies.
            done: SimpleQueue[Future] = SimpleQueue()
            self._submit(alone).add_done_callback(done.put)
            yield self._result(self._wait(done)) or self._worker_died_result(alone)

    def _result(self, future: Future) -> PartitionResult | None:
        """Return the partition of a task, or None if the scheduler gave it up because its workers died."""
        from distributed import KilledWorker
        from distributed.scheduler import NoWorkerError

        where = cluster.describe(self._client)
        try:
            answer = self._fetch(future)
        except KilledWorker:
            return None
        except NoWorkerError as exc:
            raise ClusterError(
                f"the {where} has had no worker for a while; if workers end because they need "
                "more memory, give them more (memory_limit=) or have fewer of them (n_workers=)"
            ) from exc
        except CancelledError as exc:
            raise ClusterError(f"the {where} went away during the call") from exc
        except OSError as exc:
            if future.status == "error":  # the task's own: a disk may be full
                raise
            raise ClusterError(f"the {where} went away during the call: {exc}") from exc
        finally:
            # An error that it holds holds the frames of this call, and with them the call's memory.
            future.release()
        if isinstance(answer, str):
            raise ClusterError(answer)
        return answer

    def _fetch(self, future: Future) -> PartitionResult | str:
        """Return what a task gave, as long as somebody is there who can send it: Dask would wait for ever."""
        patience = setting("scheduler-timeout")
        while True:
            try:
                answer: PartitionResult | str = future.result(timeout=patience)
            except TimeoutError:
                if future.status == "error":  # the task's own
                    raise
                self._monitor.n_threads()
                patience *= 2  # what is large begins anew
            else:
                return answer

    def _worker_died_result(self, positions: range) -> PartitionResult:
        rows = self._state.rows(positions)
        part = PartitionResult.empty(rows, self._state.job.task.allocate(self._state.job.task.n_outputs))
        for number, file in self._state.job.source.read(rows):
            part.add_failure(number, file.path, *WORKER_DIED)
        return part
