"""Execution of jobs: inline on threads, on a Dask client, or as tasks of a Dask graph."""

from pandas_imgproc.execution.graph_task import run_in_graph, write_in_graph
from pandas_imgproc.execution.job import MAX_PARTITION_ROWS, SAMPLE_ROWS, Job, JobState
from pandas_imgproc.execution.planning import ExecutionPlan, run
from pandas_imgproc.execution.stats import JobStats, observed

__all__ = [
    "MAX_PARTITION_ROWS",
    "SAMPLE_ROWS",
    "ExecutionPlan",
    "Job",
    "JobState",
    "JobStats",
    "observed",
    "run",
    "run_in_graph",
    "write_in_graph",
]
