"""Tables of a scaling benchmark: its runs, the figures derived from them, and the fitted law."""

from __future__ import annotations

import math
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from pandas_imgproc.scaling.fit import MIN_MARGINAL_SPEEDUP, fit_law

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas_imgproc.scaling.benchmark import TimedRun
    from pandas_imgproc.scaling.fit import Scaling

STAGES = ("read", "decode", "resize", "measure", "function", "encode", "transfer", "write")  # in execution order
PREDICTION_FACTORS = (2, 4, 8)  # multiples of `max_workers`


class ScalingTables:
    """Figures of a scaling benchmark; docs/scaling.md has the columns of its tables.

    Attributes
    ----------
    name, scaling, cores
        Methods that the call ran, "strong" or "weak", and the cores available to this process.
    runs : DataFrame
        Row per run, in order, with the sums of all jobs of the call and all workers.
    law : ScalingFit or None
        Law fitted to the runs with no more workers than cores; None if these have a single number of workers.
    max_workers : int
        Largest number of workers that was fitted.
    """

    def __init__(self, timed_runs: Sequence[TimedRun], scaling: Scaling, cores: int) -> None:
        self.scaling, self.cores = scaling, cores
        self.name = " and ".join(dict.fromkeys(job.name for job in timed_runs[0].jobs))
        self.runs = pd.DataFrame([_run_record(t) for t in timed_runs]).dropna(axis="columns", how="all").fillna(0.0)
        fitted = self.runs[self.runs["workers"] <= cores]  # workers that share a core follow neither law
        self.max_workers = int(fitted["workers"].max())
        self.law = fit_law(fitted["workers"].tolist(), (fitted["images"] / fitted["seconds"]).tolist(), scaling)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Median seconds, spread, images per second, speed-up and efficiency: a row per number of workers."""
        groups = self.runs.groupby("workers")
        table = groups["seconds"].agg(seconds="median", spread=lambda seconds: seconds.max() - seconds.min())
        table["images/s"] = groups["images"].first() / table["seconds"]
        table["speed-up"] = table["images/s"] / table["images/s"].iloc[0]
        table["efficiency"] = table["speed-up"] / table.index
        return table.reset_index()

    @cached_property
    def predicted(self) -> pd.DataFrame:
        """Speed-up with its 95% interval for 2, 4 and 8 times the workers; empty without a conclusive law."""
        law, rows = self.law, []
        if law is not None and not law.is_inconclusive:
            for workers in (factor * self.max_workers for factor in PREDICTION_FACTORS):
                speedups = [law.speedup(workers, p) for p in (law.fraction, law.ci_low, law.ci_high)]
                rows.append([workers, law.rate * speedups[0], *speedups])
        return pd.DataFrame(rows, columns=["workers", "images/s", "speed-up", "from", "to"])

    @cached_property
    def stages(self) -> pd.DataFrame:
        """Milliseconds of worker time per image: a row per stage, a column per number of workers.

        `other` is work outside of the stages, `waiting` is time without work: a column sums to workers times seconds.
        """
        sums = self.runs.groupby("workers").sum().drop(columns=["run", "failures", "caller", "cpu"])
        images, seconds, busy = (sums.pop(name) for name in ("images", "seconds", "busy"))
        sums["other"] = (busy - sums.sum(axis=1)).clip(lower=0)
        sums["waiting"] = (sums.index * seconds - busy).clip(lower=0)
        return 1000 * sums.div(images, axis=0).T

    @property
    def recommended_workers(self) -> int:
        """Largest number of workers that were run up to which each further one adds `MIN_MARGINAL_SPEEDUP`."""
        marginal = self.table["speed-up"].diff() / self.table["workers"].diff()
        return int(self.table["workers"][(marginal < MIN_MARGINAL_SPEEDUP).cumsum() == 0].iloc[-1])


def _run_record(timed_run: TimedRun) -> dict[str, float]:
    record = {"workers": timed_run.workers, "run": timed_run.run, "images": timed_run.total("rows")}
    record |= {"failures": timed_run.total("failures"), "seconds": timed_run.seconds, "caller": timed_run.caller}
    record |= {"busy": timed_run.total("worker_seconds"), "cpu": timed_run.total("cpu")}
    seconds = sum((Counter(job.stages) for job in timed_run.jobs), Counter())
    return record | {stage: seconds.get(stage, math.nan) for stage in STAGES}
