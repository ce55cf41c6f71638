"""Handle of a call's task for its workers: it travels once to a process, and is held there until the call ends.

The bytes of a small task are in the handle. Those of a large one, with the weights of a model for example, are in
anonymous memory of the caller, which its workers read; a worker that cannot reach it, on another machine, gets them as
data of Dask, from the caller or another worker::

    ProcessTask of the call is held ──────────────────────────────────────────────> it is used
    else bytes of the handle, or of the shared memory, or data of Dask ──────────> it is built, and held
    none of these ──> UNREACHABLE: the caller scatters the bytes, and submits the partition again

    held ── release_task, which the caller sends at the end of a call, or a look that finds its memory gone ──> released
"""

from __future__ import annotations

import pickle
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pandas_imgproc._shared_memory import MemfdHandle, SharedBuffer, mmap_array
from pandas_imgproc.execution.process_task import ProcessTask

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable

    from pandas_imgproc.tasks import Task

MAX_INLINE_NBYTES = 2**16
"""Bytes of a pickled task up to which it travels in the handle."""

MAX_RELEASED = 1000
"""Calls that have ended of which a process knows: a partition that was on its way holds nothing any more."""


@dataclass(frozen=True)
class TaskHandle:
    """Handle of the task of a call.

    Attributes
    ----------
    key : str
        Identifier of the call.
    names : str
        Names of the user's functions, for errors; empty without any: then the task is not held.
    nbytes : int
        Size of the pickled task.
    data : bytes, optional
        Pickled task, if it is small.
    file : MemfdHandle, optional
        Shared memory with the pickled task.
    """

    key: str
    names: str
    nbytes: int
    data: bytes | None = field(default=None, repr=False)
    file: MemfdHandle | None = None

    def open(self, call_memory: MemfdHandle | None, scattered: bytes | None = None) -> ProcessTask | None:
        """Return the task in this process, None if its bytes cannot be reached.

        `call_memory` is shared memory of the caller that lives as long as the call; `scattered` are the bytes, if the
        caller has sent them as data of Dask.
        """
        with _lock:
            if self.key in _held:
                return _held[self.key][0]
            _release_orphans()
            read: Callable[[], Any] = self.read if scattered is None else lambda: scattered
            if read() is None:
                return None
            task = ProcessTask(lambda: pickle.loads(read()))
            if self.names and self.key not in _released:
                # On another machine the memory is never reached.
                _held[self.key] = task, call_memory if _is_reached(call_memory) else None
            return task

    def read(self) -> Any:
        """Return the pickled task, a buffer; None if this process cannot reach it."""
        if self.data is not None or self.file is None:
            return self.data
        with self.file.open() as fd:
            return None if fd is None else mmap_array(fd, self.nbytes).data


def share_task(key: str, task: Task, pickled: bytes, on_end: contextlib.ExitStack) -> TaskHandle:
    """Return the handle of a pickled task; `on_end` closes its shared memory."""
    names, nbytes = task.function_names, len(pickled)
    if nbytes <= MAX_INLINE_NBYTES:
        return TaskHandle(key, names, nbytes, pickled)
    try:
        buffer = on_end.enter_context(SharedBuffer(nbytes))
    except OSError:  # no anonymous memory on this system
        return TaskHandle(key, names, nbytes)
    buffer.map(writeable=True).data[:] = pickled
    return TaskHandle(key, names, nbytes, file=buffer.handle)


# ---- in the process of a worker

_held: dict[str, tuple[ProcessTask, MemfdHandle | None]] = {}  # with memory that lives as long as the call
_released: deque[str] = deque(maxlen=MAX_RELEASED)
_lock = threading.Lock()


def _is_reached(memory: MemfdHandle | None) -> bool:
    if memory is None:
        return False
    with memory.open() as fd:
        return fd is not None


def _release_orphans() -> None:
    """Release the tasks of callers that were killed, and could release nothing."""
    for key in [key for key, (_, memory) in _held.items() if memory is not None and not _is_reached(memory)]:
        del _held[key]


def release_task(key: str) -> None:
    """Release the task of a call that has ended; partitions that still run hold it until their end."""
    with _lock:
        _held.pop(key, None)
        _released.append(key)


def release_function(key: str) -> Callable[[], None]:
    """Return a function that releases the task of a call on a worker, which may lack this package."""

    def release_on_worker() -> None:
        import sys

        module = sys.modules.get("pandas_imgproc.execution.task_handle")
        if module is not None:
            module.release_task(key)

    release_on_worker.__module__ = "__main__"  # cloudpickle pickles functions of this module by value
    return release_on_worker
