"""Partitions on the workers of a Dask client."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from concurrent.futures import CancelledError
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from pandas_imgproc import cluster
from pandas_imgproc.configuration import setting
from pandas_imgproc.errors import ClusterError
from pandas_imgproc.note import DIED, Note, NoteAddress, shared_note
from pandas_imgproc.partition import run_partition
from pandas_imgproc.rows import Partition, Rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from distributed import Client, Future

    from pandas_imgproc.codec import PillowSettings
    from pandas_imgproc.destination import Put
    from pandas_imgproc.drivers.call import Run
    from pandas_imgproc.source import Source
    from pandas_imgproc.tasks import Task


def run_on_client(state: Run, client: Client) -> None:
    """Do rows on the workers of a client, two partitions for each in flight: one to do, one to go on with."""
    workers = cluster.threads(client)
    ranges = state.cut(workers)
    link = cluster.unsaid_dashboard_link(client)
    if link:
        state.progress.say(f"Dask dashboard: {link}", of_short_jobs_too=True)
    with shared_note(len(state.call.cells)) as (note, address):
        submission = _Submission(state, client, address)
        watch = _Watch(note, setting("row-timeout"))
        try:
            submission.add(islice(ranges, 2 * workers))
            while submission.waiting and not state.stopped:
                future = submission.next_done(watch)
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

    def next_done(self, watch: _Watch) -> Future:
        """Wait for a partition and return it; it may have failed."""
        while True:
            try:
                return self._done.get(timeout=watch.interval)
            except Empty:
                watch.look(self.waiting.values())

    def cancel(self) -> None:
        """Take back what nobody waits for any more."""
        if self.waiting:
            self._client.cancel(list(self.waiting))

    def _submit(self, positions: range) -> Future:
        call = self._state.call
        self._attempt += 1
        # The dashboard groups tasks by what stands before the first dash, and shows the rest when asked.
        key = f"{call.task.name}-{self._call}-{positions.start}-{positions.stop - 1}-{self._attempt}"
        rows, put = self._state.rows(positions), self._state.destination.put_on(positions)
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
        from distributed.scheduler import NoWorkerError

        try:
            part: Partition = future.result()
        except KilledWorker:
            return None
        except NoWorkerError as exc:
            raise ClusterError(
                f"the {cluster.describe(self._client)} has had no worker for a while; if workers end because they need "
                "more memory, give them more (memory_limit=) or have fewer of them (n_workers=)"
            ) from exc
        except CancelledError as exc:
            raise ClusterError(f"the {cluster.describe(self._client)} went away during the call") from exc
        finally:
            # An error that it holds holds the frames of this call, and with them the call's memory.
            future.release()
        return part

    def _died(self, positions: range) -> Partition:
        rows = self._state.rows(positions)
        part = Partition.blank(rows, self._state.call.task.empty(self._state.call.task.copies))
        for number, file in self._state.call.source.read(rows):
            part.fail(number, file.path, *DIED)
        return part


class _Watch:
    """A clock beside the note: it ends the process of a row that takes too long.

    Parameters
    ----------
    note : Note
        Which rows are in flight.
    seconds : float, optional
        How long a row may take; None is for ever.
    """

    def __init__(self, note: Note, seconds: float | None) -> None:
        self._note, self._seconds = note, seconds
        self.interval = None if seconds is None else min(1.0, seconds / 4)
        self._since: dict[int, float] = {}
        self._ended: set[int] = set()

    def look(self, partitions: Iterable[range]) -> None:
        """Look at the rows in flight, and end the processes of those that took too long."""
        now = time.monotonic()
        flying = {self._note.in_flight(rows): rows for rows in partitions}
        flying.pop(None, None)
        self._since = {row: self._since.get(row, now) for row in flying if row is not None}
        for row, since in self._since.items():
            if self._seconds is not None and now - since > self._seconds and row not in self._ended:
                self._end(row, self._note.process(flying[row]))

    def _end(self, row: int, process: int) -> None:
        # Once: the row stays in flight until its partition is tried again, and by then the number may be another's.
        self._ended.add(row)
        if process not in (0, os.getpid()):  # a thread of this very process cannot be ended: its row is waited for
            self._note.too_slow(row)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def run_and_put(
    task: Task, rows: Rows, source: Source, note: NoteAddress, settings: PillowSettings, put: Put
) -> Partition:
    """Do a partition on a worker and put its values where they belong."""
    with note.open() as marks:
        return put(run_partition(task, rows, source, marks, settings))
