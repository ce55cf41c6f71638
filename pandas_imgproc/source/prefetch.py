"""Reading ahead: many requests under way while an image is decoded, bounded in number and bytes."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any, Self

from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source import filesystems
from pandas_imgproc.source.error_mapping import is_transient, retry_after, to_image_error
from pandas_imgproc.source.local import UNKNOWN_SIGNATURE
from pandas_imgproc.source.paths import ArchiveMember, RemotePath
from pandas_imgproc.source.redaction import protocol_family

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from concurrent.futures import Future

    from pandas_imgproc.source.filesystems import ReadResult
    from pandas_imgproc.source.local import FileSignature
    from pandas_imgproc.source.read_config import ReadConfig
    from pandas_imgproc.source.redaction import StorageOptions

DEFAULT_FILE_NBYTES = 2**22
"""What a file is taken for before the first has come."""

POLL_INTERVAL = 0.25
"""Seconds that are waited for a file before it is asked whether anybody still wants it."""

PREFETCH_FACTOR = 4
"""Files that are started, for each request that may be under way."""

MAX_CACHE_ENTRIES = 1000

MAX_RETRY_AFTER = 60.0
"""Seconds that are waited, at most, if a server asks for it."""


async def with_retries(once: Any, place: RemotePath, *args: Any, config: ReadConfig) -> Any:
    """Do something that may fail in passing, until it does not, or was tried often enough."""
    import tenacity  # costs an import that most calls do not need

    # All of the doubling time is chance: requests that failed together do not come back together.
    grows = tenacity.wait_random_exponential(multiplier=config.wait_initial, max=config.wait_max)

    def pause(state: tenacity.RetryCallState) -> float:
        failed = state.outcome.exception() if state.outcome else None
        asked = retry_after(failed) if failed is not None else 0.0
        return grows(state) + min(asked, MAX_RETRY_AFTER)

    stop, passing = tenacity.stop_after_attempt(config.attempts), tenacity.retry_if_exception(is_transient)
    retrying = tenacity.AsyncRetrying(stop=stop, wait=pause, retry=passing, reraise=True)
    return await retrying(_with_limit, once, (place, *args), config)


async def _with_limit(once: Any, args: tuple[RemotePath, Any], config: ReadConfig) -> Any:
    # What waits to be tried again is not under way: others go on meanwhile.
    async with _host_semaphore(args[0], config), asyncio.timeout(config.timeout):
        return await once(*args)


def _host_semaphore(place: RemotePath, config: ReadConfig) -> asyncio.Semaphore:
    """Return what bounds the requests under way at a host."""
    host = f"{protocol_family(place.scheme)}://" + (
        place.path.split("/")[2] if protocol_family(place.scheme) == "http" else ""
    )
    key = (os.getpid(), host, config.max_concurrency)
    if key not in _by_host:
        if len(_by_host) > MAX_CACHE_ENTRIES:
            _by_host.clear()
        _by_host[key] = asyncio.Semaphore(config.max_concurrency)
    return _by_host[key]


def _forget() -> None:
    """Begin anew in a forked child: the event loop's thread, and whoever held a lock, have stayed with the parent."""
    from fsspec.asyn import reset_lock

    reset_lock()  # older versions of fsspec do not do so themselves
    _readers.forget()
    _typical.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def submit(coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
    """Start something on fsspec's event loop."""
    from fsspec.asyn import get_loop

    return asyncio.run_coroutine_threadsafe(coroutine, get_loop())


def wait_for(future: Future[Any], options: StorageOptions, config: ReadConfig) -> Any:
    """Wait for what was started.

    Raises
    ------
    UnreadableImageError
        With the reason, and without a secret: what the file system raised is not handed on.
    """
    failed = future.exception()
    if failed is not None:
        raise to_image_error(failed, options, config.attempts) from None
    return future.result()


def never() -> bool:
    """Return False."""
    return False


class _ActiveReaders:
    """How many readers of this process share its budget."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._lock, self.n = threading.Lock(), 0

    def add(self, n: int) -> None:
        with self._lock:
            self.n += n


_readers = _ActiveReaders()
_by_host: dict[tuple[int, str, int], asyncio.Semaphore] = {}
_typical: dict[str, float] = {}  # bytes of a file, by folder


class _PendingRead:
    """A file that was asked for, and how much memory it takes: as far as is known, a guess until it is there."""

    __slots__ = ("future", "nbytes", "number")

    def __init__(self, number: int, future: Future[ReadResult], guess: float) -> None:
        self.number, self.future, self.nbytes = number, future, guess
        future.add_done_callback(self._set_size)

    def _set_size(self, future: Future[ReadResult]) -> None:
        if not future.cancelled() and future.exception() is None:
            self.nbytes = len(future.result()[0])


class Prefetcher:
    """Files that are elsewhere, asked for in the order of the rows before they are needed.

    Nothing is asked for before the first file is; what is under way at the end is cancelled.

    Parameters
    ----------
    wanted : sequence of (int, RemotePath or ArchiveMember)
        Numbers of rows, ascending, and where their files are.
    read : callable
        A coroutine function of a place and the options and patience.
    options : StorageOptions
        For file systems only.
    config : ReadConfig
        How much, and how often.
    stopped : callable
        Whether the caller has given up: a file that does not come is not waited for then.
    """

    def __init__(
        self, wanted: Sequence[tuple[int, RemotePath | ArchiveMember]], read: Any, options: StorageOptions, config: ReadConfig,
        stopped: Callable[[], bool] = never,
    ) -> None:  # fmt: skip
        self._left = deque(wanted)
        self._stopped = stopped
        self._read, self._options, self._patience = read, options, config
        self._started: deque[_PendingRead] = deque()
        self._folder = _folder(wanted[0][1])

    def __enter__(self) -> Self:
        _readers.add(1)
        return self

    def __exit__(self, *_: object) -> None:
        _readers.add(-1)
        for asked in self._started:
            asked.future.cancel()
        self._started.clear()

    def data(self, number: int) -> ReadResult:
        """Return the bytes and the stamp of a row's file; rows before it are forgotten."""
        while self._started and self._started[0].number < number:
            self._started.popleft().future.cancel()
        while self._left and self._left[0][0] < number:
            self._left.popleft()
        self._fill()
        future = self._started[0].future
        while not wait({future}, timeout=POLL_INTERVAL).done:
            if self._stopped():
                raise UnreadableImageError("remote", "the call was stopped while it was read")
        answer: ReadResult = wait_for(future, self._options, self._patience)
        self._update_estimate(len(answer[0]))
        return answer

    def _fill(self) -> None:
        """Ask for more, as far as the budget goes; the file that is needed next is always asked for."""
        share = max(1, _readers.n)
        # More than may be under way: some will be waiting to be tried again.
        most, budget = (
            max(1, PREFETCH_FACTOR * self._patience.max_concurrency // share),
            self._patience.prefetch_bytes // share,
        )
        held = sum([asked.nbytes for asked in self._started])
        while self._left and (not self._started or (len(self._started) < most and held < budget)):
            number, place = self._left.popleft()
            future = submit(self._read(place, self._options, self._patience))
            self._started.append(_PendingRead(number, future, _typical.get(self._folder, DEFAULT_FILE_NBYTES)))
            held += self._started[-1].nbytes

    def _update_estimate(self, nbytes: int) -> None:
        if len(_typical) > MAX_CACHE_ENTRIES:
            _typical.clear()
        # The larger ones count: what is too careful costs a little speed, what is too bold the worker's memory.
        _typical[self._folder] = max(nbytes, 0.9 * _typical.get(self._folder, 0.0))


def _folder(place: RemotePath | ArchiveMember) -> str:
    """Return where files of about one size are."""
    return str(place.archive) if isinstance(place, ArchiveMember) else place.path.rpartition("/")[0]


async def fetch(place: RemotePath, options: StorageOptions, config: ReadConfig) -> ReadResult:
    """Return the bytes of a whole file that is elsewhere, and its stamp."""
    await filesystems.get_filesystem(place, options, config)  # before the clock runs: making one may take a second
    answer: ReadResult = await with_retries(filesystems.read_bytes, place, None, options, config, config=config)
    return answer


def remote_signatures(places: Sequence[Any], options: StorageOptions, config: ReadConfig) -> list[FileSignature]:
    """Return the stamps that files that are elsewhere have now, `UNKNOWN_SIGNATURE` where they cannot be told."""
    futures = [
        submit(_stamps(places[k :: config.max_concurrency], options, config)) for k in range(config.max_concurrency)
    ]
    found: list[FileSignature] = [UNKNOWN_SIGNATURE] * len(places)
    for k, future in enumerate(futures):
        found[k :: config.max_concurrency] = future.result()
    return found


async def _stamps(places: Sequence[Any], options: StorageOptions, config: ReadConfig) -> list[FileSignature]:
    """Ask for one after the other; so many of these run at a time as requests may be under way."""
    found = []
    for place in places:
        task = asyncio.ensure_future(with_retries(filesystems.info, place, options, config, config=config))
        await asyncio.wait({task})
        found.append(UNKNOWN_SIGNATURE if task.exception() is not None else task.result()[1])
    return found
