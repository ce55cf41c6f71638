"""Control of an execution over the reads of a partition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def _never() -> bool:
    return False


@dataclass(frozen=True)
class ReadControl:
    """Control of an execution over the reads of a partition.

    Attributes
    ----------
    cancelled : callable
        Whether the job was cancelled: a remote file is not awaited any longer then.
    on_last_reads : callable, optional
        Called once the last remote files are requested and requests for others would not delay them, and again for
        each file after that: another partition may start to read.
    """

    cancelled: Callable[[], bool] = _never
    on_last_reads: Callable[[], None] | None = None


UNCONTROLLED = ReadControl()
"""Reads that no execution cancels, and that no other partition waits for."""
