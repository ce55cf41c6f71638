"""A scaling report in words: what the tables mean, and what must be known before they are believed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pandas_imgproc.execution.progress import format_bytes
from pandas_imgproc.scaling.laws import WORTH

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from pandas_imgproc.scaling.laws import Law
    from pandas_imgproc.scaling.report import ScalingReport

SHORT = 0.5
"""Seconds below which a run is too short to tell anything: handing out and the last partition are most of it."""

SHARED = 0.9
"""Part of its working time for which a worker had the processor, below which others seem to use it as well."""

FORMATS = {
    "seconds": "{:.2f}", "spread": "{:.2f}", "images/s": "{:,.0f}", "speed-up": "{:.2f}", "efficiency": "{:.0%}",
    "from": "{:.2f}", "to": "{:.2f}",
}  # fmt: skip


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of texts, each figure with as many digits as mean something."""
    texts = {name: table[name].map(FORMATS.get(name, "{}").format).replace("nan", "") for name in table.columns}
    return table.assign(**texts)


def shown_stages(stages: pd.DataFrame) -> pd.DataFrame:
    """Return the stages as texts, with their sum."""
    whole = stages.copy()
    whole.loc["all"] = stages.sum()
    return whole.map("{:.3f}".format)


def text(report: ScalingReport) -> str:
    """Return a report for a terminal."""
    parts = [title(report), shown(report.table).to_string(index=False), law(report)]
    if len(report.predicted):
        parts.append(shown(report.predicted).to_string(index=False))
    parts += [worth(report), f"{stages_title(report)}\n{shown_stages(report.stages).to_string()}", rest(report)]
    return "\n\n".join([*parts, *notes(report)])


def title(report: ScalingReport) -> str:
    """Say what was run."""
    images, most = report.runs["images"], report.runs["run"].max()
    rows = f"{images.max():,} images" if report.scaling == "strong" else f"{images.min():,} to {images.max():,} images"
    return (
        f"{report.name}: {report.scaling} scaling, {rows}, {_count(most, 'run')} each, {_count(report.cores, 'core')}"
    )


def law(report: ScalingReport) -> str:
    """Say what was fitted, and how sure it is."""
    found = report.law
    if found is None:
        return _no_law(report)
    who = "Amdahl's" if found.scaling == "strong" else "Gustafson's"
    text = f"{who} law: {found.fraction:.1%} of the work is shared among workers ({_sure(found)})"
    if not found.has_interval:
        return f"{text}. With repeat=2 there is an interval."
    if found.says_nothing:
        return f"{text}. That says nothing: the runs differ more by chance than by workers; take more rows or repeats."
    if found.raw > 1 and found.low == 1:
        text += "; it is cut at 100%, because more workers gained more than their number: something else changed too"
    return f"{text}. Predicted, if the machine had the cores and its disks and memory grew as well:"


def _no_law(report: ScalingReport) -> str:
    if len(report.table) == 1:
        return "No law can be fitted to one number of workers: it takes two to tell."
    numbers = ", ".join(map(str, report.table["workers"]))
    return (
        f"No law can be fitted: of {numbers} workers only 1 is not more than the {_count(report.cores, 'core')} there "
        "are, and it takes two to tell."
    )


def _sure(found: Law) -> str:
    if not found.has_interval:
        return f"from {found.runs} runs, which is exactly as many as it takes, so nobody knows how sure"
    return f"95% interval {found.low:.1%} to {found.high:.1%}, from {found.runs} runs"


def worth(report: ScalingReport) -> str:
    """Say which number of workers is worth having."""
    from distributed.system import MEMORY_LIMIT

    best = report.worth_having
    text = f"Worth having: {_count(best, 'worker')}, with {format_bytes(MEMORY_LIMIT // best)} of memory{' each' * (best > 1)}"
    text += f" (a further one counts if it adds at least {WORTH:.0%} of what a single one does)"
    if report.law is not None and report.law.says_nothing:
        return f"{text}; but that may be chance, as the law says nothing."
    if report.law is None or not report.law.is_telling:
        return f"{text}."
    return f"{text}; by the law {_up_to(report.law)} if there were as many cores."


def _up_to(found: Law) -> str:
    def number(fraction: float) -> str:
        limit = found.worth_having(fraction)
        return "any number" if math.isinf(limit) else f"{int(limit):,}"

    low, middle, high = (number(p) for p in (found.low, found.fraction, found.high))
    return middle if low == high or not found.has_interval else f"{middle} ({low} to {high})"


def stages_title(report: ScalingReport) -> str:
    """Say what the table of stages is."""
    return f"Milliseconds of a worker for one image, by number of {report.stages.columns.name}:"


def rest(report: ScalingReport) -> str:
    """Say where the time goes that more workers lose."""
    stages = report.stages
    serves = _serves(report)
    if len(stages.columns) < 2:
        return serves
    one, most = stages[stages.columns[0]], stages[stages.columns[-1]]
    change, grown = most.sum() - one.sum(), (most - one).sort_values(ascending=False)
    parts = ", ".join(f"{name} {value:+.3f}" for name, value in grown.items() if abs(value) >= abs(change) / 20)
    cpu = report.runs.groupby("workers")[["cpu", "images"]].sum()
    processor = 1000 * cpu["cpu"] / cpu["images"]
    workers = _count(int(cpu.index.max()), "worker")
    return (
        f"With {workers} an image takes {abs(change):.3f} ms {'less' if change < 0 else 'more'} of a worker than with "
        f"one: {parts}; of the processor it takes {processor.iloc[-1]:.3f} ms, with one {processor.iloc[0]:.3f}. "
        f"{serves}"
    )


def _serves(report: ScalingReport) -> str:
    caller = 1000 * report.runs["caller"].sum() / report.runs["images"].sum()
    return (
        f"The caller takes {caller:.3f} ms for an image while workers go on: "
        f"it could serve {1000 / caller:,.0f} images/s at most."
    )


def notes(report: ScalingReport) -> Iterator[str]:
    """Yield what must be known before the figures are believed."""
    runs, table = report.runs, report.table
    beyond = [str(number) for number in table["workers"] if number > report.cores]
    if beyond:
        yield (
            f"Note: {', '.join(beyond)} workers are more than the {_count(report.cores, 'core')} there are; "
            "there no law of workers holds, and none is fitted to them."
        )
    shortest = table["seconds"].min()
    if shortest < SHORT:
        rows = math.ceil(runs["images"].max() * 2 * SHORT / shortest / 100) * 100
        yield f"Note: runs of {shortest:.2f} s are too short to tell; take about {rows:,} images or more."
    share = _processor(report)
    if share < SHARED:
        yield (
            f"Note: workers had the processor for {share:.0%} of the time they worked: other programs use the cores, "
            "or the call waits for something. Where it is the programs, the figures are those of a busy machine."
        )
    if runs["failures"].max():
        yield f"Note: {runs['failures'].max():,} of {runs['images'].max():,} images failed, and are counted as done."


def _processor(report: ScalingReport) -> float:
    """Return for which part of their working time workers had the processor, where there are cores for all."""
    runs = report.runs[report.runs["workers"] <= report.cores]
    idle = [name for name in ("read", "transfer", "write") if name in runs]
    working = (runs["busy"] - runs[idle].sum(axis=1)).sum()
    return 1.0 if working <= 0 else min(1.0, float(runs["cpu"].sum() / working))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
