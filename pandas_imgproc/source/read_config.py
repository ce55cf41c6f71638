"""Configuration of remote reads and archives: attempts, timeouts, waits, concurrency."""

from __future__ import annotations

from dataclasses import dataclass

from pandas_imgproc.config import check_settings, setting


@dataclass(frozen=True)
class ReadConfig:
    """Configuration of remote reads, taken in the caller: a worker may be configured differently."""

    attempts: int  # requests for a file before it is a failure
    timeout: float  # seconds without a byte after which an attempt has failed
    low_speed_limit: int | None  # bytes per second, on average over so many seconds, below which it has failed too
    wait_initial: float  # seconds, upper bound of the random wait before the second attempt; it doubles
    wait_max: float  # seconds, where the doubling ends
    max_concurrency: int  # requests in flight to one host, per process
    prefetch_bytes: int  # bytes of encoded images that one process prefetches
    user_agent: str  # header of HTTP requests
    archive_cache: str | None = None  # folder of decompressed archives; None: beside the archive
    archive_cache_bytes: int = 10**11  # size up to which an archive is decompressed

    @classmethod
    def current(cls) -> ReadConfig:
        """Return the configuration of this process, or raise a ValueError with the name of an invalid setting."""
        check_settings()
        return cls(
            attempts=setting("retry-attempts"),
            timeout=setting("read-timeout"),
            low_speed_limit=setting("low-speed-limit"),
            wait_initial=setting("retry-wait-initial"),
            wait_max=setting("retry-wait-max"),
            max_concurrency=setting("max-connections"),
            prefetch_bytes=setting("prefetch-bytes"),
            user_agent=str(setting("user-agent")),
            archive_cache=setting("archive-cache"),
            archive_cache_bytes=setting("archive-cache-bytes"),
        )
