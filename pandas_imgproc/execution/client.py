"""Execution on the workers of a Dask client."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import deque
from concurrent.futures import CancelledError
from itertools import count, islice
from typing import TYPE_CHECKING, Any

from pandas_imgproc import cluster
from pandas_imgproc.config import setting
from pandas_imgproc.errors import ClusterError
from pandas_imgproc.execution.crash_ledger import (
    DIED_OUTSIDE,
    MAX_DEATHS,
    WORKER_DIED,
    CrashLedger,
)
from pandas_imgproc.execution.crash_loop import CrashLoop
from pandas_imgproc.execution.deadly import DeadlyPartitionError
from pandas_imgproc.execution.flow import MANAGE_SECONDS, FlowControl
from pandas_imgproc.execution.gathering import Gatherer
from pandas_imgproc.execution.ledger_handle import shared_ledger
from pandas_imgproc.execution.payload import build_payload, worker_function
from pandas_imgproc.execution.reporting import CallReport
from pandas_imgproc.execution.shared_task import SharedTask, shared_task
from pandas_imgproc.execution.watchdog import kill_slow_rows
from pandas_imgproc.partition import PartitionResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from distributed import Client, Future

    from pandas_imgproc.errors import FailureKind
    from pandas_imgproc.execution.job import JobState

MAX_BATCH = 64
"""Partitions that are submitted together, which costs less than one by one; then results are looked at."""

MAX_BATCH_NBYTES = 2**19
"""Bytes of the payloads of a batch, unless a single one is larger: Dask warns of more than ten million."""

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
        state.report = CallReport(state, client)
        key = uuid.uuid4().hex
        task = stack.enter_context(shared_task(key, state.job.task, client))
        run = _ClientRun(state, client, ledger, worker_function(state, handle, task.handle), crash_loop, task)
        try:
            while run.fill() and not state.failed_fast:
                state.report.update()
                for result in run.next_results():
                    state.finish(result)
                    run.flow.add(result)
                    if state.failed_fast:
                        break
                run.flow.adapt()
                state.log_estimate()
        finally:
            ledger.cancel()
            run.cancel()


class _ClientRun:
    """Outstanding partitions of a job on a client."""

    def __init__(
        self,
        state: JobState,
        client: Client,
        ledger: CrashLedger,
        function: Callable[..., Any],
        crash_loop: CrashLoop,
        task: SharedTask,
    ) -> None:
        self._state, self._client, self._ledger, self._crash_loop = state, client, ledger, crash_loop
        self._function, self._task = function, task
        self._ranges = state.iter_partitions()
        self._monitor = cluster.worker_monitor(client)
        self._cluster = cluster.describe(client)
        assert state.report is not None
        self._report, self._key_suffix = state.report, count(1)
        self._warned_no_workers = False
        self._gatherer, self.flow = Gatherer(client), FlowControl(state)
        self._report.transfer_seconds = self._gatherer.transfer_seconds
        self._outstanding: dict[Future, Sequence[int]] = {}
        self._again: deque[Sequence[int]] = deque()  # partitions whose worker lacked the task
        # Rows of given up partitions, one after the other: the scheduler blames all tasks of a worker that dies.
        self._single_rows: deque[range] = deque()
        self._single: Future | None = None
        self._is_full = False

    def fill(self) -> int:
        """Submit a batch of partitions, up to the limit, and return the number of outstanding ones."""
        self.flow.set_workers(max(1, self._monitor.n_threads()), self._monitor.threads_per_worker)
        self._crash_loop.check(self._state.n_workers)
        if self._single is None and self._single_rows:
            self._submit([self._single_rows.popleft()])
            self._single = next(reversed(self._outstanding))
        batch = list(islice(self._next_positions(), MAX_BATCH))
        self._submit(batch)
        self._is_full = len(batch) < MAX_BATCH
        return len(self._outstanding)

    def _next_positions(self) -> Iterator[Sequence[int]]:
        """Yield the positions of partitions while more may be outstanding."""
        is_foreign = not self._monitor.fixed_n_threads and self._state.sink.schema_known
        n, n_rows = len(self._outstanding), sum(map(len, self._outstanding.values()))
        round_trip = self._gatherer.round_trip
        while n < self._state.max_partitions and self.flow.accepts(n, n_rows, round_trip, is_foreign=is_foreign):
            positions = self._again.popleft() if self._again else next(self._ranges, None)
            if positions is None:
                return
            n, n_rows = n + 1, n_rows + len(positions)
            yield positions

    def _submit(self, batch: Iterable[Sequence[int]]) -> None:
        """Submit partitions together: one by one they cost the caller and the scheduler twice as much."""
        payloads: dict[str, bytes] = {}
        partitions: list[Sequence[int]] = []
        for positions in batch:
            job, writer = self._state.job, self._state.writer(positions)
            thumbnail = self._report.take_thumbnail()
            payload = build_payload(self._state.partition(positions), writer, job.task, makes_thumbnail=thumbnail)
            if payloads and sum(map(len, payloads.values())) + len(payload) > MAX_BATCH_NBYTES:
                self._send(payloads, partitions)
                payloads, partitions = {}, []
            payloads[self._key(positions)] = payload
            partitions.append(positions)
        if payloads:
            self._send(payloads, partitions)

    def _send(self, payloads: dict[str, bytes], partitions: list[Sequence[int]]) -> None:
        futures = self._client.map(
            self._function, [*payloads.values()], key=[*payloads], pure=False, **self._task.scattered()
        )
        self._outstanding |= zip(futures, partitions, strict=True)
        self._gatherer.watch(futures)

    def _key(self, positions: Sequence[int]) -> str:
        # The dashboard groups tasks by the key's text before the first dash.
        name = self._state.job.task.name
        return f"{name}-{self._report.id}-{positions[0]}-{positions[-1]}-{next(self._key_suffix)}"

    def next_results(self) -> Iterator[PartitionResult]:
        """Yield the results that have arrived, after a wait for the first if no more can be submitted."""
        started_at = time.perf_counter()
        # The scheduler needs time for a batch, and for giving out the first ones of it.
        outcomes = self._gatherer.finished(POLL_INTERVAL if self._is_full else MAX_BATCH * MANAGE_SECONDS / 2)
        self._state.idle_seconds += time.perf_counter() - started_at
        self._show_losses()
        for future, outcome in outcomes:
            yield from self._results(future, outcome)
        self._gatherer.release(len(outcomes))

    def _show_losses(self) -> None:
        """Show a line when there are no workers, and when some are lost for good."""
        lost = self._monitor.pop_lost()
        if lost:
            self._state.progress.write(
                f"{len(lost):,} of the workers of the {self._cluster} lost, and not replaced, among them {lost[-1]}; "
                "others do their rows",
                always=True,
            )
        if not self._monitor.n_threads() and not self._warned_no_workers:
            self._warned_no_workers = True
            self._state.progress.write(f"waiting for workers: the {self._cluster} has none", always=True)

    def cancel(self) -> None:
        """Cancel the outstanding partitions."""
        self._gatherer.close()
        if not self._outstanding:
            return
        with contextlib.suppress(ClusterError, OSError, TimeoutError):
            self._monitor.check()
            self._monitor.run(self._client.cancel(list(self._outstanding), asynchronous=True), CANCEL_TIMEOUT)

    def _results(self, future: Future, outcome: Any) -> Iterator[PartitionResult]:
        """Yield the result of a partition; of one with which too many workers died, its rows are submitted alone."""
        positions, is_single = self._outstanding.pop(future), future is self._single
        if is_single:
            self._single = None
        if self._task.is_missing(outcome):
            future.release()
            self._again.append(positions)
            return
        result = self._checked(future, outcome)
        if isinstance(result, PartitionResult):
            yield result
        elif is_single:
            yield self._failed_result(positions, *result)
        else:
            self._ledger.reset_attempts(positions[0])
            unfinished = (position for position in positions if self._state.unfinished[position])
            self._single_rows += (range(position, position + 1) for position in unfinished)

    def _checked(self, future: Future, outcome: Any) -> PartitionResult | tuple[FailureKind, str]:
        """Return the result of a task, or the failure of its rows if its workers died."""
        from distributed import KilledWorker

        try:
            result = self._raised(future, outcome)
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

    def _raised(self, future: Future, outcome: Any) -> PartitionResult | str:
        """Return the return value of a task, or raise its error, or that of the cluster."""
        from distributed.scheduler import NoWorkerError

        try:
            if isinstance(outcome, BaseException):
                raise outcome
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
        result: PartitionResult | str = outcome
        return result

    def _failed_result(self, positions: Sequence[int], kind: FailureKind, message: str) -> PartitionResult:
        job = self._state.job
        partition = job.partition(positions)
        result = PartitionResult.empty(partition, job.task.allocate(job.task.n_outputs))
        for i, file in job.source.read(partition):
            result.add_failure(i, file.path, kind, message)
        return result
