"""Amdahl's and Gustafson's laws, fitted to runs: the parallel fraction of the work and its confidence interval.

With T the seconds and r the images per second of k workers, and p the parallel fraction, the laws are
T(k) = T(1) * ((1 - p) + p / k) for strong scaling (Amdahl 1967) and r(k) = r(1) * ((1 - p) + p * k) for weak scaling
(Gustafson 1988). Both are straight lines: p is slope / intercept of T against 1 / k - 1, or of r against k - 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

Scaling = Literal["strong", "weak"]

MIN_MARGINAL_SPEEDUP = 0.5  # that each further worker must add to be recommended; a single worker has 1.0
BOOTSTRAP_SAMPLES = 10_000


@dataclass(frozen=True)
class ScalingFit:
    """Scaling law fitted to the runs of a benchmark.

    Attributes
    ----------
    scaling : {"strong", "weak"}
        Amdahl's law or Gustafson's law.
    fraction, ci_low, ci_high : float
        Parallel fraction of the work and its 95% confidence interval, from 0 to 1; nan if two runs were fitted.
    unclipped : float
        `fraction` before it was clipped to 0 and 1. Above 1, k workers are more than k times as fast.
    rate : float
        Fitted images per second of one worker.
    runs : int
        Number of runs that were fitted.
    """

    scaling: Scaling
    fraction: float
    ci_low: float
    ci_high: float
    unclipped: float
    rate: float
    runs: int

    def speedup(self, workers: float, fraction: float | None = None) -> float:
        """Return the speed-up over one worker, at the fitted parallel fraction or another one."""
        p = self.fraction if fraction is None else fraction
        return 1 / ((1 - p) + p / workers) if self.scaling == "strong" else (1 - p) + p * workers

    def recommended_workers(self, fraction: float | None = None) -> float:
        """Return the largest number of workers of which the last one adds `MIN_MARGINAL_SPEEDUP`, or infinity."""
        p = self.fraction if fraction is None else fraction
        if self.scaling == "weak" or p == 1:
            return math.inf if p >= MIN_MARGINAL_SPEEDUP else 1.0
        # From k workers to k + 1 the speed-up grows by p / (a (a + 1 - p)), with a = (1 - p) k + p.
        a = (p - 1 + math.sqrt((1 - p) ** 2 + 4 * p / MIN_MARGINAL_SPEEDUP)) / 2
        return 1.0 + max(0, math.floor((a - p) / (1 - p)))

    @property
    def is_significant(self) -> bool:
        """Whether the confidence interval exists and excludes any fraction."""
        return self.ci_low > 0 or self.ci_high < 1

    @property
    def is_inconclusive(self) -> bool:
        """Whether the confidence interval exists and reaches from 0 to 1."""
        return self.ci_low <= 0 and self.ci_high >= 1


def fit_law(workers: Sequence[int], rates: Sequence[float], scaling: Scaling) -> ScalingFit | None:
    """Fit the law to the images per second of each run; None for a single number of workers.

    Runs are weighted by the median of their number of workers, because they vary in proportion to their duration.
    """
    k, rate = np.asarray(workers, dtype=float), np.asarray(rates, dtype=float)
    if len(np.unique(k)) < 2:
        return None
    x, y = (1 / k - 1, 1 / rate) if scaling == "strong" else (k - 1, rate)
    weights = 1 / pd.Series(y).groupby(k).transform("median").to_numpy()
    slope, intercept = np.polyfit(x, y, 1, w=weights).tolist()
    unclipped = slope / intercept if intercept > 0 else 0.0
    low, high = _bootstrap_interval(x, y, weights) if len(y) > 2 else (math.nan, math.nan)
    one_worker = 1 / intercept if scaling == "strong" else intercept
    return ScalingFit(scaling, min(max(unclipped, 0.0), 1.0), low, high, unclipped, one_worker, len(y))


def _bootstrap_interval(x: Any, y: Any, weights: Any) -> tuple[float, float]:
    """Return the 95% interval of slope / intercept, clipped to 0 and 1, by a parametric bootstrap.

    Lines are drawn from Student's t distribution around the fitted one. Resampling the few runs themselves gives
    intervals that are too narrow: those of three runs each hold the true fraction in about 90% of the cases.
    """
    rng, degrees = np.random.default_rng(0), len(y) - 2  # the same runs have the same interval
    line, covariance = np.polyfit(x, y, 1, w=weights, cov=True)
    scatter = np.sqrt(rng.chisquare(degrees, (BOOTSTRAP_SAMPLES, 1)) / degrees)
    slope, intercept = (line + rng.multivariate_normal([0, 0], covariance, BOOTSTRAP_SAMPLES) / scatter).T
    fraction = np.clip(slope / intercept, 0.0, 1.0)
    # A sample in which not even the time of one worker is positive excludes no fraction.
    low, high = (np.where(intercept > 0, fraction, end) for end in (0.0, 1.0))
    return float(np.quantile(low, 0.025)), float(np.quantile(high, 0.975))
