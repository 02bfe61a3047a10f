"""Several arms as one device: read and commanded together, and none moves on where another cannot."""

from collections.abc import Iterator

import numpy as np
import pytest

from robot.arm_control import ArmControl
from robot.clock import ManualClock
from robot.devices import DeviceState, FakeArm
from robot.errors import ActionRejected, DeviceDisconnected
from robot.multi_arm.devices import ArmGroup
from robot.specs import load_station
from robot.types import NS_PER_S, Command, Owner

PAIR = load_station("fr3_pair_sim")
NUDGE = np.array([*[0.01] * 7, -0.001])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def group(clock: ManualClock) -> Iterator[ArmGroup]:
    with ArmGroup(PAIR, [FakeArm(side, clock) for side in PAIR.sides]) as group:
        yield group


def test_joints_come_and_go_in_the_station_s_order(group: ArmGroup, clock: ManualClock) -> None:
    assert group.features.names == PAIR.joint_names
    target = PAIR.home + np.concatenate([NUDGE, 2 * NUDGE])
    clock.advance(NS_PER_S // 100)
    group.read()
    for _ in range(50):
        group.command(target, np.zeros(16))
        clock.advance(NS_PER_S // 50)
        reading = group.read()
    np.testing.assert_allclose(reading.position, target, atol=1e-3)
    assert group.state is DeviceState.ACTIVE
    group.hold()
    assert {arm.state for arm in group.arms.values()} == {DeviceState.HOLDING}


def test_a_measurement_is_new_once_every_arm_has_sent_one(group: ArmGroup, clock: ManualClock) -> None:
    first = group.read()
    clock.advance(NS_PER_S // 100)
    second = group.read()
    group.arms["right"].frozen = True
    clock.advance(NS_PER_S // 100)
    stale = group.read()
    assert (second.counter, stale.counter) == (first.counter + 1, second.counter)
    group.arms["right"].frozen = False
    clock.advance(NS_PER_S // 100)
    assert group.read().counter == second.counter + 1


def test_what_one_arm_refuses_makes_the_others_hold(group: ArmGroup) -> None:
    group.command(PAIR.home, np.zeros(16))
    broken = PAIR.home + np.concatenate([NUDGE, np.full(8, 9.0)])
    with pytest.raises(ActionRejected, match="right_fr3_joint1"):
        group.command(broken, np.zeros(16))
    assert group.arms["left"].state is DeviceState.HOLDING
    with pytest.raises(ActionRejected, match="all arms"):
        group.command(PAIR.home[:8], np.zeros(8))


def test_a_mismatch_and_a_fault_of_one_are_those_of_all_and_name_it(group: ArmGroup) -> None:
    group.arms["right"].mismatches = ("limits of fr3_joint1 differ",)
    assert group.mismatches == ("right: limits of fr3_joint1 differ",)
    group.arms["left"].fail("bumped")
    assert (group.state, group.fault) == (DeviceState.FAULT, "left: bumped")
    with pytest.raises(DeviceDisconnected):
        group.command(PAIR.home, np.zeros(16))
    group.recover()
    assert group.state is DeviceState.CONNECTED and not group.fault


def test_all_arms_are_let_go_where_one_cannot_be_opened_or_closed(clock: ManualClock) -> None:
    arms = [FakeArm(side, clock) for side in PAIR.sides]

    def broken() -> None:
        raise DeviceDisconnected("no cable")

    arms[1].connect = broken  # type: ignore[method-assign]
    with pytest.raises(DeviceDisconnected, match="no cable"):
        ArmGroup(PAIR, arms).connect()
    assert arms[0].state is DeviceState.DISCONNECTED
    arms[0].connect()
    arms[1].close = broken  # type: ignore[method-assign]
    with pytest.raises(DeviceDisconnected, match="no cable"):
        ArmGroup(PAIR, arms).close()
    assert arms[0].state is DeviceState.DISCONNECTED


def test_under_the_servo_a_fault_of_one_arm_stops_both(group: ArmGroup, clock: ManualClock) -> None:
    control = ArmControl(group, PAIR, clock)
    period_ns = round(NS_PER_S / PAIR.state_rate_hz)

    def run(periods: int, seq: int) -> None:
        for i in range(periods):
            if i % 10 == 0:
                control.follow(Command(seq, clock.now_ns(), PAIR.home + np.concatenate([NUDGE, NUDGE]), Owner.POLICY))
            clock.advance(period_ns)
            control.step()

    run(2, 0)
    assert control.reset()[0]
    run(100, 1)
    moved = group.read().position.copy()
    assert (np.abs(moved - PAIR.home)[[0, 8]] > 0.005).all()
    group.arms["right"].fail("bumped")
    run(60, 2)
    assert control.state == "fault:device" and "right: bumped" in control.reason
    assert group.arms["left"].state is DeviceState.HOLDING
    stood = group.read().position.copy()
    run(40, 3)
    np.testing.assert_allclose(group.read().position, stood, atol=1e-9)
