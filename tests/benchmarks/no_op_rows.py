"""Overhead of a row without work: `python tests/benchmarks/no_op_rows.py [rows]`.

A no-op task runs over a column of paths, from the column to the status of each row, on two workers of the managed
cluster, and on a scheduler and two workers in processes of their own. Targets: less than 3 µs a row at a million rows,
no warning of Dask, and only progress in the log.
"""

from __future__ import annotations

import logging
import resource
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from cluster_subprocess import SubprocessCluster

import pandas_imgproc
from pandas_imgproc import execution
from pandas_imgproc.sinks import memory_sink
from pandas_imgproc.source import Source, column_values
from pandas_imgproc.tasks import Task


@dataclass(frozen=True)
class NoOpTask(Task):
    """Task without work."""

    name: ClassVar[str] = "nothing"
    needs_cluster: ClassVar[bool] = True

    def allocate(self, n):
        return np.zeros((n, 1), dtype=np.uint8)

    def fill(self, out, position, file):
        out[0] = 1

    def to_pandas(self, values, status, failures, index):
        return pd.Series(values[:, 0], index=index)


def memory() -> float:
    """Return the megabytes of this process."""
    return psutil.Process().memory_info().rss / 1e6


def measure(where: str, column: pd.Series) -> None:
    """Print the overhead of the rows of a column."""
    before, started, cpu = memory(), time.perf_counter(), time.process_time()
    inputs = column_values(column)
    column_seconds = time.perf_counter() - started
    job = execution.Job(NoOpTask(), Source(), inputs)
    sink = memory_sink(job.task, len(inputs))
    execution.execute(job, sink)
    result = sink.to_pandas(job.task, column.index)
    seconds = time.perf_counter() - started
    assert (result == 1).all()
    grown, peak = memory() - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(
        f"{where}: {len(column):,} rows in {seconds:.2f} s, {seconds / len(column) * 1e6:.2f} µs a row "
        f"(of it {column_seconds / len(column) * 1e6:.2f} to look at the column; "
        f"{(time.process_time() - cpu) / len(column) * 1e6:.2f} µs of CPU time of the caller); "
        f"memory of the caller {grown:+.0f} MB after, peak {peak:.0f} MB"
    )


def main() -> None:
    """Print a line for each cluster."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    logging.basicConfig(level=logging.INFO, format="    %(name)s: %(message)s")
    warnings.simplefilter("error")  # "Sending large graph" would be one
    column = pd.Series([f"photographs/of/{k % 1000:03}/{k:09}.jpg" for k in range(rows)])
    print(f"the column: {memory():.0f} MB with Python")
    pandas_imgproc.get_client(n_workers=2)
    for _ in range(2):  # the first also pays for importing the package on the workers
        measure("managed cluster", column)
    pandas_imgproc.close()
    with tempfile.TemporaryDirectory() as folder:
        started = SubprocessCluster(Path(folder))
        try:
            started.worker()
            started.worker()
            with started.client() as client:
                client.wait_for_workers(2, timeout=30)
                for _ in range(2):
                    measure("cluster of processes", column)
        finally:
            started.close()


if __name__ == "__main__":
    main()
