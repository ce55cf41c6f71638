"""Execution of jobs: inline on threads, on a Dask client, or as tasks of a Dask graph."""

from pandas_imgproc.execution.graph_task import run_in_graph, write_in_graph
from pandas_imgproc.execution.job import MOST_ROWS, SAMPLE_ROWS, Call, Run
from pandas_imgproc.execution.planning import Plan, run
from pandas_imgproc.execution.stats import Profile, observed

__all__ = [
    "MOST_ROWS",
    "SAMPLE_ROWS",
    "Call",
    "Plan",
    "Profile",
    "Run",
    "observed",
    "run",
    "run_in_graph",
    "write_in_graph",
]
