"""Blocking functions in threads of the event loop's pool, also while the interpreter ends."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *args: object, **options: object) -> T:
    """Return the result of a blocking function, run in a thread; while the interpreter ends, on the event loop.

    A transfer that Ctrl-C has cancelled writes its last block and closes its files when no thread is started any more.
    """
    call = functools.partial(function, *args, **options)
    try:
        running = asyncio.get_running_loop().run_in_executor(None, call)
    except RuntimeError:  # the pool is shut down
        return call()
    return await running
