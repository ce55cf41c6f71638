"""Connection of a caller to the page "Images" of its cluster: messages that no call waits for, except for the last."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from pandas_imgproc.cluster.images_page.names import PAGE_TOPIC, PLUGIN

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from distributed import Client

logger = logging.getLogger("pandas_imgproc")

LAST_TIMEOUT = 2.0
"""Seconds that the end of a call waits for its last message to arrive."""


class PageConnection:
    """Connection of a call; without the page on the cluster nothing is sent.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._has_page: bool | None = None  # None: not known yet
        self._sending: Future[None] | None = None
        self.details, self.thumbnails = False, False  # whether the page shows them now

    @property
    def is_idle(self) -> bool:
        """Whether a message can be sent: the cluster may have the page, and the last message has arrived."""
        return self._has_page is not False and (self._sending is None or self._sending.done())

    def send(self, message: dict[str, Any]) -> None:
        """Send a message, and do not wait."""
        with contextlib.suppress(RuntimeError):  # the client is closed
            self._sending = asyncio.run_coroutine_threadsafe(self._send(message), self._client.loop.asyncio_loop)

    def send_last(self, message: Callable[[], dict[str, Any]]) -> None:
        """Send a message, built after the one before has arrived, and wait until it has arrived as well."""
        self._wait()
        if self._has_page is not False and self._client.status == "running":
            self.send(message())
            self._wait()

    def _wait(self) -> None:
        if self._sending is not None:
            with contextlib.suppress(TimeoutError):
                self._sending.result(LAST_TIMEOUT)

    async def _send(self, message: dict[str, Any]) -> None:
        scheduler: Any = self._client.scheduler
        try:
            if self._has_page is None:
                # A scheduler does not respond to a function that it lacks.
                self._has_page = bool(await scheduler.events(topic=PAGE_TOPIC))
            if self._has_page:
                shown = await getattr(scheduler, PLUGIN)(message={**message, "client": self._client.id})
                self.details, self.thumbnails = shown["details"], shown["thumbnails"]
        except Exception:  # the page is no part of the result
            logger.debug("The page Images of the dashboard cannot be reached", exc_info=True)
