"""Fitted laws: exact times, coverage of the confidence interval, and inconclusive runs."""

import numpy as np
import pytest

from pandas_imgproc.scaling.fit import ScalingFit, fit_law


@pytest.mark.parametrize("p", [0.0, 0.5, 0.9, 1.0])
def test_fit_law_exact_times_recovers_fraction(p):
    k = np.array([1, 1, 2, 4, 8])
    amdahl = fit_law(k, 1 / (0.02 * ((1 - p) + p / k)), "strong")
    gustafson = fit_law(k, 50 * ((1 - p) + p * k), "weak")
    for law in (amdahl, gustafson):
        assert law.fraction == pytest.approx(p, abs=1e-9)
        assert law.rate == pytest.approx(50)
        assert law.ci_high - law.ci_low < 1e-6
    assert amdahl.speedup(16) == pytest.approx(1 / ((1 - p) + p / 16))
    assert gustafson.speedup(16) == pytest.approx((1 - p) + p * 16)


@pytest.mark.parametrize(("workers", "noise"), [([1, 2], 0.03), ([1, 2, 4, 8], 0.1)])
@pytest.mark.parametrize("scaling", ["strong", "weak"])
def test_confidence_interval_noisy_runs_covers_truth_at_its_level(workers, noise, scaling):
    rng, p = np.random.default_rng(3), 0.8
    k = np.repeat(workers, 3)
    times = (1 - p) + p / k if scaling == "strong" else k / ((1 - p) + p * k)
    images = 1 if scaling == "strong" else k
    covered = 0
    for _ in range(300):
        law = fit_law(k, images / (times * (1 + noise * rng.standard_normal(len(k)))), scaling)
        covered += law.ci_low <= p <= law.ci_high
    assert 0.92 <= covered / 300 <= 0.98


@pytest.mark.parametrize(
    ("k", "seconds", "inconclusive"),
    [
        ([1, 1, 1, 2, 2, 2], [1.0, 2.0, 1.5, 0.6, 1.9, 1.2], True),
        ([1, 2, 4], [1.0, 0.8, 0.9], True),  # one degree of freedom
        ([1, 1, 1, 2, 2, 2], [1.0, 1.02, 1.01, 0.6, 0.62, 0.61], False),
    ],
)
def test_fit_law_scattered_runs_is_inconclusive(k, seconds, inconclusive):
    law = fit_law(k, 1 / np.array(seconds), "strong")
    assert law.is_inconclusive == inconclusive
    assert law.is_significant != inconclusive
    assert law == fit_law(k, 1 / np.array(seconds), "strong")  # the bootstrap has a fixed seed


def test_fit_law_two_runs_has_no_interval():
    law = fit_law([1, 2], [100, 190], "strong")
    assert law.fraction == pytest.approx(1 - (100 / 95 - 1), abs=1e-6)
    assert np.isnan([law.ci_low, law.ci_high]).all()
    assert not law.is_significant
    assert not law.is_inconclusive


def test_fit_law_superlinear_runs_is_clipped():
    law = fit_law([1, 1, 1, 2, 2, 2], [0.5, 0.5, 0.5, 1.25, 1.25, 1.25], "strong")
    assert law.fraction == 1
    assert law.unclipped > 1.05


def test_fit_law_single_number_of_workers_is_none():
    assert fit_law([1, 1], [100, 101], "strong") is None


def test_recommended_workers_last_one_adds_half_of_a_worker():
    law = ScalingFit("strong", 0.98, 0.97, 0.99, 0.98, 100.0, 6)
    assert law.recommended_workers() == 21
    assert law.speedup(21) - law.speedup(20) > 0.5 > law.speedup(22) - law.speedup(21)
    assert law.recommended_workers(1.0) == np.inf
    assert law.recommended_workers(0.0) == 1
