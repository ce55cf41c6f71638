"""Configuration of remote reads: attempts, timeouts, waits, concurrency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pandas_imgproc.config import setting


@dataclass(frozen=True)
class ReadConfig:
    """Configuration of remote reads, taken in the caller: a worker may be configured differently."""

    attempts: int  # requests for a file before it is a failure
    timeout: float  # seconds that one attempt may take
    wait_initial: float  # seconds, upper bound of the random wait before the second attempt; it doubles
    wait_max: float  # seconds, where the doubling ends
    max_concurrency: int  # requests in flight to one host, per process
    prefetch_bytes: int  # bytes of encoded images that one process prefetches
    user_agent: str  # header of HTTP requests

    @classmethod
    def current(cls) -> ReadConfig:
        """Return the configuration of this process, or raise a ValueError with the name of an invalid setting."""
        from dask.utils import parse_bytes

        return cls(
            attempts=int(_number("retry-attempts")),
            timeout=_number("read-timeout"),
            wait_initial=_number("retry-wait-initial", may_be_zero=True),
            wait_max=_number("retry-wait-max", may_be_zero=True),
            max_concurrency=int(_number("max-connections")),
            prefetch_bytes=int(parse_bytes(setting("prefetch-bytes"))),
            user_agent=str(setting("user-agent")),
        )


def _number(name: str, *, may_be_zero: bool = False) -> float:
    value: Any = setting(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not (value > 0 or (may_be_zero and value == 0)):
        legal = "from 0 up" if may_be_zero else "above 0"
        raise ValueError(f"pandas-imgproc.{name}={value!r} in the configuration is not a number {legal}")
    return value  # type: ignore[no-any-return]
