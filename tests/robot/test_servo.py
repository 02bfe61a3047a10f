"""The servo's setpoints, and the arm control around it, on a clock in the test's hands."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot.arm_control import ArmControl
from robot.clock import ManualClock
from robot.devices import DeviceState, FakeArm
from robot.errors import DeviceDisconnected
from robot.servo import Servo, ServoState, interpolate
from robot.specs import load_station
from robot.types import NS_PER_S, Command, Owner

STATION = load_station("fr3_sim")
HOME = STATION.home
PERIOD_NS = round(NS_PER_S / STATION.arm.state_rate_hz)
STEP_LIMIT = STATION.velocity_limit[:7] * STATION.safety.velocity_scale / STATION.arm.state_rate_hz
AWAY = HOME + np.array([0.02, -0.01, 0.0, 0.01, 0.0, 0.0, 0.02, -0.001])


def test_interpolation_ends_on_the_command_itself() -> None:
    points = interpolate(HOME, AWAY, 10)
    np.testing.assert_array_equal(points[-1], AWAY)
    np.testing.assert_allclose(np.diff(points, axis=0), np.tile((AWAY - HOME) / 10, (9, 1)), atol=1e-12)


def released() -> Servo:
    servo = Servo(0.05)
    servo.reset(HOME, 0.0)
    return servo


def test_a_command_is_approached_in_one_period_and_then_stands() -> None:
    servo = released()
    assert servo.follow(AWAY, 0.0)
    np.testing.assert_allclose(servo.setpoint(0.025), (HOME + AWAY) / 2)
    np.testing.assert_array_equal(servo.setpoint(0.05), AWAY)
    np.testing.assert_array_equal(servo.setpoint(0.15), AWAY)


def test_commands_late_then_gone_then_reset() -> None:
    servo = released()
    servo.follow(AWAY, 0.0)
    for now_s, state in [(0.19, ServoState.OK), (0.21, ServoState.STARVED), (1.01, ServoState.STOPPED)]:
        servo.setpoint(now_s)
        assert servo.state is state
    assert not servo.follow(HOME, 1.1)
    servo.reset(AWAY, 1.2)
    assert servo.follow(HOME, 1.3)


def test_a_servo_starts_latched_and_holding_needs_no_commands() -> None:
    servo = Servo(0.05)
    servo.latch(HOME)
    assert not servo.follow(AWAY, 0.0)
    servo = released()
    servo.setpoint(60.0)
    assert servo.state is ServoState.HOLDING


class Rig:
    """An arm control over a fake arm, stepped by hand."""

    def __init__(self) -> None:
        self.clock = ManualClock(NS_PER_S)
        self.arm = FakeArm(STATION, self.clock)
        self.arm.connect()
        self.control = ArmControl(self.arm, STATION, self.clock)
        self.setpoints = [HOME]
        self.seq = 0
        self.state = ""

    def run(self, duration_s: float) -> None:
        for _ in range(round(duration_s * STATION.arm.state_rate_hz)):
            self.clock.advance(PERIOD_NS)
            status = self.control.step()
            self.setpoints.append(status.setpoint)
            self.state = status.state

    def command(self, position: np.ndarray) -> None:
        self.seq += 1
        self.control.follow(Command(self.seq, self.clock.now_ns(), position, Owner.POLICY))

    def release(self) -> None:
        self.run(0.01)
        assert self.control.reset()[0]


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.release()
    return made


def test_it_starts_latched_and_follows_nothing() -> None:
    rig = Rig()
    rig.command(AWAY)
    rig.run(0.3)
    assert rig.state == "latched"
    np.testing.assert_array_equal(rig.setpoints[-1], HOME)


def test_it_follows_a_command_to_its_end(rig: Rig) -> None:
    rig.command(AWAY)
    rig.run(0.1)
    assert rig.state in ("ok", "limited")
    np.testing.assert_array_equal(rig.setpoints[-1], AWAY)
    rig.run(0.09)
    np.testing.assert_allclose(rig.arm.read().position, AWAY, atol=1e-3)


def test_silence_starves_then_stops(rig: Rig) -> None:
    rig.command(AWAY)
    rig.run(0.19)
    assert rig.state in ("ok", "limited")
    rig.run(0.03)
    assert rig.state == "starved"
    rig.run(0.8)
    assert rig.state == "stopped"
    rig.command(HOME)
    rig.run(0.1)
    np.testing.assert_array_equal(rig.setpoints[-1], AWAY)


def test_a_pressed_stop_latches_at_once_and_cannot_be_reset(rig: Rig) -> None:
    for i in range(4):
        rig.command(HOME + (i + 1) * 0.3 * (AWAY - HOME))
        rig.run(0.05)
    rig.control.set_estop(True)
    before = rig.setpoints[-1]
    rig.run(0.2)
    assert rig.state == "latched"
    assert np.abs(rig.setpoints[-1] - before).max() < 0.01
    assert not rig.control.reset()[0]
    rig.control.set_estop(False)
    rig.run(0.01)
    assert rig.state == "latched"
    assert rig.control.reset()[0]
    rig.run(0.01)
    assert rig.state == "holding"


def test_an_arm_that_sends_nothing_new_stops_being_commanded(rig: Rig) -> None:
    rig.command(AWAY)
    rig.run(0.02)
    rig.arm.frozen = True
    rig.run(0.02)
    assert rig.state == "fault:stale"
    assert rig.control.is_stale
    assert not rig.control.reset()[0]
    rig.arm.frozen = False
    rig.run(0.02)
    assert rig.state == "fault:stale"  # its return alone frees nothing
    rig.command(AWAY)
    standing = rig.setpoints[-1]
    rig.run(0.1)
    np.testing.assert_allclose(rig.setpoints[-1], standing, atol=1e-9)
    assert rig.control.reset()[0]


def test_a_fault_of_the_device_needs_a_reset_which_recovers_it(rig: Rig) -> None:
    rig.arm.fail()
    rig.run(0.02)
    assert rig.state == "fault:device"
    assert rig.control.reset()[0]
    assert rig.arm.state is not DeviceState.FAULT
    rig.command(AWAY)
    rig.run(0.1)
    np.testing.assert_array_equal(rig.setpoints[-1], AWAY)


def test_an_arm_whose_silence_ended_in_a_lost_connection_is_recovered_by_a_reset(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.arm.frozen = True
    rig.run(0.02)
    rig.arm.fail("the connection is lost")
    with monkeypatch.context() as lost:
        lost.setattr(rig.arm, "read", lambda: rig.arm.require(DeviceState.ACTIVE))  # raises, as of a lost robot
        rig.run(0.02)
    rig.arm.frozen = False
    assert rig.control.is_stale
    assert rig.control.reset()[0]
    rig.run(0.02)
    assert rig.state == "holding"


def test_before_the_first_reset_nothing_is_sent_and_a_person_may_move_the_arm() -> None:
    rig = Rig()
    rig.arm._position = AWAY.copy()  # by hand, without power
    rig.run(0.05)
    assert rig.arm.state is DeviceState.CONNECTED
    rig.release()
    rig.run(0.05)
    np.testing.assert_allclose(rig.setpoints[-1], rig.arm.read().position, atol=1e-3)


def test_an_arm_that_is_not_the_one_of_the_station_is_not_released() -> None:
    rig = Rig()
    rig.arm.mismatches = ("fr3_joint1: limits [-1.0, 1.0] rad, the station says [-2.7, 2.7]",)
    rig.run(0.01)
    done, text = rig.control.reset()
    assert not done
    assert "limits [-1.0, 1.0]" in text
    rig.command(AWAY)
    rig.run(0.1)
    assert rig.arm.state is DeviceState.CONNECTED


def test_an_arm_whose_fault_has_not_gone_is_not_released(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.arm.fail("servo 3 is too hot")
    rig.run(0.02)
    assert rig.control.reason == "servo 3 is too hot"

    def refuse() -> None:
        raise DeviceDisconnected("servo 3 is still too hot")

    monkeypatch.setattr(rig.arm, "recover", refuse)
    done, text = rig.control.reset()
    assert not done
    assert "still too hot" in text


def test_a_command_that_the_device_refuses_is_a_fault_and_ends_no_thread(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(position: np.ndarray, velocity: np.ndarray) -> None:
        raise DeviceDisconnected("the cable was pulled")

    monkeypatch.setattr(rig.arm, "command", refuse)
    rig.command(AWAY)
    rig.run(0.05)
    assert rig.state == "fault:device"
    assert rig.control.reason == "the cable was pulled"


def test_an_arm_that_is_blocked_is_a_fault(rig: Rig) -> None:
    """The joints stay while the setpoint goes on: 0.15 rad for 0.2 s."""
    rig.arm.read = lambda: replace(FakeArm.read(rig.arm), position=HOME)  # type: ignore[method-assign]
    goal = HOME.copy()
    for _ in range(25):
        goal = goal + np.eye(8)[6] * 0.03
        rig.command(goal)
        rig.run(0.05)
    assert rig.state == "fault:tracking"


@pytest.mark.parametrize("frozen_s", [0.3, 5.0])
def test_after_a_freeze_nothing_of_before_is_followed(rig: Rig, frozen_s: float) -> None:
    rig.command(AWAY)
    rig.run(0.02)
    standing = rig.setpoints[-1]
    rig.command(HOME + 5 * (AWAY - HOME))  # arrived just before the process was frozen
    rig.clock.advance(round(frozen_s * NS_PER_S))
    rig.run(0.2)
    np.testing.assert_allclose(rig.setpoints[-1], standing, atol=1e-9)
    assert rig.state == ("stopped" if frozen_s > 1.0 else "starved")
    assert rig.control.clips["STALE"] == 1


@pytest.mark.parametrize(
    ("broken", "kind"),
    [(HOME * np.nan, "NOT_FINITE"), (HOME[:-1], "INCOMPLETE"), (HOME + np.eye(8)[1], "JUMP")],
)
def test_a_broken_command_is_counted_and_the_next_good_one_followed(rig: Rig, broken: np.ndarray, kind: str) -> None:
    rig.command(broken)
    rig.run(0.03)
    np.testing.assert_array_equal(rig.setpoints[-1], HOME)
    assert rig.control.clips[kind] == 1
    rig.command(AWAY)
    rig.run(0.1)
    np.testing.assert_array_equal(rig.setpoints[-1], AWAY)


def test_a_scene_reset_moves_the_setpoint_with_the_arm_and_keeps_a_latch(rig: Rig) -> None:
    rig.command(AWAY)
    rig.run(0.05)
    placed = replace(rig.arm.read(), position=HOME + np.array([*[0.1] * 7, -0.01]))
    rig.arm._position = placed.position.copy()
    rig.control.restart(placed)
    rig.run(0.05)
    assert rig.state == "holding"
    np.testing.assert_allclose(rig.setpoints[-1], placed.position)
    rig.control.latch("test")
    rig.control.restart(placed)
    rig.run(0.01)
    assert rig.state == "latched"


def test_periods_that_follow_a_scene_reset_at_once_are_not_taken_for_silence(rig: Rig) -> None:
    """Setting the scene up takes longer than a period: the servo is late then, and steps before physics has."""
    rig.control.restart(rig.arm.read())
    rig.arm.frozen = True
    for _ in range(4):
        assert rig.control.step().state == "holding"
    rig.run(0.05)
    assert rig.state == "fault:stale", "an arm that really says nothing is found out a little later"


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_setpoints_keep_the_velocity_limit_whatever_is_commanded_and_when(seed: int) -> None:
    rig, rng = Rig(), np.random.default_rng(seed)
    rig.release()
    begun = len(rig.setpoints)
    for _ in range(20):
        rig.command(rig.setpoints[-1] + rng.normal(size=8) * rng.choice([0.01, 0.1, 1.0]))
        rig.run(float(rng.choice([0.005, 0.03, 0.05, 0.12, 0.3])))
        if rig.state == "stopped":
            rig.control.reset()
    steps = np.abs(np.diff(rig.setpoints[begun:], axis=0))[:, :7]
    assert (steps <= STEP_LIMIT * (1 + 1e-9) + 1e-12).all()
