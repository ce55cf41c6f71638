"""Plot of a scaling report; the only module of the package that needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pandas_imgproc.errors import MissingExtraError
from pandas_imgproc.scaling.text import LAW_NAMES

if TYPE_CHECKING:
    from pandas_imgproc.scaling.tables import ScalingTables


def plot_report(tables: ScalingTables) -> np.ndarray[Any, Any]:
    """Return the matplotlib Axes of the speed-up, unless there is one number of workers only, and of the stages."""
    try:
        from matplotlib import pyplot
    except ImportError as exc:
        raise MissingExtraError("plot() needs matplotlib: pip install 'pandas-imgproc[notebook]'") from exc
    widths = (3, 2) if len(tables.table) > 1 else (2,)
    size = (2 * sum(widths), 4.5)
    _, axes = pyplot.subplots(1, len(widths), figsize=size, layout="constrained", width_ratios=widths, squeeze=False)
    if len(widths) > 1:
        _plot_speedup(axes[0, 0], tables)
    stages = tables.stages.T.plot.bar(
        ax=axes[0, -1], stacked=True, rot=0, colormap="tab10", title="Where the time goes"
    )
    stages.set_ylabel("ms of worker time per image")
    stages.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), reverse=True)
    row: np.ndarray[Any, Any] = axes[0]
    return row


def _plot_speedup(ax: Any, tables: ScalingTables) -> None:
    table, runs, law = tables.table, tables.runs, tables.law
    ticks = sorted({*table["workers"], *tables.predicted["workers"]})
    ax.plot(ticks, ticks, color="gray", linewidth=1, linestyle=":", label="linear")
    if law is not None and len(tables.predicted):
        x = np.geomspace(1, ticks[-1], 100)
        fitted, low, high = ([law.speedup(k, p) for k in x] for p in (law.fraction, law.ci_low, law.ci_high))
        ax.plot(x, fitted, color="C0", label=f"{LAW_NAMES[law.scaling]}, {law.fraction:.1%} parallel")
        ax.fill_between(
            x, low, high, color="C0", alpha=0.2, linewidth=0, label="95% interval" if law.is_significant else None
        )
    rates = runs["images"] / runs["seconds"] / table["images/s"].iloc[0]
    ax.plot(runs["workers"], rates, "o", markersize=4, alpha=0.5, color="C1", label="run")
    ax.plot(table["workers"], table["speed-up"], "_", markersize=16, color="C1", label="median")
    ax.set(xscale="log", yscale="log", xlabel="workers", ylabel="speed-up", xticks=ticks, yticks=ticks)
    ax.set(xticklabels=ticks, yticklabels=ticks, title=f"{tables.name}, {tables.scaling} scaling")
    ax.minorticks_off()
    if 1 < tables.cores < ticks[-1]:
        ax.axvline(tables.cores, color="gray", linewidth=0.8)
        ax.annotate(" cores", (tables.cores, 1), color="gray", fontsize=8)
    ax.legend(frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14))  # hides no line
