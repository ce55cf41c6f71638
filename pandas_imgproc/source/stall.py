"""Limits of one attempt at a transfer: the wait for the next byte, and the least rate of bytes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from pandas_imgproc.errors import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from pandas_imgproc.source.read_config import ReadConfig

_RESCHEDULE_SHARE = 0.02
"""Share of the limit by which the end of the wait may be early: it is not moved at each chunk."""

_SENDING_SHARE = 9
"""Maximum time to send a request, in units of the limit."""


class StallTimeout:
    """Timeout of one attempt, counted from the last byte; a body that drips is too slow over a whole window.

    Parameters
    ----------
    config : ReadConfig
        With the seconds without a byte, which are also the window, and the least bytes per second in it.

    Raises
    ------
    UnreadableImageError
        Of kind ``timeout``, by the block or by `received`.
    """

    def __init__(self, config: ReadConfig) -> None:
        self._seconds, self._low_speed_limit = config.timeout, config.low_speed_limit
        self._loop = asyncio.get_running_loop()
        self._alarm = asyncio.timeout(self._seconds)
        self._rescheduled_at = self._loop.time()
        self._window_start, self._n_in_window, self._n_bytes = 0.0, 0, 0

    async def __aenter__(self) -> Self:
        await self._alarm.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._alarm.__aexit__(exc_type, exc, traceback)
        except TimeoutError:
            message = f"it took too long: no byte in {self._seconds:g} seconds (pandas-imgproc.read-timeout)"
            if self._n_bytes:
                message += f", after the first {self._n_bytes:,}"
            raise UnreadableImageError("timeout", message) from None

    def received(self, nbytes: int) -> None:
        """Start the wait for the next byte, and compare the rate of the window that has ended."""
        now = self._loop.time()
        if now - self._rescheduled_at > _RESCHEDULE_SHARE * self._seconds:
            self._restart(now)
        if not self._n_bytes:
            self._window_start, self._n_in_window = now, 0
        self._n_bytes, self._n_in_window = self._n_bytes + nbytes, self._n_in_window + nbytes
        if now - self._window_start >= self._seconds:
            self._check_rate(now - self._window_start)
            self._window_start, self._n_in_window = now, 0

    def _check_rate(self, seconds: float) -> None:
        if self._low_speed_limit is not None and self._n_in_window < self._low_speed_limit * seconds:
            raise UnreadableImageError(
                "timeout",
                f"it took too long: it arrives with {self._n_in_window / seconds:,.3g} bytes a second, fewer than "
                f"pandas-imgproc.low-speed-limit={self._low_speed_limit:,}",
            )

    def allow_sending(self, nbytes: int) -> None:
        """Add the time in which a request sends its bytes, of which none can be counted."""
        if self._low_speed_limit is not None:
            extra = min(nbytes / self._low_speed_limit, _SENDING_SHARE * self._seconds)
            self._alarm.reschedule(self._loop.time() + self._seconds + extra)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Block in which the caller is busy with the bytes: the server is not to blame for the time."""
        started_at = self._loop.time()
        self._alarm.reschedule(None)
        try:
            yield
        finally:
            now = self._loop.time()
            self._window_start += now - started_at
            self._restart(now)

    def _restart(self, now: float) -> None:
        self._rescheduled_at = now
        if not self._alarm.expired():
            self._alarm.reschedule(now + self._seconds)
