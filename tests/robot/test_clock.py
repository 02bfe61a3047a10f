"""Clocks and the absolute schedule of a loop."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.clock import ManualClock, MonotonicClock, RateKeeper
from robot.errors import ConfigError

MS = 1_000_000


def test_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(5)
    assert clock.now_ns() == clock.now_ns() == 5
    assert clock.advance(10) == clock.now_ns() == 15
    clock.sleep_until(3)
    assert clock.now_ns() == 15
    with pytest.raises(ConfigError, match="cannot go back"):
        clock.advance(-1)


def test_monotonic_clock_sleeps_to_the_given_time_and_not_at_all_to_a_past_one() -> None:
    clock = MonotonicClock()
    start = clock.now_ns()
    clock.sleep_until(start - 1_000_000_000)
    clock.sleep_until(start + 20 * MS)
    assert 20 * MS <= clock.now_ns() - start < 500 * MS


def test_an_iteration_inside_its_period_does_not_move_the_ones_after_it() -> None:
    clock = ManualClock(7)
    keeper = RateKeeper(100.0, clock)
    starts = []
    for work_ms in (9, 1, 0, 9.999, 3):
        assert keeper.wait() == 0
        starts.append(clock.now_ns())
        clock.advance(int(work_ms * MS))
    assert starts == [7 + k * 10 * MS for k in range(5)]
    assert keeper.timing().overruns == 0
    assert keeper.timing().late_max_ms == 0.0


def test_a_late_iteration_skips_whole_periods_and_stays_on_the_grid() -> None:
    clock = ManualClock()
    keeper = RateKeeper(100.0, clock)
    keeper.wait()
    clock.advance(34 * MS)
    assert keeper.wait() == 2  # the starts at 10 and 20 ms are gone, the one at 30 ms is 4 ms late
    assert clock.now_ns() == 34 * MS
    assert keeper.wait() == 0
    assert clock.now_ns() == 40 * MS
    timing = keeper.timing()
    assert (timing.count, timing.overruns) == (3, 2)
    assert timing.late_max_ms == pytest.approx(4.0)
    assert timing.late_p50_ms == 0.0


@given(st.lists(st.integers(0, 50 * MS), min_size=1, max_size=60))
def test_starts_and_skips_together_cover_every_period(work_ns: list[int]) -> None:
    clock = ManualClock()
    keeper = RateKeeper(100.0, clock)
    skipped = 0
    for work in work_ns:
        before = clock.now_ns()
        skipped += keeper.wait()
        assert clock.now_ns() >= before
        clock.advance(work)
    timing = keeper.timing()
    assert timing.overruns == skipped
    grid_ns = (timing.count + timing.overruns - 1) * 10 * MS
    assert grid_ns <= clock.now_ns() - work_ns[-1] < grid_ns + 10 * MS
    assert 0.0 <= timing.late_p50_ms <= timing.late_p99_ms <= timing.late_max_ms < 10.0


def test_timing_before_the_first_iteration_is_empty() -> None:
    timing = RateKeeper(10.0, ManualClock()).timing()
    assert timing.count == 0
    assert math.isnan(timing.late_max_ms)


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, float("nan")])
def test_a_rate_must_be_positive(rate_hz: float) -> None:
    with pytest.raises(ConfigError, match="rate_hz"):
        RateKeeper(rate_hz)
