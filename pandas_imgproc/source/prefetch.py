"""Prefetching: reads of remote files in flight while an image is decoded, limited in number and bytes."""

from __future__ import annotations

import os
import sys
from collections import deque
from concurrent.futures import wait
from typing import TYPE_CHECKING, NamedTuple, Self

from pandas_imgproc.errors import UnreadableImageError
from pandas_imgproc.source.archive import read_remote_file
from pandas_imgproc.source.byte_budget import Reservation, process_budget, reservation
from pandas_imgproc.source.copies import CopiedFile
from pandas_imgproc.source.local import BLOCK_NBYTES, read_file
from pandas_imgproc.source.paths import ArchiveMember
from pandas_imgproc.source.threads import in_thread
from pandas_imgproc.source.transfer import copy_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any

    from pandas_imgproc.source.copies import Output
    from pandas_imgproc.source.local import FileSignature
    from pandas_imgproc.source.paths import Location
    from pandas_imgproc.source.read_control import ReadControl
    from pandas_imgproc.source.remote import RemoteReader

    Transfer = tuple[Any, FileSignature]  # bytes or a CopiedFile, and the signature

DEFAULT_FILE_NBYTES = 2**22
"""Estimated size of a file until the first one has arrived."""

POLL_INTERVAL = 0.25
"""Seconds between two checks whether the job was cancelled, while a file is awaited."""

PREFETCH_FACTOR = 4
"""Reads started for each request that may be in flight: some of them wait for their next attempt."""

MAX_SIZE_GROUPS = 1000

_active: set[Prefetcher] = set()  # they share the limits of this process
_typical_nbytes: dict[str, float] = {}  # by size group


def _reset_after_fork() -> None:
    """Reset the state of a forked child: the threads of the event loop and of the readers stayed with the parent."""
    if "fsspec.asyn" in sys.modules:
        sys.modules["fsspec.asyn"].reset_lock()  # older versions of fsspec do not do so themselves
    _active.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


class _PendingRead(NamedTuple):
    """Started read of a file; the bytes of its reservation are an estimate until more have arrived, or all."""

    i: int
    future: Future[Transfer]
    memory: Reservation


class Prefetcher:
    """Prefetcher of remote files in the order of the rows, as a context manager.

    The first `read` starts the requests; those in flight at the end of the block are cancelled.

    Parameters
    ----------
    reader : RemoteReader
    files : dict of int to Location
        Locations of at least one file, by position of the row in the partition, ascending; local only if it is copied.
    control : ReadControl
        Control of the execution over the reads.
    output : callable, optional
        Function of a position that returns the output into which a file is copied, None to read it into memory.
    """

    def __init__(
        self,
        reader: RemoteReader,
        files: dict[int, Location],
        control: ReadControl,
        output: Callable[[int], Output | None] | None = None,
    ) -> None:
        self._reader, self._control, self._output = reader, control, output
        self._pending, self._started = deque(files.items()), deque[_PendingRead]()
        self._size_group = _size_group(next(iter(files.values()))) + (" copied" if output is not None else "")

    def __enter__(self) -> Self:
        _active.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        _active.discard(self)
        while self._started:
            self._drop_first()

    def read(self, i: int) -> Transfer:
        """Return the bytes and the signature of a row's file; the files of earlier rows are dropped."""
        self.wait(i)
        future = self._started[0].future
        if not future.done():
            raise UnreadableImageError("remote", "the call was stopped while it was read")
        result = self._reader.result(future)
        self._update_estimate(_nbytes_in_memory(result))
        return result

    def wait(self, i: int) -> None:
        """Wait until a row's file has been read, or the job is cancelled."""
        while self._started and self._started[0].i < i:
            self._drop_first()
        while self._pending and self._pending[0][0] < i:
            self._pending.popleft()
        self._fill()
        self._let_first_continue()
        while not wait({self._started[0].future}, timeout=POLL_INTERVAL).done:
            if self._control.cancelled():
                return

    def _drop_first(self) -> None:
        read = self._started.popleft()
        # After the cancellation, which reaches the event loop before the release.
        if read.future.cancel() or read.memory.is_beyond_first:
            self._reader.call_soon(read.memory.release)

    def _let_first_continue(self) -> None:
        """Let the file of the next row need more memory than is free: it is the one that this thread waits for.

        Each partition has such a file. If only the oldest of the process were one, a partition whose consumer has
        paused would stop the others, and the consumer may wait for one of them.
        """
        memory = self._started[0].memory
        memory.is_next = True
        if memory.is_waiting:
            self._reader.call_soon(memory.budget.notify)

    def _fill(self) -> None:
        """Start reads until a limit is reached. The next row's file is always started."""
        n_active, config = max(1, len(_active)), self._reader.config
        max_started = max(1, PREFETCH_FACTOR * config.max_concurrency // n_active)
        budget = config.prefetch_bytes // n_active
        nbytes = sum([read.memory.nbytes for read in self._started])
        while self._pending and (not self._started or (len(self._started) < max_started and nbytes < budget)):
            i, location = self._pending.popleft()
            self._start(i, location)
            nbytes += self._started[-1].memory.nbytes
        on_last_reads = self._control.on_last_reads
        if on_last_reads and not self._pending and len(self._started) <= config.max_concurrency // n_active:
            on_last_reads()

    def _start(self, i: int, location: Location) -> None:
        estimate = int(_typical_nbytes.get(self._size_group, DEFAULT_FILE_NBYTES))
        # The estimates are limited by `_fill`, and what files have beyond them by the budget.
        budget = process_budget("read", self._reader.config.prefetch_bytes)
        memory = Reservation(budget, estimate, is_next=not self._started)
        output = None if self._output is None else self._output(i)
        self._started.append(_PendingRead(i, self._reader.submit(self._read(location, output, memory)), memory))

    async def _read(self, location: Location, output: Output | None, memory: Reservation) -> Transfer:
        reservation.set(memory)
        with memory:
            result = await self._transfer(location, output)
        memory.settle(_nbytes_in_memory(result))
        return result

    async def _transfer(self, location: Location, output: Output | None) -> Transfer:
        if output is not None:
            return await copy_file(location, self._reader, output)
        if isinstance(location, str):
            return await in_thread(read_file, location)
        return await read_remote_file(location, self._reader)

    def _update_estimate(self, nbytes: int) -> None:
        if len(_typical_nbytes) > MAX_SIZE_GROUPS:
            _typical_nbytes.clear()
        # Biased to the larger files: an estimate too high costs a little speed, one too low the worker's memory.
        _typical_nbytes[self._size_group] = max(nbytes, 0.9 * _typical_nbytes.get(self._size_group, 0.0))


def _size_group(location: Location) -> str:
    """Return the folder or archive of a file, whose files are assumed to be of about one size."""
    if isinstance(location, ArchiveMember):
        return str(location.archive)
    return (location if isinstance(location, str) else location.path).rpartition("/")[0]


def _nbytes_in_memory(result: Transfer) -> int:
    data, _ = result
    return BLOCK_NBYTES if isinstance(data, CopiedFile) else len(data)
