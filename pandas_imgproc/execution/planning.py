"""Where partitions run: in line, on threads of this process, or on a Dask client.

The in-line driver is the specification: on a client the same call gives the same bytes.

`call`         a call, and what is known of it while it runs
`profile`      a call that is over, and where its time went
`in_line`      threads of this process
`on_client`    the workers of a client
`in_graph`     the task of a Dask frame's graph that a partition is
`parcels`      what travels to them
`row_timeout`  a clock for rows that never end
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dask.config
from dask.system import CPU_COUNT

from pandas_imgproc import cluster
from pandas_imgproc.codec import preinit
from pandas_imgproc.config import setting
from pandas_imgproc.execution.client import run_on_client
from pandas_imgproc.execution.crash_ledger import CrashLedger
from pandas_imgproc.execution.job import SAMPLE_ROWS, Job, JobState
from pandas_imgproc.execution.progress import progress
from pandas_imgproc.execution.stats import _emit
from pandas_imgproc.execution.threads import run_in_threads
from pandas_imgproc.source import UNKNOWN_SIGNATURE

if TYPE_CHECKING:
    from distributed import Client

    from pandas_imgproc.sinks import MemorySink


SAMPLE_SECONDS = 0.01
"""Seconds after which enough of the first rows were timed."""

GIL_BOUND_ROW_SECONDS = 0.00025
"""Seconds of work below which threads hinder each other: most of so short a row is Python, one thread at a time."""


@dataclass(frozen=True)
class ExecutionPlan:
    """Where the rest of a call runs: in line on `threads` as long as it takes less than `seconds`, or on `client`."""

    threads: int
    client: Client | None = None
    reason: str = ""
    seconds: float = math.inf

    def __str__(self) -> str:
        if self.client is not None:
            return cluster.describe(self.client)
        return f"in line on {self.threads} thread{'s' * (self.threads > 1)}{self.reason}"


def execute(call: Job, sink: MemorySink) -> None:
    """Do what is left of a call.

    Parameters
    ----------
    call : Job
        What is asked.
    sink : MemorySink
        Where the values go; it knows what is done. Afterwards it has a status for every row, or for some if the
        call stops at failures and there was one.

    Raises
    ------
    ClusterError
        If the cluster went away.
    """
    try:
        left = deque(sink.pending())
        with progress(call.task.name, sum(map(len, left)), show=call.progress) as bar:
            state = JobState(call, sink, bar, left)
            plan = _execute(state)
            profile = state.stats(str(plan))
            if state.done:
                bar.close(str(profile))
            _emit(profile)
    finally:
        sink.close()


def _execute(state: JobState) -> ExecutionPlan:
    """Time the first rows, choose a plan, and do the rest by it."""
    plan = _explicit_plan(state.job) if state.pending else ExecutionPlan(1)
    if plan is None:
        plan = _plan_for_remote_files(state)
    if plan is None:
        _sample_rows(state)
        plan = _plan_from_sample(state)
    if plan.client is None:
        run_in_threads(state, plan.threads, plan.seconds)
        if state.n_remaining and not state.failed_fast:
            # The first rows were quicker than those that followed: think again.
            plan = ExecutionPlan(CPU_COUNT, cluster.get_client())
    if plan.client is not None and state.n_remaining and not state.failed_fast:
        run_on_client(state, plan.client)
    return plan


def _sample_rows(state: JobState) -> None:
    """Do the first rows in this thread, to know how long a row takes: few if they are long and workers wait."""
    preinit()  # or the very first row would pay for importing Pillow's plugins
    ledger = CrashLedger.in_memory(len(state.job.inputs))
    # In a process that has just begun the very first rows take longer: by few of them a cluster would be started.
    seconds = SAMPLE_SECONDS if cluster.existing_client() else math.inf
    while state.pending and not state.failed_fast and state.timed < SAMPLE_ROWS and state.wall < seconds:
        # Files that are elsewhere are asked for together: by ones they would seem slow.
        rows = SAMPLE_ROWS if state.is_remote else SAMPLE_ROWS // 4
        state.finish(state.local_task(state.take(rows), ledger)())


def _plan_for_remote_files(state: JobState) -> ExecutionPlan | None:
    """Return the plan for files that none of the first rows finds here, where a client of the user's may."""
    client = cluster.existing_client()
    if client is None or cluster.is_managed(client) or state.is_remote:
        return None
    first = [state.job.inputs[row] for row in state.pending[0][:SAMPLE_ROWS]]
    named = [cell for cell in first if cell is not None]
    missing = bool(named) and all(isinstance(cell, str | int) for cell in named)
    missing = missing and all(state.job.source.signature(cell) == UNKNOWN_SIGNATURE for cell in named)
    return ExecutionPlan(CPU_COUNT, client) if missing else None


def _explicit_plan(call: Job) -> ExecutionPlan | None:
    """Return the plan that place, configuration or arguments leave no choice about."""
    inside = cluster.nested_context()
    if inside:
        return ExecutionPlan(CPU_COUNT, reason=f" ({inside})")
    scheduler = dask.config.get("scheduler", None)
    if scheduler in ("synchronous", "sync", "single-threaded"):
        return ExecutionPlan(1)
    if scheduler in ("threads", "threading"):
        return ExecutionPlan(CPU_COUNT)
    if call.npartitions or setting("row-timeout") or call.task.needs_cluster or scheduler == "distributed":
        return ExecutionPlan(CPU_COUNT, cluster.get_client())
    return None


def _plan_from_sample(state: JobState) -> ExecutionPlan:
    """Return the plan for the rest, by how long the first rows took."""
    client = cluster.existing_client()
    limit = setting("inline-threshold" if client is None else "inline-threshold-warm")
    threads = CPU_COUNT if state.cpu_seconds_per_row > GIL_BOUND_ROW_SECONDS else 1
    state.workers = threads
    if state.eta() <= limit:
        # Twice the limit: what is nearly done is not moved.
        return ExecutionPlan(threads, seconds=2 * limit)
    return ExecutionPlan(CPU_COUNT, cluster.get_client())
