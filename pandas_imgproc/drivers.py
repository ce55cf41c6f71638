"""Where partitions run: in line, on threads of this process, or on a Dask client.

The in-line driver is the specification: on a client the same call gives the same bytes.
"""

from __future__ import annotations

import math
import time
import uuid
from collections import defaultdict
from concurrent.futures import FIRST_COMPLETED, CancelledError, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import dask.config
from dask.system import CPU_COUNT

from pandas_imgproc import cluster
from pandas_imgproc.codec import PillowSettings
from pandas_imgproc.configuration import setting
from pandas_imgproc.destination import Put, Returned, destination
from pandas_imgproc.errors import ClusterError
from pandas_imgproc.note import Note, NoteAddress, shared_note
from pandas_imgproc.partition import DIED, run_partition
from pandas_imgproc.progress import LONG_JOB, Progress, duration, progress, size
from pandas_imgproc.rows import Partition, Rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from distributed import Client, Future

    from pandas_imgproc.source import Source
    from pandas_imgproc.tasks import Task

SAMPLE_ROWS = 16
"""Rows that are timed in line before it is decided where the rest runs; also the least rows of a partition."""

MOST_ROWS = 8192
"""The most rows of a partition: submitting it costs a millisecond or two, whatever its size."""


@dataclass(frozen=True)
class Call:
    """One call of a method, ready to run.

    Attributes
    ----------
    task : Task
        What one row means.
    source : Source
        How cells become files.
    cells : list
        What stands in the column, row by row; None where missing.
    npartitions : int, optional
        How many partitions; a call that says so always runs on a cluster.
    progress : bool, optional
        Whether progress is shown.
    stop_at_failure : bool
        Whether the first failure ends the call.
    needs_cluster : bool
        Whether rows run what may crash: only on a cluster does that cost one row.
    """

    task: Task
    source: Source
    cells: list[Any]
    npartitions: int | None = None
    progress: bool | None = None
    stop_at_failure: bool = False
    needs_cluster: bool = False


@dataclass
class Run:
    """A call under way: what is known of it so far."""

    call: Call
    destination: Returned
    progress: Progress
    settings: PillowSettings = field(default_factory=PillowSettings.current)
    started: float = field(default_factory=time.perf_counter)
    done: int = 0
    failures: int = 0
    timed: int = 0
    wall: float = 0.0
    cpu: float = 0.0
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    announced: bool = False

    @property
    def stopped(self) -> bool:
        """Whether a failure has ended the call."""
        return self.call.stop_at_failure and self.failures > 0

    @property
    def rest(self) -> int:
        """Rows that are not done."""
        return len(self.call.cells) - self.done

    @property
    def row_seconds(self) -> float:
        """Seconds that one worker takes for one row, as measured so far; 0 before anything was."""
        return self.wall / self.timed if self.timed else 0.0

    def rows(self, positions: range) -> Rows:
        """Return the rows at some positions with what stands in them."""
        return Rows(positions, self.call.cells[positions.start : positions.stop])

    def here(self, positions: range, note: Note) -> Partition:
        """Do some rows in this thread."""
        return run_partition(self.call.task, self.rows(positions), self.call.source, note, self.settings)

    def finish(self, part: Partition) -> None:
        """Take a finished partition."""
        self.destination.collect(part)
        self.done += len(part.status)
        self.failures += len(part.failures)
        self.timed += len(part.status)
        self.wall += part.wall
        self.cpu += part.cpu
        for name, seconds in part.seconds.items():
            self.seconds[name] += seconds
        self.progress.advance(len(part.status), self.failures)

    def seconds_left(self, workers: int) -> float:
        """Return how long the rest takes at the rate measured so far."""
        return self.rest * self.row_seconds / workers

    def announce(self, workers: int) -> None:
        """Say once, of a long call, what it will take."""
        left = self.seconds_left(workers)
        if not self.announced and left > LONG_JOB:
            self.announced = True
            need = size(self.destination.nbytes)
            self.progress.say(f"{self.call.task.name}: about {duration(left)} and {need} for {self.rest:,} images")

    def summary(self, plan: str) -> str:
        """Return the line that tells what was done, how fast, and which plan ran."""
        wall = time.perf_counter() - self.started
        parts = [
            f"{self.call.task.name}: {self.done:,} images in {duration(wall)} ({self.done / wall:,.0f} images/s)",
            f"{self.failures:,} failed",
            f"wall {duration(wall)}, CPU {duration(self.cpu)}",
            plan,
        ]
        if self.seconds:
            slowest = max(self.seconds, key=lambda name: self.seconds[name])
            parts.append(f"slowest stage: {slowest} ({self.seconds[slowest] / sum(self.seconds.values()):.0%})")
        return "; ".join(parts)


@dataclass(frozen=True)
class Plan:
    """Where the rest of a call runs: in line on `threads` as long as it takes less than `seconds`, or on `client`."""

    threads: int
    client: Client | None = None
    why: str = ""
    seconds: float = math.inf

    def __str__(self) -> str:
        if self.client is not None:
            return cluster.describe(self.client)
        return f"in line on {self.threads} thread{'s' * (self.threads > 1)}{self.why}"


def run(call: Call) -> Returned:
    """Do a call and return its destination, filled.

    Returns
    -------
    Returned
        With a status for every row, or for some if the call stops at failures and there was one.

    Raises
    ------
    ClusterError
        If the cluster went away.
    """
    values = destination(call.task, len(call.cells))
    try:
        with progress(call.task.name, len(call.cells), show=call.progress) as bar:
            state = Run(call, values, bar)
            plan = _drive(state)
            if state.done:
                bar.say(state.summary(str(plan)))
    finally:
        values.close()
    return values


def _drive(state: Run) -> Plan:
    """Time the first rows, choose a plan, and do the rest by it."""
    plan = _chosen_by_hand(state.call)
    if plan is None:
        _time_first_rows(state)
        plan = _chosen_by_time(state)
    if plan.client is None:
        _in_line(state, plan)
        if state.rest and not state.stopped:
            # The first rows were quicker than those that followed: think again.
            plan = Plan(CPU_COUNT, cluster.get_client())
    if plan.client is not None and state.rest and not state.stopped:
        _on_client(state, plan.client)
    return plan


def _time_first_rows(state: Run) -> None:
    n = min(SAMPLE_ROWS, len(state.call.cells))
    note = Note.blank(len(state.call.cells))
    state.finish(state.here(range(min(1, n)), note))
    if n > 1 and not state.stopped:
        # The very first row pays for importing Pillow's plugins.
        state.wall, state.timed = 0.0, 0
        state.finish(state.here(range(1, n), note))


def _chosen_by_hand(call: Call) -> Plan | None:
    """Return the plan that place, configuration or arguments leave no choice about."""
    inside = cluster.inside()
    if inside:
        return Plan(CPU_COUNT, why=f" ({inside})")
    scheduler = dask.config.get("scheduler", None)
    if scheduler in ("synchronous", "sync", "single-threaded"):
        return Plan(1)
    if scheduler in ("threads", "threading"):
        return Plan(CPU_COUNT)
    if call.cells and (call.npartitions or call.needs_cluster or scheduler == "distributed"):
        return Plan(CPU_COUNT, cluster.get_client())
    return None


def _chosen_by_time(state: Run) -> Plan:
    """Return the plan for the rest, by how long the first rows took."""
    client = cluster.borrow()
    limit = setting("inline-seconds" if client is None else "inline-seconds-warm")
    if state.seconds_left(CPU_COUNT) <= limit:
        # Twice the limit: what is nearly done is not moved.
        return Plan(CPU_COUNT, seconds=2 * limit)
    return Plan(CPU_COUNT, cluster.get_client())


def cut(state: Run, workers: int) -> Iterator[range]:
    """Yield ranges of the rows that are left: as many as asked for, or of about a second, and smaller at the end.

    It is lazy, so that each range follows the rate measured so far.
    """
    start, n = state.done, len(state.call.cells)
    if state.call.npartitions:
        count = min(state.call.npartitions, n)
        yield from (range(n * k // count, n * (k + 1) // count) for k in range(count))
        return
    while start < n:
        one = state.row_seconds
        second = int(setting("partition-seconds") / one) if one else SAMPLE_ROWS
        # Half of an equal share: whoever gets the slow pictures has less left to hold the others up with. Not less
        # than a twentieth of a second: handing it out takes a tenth of that.
        share = max((n - start) // (2 * workers), second // 20)
        rows = max(SAMPLE_ROWS, min(second, share, MOST_ROWS))
        yield range(start, min(start + rows, n))
        start += rows


def _in_line(state: Run, plan: Plan) -> None:
    """Do rows on threads of this process: all, or until the rest would take longer than the plan allows."""
    note, threads = Note.blank(len(state.call.cells)), plan.threads
    ranges = cut(state, threads)
    with ThreadPoolExecutor(threads, "pandas_imgproc") as pool:
        try:
            waiting = {pool.submit(state.here, rows, note) for rows in islice(ranges, 2 * threads)}
            while waiting and not state.stopped:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in finished:
                    state.finish(future.result())
                state.announce(threads)
                more = len(finished) if state.seconds_left(threads) <= plan.seconds else 0
                waiting |= {pool.submit(state.here, rows, note) for rows in islice(ranges, more)}
        finally:
            note.stop()
            pool.shutdown(cancel_futures=True)


def _on_client(state: Run, client: Client) -> None:
    """Do rows on the workers of a client, two partitions for each in flight: one to do, one to go on with."""
    workers = cluster.threads(client)
    ranges = cut(state, workers)
    link = cluster.unsaid_dashboard_link(client)
    if link:
        state.progress.say(f"Dask dashboard: {link}", of_short_jobs_too=True)
    with shared_note(len(state.call.cells)) as (note, address):
        submission = _Submission(state, client, address)
        try:
            submission.add(islice(ranges, 2 * workers))
            while submission.waiting and not state.stopped:
                future = submission.next_done()
                submission.add(islice(ranges, 1))
                for part in submission.parts(future):
                    state.finish(part)
                state.announce(workers)
        finally:
            note.stop()
            submission.cancel()


class _Submission:
    """Partitions on their way to the workers of a client and back."""

    def __init__(self, state: Run, client: Client, note: NoteAddress) -> None:
        self._state, self._client, self._note = state, client, note
        self._call = uuid.uuid4().hex[:8]
        self._attempt = 0
        # Not `as_completed`: between looking and waiting it may miss a future that is done, for a tenth of a second.
        self._done: SimpleQueue[Future] = SimpleQueue()
        self.waiting: dict[Future, range] = {}

    def add(self, ranges: Iterable[range]) -> None:
        """Send partitions to the workers."""
        for positions in ranges:
            future = self._submit(positions)
            self.waiting[future] = positions
            future.add_done_callback(self._done.put)

    def next_done(self) -> Future:
        """Wait for a partition and return it; it may have failed."""
        return self._done.get()

    def cancel(self) -> None:
        """Take back what nobody waits for any more."""
        if self.waiting:
            self._client.cancel(list(self.waiting))

    def _submit(self, positions: range) -> Future:
        call = self._state.call
        self._attempt += 1
        # The dashboard groups tasks by what stands before the first dash, and shows the rest when asked.
        key = f"{call.task.name}-{self._call}-{positions.start}-{positions.stop - 1}-{self._attempt}"
        rows, put = self._state.rows(positions), self._state.destination.put
        arguments = (call.task, rows, call.source, self._note, self._state.settings, put)
        return self._client.submit(run_and_put, *arguments, key=key, pure=False)

    def parts(self, future: Future) -> Iterator[Partition]:
        """Yield the partition of a finished task, or its rows one by one if it cost too many workers."""
        positions = self.waiting.pop(future)
        part = self._part(future)
        if part is not None:
            yield part
            return
        for row in positions:
            alone = range(row, row + 1)
            # One at a time: the scheduler blames all that wait on a worker that dies.
            yield self._part(self._submit(alone)) or self._died(alone)

    def _part(self, future: Future) -> Partition | None:
        """Return the partition of a task, or None if the scheduler gave it up because its workers died."""
        from distributed import KilledWorker

        try:
            part: Partition = future.result()
        except KilledWorker:
            return None
        except CancelledError as exc:
            raise ClusterError(f"the {cluster.describe(self._client)} went away during the call") from exc
        return part

    def _died(self, positions: range) -> Partition:
        rows = self._state.rows(positions)
        part = Partition.blank(rows, self._state.call.task.empty(self._state.call.task.copies))
        for number, file in self._state.call.source.read(rows):
            part.fail(number, file.path, "worker_died", DIED)
        return part


def run_and_put(
    task: Task, rows: Rows, source: Source, note: NoteAddress, settings: PillowSettings, put: Put
) -> Partition:
    """Do a partition on a worker and put its values where they belong."""
    with note.open() as marks:
        return put(run_partition(task, rows, source, marks, settings))
