"""Text of a scaling report: its tables, a sentence on the meaning of each, and warnings about unfair runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from pandas_imgproc._uninterrupted import import_atomically
from pandas_imgproc.execution.progress import format_bytes
from pandas_imgproc.scaling.benchmark import pluralize
from pandas_imgproc.scaling.fit import MIN_MARGINAL_SPEEDUP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandas_imgproc.scaling.fit import ScalingFit
    from pandas_imgproc.scaling.tables import ScalingTables

MIN_RUN_SECONDS = 0.5  # below, submitting tasks and waiting for the last partition dominate a run
MIN_CPU_SHARE = 0.9  # CPU seconds per second of work; below, other programs compete for the cores

LAW_NAMES = {"strong": "Amdahl's law", "weak": "Gustafson's law"}
_FORMATS = {"images/s": "{:,.0f}", "efficiency": "{:.0%}", "workers": "{}"}


def report_parts(tables: ScalingTables) -> Iterator[str | pd.DataFrame]:
    """Yield the paragraphs of the report, and its tables with formatted figures."""
    yield _title_text(tables)
    yield _format_table(tables.table)
    yield _law_text(tables)
    if len(tables.predicted):
        yield _format_table(tables.predicted)
    yield _recommendation_text(tables)
    yield "Milliseconds of worker time per image, by number of workers:"
    stages = pd.concat([tables.stages, tables.stages.sum().to_frame("all").T]).map("{:.3f}".format)
    yield stages.set_axis(stages.index.str.ljust(8)).rename_axis(columns=None).reset_index(names="workers")
    yield _overhead_text(tables)
    yield from _warning_texts(tables)


def _format_table(table: pd.DataFrame) -> pd.DataFrame:
    texts = {name: column.map(_FORMATS.get(str(name), "{:.2f}").format) for name, column in table.items()}
    return pd.DataFrame(texts).replace("nan", "")


def _title_text(tables: ScalingTables) -> str:
    images, failures, runs = (tables.runs[name] for name in ("images", "failures", "run"))
    rows = f"{images.max():,}" if tables.scaling == "strong" else f"{images.min():,} to {images.max():,}"
    failed = f" ({failures.max():,} failed, which are counted as done)" if failures.max() else ""
    counts = f"{rows} images{failed}, {pluralize(runs.max(), 'run')} each, {pluralize(tables.cores, 'core')}"
    return f"{tables.name}: {tables.scaling} scaling, {counts}"


def _law_text(tables: ScalingTables) -> str:
    law = tables.law
    if law is None:
        workers, cores = ", ".join(map(str, tables.table["workers"])), pluralize(tables.cores, "core")
        return f"No law is fitted to {workers} on {cores}: it takes two numbers of workers with a core for each worker."
    text = f"{LAW_NAMES[law.scaling]}: {law.fraction:.1%} of the work is parallel"
    if math.isnan(law.ci_low):
        return f"{text} ({law.runs} runs for two unknowns: with repeat=2 there is a confidence interval)."
    text += f" (95% confidence interval {law.ci_low:.1%} to {law.ci_high:.1%}, {law.runs} runs)"
    if law.is_inconclusive:
        return f"{text}. This is inconclusive, runs vary more than workers change them: use more rows or repeats."
    if law.unclipped > 1 and law.ci_low == 1:
        text += "; clipped to 100%, because k workers were more than k times as fast: something else changed as well"
    return f"{text}. Prediction, if cores, disks and memory grow in proportion:"


def _recommendation_text(tables: ScalingTables) -> str:
    # At the top this import would slow down that of the package.
    memory_limit = import_atomically("distributed.system").MEMORY_LIMIT
    best, law = tables.recommended_workers, tables.law
    suffix = " each" if best > 1 else ""
    text = f"Recommended: {pluralize(best, 'worker')} with {format_bytes(memory_limit // best)} of memory{suffix}"
    text += f" (a further worker must add {MIN_MARGINAL_SPEEDUP:.0%} of the speed of a single one)"
    if law is not None and law.is_inconclusive:
        return f"{text}; this may be chance, because the law is inconclusive."
    return text + (f"; {_range_text(law)} by the law, given as many cores." if law and law.is_significant else ".")


def _range_text(law: ScalingFit) -> str:
    limits = (law.recommended_workers(p) for p in (law.ci_low, law.fraction, law.ci_high))
    low, best, high = ("any number" if math.isinf(limit) else f"{limit:,.0f}" for limit in limits)
    return best if low == high else f"{best} ({low} to {high})"


def _overhead_text(tables: ScalingTables) -> str:
    """Return the change of the worker time per image with the workers, and the limit set by the caller."""
    stages, sums = tables.stages, tables.runs.groupby("workers").sum()
    caller, cpu = 1000 * sums["caller"].sum() / sums["images"].sum(), 1000 * sums["cpu"] / sums["images"]
    limit = f"The caller takes {caller:.3f} ms per image, which limits the call to {1000 / caller:,.0f} images/s."
    if len(sums) < 2:
        return limit
    change = (stages.iloc[:, -1] - stages.iloc[:, 0]).sort_values(ascending=False)
    total = change.sum()
    parts = ", ".join(f"{name} {value:+.3f}" for name, value in change.items() if abs(value) >= abs(total) / 20)
    return (
        f"With {sums.index[-1]} workers an image takes {abs(total):.3f} ms {'less' if total < 0 else 'more'} of worker "
        f"time than with one: {parts}; CPU time is {cpu.iloc[-1]:.3f} ms, with one {cpu.iloc[0]:.3f} ms. {limit}"
    )


def _warning_texts(tables: ScalingTables) -> Iterator[str]:
    beyond = ", ".join(str(k) for k in tables.table["workers"] if k > tables.cores)
    if beyond:
        cores = pluralize(tables.cores, "core")
        yield f"Warning: {beyond} workers are more than the {cores}; the law is not fitted to them."
    shortest = tables.table["seconds"].min()
    if shortest < MIN_RUN_SECONDS:
        rows = math.ceil(tables.runs["images"].max() * 2 * MIN_RUN_SECONDS / shortest / 100) * 100
        yield f"Warning: runs of {shortest:.2f} s are too short; use about {rows:,} images or more."
    runs = tables.runs[tables.runs["workers"] <= tables.cores]
    io = runs[runs.columns.intersection(["read", "transfer", "write"])].sum(axis=1)
    share = runs["cpu"].sum() / max((runs["busy"] - io).sum(), 1e-9)
    if share < MIN_CPU_SHARE:
        yield (
            f"Warning: workers had a CPU for {share:.0%} of the time they worked: other programs use the cores, and "
            "the figures are those of a busy machine, or the call waits for something."
        )
