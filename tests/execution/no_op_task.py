"""A task without work, and states of jobs of it."""

import numpy as np
import pandas as pd

from pandas_imgproc.execution import Job, JobState
from pandas_imgproc.execution.progress import progress
from pandas_imgproc.sinks import memory_sink
from pandas_imgproc.source import Source
from pandas_imgproc.tasks import Task


class NoOpTask(Task):
    name = "nothing"

    def allocate(self, n):
        return np.zeros((n, 0), dtype=np.uint8)

    def fill(self, out, position, file):
        pass

    def to_pandas(self, values, status, failures, index):
        return pd.Series(status, index=index)


def make_state(n, npartitions=None, *, pending=None, inputs=None, sink=None, **fields):
    """Return the state of a job of n rows, of which those at `pending` are to do: by default all."""
    job = Job(NoOpTask(), Source(), inputs or [None] * n, npartitions)
    mask = np.isin(np.arange(n), np.arange(n) if pending is None else pending)
    return JobState(job, sink or memory_sink(NoOpTask(), n), progress("nothing", 0), mask, **fields)
