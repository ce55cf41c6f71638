"""Configuration under ``pandas-imgproc`` in Dask's: options that change how a job runs, never its result.

Set one for a block with ``dask.config.set({"pandas-imgproc.n-workers": 4})``, or for a process with the environment
variable ``DASK_PANDAS_IMGPROC__N_WORKERS=4``.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import dask.config
from dask.utils import parse_bytes, parse_timedelta

from pandas_imgproc._text import shorten

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULTS: dict[str, Any] = {
    "n-workers": None,  # processes of the managed cluster; None: one per core of the machine or container
    "memory-limit": None,  # bytes (or "4GB") per process of the managed cluster; None: an equal share of the memory
    "dashboard": "token",  # pages of the managed cluster: "token" for this user, "open" for this machine, or "off"
    "dashboard-thumbnails": None,  # images on its page Images: True or False; None: unless it is "open"
    # Predicted seconds up to which a job runs inline. On two cores, photos to 224 x 224 take as long on threads as on a
    # cluster that is started for them when they are 20 seconds of work, and half as long when they are two.
    "inline-threshold": 8.0,
    # The same while a cluster is running; None: 0.3, but `inline-threshold` where threads are as fast as the processes
    # of a cluster that no one has requested. On two cores they load photos in 0.84 to 0.92 of the time.
    "inline-threshold-warm": None,
    "row-timeout": 600.0,  # seconds after which the worker process of a row is ended; None: never
    "scheduler-timeout": 30.0,  # seconds without a response before a scheduler counts as gone
    "no-workers-timeout": 120.0,  # seconds in which a cluster of the user may have no worker; None: no limit
    "partition-seconds": 1.0,  # duration of a partition, according to the measured rate
    "progress": None,  # True or False for all jobs; None: in terminals and notebooks
    "progress-delay": 1.0,  # seconds before a bar appears
    "max-connections": 32,  # concurrent requests of one process to one host
    "prefetch-bytes": "64 MB",  # remote files that one process holds before they are decoded
    "retry-attempts": 5,  # attempts to read a remote file
    "read-timeout": 60.0,  # seconds that an attempt waits for the next byte
    "low-speed-limit": "1 kB",  # least bytes per second of a body, over so many seconds; None: no limit
    "retry-wait-initial": 1.0,  # maximum seconds before the second attempt, doubling with each attempt
    "retry-wait-max": 10.0,  # limit of the doubling
    "archive-cache": None,  # folder of decompressed .tar.gz and .tar.zst archives; None: beside the archive
    "archive-cache-bytes": "100 GB",  # size up to which an archive is decompressed
    "user-agent": "pandas-imgproc",  # User-Agent header of HTTP requests
    "plugins": [],  # modules that add formats to Pillow, imported in each process that decodes images
}

dask.config.update_defaults({"pandas-imgproc": DEFAULTS})


_OPTIONAL = (
    "inline-threshold-warm", "row-timeout", "no-workers-timeout", "low-speed-limit", "archive-cache",
    "dashboard-thumbnails",
)  # fmt: skip
"""Settings that may be None."""


def setting(name: str) -> Any:
    """Return a value of the configuration, checked: a duration in seconds, an amount of memory in bytes.

    Raises
    ------
    ValueError
        If the value is not legal.

    Examples
    --------
    >>> with dask.config.set({"pandas-imgproc.row-timeout": "2 minutes"}):
    ...     setting("row-timeout")
    120.0
    """
    value = dask.config.get(f"pandas-imgproc.{name}", DEFAULTS[name])
    check, legal = _CHECKS.get(name, (None, ""))
    if check is None or (value is None and name in _OPTIONAL):
        return value
    try:
        return check(value)
    except (TypeError, ValueError, LookupError, OverflowError):
        legal += ", or None" * (name in _OPTIONAL)
        raise ValueError(f"pandas-imgproc.{name}={shorten(value)} in the configuration is not {legal}") from None


def check_settings() -> None:
    """Raise a ValueError that names a setting with an illegal value: at the beginning of a call, not in its middle."""
    for name in _CHECKS:
        setting(name)


def _positive(value: Any) -> float:
    return _checked(_seconds(value), above=0)


def _not_negative(value: Any) -> float:
    return _checked(_seconds(value), minimum=0)


def _seconds(value: Any) -> float:
    """Return a duration; a text is one in Dask's notation, such as ``"10s"``, as everywhere in its configuration."""
    return float(parse_timedelta(value, default="s")) if isinstance(value, str) else _number(value)


def _count(value: Any) -> int:
    number = _number(value)
    if number != int(number) or number < 1:
        raise ValueError
    return int(number)


def _nbytes(value: Any) -> int:
    number = parse_bytes(value) if isinstance(value, str) else _number(value)
    return int(_checked(number, above=0))


def _folder(value: Any) -> str:
    return str(os.path.abspath(os.path.expanduser(os.fspath(value))))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _checked(number: float, *, above: float = -math.inf, minimum: float = -math.inf) -> float:
    if not (number > above and number >= minimum):  # also if it is not a number
        raise ValueError
    return number


_CHECKS: dict[str, tuple[Callable[[Any], Any], str]] = {
    **dict.fromkeys(
        ("row-timeout", "scheduler-timeout", "no-workers-timeout", "partition-seconds", "read-timeout"),
        (_positive, "a duration above 0: a number of seconds, or a text such as '10s'"),
    ),
    **dict.fromkeys(
        ("inline-threshold", "inline-threshold-warm", "progress-delay", "retry-wait-initial", "retry-wait-max"),
        (_not_negative, "a duration from 0 up: a number of seconds, or a text such as '10s'"),
    ),
    **dict.fromkeys(("max-connections", "retry-attempts"), (_count, "a whole number from 1 up")),
    "dashboard-thumbnails": (_boolean, "a boolean"),
    **dict.fromkeys(
        ("prefetch-bytes", "low-speed-limit"), (_nbytes, "a number of bytes above 0, or a text such as '64 MB'")
    ),
    "archive-cache": (_folder, "a folder, or None"),
    "archive-cache-bytes": (_nbytes, "a number of bytes above 0, or a text such as '100 GB'"),
}
