"""The safety filter: whatever comes in, what goes out keeps every limit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robot.kinematics.arm import ArmKinematics
from robot.record import Clip
from robot.safety import FilterState, SafetyFilter
from robot.specs import load_station

STATION = load_station("fr3_sim")
KINEMATICS = ArmKinematics(STATION)
CONTROL = SafetyFilter(STATION, KINEMATICS, STATION.period_s)
SERVO = SafetyFilter(STATION, KINEMATICS, 1 / STATION.arm.state_rate_hz, bend_s=STATION.period_s)
N = 8
LOWER, UPPER = STATION.position_lower, STATION.position_upper

anything = arrays(np.float64, N, elements=st.floats(width=64))
wrong_size = arrays(np.float64, st.integers(0, 12), elements=st.floats(-3, 3))
near = arrays(np.float64, N, elements=st.floats(-0.19, 0.19))


def start_positions() -> st.SearchStrategy[np.ndarray]:
    """Return joints within the hard limits: the soft limits and the box may be broken to begin with."""
    shares = arrays(np.float64, N, elements=st.floats(0.0, 1.0))
    anywhere = shares.map(lambda share: LOWER + share * (UPPER - LOWER))
    at_home = near.map(lambda offset: np.clip(STATION.home + offset, LOWER, UPPER))
    return st.one_of(at_home, anywhere)


def check_step(filter_: SafetyFilter, before: FilterState, after: FilterState) -> None:
    """Hold one step against every limit; from outside a limit it may only lead back, at no more than the speed."""
    step = after.position - before.position
    assert np.isfinite(after.position).all()
    assert (np.abs(step) <= filter_.step_limit * (1 + 1e-9) + 1e-12).all()
    assert (after.position >= np.minimum(filter_.lower, before.position) - 1e-12).all()
    assert (after.position <= np.maximum(filter_.upper, before.position) + 1e-12).all()
    tcp_before, tcp = KINEMATICS.tcp_position(before.position), KINEMATICS.tcp_position(after.position)
    np.testing.assert_allclose(after.tcp, tcp, atol=1e-12)
    assert np.linalg.norm(tcp - tcp_before) <= filter_.tcp_reach + 1e-9
    assert (tcp >= np.minimum(filter_.tcp_low, tcp_before) - 1e-9).all()
    assert (tcp <= np.maximum(filter_.tcp_high, tcp_before) + 1e-9).all()


@settings(max_examples=150, deadline=None)
@given(
    filter_=st.sampled_from([CONTROL, SERVO]),
    measured=start_positions(),
    targets=st.lists(st.one_of(anything, wrong_size, near.map(lambda x: ("by", x)), st.just("hold")), max_size=12),
)
def test_no_input_leads_beyond_a_limit(filter_: SafetyFilter, measured: np.ndarray, targets: list) -> None:
    state = filter_.start(measured)
    for target in targets:
        if isinstance(target, str):
            after = filter_.hold(state)
        else:
            wanted = state.position + target[1] if isinstance(target, tuple) else target
            after, _ = filter_.step(state, wanted)
        check_step(filter_, state, after)
        state = after


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-4, 0.19))
def test_a_long_wild_walk_stays_within_the_limits(seed: int, scale: float) -> None:
    rng, state = np.random.default_rng(seed), SERVO.start(STATION.home)
    direction = rng.normal(size=N)
    for i in range(150):
        if i % 25 == 0:
            direction = rng.normal(size=N)
        after, _ = SERVO.step(state, state.position + scale * direction / np.abs(direction).max())
        check_step(SERVO, state, after)
        state = after
    assert (state.position >= SERVO.lower).all()
    assert (state.position <= SERVO.upper).all()
    assert (state.tcp >= SERVO.tcp_low).all()
    assert (state.tcp <= SERVO.tcp_high).all()


def test_a_target_within_every_limit_comes_out_as_it_is() -> None:
    state = CONTROL.start(STATION.home)
    target = STATION.home + 0.002
    target[-1] = STATION.home[-1] - 0.001
    after, clips = CONTROL.step(state, target)
    assert clips is Clip.NONE
    np.testing.assert_array_equal(after.position, target)


@pytest.mark.parametrize(
    ("change", "clip"),
    [
        (lambda q: q + np.nan, Clip.NOT_FINITE),
        (lambda q: np.where(np.arange(N) == 2, np.inf, q), Clip.NOT_FINITE),
        (lambda q: q[:-1], Clip.INCOMPLETE),
        (lambda q: q + np.eye(N)[3] * 0.21, Clip.JUMP),
    ],
)
def test_a_broken_target_is_rejected_whole(change: object, clip: Clip) -> None:
    state = CONTROL.start(STATION.home)
    target = change(STATION.home.copy())  # type: ignore[operator]
    after, clips = CONTROL.step(state, target)
    assert clips is clip
    assert CONTROL.rejection(state, target) is clip
    np.testing.assert_array_equal(after.position, STATION.home)


def test_a_fast_step_keeps_its_direction() -> None:
    state = SERVO.start(STATION.home)
    wanted = np.array([0.02, -0.01, 0.015, 0.01, 0.0, 0.005, 0.0, 0.0])
    after, clips = SERVO.step(state, STATION.home + wanted)
    moved = (after.position - STATION.home)[:7]
    assert clips & (Clip.VELOCITY | Clip.ACCELERATION | Clip.TCP_SPEED)
    np.testing.assert_allclose(moved / np.linalg.norm(moved), wanted[:7] / np.linalg.norm(wanted), atol=1e-6)


def test_velocity_is_built_up_and_taken_down_no_faster_than_the_acceleration_limit() -> None:
    state, steps = CONTROL.start(STATION.home), []
    for i in range(14):
        goal = state.position + np.eye(N)[6] * 0.15 if i < 7 else state.position
        state, _ = CONTROL.step(state, goal)
        steps.append(state.step[:7])
    bends = np.abs(np.diff([np.zeros(7), *steps], axis=0))
    assert (bends <= CONTROL.bend_limit * (1 + 1e-6)).all()
    np.testing.assert_array_equal(steps[-1], np.zeros(7))


def test_the_floor_stops_the_way_down() -> None:
    q, above = STATION.home[:7], KINEMATICS.tcp_position(STATION.home)
    for share in np.linspace(0.0, 1.0, 30):
        q = KINEMATICS.inverse(above + share * (np.array([0.5, 0.0, 0.03]) - above), q)
    state = CONTROL.start(np.append(q, 0.02))
    assert state.tcp[2] == pytest.approx(0.03, abs=1e-4)
    seen = Clip.NONE
    for _ in range(30):
        below = np.append(KINEMATICS.inverse(state.tcp - [0, 0, 0.01], state.position), 0.02)
        state, clips = CONTROL.step(state, below)
        seen |= clips
        assert state.tcp[2] >= STATION.safety.tcp_low_m[2]
    assert seen & Clip.WORKSPACE


def test_a_joint_beyond_its_soft_limit_is_brought_back_slowly() -> None:
    measured = STATION.home.copy()
    measured[1] = STATION.position_lower[1] + 0.001  # within the hard limit, beyond the soft one
    state, count = SERVO.start(measured), 0
    while state.position[1] < SERVO.lower[1]:
        after, _ = SERVO.step(state, state.position)
        check_step(SERVO, state, after)
        state, count = after, count + 1
        assert count < 500
    assert count > 3


def test_straying_counts_only_after_its_time() -> None:
    state = CONTROL.start(STATION.home)
    away = STATION.home + np.eye(N)[2] * (STATION.safety.tracking_error_rad + 0.01)
    state, straying = CONTROL.track(state, away, 0)
    assert not straying
    state, straying = CONTROL.track(state, away, 150_000_000)
    assert not straying
    calm, straying = CONTROL.track(state, STATION.home, 180_000_000)
    assert not straying
    assert not calm.is_straying
    assert CONTROL.track(state, away, 200_000_000)[1]
