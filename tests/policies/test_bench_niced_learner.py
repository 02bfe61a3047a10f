"""Lateness of ticks, computed from schedules whose answer is known."""

import numpy as np
import pytest

pytest.importorskip("rclpy")

from policies.bench_niced_learner import lateness
from robot.errors import RobotError

PERIOD_S = 0.02


def ticks(late_ms: np.ndarray, skipped: tuple[int, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and times of ticks that begin so late, leaving out whole periods; the schedule begins anywhere."""
    periods = np.setdiff1d(np.arange(len(late_ms) + len(skipped)), skipped)
    times_ns = 1_700_000_000_123_456_789 + (periods * PERIOD_S * 1e9 + late_ms * 1e6).astype(np.int64)
    return np.arange(len(periods)), times_ns


def test_late_ticks_are_told_from_punctual_ones() -> None:
    late_ms = np.where(np.arange(2000) % 50 == 7, 12.0, 0.1)  # one in fifty, beyond half a period
    found = lateness(*ticks(late_ms), PERIOD_S)
    assert found.p50_ms == pytest.approx(0.0, abs=1e-3)
    assert found.p99_ms == pytest.approx(11.9, abs=1e-3)
    assert found.missed_per_1000 == 0.0
    assert found.seconds == pytest.approx(1999 * PERIOD_S)


def test_a_skipped_period_is_missed_and_an_unheard_tick_is_not() -> None:
    steps, times_ns = ticks(np.zeros(998), skipped=(300, 301))
    assert lateness(steps, times_ns, PERIOD_S).missed_per_1000 == pytest.approx(2000 / 999)
    heard = np.delete(np.arange(998), [500, 501])
    assert lateness(steps[heard], times_ns[heard], PERIOD_S).missed_per_1000 == pytest.approx(2000 / 999)


def test_nothing_heard_is_no_result() -> None:
    with pytest.raises(RobotError, match="does an episode run"):
        lateness(np.array([0]), np.array([0]), PERIOD_S)
