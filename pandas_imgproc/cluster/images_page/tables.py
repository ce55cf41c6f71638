"""Texts and columns of the page "Images", from the state of its calls. All of them are plain text, never HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pandas_imgproc.cluster.images_page.call import CALLER

if TYPE_CHECKING:
    from pandas_imgproc.cluster.images_page.call import CallState

STAGES = {
    "read": "#4e79a7",
    "decode": "#f28e2b",
    "resize": "#59a14f",
    "measure": "#76b7b2",
    "function": "#e15759",
    "encode": "#edc948",
    "write": "#b07aa1",
    "transfer": "#ff9da7",
    "sending": "#9c755f",
    "other": "#bab0ac",
    "waiting": "#e8e8e8",
}
"""Colors of the stages, in the order in which a row passes them."""

MAX_BARS = 10
"""Workers with a bar of their own: the slowest."""

SMOOTHING_SECONDS = 5.0
"""Seconds of which a point of the curve of images a second is the mean."""

ALL = "all"
"""Name of the bar of all workers."""

CALL_COLUMNS = {
    "state": "state",
    "method": "method",
    "column": "column",
    "target": "written to",
    "rows": "images",
    "failed": "failed",
    "now": "images/s now",
    "rate": "overall",
    "left": "time left",
    "resumed": "resumed",
    "memory": "result",
    "deaths": "crashes",
    "retries": "retries",
}
"""Columns of the table of calls, with their titles."""


def format_seconds(seconds: float) -> str:
    """Return a duration as text."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def format_nbytes(nbytes: int) -> str:
    """Return an amount of memory as text, in decimal units."""
    if nbytes < 1e6:
        return f"{nbytes / 1e3:,.0f} kB" if nbytes else ""
    return f"{nbytes / 1e6:,.1f} MB" if nbytes < 1e9 else f"{nbytes / 1e9:,.2f} GB"


def format_rate(rate: float) -> str:
    """Return a number of images a second as text."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}" if rate else ""


def calls_table(calls: list[CallState], now: float) -> dict[str, list[Any]]:
    """Return the columns of the table of calls."""
    rows = [_call_row(call, now) for call in calls]
    return {name: [row[name] for row in rows] for name in ["id", "percent", *CALL_COLUMNS]}


def _call_row(call: CallState, now: float) -> dict[str, Any]:
    left = call.seconds_left(now)
    return {
        "id": call.id,
        "percent": percent(call),
        "state": call.status,
        "method": call.method + (" (Dask frame)" if call.is_graph else ""),
        "column": call.column,
        "target": call.target,
        "rows": f"{call.n_done:,} of {'about ' * call.is_graph}{call.total:,}" if call.total else f"{call.n_done:,}",
        "failed": failed_text(call),
        "now": format_rate(call.recent_rate(now)),
        "rate": format_rate(call.rate(now)),
        "left": "" if left is None else format_seconds(left),
        "resumed": f"{call.n_skipped:,}" if call.n_skipped else "",
        "memory": format_nbytes(call.nbytes),
        "deaths": str(call.n_deaths or ""),
        "retries": str(call.n_retries or ""),
    }


def percent(call: CallState) -> int:
    """Return the finished share of a call, from 0 to 100."""
    return min(100, int(100 * call.n_done / call.total)) if call.total else 0


def failed_text(call: CallState) -> str:
    """Return the number of failures, with those of the most frequent kinds."""
    if not call.n_failed:
        return "0"
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in call.frequent_kinds[:3])
    return f"{call.n_failed:,}: {kinds}" + ", …" * (len(call.failed) > 3)


def headline(call: CallState, now: float) -> str:
    """Return a sentence on a call."""
    name = f"{call.method} of {call.column!r}" if call.column else call.method
    text = f"{name}: {call.n_done:,} images in {format_seconds(call.elapsed(now))}"
    text += f" ({format_rate(call.rate(now)) or 0} images/s); {call.n_failed:,} failed"
    if call.n_deaths:
        text += f"; {call.n_deaths:,} worker{'s' * (call.n_deaths > 1)} lost, {call.n_retries:,} partitions run again"
    return f"{text}; {call.status}{': ' * bool(call.message)}{call.message}"


def stages_table(call: CallState) -> tuple[list[str], dict[str, list[Any]]]:
    """Return the names of the bars, from bottom to top, and the milliseconds of an image by stage."""
    by_worker = {name: value for name, value in call.stages_by_worker().items() if value[0]}
    workers = [name for name in by_worker if name != CALLER or by_worker[name][0] > call.n_done / 10]
    names = sorted(workers, key=lambda name: _work(by_worker[name]))[-MAX_BARS:]
    total: dict[str, float] = {}
    for _, stages in by_worker.values():
        for stage, seconds in stages.items():
            total[stage] = total.get(stage, 0.0) + seconds
    bars = {**{name: by_worker[name] for name in names}, ALL: (sum(rows for rows, _ in by_worker.values()), total)}
    columns: dict[str, list[Any]] = {"worker": list(bars), "rows": [rows for rows, _ in bars.values()]}
    for stage in STAGES:
        columns[stage] = [round(1000 * stages.get(stage, 0.0) / max(1, rows), 3) for rows, stages in bars.values()]
    return list(bars), columns


def _work(bar: tuple[int, dict[str, float]]) -> float:
    rows, stages = bar
    return sum(seconds for stage, seconds in stages.items() if stage != "waiting") / max(1, rows)


def kinds_table(call: CallState) -> dict[str, list[Any]]:
    """Return the columns of the table of failure kinds."""
    kinds = call.frequent_kinds
    return {"kind": [kind for kind, _ in kinds], "rows": [f"{n:,}" for _, n in kinds]}


def failures_table(call: CallState, kind: str | None) -> dict[str, list[str]]:
    """Return the columns of the table of the last failures of a kind, the newest first; of all kinds if it is None."""
    rows = [(name, *row) for name, last in call.failures.items() if kind in (None, name) for row in reversed(last)]
    return {name: [row[i] for row in rows] for i, name in enumerate(("kind", "label", "path", "message"))}


def points_table(call: CallState) -> dict[str, list[float]]:
    """Return the curve of images a second over the seconds of a call, smoothed: partitions end together."""
    points, curve, i = [*call.points, call.recent[-1]], [], 0
    for t, n_done in points[1:]:
        while i + 1 < len(points) and points[i + 1][0] <= t - SMOOTHING_SECONDS:
            i += 1
        began_at, n_before = points[i]
        if t - began_at > 0.5:
            curve.append((t - call.started_at, (n_done - n_before) / (t - began_at)))
    return {"x": [round(x, 1) for x, _ in curve], "y": [round(y, 2) for _, y in curve]}
