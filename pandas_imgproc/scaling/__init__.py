"""How a call scales: the same call on one worker and on more, and what that says of still more.

`runs`       the call, timed on clusters of different sizes
`laws`       Amdahl's and Gustafson's, fitted
`report`     what came out, as tables
`sentences`  the same in words, `page` as HTML, `drawing` as a plot
"""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any, get_args

import dask
import pandas as pd
from dask.system import CPU_COUNT

from pandas_imgproc import cluster
from pandas_imgproc.scaling.laws import Law, Scaling
from pandas_imgproc.scaling.report import ScalingReport
from pandas_imgproc.scaling.runs import spread, timings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Law", "ScalingReport", "scaling_report"]


def scaling_report(
    call: Callable[[Any], Any],
    df: pd.DataFrame | pd.Series[Any],
    n_workers: Iterable[int] | None = None,
    *,
    scaling: Scaling = "strong",
    repeat: int = 3,
    progress: bool | None = None,
) -> ScalingReport:
    """Time a call on one worker and on more, and tell what more would bring.

    Parameters
    ----------
    call : callable
        Given the frame, a pandas one, it calls methods of ``.img`` that read images. Of several, times and images
        add up. One that writes (``out=``, ``to=``, ``save_…``) needs ``overwrite=True``, or the second run would find
        all done. What Dask frames do is not timed.
    df : DataFrame or Series
        Enough rows for a second or more on all workers.
    n_workers : iterable of int, optional
        Numbers of worker processes, one thread each; 1 must be among them. By default 1, 2, 4 and so on, and the
        number of cores.
    scaling : {"strong", "weak"}
        ``"strong"``: every number of workers is given all rows, and Amdahl's law is fitted. ``"weak"``: rows in
        proportion to the workers, evenly spread over the frame, all of them for the most workers; Gustafson's law is
        fitted to the images per second.
    repeat : int
        Runs that count, for each number of workers.
    progress : bool, optional
        As in all calls; the bar counts the images of all runs.

    Returns
    -------
    ScalingReport
        ``print(report)``; a notebook shows it. `table`, `law`, `predicted`, `worth_having`, `stages`, `runs`, and
        `plot`.

    Raises
    ------
    ValueError, TypeError
        If an argument is wrong, if a client is active, if the call reads no images or finds them done already, if
        it does not run on the workers it is given, or, with weak scaling, does not do the rows it is given.
    ClusterError
        If no cluster can be started here.

    Warns
    -----
    UnreadableImageWarning
        Of the first run only.

    Notes
    -----
    Runs take turns among the numbers of workers, down from the most and up again, so that a machine that is busy for
    a while is not charged to one of them. Before all there is a run that does not count: it brings the files into
    the system's memory. So the figures are those of files that are there; for files that are elsewhere, nothing is
    kept.

    Our own cluster is put back as it was, or closed if there was none. It is another one then: what `get_client` gave
    before is closed.

    Examples
    --------
    >>> report = pandas_imgproc.scaling_report(
    ...     lambda d: d.img.load_resized("image_path", size=64), df, n_workers=(1, 2)
    ... )  # doctest: +SKIP
    >>> report.table  # doctest: +SKIP
       workers  seconds  spread  images/s  speed-up  efficiency
    0        1     1.80    0.04       556      1.00        1.00
    1        2     0.95    0.02      1053      1.89        0.95
    """
    if not callable(call):
        raise TypeError(
            f"call is {type(call).__name__}, not a function of a frame; give lambda d: d.img.load_resized(…)"
        )
    if dask.is_dask_collection(df):
        raise TypeError(f"df is a Dask {type(df).__name__}; give a pandas one: df.compute()")
    if not isinstance(df, (pd.DataFrame, pd.Series)):
        raise TypeError(f"df is {type(df).__name__}; give a pandas DataFrame or Series")
    if scaling not in get_args(Scaling):
        raise ValueError(f"scaling={scaling!r} is not one of {', '.join(map(repr, get_args(Scaling)))}")
    workers = _checked_workers(n_workers)
    _check_count("repeat", repeat)
    if len(df) < workers[-1]:
        raise ValueError(f"df has {len(df)} rows, and n_workers= asks for {workers[-1]} workers; give more rows")
    _check_no_client()
    shares = {number: len(df) if scaling == "strong" else len(df) * number // workers[-1] for number in workers}
    frames = {number: df if rows == len(df) else spread(df, rows) for number, rows in shares.items()}
    return ScalingReport(timings(call, frames, repeat, progress), scaling, CPU_COUNT)


def _check_no_client() -> None:
    client = cluster.default_client()
    if client is not None:
        raise ValueError(
            f"scaling_report starts clusters of its own, and a client is active ({client.scheduler.address}): close "
            "it, or leave its with block; a call that is timed must not choose a scheduler= or client either"
        )


def _checked_workers(n_workers: Iterable[int] | None) -> list[int]:
    if n_workers is None:
        return sorted({2**power for power in range(CPU_COUNT.bit_length())} | {CPU_COUNT})
    legal = "give several, such as (1, 2, 4)"
    if isinstance(n_workers, (str, numbers.Number)):
        raise TypeError(f"n_workers={n_workers!r} is no list of numbers of workers; {legal}")
    found = list(n_workers)
    for number in found:
        _check_count("n_workers", number)
    if 1 not in found:
        raise ValueError(f"n_workers={found!r} has no 1, to which the others are compared; {legal}")
    return sorted({int(number) for number in found})


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}={value!r} is {type(value).__name__}; give an int from 1 up")
    if value < 1:
        raise ValueError(f"{name}={value!r}; give an int from 1 up")
