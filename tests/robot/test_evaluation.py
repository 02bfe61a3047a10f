"""Success statistics against published and brute-force values."""

import numpy as np
import pytest
from scipy.stats import binomtest

from robot.errors import ConfigError
from robot.evaluation import Success, paired_difference, wilson


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (45, 50), (10, 10), (199, 200)])
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    interval = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_a_rate_needs_possible_counts() -> None:
    with pytest.raises(ConfigError, match="11 of 10"):
        wilson(11, 10)
    with pytest.raises(ConfigError, match="0 of 0"):
        Success.of(0, 0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    rates = rng.uniform(0.05, 0.95, 3000)
    bounds = [wilson(int(rng.binomial(100, rate)), 100) for rate in rates]
    covered = np.mean([low <= rate <= high for rate, (low, high) in zip(rates, bounds, strict=True)])
    assert 0.93 <= covered <= 0.97


def test_paired_comparison_sees_what_unpaired_rates_hide() -> None:
    first = [True] * 50 + [False] * 50
    second = [True] * 50 + [True] * 12 + [False] * 38
    difference = paired_difference(first, second)
    assert difference.value == pytest.approx(0.12)
    assert difference.p_value == pytest.approx(2 * 0.5**12)
    assert difference.low > 0


def test_equal_outcomes_are_no_evidence() -> None:
    difference = paired_difference([True, False, True], [True, False, True])
    assert (difference.value, difference.p_value) == (0.0, 1.0)
    assert difference.low < 0 < difference.high
