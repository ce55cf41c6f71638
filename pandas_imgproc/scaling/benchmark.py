"""Benchmark runs: the same call on clusters of different sizes, in an order that is fair to each of them."""

from __future__ import annotations

import contextlib
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask
import numpy as np

from pandas_imgproc import cluster, execution
from pandas_imgproc.errors import (
    NoReadableImageError,
    UnreadableImageWarning,
    UserFunctionError,
    UserFunctionWarning,
)
from pandas_imgproc.execution.progress import format_duration, progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from distributed import Client

    from pandas_imgproc.execution import JobStats

WARMUP_ROWS = 32  # per worker of a new cluster: two partitions, so that each has imported its modules
MAX_SHARE_DEVIATION = 0.25  # of the rows of a run from its share, because a call may filter its rows

_MUST_NOT = "it must not choose a scheduler= or client"
_OVERWRITE = "give it overwrite=True, or remove out= or to="


@dataclass(frozen=True)
class TimedRun:
    """Timed run of the call; `caller` are the seconds in which the caller worked, in any of its threads."""

    workers: int
    run: int
    seconds: float
    caller: float
    jobs: list[JobStats]

    def total(self, field: str) -> Any:
        """Return the sum of a statistic over all jobs."""
        return sum(getattr(job, field) for job in self.jobs)


def benchmark(call: Callable[[Any], Any], frames: Mapping[int, Any], repeat: int, show: bool | None) -> list[TimedRun]:
    """Time a call on each number of workers, on the frame given for that number.

    A first run on all workers is not counted: it brings the files into the page cache, and only it warns about images.
    """
    timed_runs, max_workers, rows = [], max(frames), {workers: len(frame) for workers, frame in frames.items()}
    total = sum(rows.values()) * repeat + rows[max_workers]
    with cluster.preserved(), progress("scaling_report", total, show=show) as bar, warnings.catch_warnings():
        client = cluster.get_client(n_workers=max_workers)
        first = _run_once(call, frames[max_workers], max_workers, 0, client)
        bar.update(rows[max_workers], 0)
        warnings.simplefilter("ignore", UnreadableImageWarning)
        warnings.simplefilter("ignore", UserFunctionWarning)
        for run, workers in interleaved_order(frames, repeat):
            client = _warm_up(call, frames[workers], workers, client)
            timed_run = _run_once(call, frames[workers], workers, run, client)
            _check_workload(timed_run, first, rows[workers] / rows[max_workers])
            timed_runs.append(timed_run)
            bar.update(rows[workers], timed_run.total("failures"))
            speed = f"{format_duration(timed_run.seconds)}, {timed_run.total('rows') / timed_run.seconds:,.0f} images/s"
            bar.write(f"{pluralize(workers, 'worker')}, run {run} of {repeat}: {speed}")
    return timed_runs


def interleaved_order(workers: Iterable[int], repeat: int) -> list[tuple[int, int]]:
    """Return (run, workers) down from the largest number and up again, so that a temporary load hits all numbers."""
    return [(run, k) for run in range(1, repeat + 1) for k in sorted(workers, reverse=run % 2 == 1)]


def subsample(frame: Any, rows: int) -> Any:
    """Return this many rows, evenly spaced over the frame, in its order."""
    return frame.iloc[np.arange(rows) * len(frame) // max(rows, 1)]


def pluralize(number: int, noun: str) -> str:
    """Return the number with its noun."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _warm_up(call: Callable[[Any], Any], frame: Any, workers: int, client: Client) -> Client:
    """Return a client with this many workers, each of which has processed a few rows."""
    resized = cluster.get_client(n_workers=workers)
    if resized is not client:
        with contextlib.suppress(
            NoReadableImageError, UserFunctionError
        ):  # the first run has shown that others can be read
            _call_on(call, subsample(frame, min(len(frame), WARMUP_ROWS * workers)), resized)
    return resized


def _call_on(call: Callable[[Any], Any], frame: Any, client: Client) -> Any:
    """Return the result of the call on a client that is Dask's explicit choice, and that the call must not replace."""
    with client.as_current(), dask.config.set({"scheduler": "distributed", "pandas-imgproc.progress": False}):
        result = call(frame)
    if not cluster.is_managed(client):
        raise ValueError(f"the call closed the cluster that it is timed on, or started another: {_MUST_NOT}")
    return result


def _run_once(call: Callable[[Any], Any], frame: Any, workers: int, run: int, client: Client) -> TimedRun:
    plan, started, started_cpu = cluster.describe(client), time.perf_counter(), time.process_time()
    with execution.collect_stats() as jobs:
        result = _call_on(call, frame, client)
    seconds, cpu = time.perf_counter() - started, time.process_time() - started_cpu
    del result  # not before: freeing its memory is not part of the call
    # Results arrive, and the scheduler runs, while the thread of the call waits; a process runs Python in one thread.
    caller = max(cpu, seconds - sum(job.idle_seconds for job in jobs))
    timed_run = TimedRun(workers, run, seconds, min(caller, seconds), jobs)
    other_plans = [job.plan for job in jobs if job.rows and job.plan != plan]
    if other_plans:
        raise ValueError(f"the call ran {other_plans[0]}, not on a {plan}: {_MUST_NOT}")
    if timed_run.total("rows"):
        return timed_run
    if timed_run.total("n_skipped"):
        skipped = pluralize(timed_run.total("n_skipped"), "row")
        raise ValueError(f"the call did no rows: it found {skipped} done, or without a path; {_OVERWRITE}")
    raise ValueError(
        "the call did no rows; it must call methods of .img that read images, on the pandas frame it is given "
        "(computations of Dask frames are not timed): lambda d: d.img.load_resized('image_path', size=64)"
    )


def _check_workload(timed_run: TimedRun, first: TimedRun, share: float) -> None:
    """Raise a ValueError for a run that did not do its share of the first run, which was given all rows."""
    n_skipped, n_skipped_first = timed_run.total("n_skipped"), first.total("n_skipped")
    if n_skipped > n_skipped_first:
        repeated = pluralize(n_skipped - n_skipped_first, "row")
        raise ValueError(f"the call found {repeated} done by its previous run; {_OVERWRITE}")
    done, expected = timed_run.total("rows") + n_skipped, share * (first.total("rows") + n_skipped_first)
    if share < 1 and abs(done - expected) > expected * MAX_SHARE_DEVIATION:
        raise ValueError(
            f"the call did {pluralize(done, 'row')} where its share of the frame is {expected:,.0f}: with "
            "scaling='weak' it must do the rows it is given: lambda d: d.img…, not df.img… or d.head(20).img…"
        )
