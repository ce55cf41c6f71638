"""Scaling report: the tables of a benchmark with their text, HTML and plot, and the function that returns them."""

from __future__ import annotations

import numbers
from html import escape
from typing import TYPE_CHECKING, Any, get_args

import dask
import pandas as pd
from dask.system import CPU_COUNT

from pandas_imgproc import cluster
from pandas_imgproc._validation import check_choice, check_int
from pandas_imgproc.scaling.benchmark import benchmark, subsample
from pandas_imgproc.scaling.fit import Scaling
from pandas_imgproc.scaling.plot import plot_report
from pandas_imgproc.scaling.tables import ScalingTables
from pandas_imgproc.scaling.text import report_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np


_STYLE = "<style>.pimgs :is(th,td){border:0;padding:2px 8px;text-align:right}</style>"  # colors are the page's


class ScalingReport(ScalingTables):
    """Report on the scaling of a call with the number of workers, returned by `scaling_report`."""

    def plot(self) -> np.ndarray[Any, Any]:
        """Draw the speed-up with the fitted law, and the worker time by stage.

        Returns
        -------
        ndarray of matplotlib Axes, shape (2,)
            Shape (1,), without the speed-up, for a single number of workers.

        Raises
        ------
        MissingExtraError
            Without matplotlib: ``pip install 'pandas-imgproc[notebook]'``.
        """
        return plot_report(self)

    def __str__(self) -> str:
        return "\n\n".join(p if isinstance(p, str) else p.to_string(index=False) for p in report_parts(self))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        options: dict[str, Any] = {"index": False, "border": 0, "classes": "pimgs", "justify": "right"}
        parts = report_parts(self)
        return _STYLE + "".join(f"<p>{escape(p)}</p>" if isinstance(p, str) else p.to_html(**options) for p in parts)


def scaling_report(
    call: Callable[[Any], Any],
    df: pd.DataFrame | pd.Series[Any],
    n_workers: Iterable[int] | None = None,
    *,
    scaling: Scaling = "strong",
    repeat: int = 3,
    progress: bool | None = None,
) -> ScalingReport:
    """Time a call on one worker and on more, and predict the speed-up of further workers.

    Parameters
    ----------
    call : callable
        Function of a pandas frame that calls methods of ``.img``; images and seconds of several methods are summed.
        One that writes (``out=``, ``to=``, ``save_…``) needs ``overwrite=True``, or its second run finds all done.
    df : DataFrame or Series
        Enough rows for a second or more on all workers.
    n_workers : iterable of int, optional
        Numbers of worker processes with one thread each, including 1; by default 1, 2, 4, … and the number of cores.
    scaling : {"strong", "weak"}
        ``"strong"``: all rows for each number of workers, fitted by Amdahl's law. ``"weak"``: rows in proportion to
        the workers, evenly spaced over the frame, fitted by Gustafson's law.
    repeat : int
        Timed runs for each number of workers.
    progress : bool, optional
        As in all methods; the bar counts the images of all runs.

    Returns
    -------
    ScalingReport
        ``print(report)``, or the last line of a notebook cell, shows it. Its figures are in `table`, `law`,
        `predicted`, `recommended_workers`, `stages` and `runs`; `plot` draws them.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid; if a client is active; if the call reads no images or finds them done, leaves the
        cluster that it is timed on, or, with weak scaling, does other rows than it is given.
    ClusterError
        If no cluster can be started in this process.

    Warns
    -----
    UnreadableImageWarning
        In the first run only, which is not counted and brings the files into the page cache.

    Notes
    -----
    The managed cluster is another one afterwards, of the same size, or closed if there was none before.

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
    _check_call(call, df)
    check_choice("scaling", scaling, get_args(Scaling))
    workers = _check_workers(n_workers)
    check_int("repeat", repeat)
    if len(df) < workers[-1]:
        raise ValueError(f"df has {len(df)} rows, fewer than the {workers[-1]} workers of n_workers=; give more rows")
    client = cluster.default_client()
    if client is not None:
        raise ValueError(
            f"scaling_report starts managed clusters, and a client is active ({client.scheduler.address}): close it, "
            "or leave its with block; a call that is timed must not choose a scheduler= or client either"
        )
    rows = {k: len(df) if scaling == "strong" else len(df) * k // workers[-1] for k in workers}
    frames = {k: df if n == len(df) else subsample(df, n) for k, n in rows.items()}
    return ScalingReport(benchmark(call, frames, repeat, progress), scaling, CPU_COUNT)


def _check_call(call: Any, df: Any) -> None:
    if not callable(call):
        name = type(call).__name__
        raise TypeError(f"call is {name}, not a function of a frame; give lambda d: d.img.load_resized(…)")
    if dask.is_dask_collection(df):
        raise TypeError(f"df is a Dask {type(df).__name__}; give a pandas one: df.compute()")
    if not isinstance(df, (pd.DataFrame, pd.Series)):
        raise TypeError(f"df is {type(df).__name__}; give a pandas DataFrame or Series")


def _check_workers(n_workers: Iterable[int] | None) -> list[int]:
    if n_workers is None:
        return sorted({2**power for power in range(CPU_COUNT.bit_length())} | {CPU_COUNT})
    hint = "give several, such as (1, 2, 4)"
    if isinstance(n_workers, (str, numbers.Number)):
        raise TypeError(f"n_workers={n_workers!r} is no list of numbers of workers; {hint}")
    workers = sorted({check_int("n_workers", number) for number in n_workers})
    if workers[:1] != [1]:
        raise ValueError(f"n_workers={workers!r} has no 1, the baseline of the speed-up; {hint}")
    return workers
