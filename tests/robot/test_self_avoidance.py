"""An arm that looks for self-collision stops before it, wherever it is sent, and says so; one that does not goes on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from robot import specs
from robot.arm_control import ArmControl
from robot.clock import ManualClock
from robot.devices import FakeArm
from robot.errors import ConfigError
from robot.kinematics.clearance import PairClearance, self_clearance
from robot.record import Clip
from robot.safety import FilterState
from robot.self_avoidance import SelfAvoidingFilter, make_last_filter
from robot.specs import StationSpec, load_station
from robot.types import NS_PER_S, Array, Command, Owner

STATIONS = Path(specs.__file__).parent / "stations"
MARGIN_M = 0.01
PERIOD_S = 0.005
ROUNDING_M = 1e-6


def careful(name: str, margin_m: float = MARGIN_M) -> StationSpec:
    """Return a station that looks for self-collision; its tcp may go anywhere, as the box must not be what stops it."""
    station = load_station(name)
    everywhere = {"tcp_low_m": (-2.0, -2.0, -2.0), "tcp_high_m": (2.0, 2.0, 2.0), "tcp_speed_m_s": 9.0}
    return replace(station, safety=replace(station.safety, self_clearance_m=margin_m, **everywhere))


def colliding(station: StationSpec, clearance: PairClearance, seed: int) -> Array:
    """Return joints within the limits at which the arm would be in itself."""
    rng = np.random.default_rng(seed)
    while True:
        q = rng.uniform(station.position_lower, station.position_upper)
        if clearance.clearance(q) < -MARGIN_M:
            return q


@pytest.mark.parametrize("name", ["fr3", "viperx", "so101"])
def test_no_way_leads_nearer_than_the_margin(name: str) -> None:
    station = careful(name)
    clearance = self_clearance(station)
    last = make_last_filter(station, PERIOD_S, station.period_s)
    ends = []
    for seed in range(3):
        bad, state, clips = colliding(station, clearance, seed), last.start(station.home), Clip.NONE
        for _ in range(2000):
            target = state.position + np.clip(bad - state.position, -0.05, 0.05)
            moved, clipped = last.step(state, target)
            clips |= clipped
            assert clearance.clearance(moved.position) >= -ROUNDING_M
            if np.abs(moved.step).max() < 1e-7 and np.abs(state.step).max() < 1e-7 and clipped:
                break
            state = moved
        ends.append(clearance.clearance(state.position))
        assert clips & Clip.SELF_COLLISION
    assert min(ends) < 0.005, "it went as near as it may"


def test_without_the_switch_the_filter_is_the_plain_one_and_goes_into_itself() -> None:
    station = careful("fr3", 0.0)
    watching = self_clearance(careful("fr3"))
    last = make_last_filter(station, PERIOD_S, station.period_s)
    assert not isinstance(last, SelfAvoidingFilter)
    bad, state = colliding(station, watching, 0), last.start(station.home)
    for _ in range(2000):
        state, _ = last.step(state, state.position + np.clip(bad - state.position, -0.05, 0.05))
    assert watching.clearance(state.position) < -MARGIN_M


def test_an_arm_that_is_too_near_already_may_leave_and_not_go_on() -> None:
    station = careful("so101")
    clearance, last = self_clearance(station), make_last_filter(station, PERIOD_S, station.period_s)
    bad = colliding(station, clearance, 1)
    state = FilterState(bad, np.zeros_like(bad), last.start(bad).tcp)
    near = clearance.clearance(bad)
    out, _ = last.step(state, bad + np.clip(station.home - bad, -0.02, 0.02))
    for _ in range(400):
        before, state = state, out
        out, _ = last.step(state, state.position + np.clip(station.home - state.position, -0.05, 0.05))
        assert clearance.clearance(out.position) >= min(0.0, clearance.clearance(state.position)) - ROUNDING_M
        if np.array_equal(before.position, out.position):
            break
    assert clearance.clearance(out.position) >= near - ROUNDING_M


def test_the_arm_s_own_process_stops_the_device_before_contact() -> None:
    """Through the arm's control: what the device was told, not what the filter says."""
    station, clock = careful("viperx"), ManualClock(NS_PER_S)
    clearance = self_clearance(station)
    bad = colliding(station, clearance, 2)
    arm = FakeArm(station, clock)
    arm.connect()
    control = ArmControl(arm, station, clock)
    control.step()
    assert control.reset()[0]
    place, nearest = station.home.copy(), np.inf
    for n in range(600):
        if n % 10 == 0:
            place = place + np.clip(bad - place, -0.08, 0.08)
            place = np.clip(place, arm.read().position - 0.15, arm.read().position + 0.15)
            control.follow(Command(n, clock.now_ns(), place, Owner.POLICY))
        status = control.step()
        clock.advance(round(NS_PER_S / station.state_rate_hz))
        nearest = min(nearest, clearance.clearance(status.setpoint), clearance.clearance(status.reading.position))
    assert control.clips["SELF_COLLISION"] > 0
    assert nearest >= -0.005, "the fake arm cuts its corners by a little"
    assert nearest < 0.02


def test_of_two_arms_those_are_looked_at_that_ask_for_it(tmp_path: Path) -> None:
    tree = yaml.safe_load((STATIONS / "fr3_pair_sim.yaml").read_text())
    own = {"like": "fr3_sim", "name": "careful", "safety": {"self_clearance_m": MARGIN_M}}
    (tmp_path / "careful.yaml").write_text(yaml.safe_dump(own))
    tree["sides"][0]["station"] = str(tmp_path / "careful.yaml")
    (tmp_path / "pair.yaml").write_text(yaml.safe_dump(tree))
    pair = load_station(tmp_path / "pair.yaml")
    clearance, one = self_clearance(pair), careful("fr3")
    bad = colliding(one, self_clearance(one), 0)
    left, right = pair.home.copy(), pair.home.copy()
    left[:8] = right[8:] = bad
    assert clearance.clearance(left) < 0.0
    assert clearance.clearance(right) >= 0.0
    assert isinstance(make_last_filter(pair, PERIOD_S, pair.period_s), SelfAvoidingFilter)


def test_an_arm_without_shapes_is_refused() -> None:
    station = careful("fr3")
    joints = (station.arm.joints[0], replace(station.arm.joints[1], geoms=()), *station.arm.joints[2:])
    with pytest.raises(ConfigError, match=f"{station.arm.joints[1].name}.*no shape"):
        self_clearance(replace(station, arm=replace(station.arm, joints=joints)))


def test_a_margin_that_home_does_not_keep_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"at home .* are \d+ mm nearer"):
        self_clearance(careful("fr3", 0.2))
