"""The runs of a scaling report: the same call on clusters of different sizes, in an order that is fair to each."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask.config
import numpy as np

from pandas_imgproc import cluster, execution
from pandas_imgproc.errors import NoReadableImageError, UnreadableImageWarning
from pandas_imgproc.execution.progress import format_duration, progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from distributed import Client

    from pandas_imgproc.execution import JobStats

WARM_ROWS = 32
"""Rows for each worker of a new cluster before it is timed: two partitions, so that each has imported what it needs."""

UNFAIR = 0.25
"""Part of its share by which the rows of a run may differ from it: a call may choose among the rows it is given."""

_MUST_NOT = "it must not choose a scheduler= or client"
_OVERWRITE = "give it overwrite=True, or leave out= or to= away"


@dataclass(frozen=True)
class Timing:
    """One run of the call.

    Attributes
    ----------
    workers, run : int
        On how many workers, and the how manieth run of them, from 1.
    name : str
        The methods that were called.
    images, failures : int
        Rows that were done, and how many of them have no image; of all the calls that were made.
    seconds : float
        On the caller's clock, all of the call.
    caller : float
        Seconds of those in which the caller did not wait for workers.
    busy, cpu : float
        Seconds of all workers together at partitions, on the clock and of the processor.
    stages : mapping of str to float
        Seconds of `busy` by stage.
    found : int
        Rows that were not done: their files were there, or they have no path, or another row's.
    """

    workers: int
    run: int
    name: str
    images: int
    failures: int
    seconds: float
    caller: float
    busy: float
    cpu: float
    stages: Mapping[str, float]
    found: int = 0


def timings(
    call: Callable[[Any], Any], frames: Mapping[int, Any], repeat: int, show: bool | None = None
) -> list[Timing]:
    """Run a call on each of several numbers of workers.

    Parameters
    ----------
    call : callable
        Of a frame.
    frames : mapping of int to DataFrame
        What each number of workers is given.
    repeat : int
        Runs that count, for each number.
    show : bool, optional
        Whether progress is shown, as of any call.

    Returns
    -------
    list of Timing
        In the order of the runs.

    Notes
    -----
    Other programs come and go. Runs of one number in a row would charge them to that number, so the numbers take
    turns: down from the most, up again, and so on. Each change costs the start of a cluster, one to two seconds, and
    where the order turns round there is none. Before all stands one run of everything that does not count: it brings
    the files into the system's memory, and it alone warns. A new cluster does some rows that do not count either.
    """
    most = max(frames)
    done = []
    total = sum(len(frame) for frame in frames.values()) * repeat + len(frames[most])
    with cluster.preserved(), progress("scaling_report", total, show=show) as bar:
        client = cluster.get_client(n_workers=most)
        with dask.config.set({"pandas-imgproc.progress": False}):
            first = _timed(call, frames[most], most, 0, client)
            bar.update(len(frames[most]), 0)
            with _said_already():
                for run, workers in turns(sorted(frames), repeat):
                    client = _warm(call, frames[workers], workers, client)
                    timing = _timed(call, frames[workers], workers, run, client)
                    _check_same_work(timing, first, len(frames[workers]) / len(frames[most]))
                    done.append(timing)
                    bar.update(len(frames[workers]), timing.failures)
                    bar.write(_line(timing, repeat))
    return done


def turns(workers: Sequence[int], repeat: int) -> Iterator[tuple[int, int]]:
    """Yield ``(run, workers)``: down from the most, up again, and so on.

    Examples
    --------
    >>> list(turns([1, 2, 4], 2))
    [(1, 4), (1, 2), (1, 1), (2, 1), (2, 2), (2, 4)]
    """
    for run in range(1, repeat + 1):
        for number in sorted(workers, reverse=run % 2 == 1):
            yield run, number


def spread(frame: Any, rows: int) -> Any:
    """Return so many rows of a frame, evenly spread over it, in its order.

    Examples
    --------
    >>> spread(pd.Series(range(8)), 4).tolist()
    [0, 2, 4, 6]
    """
    return frame.iloc[np.arange(rows) * len(frame) // max(rows, 1)]


@contextlib.contextmanager
def _said_already() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreadableImageWarning)
        yield


def _warm(call: Callable[[Any], Any], frame: Any, workers: int, client: Client) -> Client:
    """Return a client of so many workers, which have all worked before."""
    wanted = cluster.get_client(n_workers=workers)
    if wanted is not client:
        with contextlib.suppress(NoReadableImageError):  # of these few; of all it would have been raised before
            _called(call, spread(frame, min(len(frame), WARM_ROWS * workers)), wanted)
    return wanted


def _called(call: Callable[[Any], Any], frame: Any, client: Client) -> Any:
    """Return what the call does with a frame, on a client that is Dask's own choice and that it must leave alone."""
    with client.as_current(), dask.config.set({"scheduler": "distributed"}):
        answer = call(frame)
    if not cluster.is_managed(client):
        raise ValueError(f"the call closed the cluster that it is timed on, or started another: {_MUST_NOT}")
    return answer


def _timed(call: Callable[[Any], Any], frame: Any, workers: int, run: int, client: Client) -> Timing:
    plan, started = cluster.describe(client), time.perf_counter()
    with execution.collect_stats() as profiles:
        answer = _called(call, frame, client)
    seconds = time.perf_counter() - started
    del answer  # only now: giving its memory back is not the call's
    _check(profiles, plan)
    stages: Counter[str] = Counter()
    for profile in profiles:
        stages.update(profile.stages)
    return Timing(
        workers=workers,
        run=run,
        name=" and ".join(dict.fromkeys(profile.name for profile in profiles)),
        images=sum(profile.rows for profile in profiles),
        failures=sum(profile.failures for profile in profiles),
        seconds=seconds,
        caller=seconds - sum(profile.idle_seconds for profile in profiles),
        busy=sum(profile.worker_seconds for profile in profiles),
        cpu=sum(profile.cpu for profile in profiles),
        stages=stages,
        found=sum(profile.n_skipped for profile in profiles),
    )


def _check(profiles: Sequence[JobStats], plan: str) -> None:
    """Raise a ValueError if what was timed is not what was meant."""
    if not sum(profile.rows for profile in profiles):
        found = sum(profile.n_skipped for profile in profiles)
        if found:
            raise ValueError(f"the call did no rows: it found {_count(found)} done, or without a path; {_OVERWRITE}")
        raise ValueError(
            "the call did no rows; it must call methods of .img that read images, on the pandas frame it is given "
            "(what Dask frames do is not timed): lambda d: d.img.load_resized('image_path', size=64)"
        )
    elsewhere = [profile.plan for profile in profiles if profile.rows and profile.plan != plan]
    if elsewhere:
        raise ValueError(f"the call ran {elsewhere[0]}, not on a {plan}: {_MUST_NOT}")


def _check_same_work(timing: Timing, first: Timing, share: float) -> None:
    """Raise a ValueError if a run did not do its share of what the first one did, which had all rows."""
    if timing.found > first.found:
        raise ValueError(f"the call found {_count(timing.found - first.found)} done by its run before; {_OVERWRITE}")
    rows, fair = timing.images + timing.found, share * (first.images + first.found)
    if share < 1 and abs(rows - fair) > fair * UNFAIR:
        raise ValueError(
            f"the call did {_count(rows)} where its share of the frame is {fair:,.0f}: with scaling='weak' it must do "
            "the rows it is given: lambda d: d.img…, not df.img… or d.head(20).img…"
        )


def _count(rows: int) -> str:
    return f"{rows:,} row{'s' * (rows != 1)}"


def _line(timing: Timing, repeat: int) -> str:
    workers = f"{timing.workers} worker{'s' * (timing.workers > 1)}"
    rate = timing.images / timing.seconds
    return f"{workers}, run {timing.run} of {repeat}: {format_duration(timing.seconds)}, {rate:,.0f} images/s"
