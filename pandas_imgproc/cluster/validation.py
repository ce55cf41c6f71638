"""Checks of the options of a managed cluster: number of workers, memory limit, and access to its dashboard."""

from __future__ import annotations

import math
import numbers
from typing import Any

import dask
from dask.utils import parse_bytes

from pandas_imgproc._text import shorten
from pandas_imgproc._validation import check_choice, check_int
from pandas_imgproc.config import setting

MIN_WORKER_MEMORY = 256_000_000
"""Bytes that a worker uses before its first image, and some for that; with less no worker would start."""

_LEGAL_MEMORY = "give 'auto', a size such as '2 GiB', a number of bytes, or a fraction up to 1.0"


def configured_size() -> tuple[int | None, str | float | None]:
    """Return the configuration's number of workers and memory limit, checked."""
    names = ("pandas-imgproc.n-workers", "pandas-imgproc.memory-limit")
    n_workers, memory_limit = (dask.config.get(name, default=None) for name in names)
    return check_size(n_workers, memory_limit, names)


def configured_dashboard() -> str:
    """Return the access to the managed cluster's dashboard: "token", "open" or "off", checked."""
    value = setting("dashboard")
    # YAML reads a plain `off` as False.
    return str(check_choice("pandas-imgproc.dashboard", "off" if value is False else value, ("token", "open", "off")))


def shows_thumbnails(*, is_private: bool) -> bool:
    """Return whether the dashboard shows thumbnails, as configured; by default if it is open to this user alone."""
    value = setting("dashboard-thumbnails")
    return is_private if value is None else value


def check_size(
    n_workers: Any, memory_limit: Any, names: tuple[str, str] = ("n_workers", "memory_limit")
) -> tuple[int | None, str | float | None]:
    """Return a number of workers and a memory limit; raise TypeError or ValueError if one is invalid."""
    return (
        None if n_workers is None else check_int(names[0], n_workers),
        None if memory_limit is None else _check_memory(names[1], memory_limit),
    )


def _check_memory(name: str, value: Any) -> str | float:
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, (str, numbers.Real)):
        raise TypeError(f"{name}={shorten(value)} is {type(value).__name__}; {_LEGAL_MEMORY}")
    try:
        nbytes: Any = parse_bytes(value) if isinstance(value, str) else value
    except ValueError:
        nbytes = math.nan
    if not (math.isfinite(nbytes) and nbytes > 0):
        raise ValueError(f"{name}={shorten(value)} is no amount of memory; {_LEGAL_MEMORY}")
    if 1 < nbytes < MIN_WORKER_MEMORY or (nbytes == 1 and not isinstance(nbytes, float)):
        needed = f"the {MIN_WORKER_MEMORY:,} bytes that an idle worker needs"
        raise ValueError(f"{name}={shorten(value)} is less than {needed}; {_LEGAL_MEMORY}")
    return float(nbytes) if isinstance(nbytes, float) and nbytes <= 1 else int(nbytes)
