"""Pause of the garbage collector during imports, which create no garbage: looking for it takes a quarter of their time.

The garbage collector runs once for every 700 new objects, and now and then over all those of pandas, NumPy and Arrow.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_paused = threading.Event()


@contextlib.contextmanager
def gc_paused() -> Iterator[None]:
    """Pause the garbage collector during a block that creates objects which stay.

    Examples
    --------
    >>> with gc_paused():
    ...     import json
    >>> gc.isenabled()
    True
    """
    is_enabled = gc.isenabled()
    if is_enabled:
        _paused.set()
    gc.disable()
    try:
        yield
    finally:
        _paused.clear()
        if not gc.get_freeze_count():  # else the user has frozen objects, for the children of a fork
            # All objects are as old as if they had survived many collections: the next one does not begin with them.
            gc.freeze()
            gc.unfreeze()
        if is_enabled:
            gc.enable()


def _end_pause_in_child() -> None:
    """Enable the garbage collector in a forked child: the thread that imports stayed with the parent."""
    if _paused.is_set():
        _paused.clear()
        gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_end_pause_in_child)
