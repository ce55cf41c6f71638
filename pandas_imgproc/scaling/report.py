"""What the runs of a call say: tables, a fitted law, what it predicts, and sentences; as text, HTML and a plot."""

from __future__ import annotations

import math
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pandas as pd

from pandas_imgproc.scaling import laws, sentences
from pandas_imgproc.scaling.page import page

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from pandas_imgproc.scaling.laws import Law, Scaling
    from pandas_imgproc.scaling.runs import Timing

STAGES = ("read", "decode", "resize", "measure", "function", "encode", "transfer", "write", "other", "waiting")
"""In the order in which an image goes through them; some calls have only some."""

FACTORS = (2, 4, 8)
"""How many times the most workers that were run are predicted."""


class ScalingReport:
    """How a call scales with the number of workers; a notebook shows it, and so does `print`.

    Attributes
    ----------
    scaling : {"strong", "weak"}
        Whether every number of workers had the same rows, or rows in proportion.
    cores : int
        That this process may use.
    runs : DataFrame
        A row for each run, in their order: `workers`, `run`, `images`, `failures`, `seconds`, `caller` (seconds in
        which the caller did not wait for workers), `busy` and `cpu` (of all workers together, on the clock and of the
        processor), and seconds of `busy` by stage.
    law : Law or None
        The fitted law: `fraction` (the parallel fraction), `low` and `high` (its 95% interval), `rate` (images per
        second of one worker). Numbers of workers above that of the cores are left out. None if only 1 is left.

    Notes
    -----
    Made by `scaling_report`.
    """

    def __init__(self, timings: Sequence[Timing], scaling: Scaling, cores: int) -> None:
        self.scaling, self.cores = scaling, cores
        self.name = timings[0].name
        self.runs = _runs(timings)
        self.law: Law | None = self._fitted()

    def _fitted(self) -> Law | None:
        used = self.runs[self.runs["workers"] <= self.cores]  # beyond them no law of workers holds
        return laws.fitted(used["workers"].tolist(), (used["images"] / used["seconds"]).tolist(), self.scaling)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each number of workers.

        `workers`; `seconds`, the median of the runs; `spread`, the slowest minus the fastest; `images/s`;
        `speed-up`, the images per second against those of one worker; `efficiency`, that by the workers.
        """
        groups = self.runs.groupby("workers")
        seconds = groups["seconds"].median()
        rate = groups["images"].first() / seconds
        table = pd.DataFrame(
            {
                "seconds": seconds,
                "spread": groups["seconds"].max() - groups["seconds"].min(),
                "images/s": rate,
                "speed-up": rate / rate.iloc[0],
            }
        )
        table["efficiency"] = table["speed-up"] / table.index
        return table.reset_index()

    @cached_property
    def predicted(self) -> pd.DataFrame:
        """What the law says of 2, 4 and 8 times the workers, if the machine had the cores and all else grew as well.

        `workers`, `images/s`, `speed-up`, and `from` and `to`, the 95% interval of the speed-up. Empty without a law,
        and where its interval excludes nothing.
        """
        columns = ["workers", "images/s", "speed-up", "from", "to"]
        law = self.law
        if law is None or law.says_nothing:
            return pd.DataFrame(columns=columns)
        rows = []
        for workers in (factor * self.most for factor in FACTORS):
            speedup = law.speedup(workers)
            ends = [law.speedup(workers, p) if law.has_interval else math.nan for p in (law.low, law.high)]
            rows.append([workers, law.rate * speedup, speedup, *ends])
        return pd.DataFrame(rows, columns=columns)

    @cached_property
    def stages(self) -> pd.DataFrame:
        """Milliseconds of a worker for one image: a row for each stage, a column for each number of workers.

        Of all runs together. `transfer` is putting pixels where the caller has them, `write` files; `other` is work
        in no stage; `waiting` is time in which a worker had nothing to do: for the start and the end of the call,
        its slowest part, and for the caller. A column adds up to the workers times the seconds.
        """
        columns = {}
        for workers in self.table["workers"]:
            runs = self.runs[self.runs["workers"] == workers]
            seconds, busy = float(runs["seconds"].sum()), float(runs["busy"].sum())
            stages = {name: float(runs[name].sum()) for name in _stages_of(runs)}
            stages["other"] = max(0.0, busy - sum(stages.values()))
            stages["waiting"] = max(0.0, workers * seconds - busy)
            columns[workers] = {name: 1000 * value / int(runs["images"].sum()) for name, value in stages.items()}
        table = pd.DataFrame(columns).rename_axis(columns="workers")
        return table.reindex(sorted(table.index, key=_place))

    @property
    def most(self) -> int:
        """The most workers that the law was fitted to."""
        return max(int(number) for number in self.runs["workers"] if number <= self.cores)

    @property
    def worth_having(self) -> int:
        """The most workers of those that were run that are worth having.

        From one number to the next, each worker more must add at least half of what a single one does.
        """
        best = 1
        steps = zip(self.table["workers"].tolist(), self.table["speed-up"].tolist(), strict=True)
        for (workers, speedup), (more, faster) in pairwise(steps):
            if (faster - speedup) / (more - workers) < laws.WORTH:
                break
            best = more
        return best

    def plot(self) -> np.ndarray[Any, Any]:
        """Draw the speed-up with the fitted law, unless that says nothing, and where an image's time goes.

        Returns
        -------
        ndarray of matplotlib Axes, shape (2,)
            With one number of workers shape (1,), where the time goes.
            ``report.plot()[0].figure.savefig("scaling.png")`` writes a file.

        Raises
        ------
        MissingExtraError
            Without matplotlib: ``pip install 'pandas-imgproc[notebook]'``.
        """
        from pandas_imgproc.scaling.drawing import drawn

        return drawn(self)

    def __str__(self) -> str:
        return sentences.text(self)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return page(self)


def _runs(timings: Sequence[Timing]) -> pd.DataFrame:
    stages = sorted({name for timing in timings for name in timing.stages}, key=_place)
    columns = ("workers", "run", "images", "failures", "seconds", "caller", "busy", "cpu")
    rows = [
        {name: getattr(timing, name) for name in columns} | {name: timing.stages.get(name, 0.0) for name in stages}
        for timing in timings
    ]
    return pd.DataFrame(rows)


def _stages_of(runs: pd.DataFrame) -> list[str]:
    return list(runs.columns[8:])


def _place(timed: str) -> int:
    return STAGES.index(timed) if timed in STAGES else STAGES.index("other")
