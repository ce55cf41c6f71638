"""A scaling report as a plot; the only file here that needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc.errors import MissingExtraError
from pandas_imgproc.scaling.page import COLOURS

if TYPE_CHECKING:
    from pandas_imgproc.scaling.report import ScalingReport


def drawn(report: ScalingReport) -> np.ndarray[Any, Any]:
    """Return two matplotlib Axes: the speed-up with the law, and where an image's time goes; or only the latter.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    try:
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtraError("plot() needs matplotlib: pip install 'pandas-imgproc[notebook]'") from None
    widths = (3, 2) if len(report.table) > 1 else (2,)  # one number of workers has no speed-up
    size = (2 * sum(widths), 4.5)
    _, axes = pyplot.subplots(1, len(widths), figsize=size, layout="constrained", width_ratios=widths, squeeze=False)
    if len(widths) > 1:
        _speedup(axes[0, 0], report)
    _stages(axes[0, -1], report)
    found: np.ndarray[Any, Any] = axes[0]
    return found


def _speedup(ax: Any, report: ScalingReport) -> None:
    ticks = sorted({*report.table["workers"], *report.predicted["workers"]})
    far = int(ticks[-1])
    ax.plot([1, far], [1, far], color="grey", linewidth=1, linestyle=":", label="as many times as workers")
    if len(report.predicted):
        _law(ax, report, np.geomspace(1, far, 100))
    one = report.table["images/s"].iloc[0]
    rates = report.runs["images"] / report.runs["seconds"]
    ax.plot(report.runs["workers"], rates / one, "o", markersize=4, alpha=0.5, color=COLOURS["decode"], label="a run")
    table = report.table
    ax.plot(table["workers"], table["speed-up"], "_", markersize=16, color=COLOURS["decode"], label="median")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="workers",
        ylabel="speed-up",
        title=f"{report.name}, {report.scaling} scaling",
    )
    ax.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
    ax.set_yticks(ticks, [str(tick) for tick in ticks], minor=False)
    ax.minorticks_off()
    if report.cores in range(2, far):
        ax.axvline(report.cores, color="grey", linewidth=0.8)
        ax.annotate(" cores", (report.cores, 1), color="grey", fontsize=8)
    ax.legend(frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14))  # it hides no line


def _law(ax: Any, report: ScalingReport, workers: np.ndarray[Any, Any]) -> None:
    law = report.law
    assert law is not None
    who = "Amdahl's" if law.scaling == "strong" else "Gustafson's"
    curve = [law.speedup(number) for number in workers]
    ax.plot(workers, curve, color=COLOURS["transfer"], label=f"{who} law, {law.fraction:.1%} shared")
    if law.has_interval:
        low, high = ([law.speedup(number, p) for number in workers] for p in (law.low, law.high))
        ax.fill_between(workers, low, high, color=COLOURS["transfer"], alpha=0.2, linewidth=0, label="95% interval")


def _stages(ax: Any, report: ScalingReport) -> None:
    places = np.arange(len(report.stages.columns))
    below = np.zeros(len(places))
    for name, values in report.stages.iterrows():
        heights = values.to_numpy(dtype=float)
        ax.bar(places, heights, 0.6, bottom=below, color=COLOURS[str(name)], label=name)
        below += heights
    ax.set_xticks(places, [str(number) for number in report.stages.columns])
    ax.set(xlabel="workers", ylabel="ms of a worker for one image", title="Where the time goes")
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], labels[::-1], frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
