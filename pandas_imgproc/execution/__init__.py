"""Execution of jobs: inline on threads, on a Dask client, as tasks of a Dask graph, or ahead of a loop."""

from pandas_imgproc.execution.caller_sink import CallerSink
from pandas_imgproc.execution.graph_task import run_in_graph, write_in_graph
from pandas_imgproc.execution.job import MAX_PARTITION_ROWS, SAMPLE_ROWS, Job, JobState
from pandas_imgproc.execution.payload import unpickling_message
from pandas_imgproc.execution.planning import ExecutionPlan, execute
from pandas_imgproc.execution.process_task import ProcessTask
from pandas_imgproc.execution.stats import JobStats, collect_stats
from pandas_imgproc.execution.streaming import BatchStream

__all__ = [
    "MAX_PARTITION_ROWS",
    "SAMPLE_ROWS",
    "BatchStream",
    "CallerSink",
    "ExecutionPlan",
    "Job",
    "JobState",
    "JobStats",
    "ProcessTask",
    "collect_stats",
    "execute",
    "run_in_graph",
    "unpickling_message",
    "write_in_graph",
]
