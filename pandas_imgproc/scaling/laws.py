"""Amdahl's and Gustafson's laws, fitted to runs: which fraction of the work is shared among workers, and how sure.

With T the seconds and r the images per second of k workers, and p the parallel fraction:

- strong scaling, the same rows on every number of workers: T(k) = T(1) * ((1 - p) + p / k).
  G. M. Amdahl, Validity of the single processor approach to achieving large scale computing capabilities,
  AFIPS Spring Joint Computer Conference 30, 1967, pages 483-485.
- weak scaling, rows in proportion to the workers: r(k) = r(1) * ((1 - p) + p * k).
  J. L. Gustafson, Reevaluating Amdahl's law, Communications of the ACM 31(5), 1988, pages 532-533.

Both are straight lines, y = m + c * (x - 1), through the value m of one worker, with p = c / m: seconds per image
against 1 / k, and images per second against k. A line is fitted by least squares, each run weighted by how large it
is, because runs vary in proportion to what they take. The interval of the ratio p is Fieller's: E. C. Fieller, Some
problems in interval estimation, Journal of the Royal Statistical Society B 16(2), 1954, pages 175-185.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

Scaling = Literal["strong", "weak"]

WORTH = 0.5
"""What a further worker must add, of what a single one does, to be worth having."""

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Law:
    """A fitted law.

    Attributes
    ----------
    scaling : {"strong", "weak"}
        Amdahl's or Gustafson's.
    fraction : float
        The parallel fraction p, within 0 and 1.
    low, high : float
        Of its 95% interval, within 0 and 1; nan where there are no more runs than unknowns.
    raw : float
        p before it was cut to 0 and 1: above 1 more workers gain more than their number.
    rate : float
        Images per second of one worker, by the fit.
    runs : int
        How many it was fitted to.
    """

    scaling: Scaling
    fraction: float
    low: float
    high: float
    raw: float
    rate: float
    runs: int

    def speedup(self, workers: float, fraction: float | None = None) -> float:
        """Return how many times as fast as one worker some are.

        Parameters
        ----------
        workers : float
        fraction : float, optional
            Another one than that of the fit, for example an end of its interval.

        Examples
        --------
        >>> law = Law("strong", 0.9, 0.8, 1.0, 0.9, 100.0, 6)
        >>> law.speedup(9), law.speedup(9, fraction=1.0)
        (5.0, 9.0)
        """
        p = self.fraction if fraction is None else fraction
        return 1 / ((1 - p) + p / workers) if self.scaling == "strong" else (1 - p) + p * workers

    def worth_having(self, fraction: float | None = None) -> float:
        """Return how many workers there are when the last one adds at least half of what a single one does.

        Parameters
        ----------
        fraction : float, optional
            As in `speedup`.

        Returns
        -------
        float
            A whole number from 1 up, or infinity.

        Examples
        --------
        >>> law = Law("strong", 0.98, 0.97, 0.99, 0.98, 100.0, 6)
        >>> law.worth_having()
        21.0
        >>> law.speedup(21) - law.speedup(20) > 0.5 > law.speedup(22) - law.speedup(21)
        True
        """
        p = self.fraction if fraction is None else fraction
        if self.scaling == "weak" or p == 1:
            return math.inf if p >= WORTH else 1.0
        # From k workers to k + 1 the speed-up grows by p / (a (a + 1 - p)), with a = (1 - p) k + p.
        a = (p - 1 + math.sqrt((1 - p) ** 2 + 4 * p / WORTH)) / 2
        return 1.0 + max(0, math.floor((a - p) / (1 - p)))

    @property
    def has_interval(self) -> bool:
        """Whether there were more runs than unknowns."""
        return not math.isnan(self.low)

    @property
    def is_telling(self) -> bool:
        """Whether the interval excludes anything."""
        return self.low > 0 or self.high < 1

    @property
    def says_nothing(self) -> bool:
        """Whether there is an interval, and it excludes nothing."""
        return self.has_interval and not self.is_telling


def fitted(workers: Sequence[int], rates: Sequence[float], scaling: Scaling) -> Law | None:
    """Return the law of some runs.

    Parameters
    ----------
    workers : sequence of int
        How many each run had.
    rates : sequence of float
        Images per second of each run.
    scaling : {"strong", "weak"}

    Returns
    -------
    Law or None
        None with one number of workers only: it takes two to tell.

    Examples
    --------
    >>> law = fitted([1, 2, 4], [100.0, 100 / 0.55, 100 / 0.325], "strong")
    >>> round(law.fraction, 3), round(law.rate)
    (0.9, 100)
    """
    k, rate = np.asarray(workers, dtype=float), np.asarray(rates, dtype=float)
    if len(np.unique(k)) < 2:
        return None
    x, y = (1 / k, 1 / rate) if scaling == "strong" else (k, rate)
    (m, c), covariance = _least_squares(x - 1, y, _typical(k, y))
    raw = float(c / m) if m > 0 else 0.0
    low, high = _fieller(m, c, covariance, len(y) - 2) if len(y) > 2 else (math.nan, math.nan)
    one = float(1 / m if scaling == "strong" else m)
    return Law(scaling, _within(raw), _within(low), _within(high), raw, one, len(y))


def _within(fraction: float) -> float:
    return float(np.clip(fraction, 0.0, 1.0))  # which leaves nan alone


def _typical(k: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return for each run the median of its number of workers: weights that no single run decides."""
    medians = {number: np.median(y[k == number]) for number in np.unique(k)}
    return np.array([medians[number] for number in k])


def _least_squares(
    x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], scale: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return intercept and slope by weighted least squares, and their covariance."""
    design = np.column_stack([1 / scale, x / scale])
    inverse = np.linalg.inv(design.T @ design)
    found = inverse @ design.T @ (y / scale)
    residual = y / scale - design @ found
    return found, inverse * float(residual @ residual) / max(1, len(y) - 2)


def _fieller(m: float, c: float, covariance: np.ndarray[Any, Any], degrees: int) -> tuple[float, float]:
    """Return the interval of c / m: all p for which c - p m may be zero."""
    t2 = student(CONFIDENCE, degrees) ** 2
    a, b, d = m * m - t2 * covariance[0, 0], m * c - t2 * covariance[0, 1], c * c - t2 * covariance[1, 1]
    if a <= 0:
        return -math.inf, math.inf  # not even the single worker's time is known
    root = math.sqrt(max(0.0, b * b - a * d))
    return (b - root) / a, (b + root) / a


def student(confidence: float, degrees: int) -> float:
    """Return how many standard errors wide an interval is to each side, by Student's t distribution.

    Parameters
    ----------
    confidence : float
        For example 0.95.
    degrees : int
        Degrees of freedom.

    Notes
    -----
    Exact for one and two degrees, else the expansion of R. A. Fisher and E. A. Cornish, The percentile points of
    distributions having known cumulants, Technometrics 2(2), 1960, pages 209-225: here within a
    five-hundredth for three degrees and better for more. SciPy has it exactly; a dependency for this is too much.

    Examples
    --------
    >>> [round(student(0.95, degrees), 2) for degrees in (1, 2, 4, 30)]
    [12.71, 4.3, 2.78, 2.04]
    """
    one_sided = (1 + confidence) / 2
    if degrees == 1:
        return math.tan(math.pi * (one_sided - 0.5))
    if degrees == 2:
        return confidence * math.sqrt(2 / (1 - confidence**2))
    z = NormalDist().inv_cdf(one_sided)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return math.fsum(term / degrees**power for power, term in enumerate(terms))
