"""Retry policy of requests to remote files: transient errors, timeouts, concurrency per host."""

from __future__ import annotations

import asyncio
import functools
import os
from typing import TYPE_CHECKING, TypeVar

from pandas_imgproc.source.error_mapping import is_transient, retry_after
from pandas_imgproc.source.redaction import protocol_family
from pandas_imgproc.source.stall import StallTimeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import tenacity

    from pandas_imgproc.source.paths import RemotePath
    from pandas_imgproc.source.read_config import ReadConfig

T = TypeVar("T")

MAX_RETRY_AFTER = 60.0
"""Maximum wait, in seconds, that a server's ``Retry-After`` can cause."""

MAX_LOCAL_COPIES = 4


async def with_retries(
    request: Callable[[StallTimeout], Awaitable[T]], location: RemotePath, config: ReadConfig, purpose: str = "read"
) -> T:
    """Return the result of a request, repeated while its error is transient and attempts remain; see `one_attempt`."""
    return await repeated(functools.partial(one_attempt, request, location, config, purpose), config)


async def repeated(attempt: Callable[[], Awaitable[T]], config: ReadConfig) -> T:
    """Return the result of an attempt, repeated while its error is transient and attempts remain."""
    import tenacity  # costs an import that most calls do not need

    # The wait is random between zero and the doubling bound: requests that failed together do not return together.
    backoff = tenacity.wait_random_exponential(multiplier=config.wait_initial, max=config.wait_max)

    def wait(state: tenacity.RetryCallState) -> float:
        exc = state.outcome.exception() if state.outcome else None
        return backoff(state) + (min(retry_after(exc), MAX_RETRY_AFTER) if exc is not None else 0.0)

    stop, retry = tenacity.stop_after_attempt(config.attempts), tenacity.retry_if_exception(is_transient)
    retrying = tenacity.AsyncRetrying(stop=stop, wait=wait, retry=retry, reraise=True)
    result: T = await retrying(attempt)
    return result


async def one_attempt(
    request: Callable[[StallTimeout], Awaitable[T]], location: RemotePath, config: ReadConfig, purpose: str = "read"
) -> T:
    """Return the result of a request within the limits of an attempt: of requests in flight, and of time.

    Its argument is the timeout, which counts the bytes that arrive. Requests of another purpose have a limit of their
    own: a copy writes while it reads.
    """
    # One attempt each: a request that waits for its next attempt is not in flight, and others use the connection.
    family = protocol_family(location.scheme)
    host = location.path.split("/")[2] if family == "http" else family
    async with (
        _host_semaphore(os.getpid(), f"{purpose} {host}", config.max_concurrency),
        StallTimeout(config) as timeout,
    ):
        return await request(timeout)


def local_copies() -> asyncio.Semaphore:
    """Return the semaphore that limits the concurrent copies of local files: a disk reads one of them faster."""
    return _host_semaphore(os.getpid(), "file", MAX_LOCAL_COPIES)


@functools.lru_cache(1000)
def _host_semaphore(pid: int, host: str, max_concurrency: int) -> asyncio.Semaphore:  # noqa: ARG001  parts of the key
    """Return the semaphore that limits the concurrent requests of a process to a host."""
    return asyncio.Semaphore(max_concurrency)
