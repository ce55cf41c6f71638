"""Gathering of results: many in transit at once, none of which waits for another, straight from workers if possible."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from pandas_imgproc._timing import smoothed

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from distributed import Client, Future

    Outcome = tuple[Future, Any]  # a future that is done, and its result, or the exception in place of it

MAX_HELD_NBYTES = 256 * 2**20
"""Bytes of results that may be in transit, or wait in the caller, together: the rest stays in the workers' memory."""

FIRST_HELD, MAX_HELD = 8, 4096
"""Results that may be so: before the size of the first one is known, and at most."""

REACH_TIMEOUT = 5.0
"""Seconds in which a worker should respond; until then its results come through the scheduler."""

POLL_INTERVAL = 0.25
"""Seconds between two looks at a result in transit: whether it is lost, or late."""

LATE_SECONDS, LATE_FACTOR = 1.0, 5
"""A result is late after so many seconds, and so many times the usual duration: no other one waits for its memory."""

CLOSE_SECONDS = 5.0
"""Seconds that transfers have to finish after the end of the call."""


class Gatherer:
    """Gatherer of the results of futures: each goes to a queue, in the order of arrival.

    `Client.gather` batches concurrent requests, and has five batches in transit: a host that is cut off
    delays everything for the half minute until its connections fail. Here the results of one worker wait for that
    worker alone. All but `watch`, `finished` and `release` runs in the event loop of the client::

        done ──> ready ── where is it? ──> from that worker, or through the scheduler ──> finished
                   ^ waits while the caller holds too much      │
                   └── release                                  └── lost: Client.gather, which waits for its next run

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Client) -> None:
        self._client, self._loop = client, client.loop.asyncio_loop
        self._routes = _Routes(client)
        self._finished: SimpleQueue[Outcome] = SimpleQueue()
        self._ready: list[Future] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_locating, self._is_closed = False, False
        self._n_held, self._max_held, self._largest = 0, FIRST_HELD, 0
        self.round_trip = 0.0  # seconds of a recent query of the scheduler
        self._fetch_seconds = 0.0  # of recent results
        self.transfer_seconds: Counter[str] = Counter()  # by address of the worker, for the dashboard

    def watch(self, futures: Iterable[Future]) -> None:
        """Gather the results of futures when they are done."""
        for future in futures:
            future.add_done_callback(lambda future: self._call_in_loop(self._add, future))

    def finished(self, timeout: float) -> list[Outcome]:
        """Wait for outcomes, and return all that have arrived; none after `timeout` seconds."""
        outcomes: list[Outcome] = []
        with contextlib.suppress(Empty):
            outcomes.append(self._finished.get(timeout=timeout) if timeout else self._finished.get_nowait())
            while True:
                outcomes.append(self._finished.get_nowait())
        return outcomes

    def release(self, n: int) -> None:
        """Allow for other results in the memory of the caller, which has stored n of them."""
        self._call_in_loop(self._free, n)

    def close(self) -> None:
        """Begin no more transfers, and cancel those that are not finished after `CLOSE_SECONDS`."""
        self._call_in_loop(self._close)

    def _call_in_loop(self, function: Any, *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the client is closed, which the wait for results notices
            self._loop.call_soon_threadsafe(function, *args)

    # ---- in the event loop of the client

    def _close(self) -> None:
        self._is_closed = True
        # To close a connection in the middle of a message is an error in the log of the worker.
        self._loop.call_later(CLOSE_SECONDS, self._cancel)

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _add(self, future: Future) -> None:
        self._ready.append(future)
        self._locate_ready()

    def _free(self, n: int) -> None:
        self._n_held -= n
        self._locate_ready()

    def _locate_ready(self) -> None:
        """Locate the results that are ready: all that have become so during the last query."""
        if not self._is_locating and not self._is_closed and self._ready and self._n_held < self._max_held:
            self._is_locating = True
            self._start(self._locate())

    async def _locate(self) -> None:
        n = self._max_held - self._n_held
        futures, self._ready = self._ready[:n], self._ready[n:]
        self._n_held += len(futures)
        workers = await self._find_workers([future.key for future in futures if future.status == "finished"])
        by_worker = defaultdict(list)
        for future in futures:
            by_worker[next(iter(workers.get(future.key, ())), None)].append(future)
        for address, group in by_worker.items():
            self._start(self._gather(address, group))
        self._is_locating = False
        self._locate_ready()

    async def _find_workers(self, keys: list[str]) -> dict[str, list[str]]:
        """Return the addresses of the workers that have results; none if the scheduler is gone, as all are lost."""
        started_at, workers = self._loop.time(), {}
        if keys:
            with contextlib.suppress(OSError):
                workers = await self._client.scheduler.who_has(keys=keys)
            self.round_trip = smoothed(self.round_trip, self._loop.time() - started_at)
        return workers

    async def _gather(self, address: str | None, futures: list[Future]) -> None:
        results: dict[str, Any] = {}
        with contextlib.suppress(Exception):  # one that cannot be unpickled, for example: raised again below
            results = {} if address is None else await self._fetch(address, futures)
        for future in futures:
            if future.key in results:
                self._finish(future, results[future.key])
            else:
                self._start(self._gather_again(future))

    async def _fetch(self, address: str, futures: list[Future]) -> dict[str, Any]:
        """Return the results that arrive before their worker is lost."""
        started_at, n_late = self._loop.time(), 0
        fetching = asyncio.ensure_future(self._routes.fetch(address, [future.key for future in futures]))
        try:
            while not fetching.done() and (self._is_closed or any(future.status == "finished" for future in futures)):
                await asyncio.wait([fetching], timeout=POLL_INTERVAL)
                seconds = self._loop.time() - started_at
                if not n_late and seconds > max(LATE_SECONDS, LATE_FACTOR * self._fetch_seconds):
                    n_late = len(futures)
                    self._free(n_late)
            self._fetch_seconds = smoothed(self._fetch_seconds, self._loop.time() - started_at)
            self.transfer_seconds[address] += self._loop.time() - started_at
            return fetching.result() if fetching.done() else {}
        finally:
            fetching.cancel()
            self._n_held += n_late

    async def _gather_again(self, future: Future) -> None:
        self._free(1)  # it may take long
        try:
            outcome = await self._client.gather(future, asynchronous=True)
        except Exception as exc:
            outcome = exc
        self._n_held += 1
        self._finish(future, outcome)

    def _finish(self, future: Future, outcome: Any) -> None:
        nbytes = getattr(getattr(outcome, "values", None), "nbytes", 0)
        self._largest = max(self._largest, nbytes)
        self._max_held = min(MAX_HELD, max(FIRST_HELD, MAX_HELD_NBYTES // max(1, self._largest)))
        self._finished.put((future, outcome))


class _Routes:
    """Routes to the results: from a worker that the caller reaches, and otherwise through the scheduler.

    Each worker is tried once, while its first results come through the scheduler; no other one of a host that does not
    respond. A client with ``direct_to_workers=False`` tries none.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._is_reached: dict[str, bool] = {}  # by address
        self._unreachable_hosts: set[str] = set()
        self._trials: set[asyncio.Task[None]] = set()

    async def fetch(self, address: str, keys: list[str]) -> dict[str, Any]:
        """Return the results of a worker, without those that cannot be had."""
        results: dict[str, Any] = {}
        if self._is_direct(address):
            results = await self._fetch_directly(address, keys)
            if results:
                return results
            self._is_reached[address] = False
        with contextlib.suppress(OSError):
            response = await self._client.scheduler.gather(keys=keys)
            results = response.get("data", {})
        return results

    async def _fetch_directly(self, address: str, keys: list[str]) -> dict[str, Any]:
        from distributed.utils_comm import gather_from_workers

        results: dict[Any, Any]
        results, *_ = await gather_from_workers({key: [address] for key in keys}, rpc=self._client.rpc)
        return results

    def _is_direct(self, address: str) -> bool:
        if self._client.direct_to_workers is False:
            return False
        if address not in self._is_reached:
            self._is_reached[address] = False
            trial = asyncio.ensure_future(self._try_to_reach(address))
            self._trials.add(trial)
            trial.add_done_callback(self._trials.discard)
        return self._is_reached[address]

    async def _try_to_reach(self, address: str) -> None:
        host = address.rpartition(":")[0]
        if host in self._unreachable_hosts:
            return
        try:
            comm = await self._client.rpc.connect(address, timeout=REACH_TIMEOUT)
        except (OSError, TimeoutError):
            self._unreachable_hosts.add(host)
        else:
            self._client.rpc.reuse(address, comm)
            self._is_reached[address] = True
