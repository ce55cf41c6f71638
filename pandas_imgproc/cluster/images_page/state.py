"""State of the page "Images": the running calls, and the last ones that have ended."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

from pandas_imgproc.cluster.images_page.call import CallState, as_text

MAX_ENDED = 10
"""Ended calls that the page shows: the last ones."""

MAX_RUNNING = 50
"""Running calls: of more, the oldest are dropped, whose callers may be gone."""

MAX_EARLY_EVENTS = 50
"""Events that have arrived before the first message of their caller."""


class PageState:
    """Calls of a cluster.

    Parameters
    ----------
    details : bool
        Whether paths, messages, labels and thumbnails are shown. Otherwise none of them is stored.
    thumbnails : bool
        Whether thumbnails are shown.
    """

    def __init__(self, *, details: bool, thumbnails: bool) -> None:
        self.details, self.thumbnails = details, details and thumbnails
        self.running: OrderedDict[str, CallState] = OrderedDict()
        self.ended: deque[CallState] = deque(maxlen=MAX_ENDED)
        self.revision = 0
        self._early: deque[dict[str, Any]] = deque(maxlen=MAX_EARLY_EVENTS)

    def calls(self) -> list[CallState]:
        """Return all calls, the newest first and the running ones before the ended ones."""
        return [*reversed(self.running.values()), *reversed(self.ended)]

    def on_caller(self, message: dict[str, Any], now: float) -> None:
        """Take over a message of a caller."""
        self.revision += 1
        identifier = as_text(message.get("call"))
        is_new = identifier not in self.running
        call = self._call(identifier, now)
        call.on_caller(message, now, details=self.details)
        if is_new:
            early, self._early = self._early, deque(maxlen=MAX_EARLY_EVENTS)
            for event in early:
                self.on_partition(event, now)
        if not call.is_running:
            self._move(call)

    def on_partition(self, event: dict[str, Any], now: float) -> None:
        """Take over the event of a partition from its worker."""
        self.revision += 1
        identifier = as_text(event.get("call"))
        call = self.running.get(identifier)
        if call is None and not event.get("group"):
            # Before the first message of the caller, or after the last one.
            self._early.append({name: value for name, value in event.items() if name != "thumbnail"})
            return
        if call is None:
            call = self._call(identifier, now - float(event.get("wall", 0.0)))
            call.is_graph = True
        call.on_partition(event, now, details=self.details)

    def on_worker_lost(self, address: str, keys: list[str]) -> None:
        """Count the loss of a worker for the calls whose tasks it was running."""
        self.revision += 1
        for call in list(self.running.values()):
            if address in call.workers:
                call.workers[address].is_lost = True
            n = sum(call.group in key if call.is_graph and call.group else call.id in key for key in keys)
            if n:
                call.n_deaths, call.n_retries = call.n_deaths + 1, call.n_retries + n

    def on_client_lost(self, client: str, now: float) -> None:
        """End the calls of a client that is gone without a last message."""
        for call in [call for call in self.running.values() if call.client == client and not call.is_graph]:
            self.end(call, "interrupted", now)

    def end(self, call: CallState, status: str, now: float) -> None:
        """End a call."""
        self.revision += 1
        call.end(status, now)
        self._move(call)

    def _call(self, identifier: str, now: float) -> CallState:
        if identifier not in self.running:
            self.running[identifier] = CallState(identifier, now)
            if len(self.running) > MAX_RUNNING:
                self.running.popitem(last=False)
        return self.running[identifier]

    def _move(self, call: CallState) -> None:
        self.running.pop(call.id, None)
        self.ended.append(call)
