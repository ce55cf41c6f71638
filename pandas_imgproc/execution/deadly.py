"""Errors of jobs whose processes die: no row of theirs explains it, or too many rows do."""

from __future__ import annotations

from pandas_imgproc.errors import ClusterError


class DeadlyPartitionError(ClusterError):
    """Partition of which every attempt has ended its process with no row in flight.

    Parameters
    ----------
    n_deaths : int
        Attempts.
    n_rows : int
        Rows of the partition.
    """

    def __init__(self, n_deaths: int, n_rows: int) -> None:
        super().__init__(n_deaths, n_rows)
        self.n_deaths, self.n_rows = n_deaths, n_rows

    def __str__(self) -> str:
        return (
            f"{self.n_deaths} worker processes died with a partition of {self.n_rows:,} "
            "rows, none of them during a row: before the first one, or before its result had arrived"
        )


class DeadlyRowsError(ClusterError):
    """Job of which most rows end their process.

    Parameters
    ----------
    n_poisoned, n_survived : int
        Rows that have ended their process each time, and rows that have not.
    """

    def __init__(self, n_poisoned: int, n_survived: int) -> None:
        super().__init__(n_poisoned, n_survived)
        self.n_poisoned, self.n_survived = n_poisoned, n_survived

    def __str__(self) -> str:
        return (
            f"{self.n_poisoned:,} rows ended each worker process that read them, and only {self.n_survived:,} "
            "rows did not: the function or a decoder seems to end every process; call it for one row in a Python "
            "process of its own, with dask.config.set(scheduler='synchronous')"
        )


class DeadlyBuildError(ClusterError):
    """Job whose function ends each process that receives or builds it.

    Parameters
    ----------
    n_deaths : int
        Processes that have died.
    names : str
        Names of the functions and classes.
    """

    def __init__(self, n_deaths: int, names: str) -> None:
        super().__init__(n_deaths, names)
        self.n_deaths, self.names = n_deaths, names

    def __str__(self) -> str:
        return (
            f"{self.n_deaths} worker processes died while they received or built {self.names or 'the call'}, before "
            "the first row: it may need more memory than a worker has (pandas-imgproc.memory-limit; fewer workers have "
            "more), or end its process; build it once in a Python process of its own"
        )
