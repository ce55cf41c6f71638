"""How long and how often files that are elsewhere are asked for, and how many at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pandas_imgproc.config import setting


@dataclass(frozen=True)
class ReadConfig:
    """The configuration of reading, as it is in the caller: that of a worker may be another.

    Attributes
    ----------
    attempts : int
        How often a file is asked for before it is a failure.
    timeout : float
        Seconds that one attempt may take.
    wait_initial, wait_max : float
        Seconds before the second attempt, twice as many before each further one, and the most.
    max_concurrency : int
        Requests under way at a time, in one process.
    prefetch_bytes : int
        Bytes that are read ahead, in one process.
    user_agent : str
        What web servers are told.
    """

    attempts: int
    timeout: float
    wait_initial: float
    wait_max: float
    max_concurrency: int
    prefetch_bytes: int
    user_agent: str

    @classmethod
    def current(cls) -> ReadConfig:
        """Return the configuration of this process.

        Raises
        ------
        ValueError, TypeError
            Names the setting.
        """
        from dask.utils import parse_bytes

        return cls(
            attempts=int(_positive("retry-attempts")),
            timeout=_positive("read-timeout"),
            wait_initial=_number("retry-wait-initial"),
            wait_max=_number("retry-wait-max"),
            max_concurrency=int(_positive("max-connections")),
            prefetch_bytes=int(parse_bytes(setting("prefetch-bytes"))),
            user_agent=str(setting("user-agent")),
        )


def _number(name: str) -> float:
    value: Any = setting(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"pandas-imgproc.{name}={value!r} in the configuration is not a number from 0 up")
    return value


def _positive(name: str) -> float:
    value = _number(name)
    if value <= 0:
        raise ValueError(f"pandas-imgproc.{name}={value!r} in the configuration must be more than 0")
    return value
