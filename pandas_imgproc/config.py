"""Configuration under ``pandas-imgproc`` in Dask's: options that change how a job runs, never its result.

Set one for a block with ``dask.config.set({"pandas-imgproc.n-workers": 4})``, or for a process with the environment
variable ``DASK_PANDAS_IMGPROC__N_WORKERS=4``.
"""

from __future__ import annotations

from typing import Any

import dask.config

DEFAULTS: dict[str, Any] = {
    "n-workers": None,  # processes of the managed cluster; None: one per core of the machine or container
    "memory-limit": None,  # bytes (or "4GB") per process of the managed cluster; None: an equal share of the memory
    "dashboard": "token",  # pages of the managed cluster: "token" for this user, "open" for this machine, or "off"
    # Predicted seconds up to which a job runs inline. On two cores, photos to 224 x 224 take as long on threads as on a
    # cluster that is started for them when they are 20 seconds of work, and half as long when they are two.
    "inline-threshold": 8.0,
    "inline-threshold-warm": 0.3,  # the same while a cluster is running
    "row-timeout": 600.0,  # seconds after which the worker process of a row is ended; None: never
    "scheduler-timeout": 30.0,  # seconds without a response before a scheduler counts as gone
    "no-workers-timeout": 120.0,  # seconds in which a cluster of the user may have no worker; None: no limit
    "partition-seconds": 1.0,  # duration of a partition, according to the measured rate
    "progress": None,  # True or False for all jobs; None: in terminals and notebooks
    "progress-delay": 1.0,  # seconds before a bar appears
    "max-connections": 32,  # concurrent requests of one process to one host
    "prefetch-bytes": "64 MB",  # remote files that one process holds before they are decoded
    "retry-attempts": 5,  # attempts to read a remote file
    "read-timeout": 60.0,  # seconds that one attempt may take
    "retry-wait-initial": 1.0,  # maximum seconds before the second attempt, doubling with each attempt
    "retry-wait-max": 10.0,  # limit of the doubling
    "user-agent": "pandas-imgproc",  # User-Agent header of HTTP requests
    "plugins": [],  # modules that add formats to Pillow, imported in each process that decodes images
}

dask.config.update_defaults({"pandas-imgproc": DEFAULTS})


def setting(name: str) -> Any:
    """Return a value of the configuration, for example ``setting("n-workers")``.

    Examples
    --------
    >>> with dask.config.set({"pandas-imgproc.n-workers": 4}):
    ...     setting("n-workers")
    4
    """
    return dask.config.get(f"pandas-imgproc.{name}", DEFAULTS[name])
