"""What only changes how a call is run, never its answer: Dask's configuration under ``pandas-imgproc``.

Set for a block with ``dask.config.set({"pandas-imgproc.n-workers": 4})`` or for a process with the
environment variable ``DASK_PANDAS_IMGPROC__N_WORKERS=4``.
"""

from __future__ import annotations

from typing import Any

import dask.config

DEFAULTS: dict[str, Any] = {
    "n-workers": None,  # processes of the own cluster; None: one per core of the machine or container
    "memory-limit": None,  # bytes (or "4GB") per process of the own cluster; None: no limit
    "inline-threshold": 2.0,  # a call shorter than this runs in line: starting a cluster takes as long
    "inline-threshold-warm": 0.3,  # the same with a cluster up
    "row-timeout": None,  # seconds after which the process of a row is ended; None: never
    "scheduler-timeout": 30.0,  # seconds that a scheduler may be silent before it is taken for gone
    "partition-seconds": 1.0,  # work in one partition, by the measured rate
    "progress": None,  # True or False for all calls; None: where there is a terminal or a notebook
    "progress-delay": 1.0,  # seconds before a bar appears
    "max-connections": 32,  # requests under way at a time, of one process
    "prefetch-bytes": "64 MB",  # bytes of encoded images that one process reads ahead
    "retry-attempts": 5,  # how often a file that is elsewhere is asked for
    "read-timeout": 60.0,  # seconds for one attempt
    "retry-wait-initial": 1.0,  # seconds before the second attempt, doubling
    "retry-wait-max": 10.0,  # where the doubling ends
    "user-agent": "pandas-imgproc",  # what servers are told
    "plugins": [],  # modules that teach Pillow formats, imported wherever images are decoded
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
