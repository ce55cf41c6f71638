"""Partitions on the workers of a Dask client."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import CancelledError
from itertools import islice
from pickle import PickleError
from queue import SimpleQueue
from typing import TYPE_CHECKING

from pandas_imgproc import cluster
from pandas_imgproc.configuration import setting
from pandas_imgproc.drivers.call import do
from pandas_imgproc.drivers.row_timeout import slow_rows_ended
from pandas_imgproc.errors import ClusterError
from pandas_imgproc.note import DIED, NoteAddress, shared_note
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
    with (
        shared_note(len(state.call.cells)) as (note, address),
        slow_rows_ended(note, setting("row-timeout")),
        cluster.kills_told(client, note.forgive),
    ):
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
        self._task = sendable(state.call.task)
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
        started = time.perf_counter()
        future = self._done.get()
        self._state.waited += time.perf_counter() - started
        return future

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
        arguments = (self._task, rows, call.source, self._note, self._state.settings, put)
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


def sendable(task: Task) -> bytes:
    """Return a task as bytes, made once for all partitions.

    Raises
    ------
    TypeError
        If it holds a function that cannot be sent.
    """
    from distributed.protocol.pickle import dumps

    try:
        return bytes(dumps(task))
    except (TypeError, AttributeError, ValueError, RuntimeError, RecursionError, PickleError) as exc:
        raise TypeError(
            f"{task.name}: what the function uses cannot be sent to another process: {exc}; open files, locks and "
            "connections must be made inside of the function"
        ) from exc


def run_and_put(
    task: bytes, rows: Rows, source: Source, note: NoteAddress, settings: PillowSettings, put: Put
) -> Partition:
    """Do a partition on a worker and put its values where they belong."""
    from distributed.protocol.pickle import loads

    with note.open() as marks:
        return do(loads(task), rows, source, marks, settings, put)
