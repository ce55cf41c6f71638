"""Task of a call on a client: shared with the workers at the start, and released there at the end."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from pandas_imgproc.execution.gathering import REACH_TIMEOUT
from pandas_imgproc.execution.payload import UNREACHABLE, serialize_task
from pandas_imgproc.execution.task_handle import release_function, share_task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client, Future

    from pandas_imgproc.execution.task_handle import TaskHandle
    from pandas_imgproc.tasks import Task


class SharedTask:
    """Task of a call, whose bytes are sent as data of Dask once a worker cannot reach them otherwise.

    Dask sends the data to each worker that needs it, once. If all workers are lost that have it, the caller scatters it
    again.

    Parameters
    ----------
    handle : TaskHandle
    client : distributed.Client
    pickled : bytes, optional
        Pickled task, if it is neither in the handle nor in shared memory.
    """

    def __init__(self, handle: TaskHandle, client: Client, pickled: bytes | None) -> None:
        self.handle, self._client, self._pickled = handle, client, pickled
        self._future: Future | None = None

    def scattered(self) -> dict[str, Future]:
        """Return the keyword argument of the workers' function that holds the bytes, if they must be sent."""
        return {} if self._future is None else {"task": self._future}

    def is_missing(self, outcome: Any) -> bool:
        """Return whether a partition has failed because its worker lacks the task, which is scattered then."""
        is_lost = self._future is not None and self._future.status in ("lost", "cancelled")
        is_cancelled = isinstance(outcome, CancelledError | asyncio.CancelledError)
        if not (isinstance(outcome, str) and outcome == UNREACHABLE) and not (is_lost and is_cancelled):
            return False
        if self._future is None or is_lost:
            pickled = bytes(self.handle.read()) if self._pickled is None else self._pickled
            # Straight to a worker, if there is a way: through the scheduler, the bytes would be sent once more.
            (self._future,) = self._client.scatter([pickled], hash=False, direct=self._client.sync(self._is_direct))
        return True

    async def _is_direct(self) -> bool:
        """Return whether the caller reaches a worker."""
        if self._client.direct_to_workers is False:
            return False
        for address in await self._client.scheduler.ncores():
            try:
                self._client.rpc.reuse(address, await self._client.rpc.connect(address, timeout=REACH_TIMEOUT))
            except (OSError, TimeoutError):
                return False
            return True
        return False

    def release(self) -> None:
        """Let the workers release the task; no worker is waited for."""
        if self._future is not None:
            self._future.release()
        if self.handle.names:
            with contextlib.suppress(RuntimeError):  # the client is closed
                self._client.loop.asyncio_loop.call_soon_threadsafe(self._begin_release)

    def _begin_release(self) -> None:
        task = asyncio.ensure_future(self._release_on_workers())
        _releasing.add(task)
        task.add_done_callback(_releasing.discard)

    async def _release_on_workers(self) -> None:
        with contextlib.suppress(Exception):  # the cluster may be gone
            await self._client.run(release_function(self.handle.key), on_error="ignore", asynchronous=True)


_releasing: set[asyncio.Task[None]] = set()  # the event loop holds weak references only


@contextlib.contextmanager
def shared_task(key: str, task: Task, client: Client) -> Iterator[SharedTask]:
    """Share a task with the workers of a client for a block; `key` identifies the call."""
    pickled = serialize_task(task)
    with contextlib.ExitStack() as stack:
        handle = share_task(key, task, pickled, stack)
        shared = SharedTask(handle, client, pickled if handle.data is None and handle.file is None else None)
        del pickled
        stack.callback(shared.release)
        yield shared
