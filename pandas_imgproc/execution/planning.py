"""Planning of jobs: inline on threads of this process, or on a Dask client. Both give the same bytes."""

from __future__ import annotations

import contextlib
import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dask.config
from dask.system import CPU_COUNT

from pandas_imgproc import cluster
from pandas_imgproc._uninterrupted import release_import_lock
from pandas_imgproc.codec import preinit
from pandas_imgproc.config import setting
from pandas_imgproc.errors import ClusterError
from pandas_imgproc.execution.client import run_on_client
from pandas_imgproc.execution.job import SAMPLE_ROWS, Job, JobState
from pandas_imgproc.execution.progress import progress
from pandas_imgproc.execution.reporting import end_reported
from pandas_imgproc.execution.stats import _emit
from pandas_imgproc.execution.threads import run_in_threads
from pandas_imgproc.kernel import NullLedger
from pandas_imgproc.source import UNKNOWN_SIGNATURE

if TYPE_CHECKING:
    from pandas_imgproc.partition import FunctionErrors
    from pandas_imgproc.sinks import MemorySink

logger = logging.getLogger("pandas_imgproc")

SAMPLE_SECONDS = 0.01
"""Wall time after which enough of the first rows were timed."""

GIL_SECONDS_PER_ROW = 0.00025
"""Work of a row that one thread at a time can do, because it is Python: more threads hinder each other."""


WARM_SECONDS = 0.3
"""Predicted seconds up to which a job runs inline while a cluster runs whose processes are faster than threads."""


@dataclass(frozen=True)
class ExecutionPlan:
    """Execution on a cluster, or inline on `n_threads` while the rest is predicted to take `max_seconds` at most."""

    n_threads: int = CPU_COUNT
    reason: str = ""
    max_seconds: float = math.inf
    on_cluster: bool = False
    is_requested: bool = False  # whether an argument or the configuration requires the cluster

    def __str__(self) -> str:
        return f"inline on {self.n_threads} thread{'s' * (self.n_threads > 1)}{self.reason}"


def execute(job: Job, sink: MemorySink) -> FunctionErrors:
    """Run the pending rows of a job, and return the errors of the user's function.

    Parameters
    ----------
    job : Job
        Task, source and inputs.
    sink : MemorySink
        Store of the values, which knows the pending rows. Afterwards it has a status for every row, or for some if the
        job ended at its first failure.

    Raises
    ------
    ClusterError
        If the cluster went away, or if it cannot be started and is requested.
    UserFunctionError
        If the user's function fails on all of the first rows, and the job ends on that.
    """
    release_import_lock()  # threads import codecs
    try:
        unfinished = sink.pending()
        n, n_pending = len(unfinished), int(unfinished.sum())
        with progress(job.task.name, n, show=job.progress, n_before=n - n_pending) as bar:
            if sink.n_finished:
                bar.write(_resumed_text(job.task.name, n, sink.n_finished, n_pending), always=True)
            state = JobState(job, sink, bar, unfinished)
            with end_reported(state):
                plan = _execute(state)
                state.end_probation()
                state.reject_mismatched()
                stats = state.stats(plan)
            if state.n_done:
                bar.close(str(stats))
            _emit(stats)
            return state.probation.errors
    finally:
        sink.close()


def _resumed_text(name: str, n: int, n_finished: int, n_pending: int) -> str:
    """Return the line of a job that an earlier call has begun.

    Examples
    --------
    >>> _resumed_text("map", 2500, 2500, 0)
    'map: nothing to do: all 2,500 rows were finished before'
    >>> _resumed_text("map", 2500, 2000, 500)
    'map: continues after 2,000 of 2,500 rows, which were finished before'
    """
    if not n_pending:
        return f"{name}: nothing to do: all {n:,} rows were finished before"
    return f"{name}: continues after {n_finished:,} of {n:,} rows, which were finished before"


def _execute(state: JobState) -> str:
    """Run the pending rows by an explicit plan, or by one that a sample of them suggests; return the plan as text."""
    plan = _explicit_plan(state.job) if state.pending else ExecutionPlan(1)
    plan = plan or _plan_for_remote_files(state) or _plan_from_sample(state)
    if not plan.on_cluster:
        run_in_threads(state, plan.n_threads, lambda: state.eta() > plan.max_seconds)
    if _is_ended(state):
        return str(plan)
    # Also if the sample was faster than the rest.
    return _run_on_cluster(state, plan)


def _is_ended(state: JobState) -> bool:
    return state.failed_fast or not state.n_remaining


def _run_on_cluster(state: JobState, plan: ExecutionPlan) -> str:
    """Run the pending rows on a cluster, or inline if none can be started and none is requested; return the plan."""
    with contextlib.ExitStack() as leases:
        try:
            lease = leases.enter_context(cluster.leased_cluster())
            if not plan.is_requested and not _needs_cluster(state.job) and not lease.is_started:
                _run_during_start(state, lease, plan.n_threads)
            # Also if no row is left: Dask's settings for the start hold in the whole process until its end.
            client, name = lease.wait()
            if _is_ended(state):
                return f"{plan} while a cluster started"
        except ClusterError as exc:
            if plan.is_requested:
                raise
            logger.warning("%s runs inline: %s", state.job.task.name, exc)
        else:
            run_on_client(state, client)
            return name
    plan = ExecutionPlan(reason=" (no cluster can be started)")
    run_in_threads(state, plan.n_threads, lambda: False)
    return str(plan)


def _run_during_start(state: JobState, lease: cluster.ClusterLease, n_threads: int) -> None:
    """Run rows inline until the cluster has started: a start takes seconds."""
    lease.begin_start()
    run_in_threads(state, n_threads, lambda: lease.is_started)


def _explicit_plan(job: Job) -> ExecutionPlan | None:
    """Return the plan that the context, the configuration or the arguments require, if any."""
    context = cluster.nested_context()
    if context:
        return ExecutionPlan(CPU_COUNT, reason=f" ({context})")
    scheduler = dask.config.get("scheduler", None)
    if scheduler in ("synchronous", "sync", "single-threaded"):
        return ExecutionPlan(1)
    if scheduler in ("threads", "threading"):
        return ExecutionPlan(CPU_COUNT)
    if job.npartitions or scheduler == "distributed":
        return ExecutionPlan(on_cluster=True, is_requested=True)
    context = cluster.pool_context()
    if context:
        return ExecutionPlan(CPU_COUNT, reason=f" ({context})")
    return ExecutionPlan(on_cluster=True) if _needs_cluster(job) else None


def _needs_cluster(job: Job) -> bool:
    """Return whether rows run code of the user that may end its process: on a cluster, that costs one row only."""
    return job.task.needs_cluster or bool(job.task.readers)


def _plan_for_remote_files(state: JobState) -> ExecutionPlan | None:
    """Return the plan for paths of which this host finds none in the first rows, if the user's client may."""
    client = cluster.existing_client()
    if client is None or cluster.is_managed(client) or state.is_remote:
        return None
    sample = [state.job.inputs[position] for position in state.pending.peek(SAMPLE_ROWS)]
    paths = [value for value in sample if value is not None]
    missing = bool(paths) and all(isinstance(path, str | int) for path in paths)
    missing = missing and all(state.job.source.signature(path) == UNKNOWN_SIGNATURE for path in paths)
    return ExecutionPlan(on_cluster=True, is_requested=True) if missing else None


def _plan_from_sample(state: JobState) -> ExecutionPlan:
    """Run the first rows in this thread, and return the plan for the rest by their rate."""
    # In a new process the very first rows take longer: a few of them would start a cluster, or lead to it.
    _sample_rows(state, setting("inline-threshold") if _prefers_threads(state) else math.inf)
    n_threads = max(1, min(CPU_COUNT, math.ceil(state.cpu_seconds_per_row / GIL_SECONDS_PER_ROW)))
    limit = _inline_seconds(state, n_threads)
    state.n_workers = n_threads
    if state.eta() <= limit:
        # Twice the limit: a job that is nearly finished is not moved.
        return ExecutionPlan(n_threads, max_seconds=2 * limit)
    return ExecutionPlan(n_threads, on_cluster=True)


def _inline_seconds(state: JobState, n_threads: int) -> float:
    """Return the predicted seconds up to which a job runs inline, on so many threads."""
    if cluster.existing_client() is None or (_prefers_threads(state) and n_threads == CPU_COUNT):
        return float(setting("inline-threshold"))
    limit = setting("inline-threshold-warm")
    return WARM_SECONDS if limit is None else float(limit)


def _prefers_threads(state: JobState) -> bool:
    """Return whether a job runs on threads up to the same duration as without a cluster."""
    client = cluster.existing_client()
    if client is None:
        return True
    if setting("inline-threshold-warm") is not None or cluster.is_requested(client):
        return False
    # The requests of remote files are Python, and hinder the threads.
    return state.job.task.releases_gil and not state.is_remote


def _sample_rows(state: JobState, max_eta: float) -> None:
    """Run the first rows in this thread to measure their rate: few if they are slow, because other cores are idle.

    As long as the rest seems to take longer than `max_eta` seconds, all `SAMPLE_ROWS` are run.
    """
    preinit()  # or the very first row would pay for importing Pillow's plugins
    ledger = NullLedger()
    while state.pending and not state.failed_fast and state.n_done < SAMPLE_ROWS:
        # Remote files are read concurrently: one by one they would seem slow.
        batch = SAMPLE_ROWS if state.is_remote else min(max(1, state.n_done), SAMPLE_ROWS // 4)
        state.finish(state.local_task(state.take_images(batch), ledger)())
        if state.wall >= SAMPLE_SECONDS and state.eta() <= max_eta:
            break
