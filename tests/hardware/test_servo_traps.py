"""Traps of servo buses that a driver written from the vendor's example falls into, each shown beside ours.

The naive drivers here are the vendor's examples: group read, `getData`, group write, torque on.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hardware.arm_drivers import make_arm
from hardware.arms.dynamixel import DynamixelServos
from hardware.arms.feetech import FeetechServos
from hardware.servo_arm import ServoArm
from hardware.servo_bus import BusError
from hardware.stand_ins.servo_arms import ServoStandIn
from robot.devices import DeviceState
from robot.errors import ActionRejected
from robot.types import Array
from tests.hardware.buses import BUSES, until_answered, vendor

FEETECH_POSITION, DYNAMIXEL_POSITION = (56, 2), (132, 4)
LATE_S = 0.12


@pytest.fixture
def feetech() -> Iterator[ServoStandIn]:
    with BUSES["feetech"]() as stand_in:
        yield stand_in


@pytest.fixture
def dynamixel() -> Iterator[ServoStandIn]:
    with BUSES["dynamixel"]() as stand_in:
        yield stand_in


def group_read(parts: tuple[Any, Any, Any], stand_in: ServoStandIn, register: tuple[int, int]) -> Any:
    sdk, port, packets = parts
    group = sdk.GroupSyncRead(port, packets, *register)
    for servo in stand_in.options.ids:
        group.addParam(servo)
    return group


def show_cycle(stand_in: ServoStandIn, cycle: int) -> None:
    """Write the number of the cycle into every position register: a reading then says which cycle it is of."""
    for servo in stand_in.options.ids:
        stand_in.bus.tell(set={"id": servo, "address": 56, "size": 2, "value": cycle})


def servos_of(stand_in: ServoStandIn, kind: type[Any], *more: Any) -> Any:
    servos = kind(stand_in.bus.port, stand_in.options, *more)
    servos.bus.open()
    for servo in stand_in.options.ids:
        servos.bus.find(servo)
    servos.bus.hurry()
    return servos


class TestFeetechOneCycleBehind:
    """After one late answer the vendor's SDK gives every later reading one cycle late, with success as its code."""

    def test_the_naive_driver_reads_the_cycle_before_for_ever(self, feetech: ServoStandIn) -> None:
        feetech.bus.tell(frozen=True)
        with vendor("feetech", feetech) as parts:
            group = group_read(parts, feetech, FEETECH_POSITION)
            show_cycle(feetech, 1)
            assert until_answered(parts[1], lambda: (group.txRxPacket(), 0))[0] == 0
            feetech.bus.tell(fault="late", id=1, times=1, s=LATE_S)
            show_cycle(feetech, 2)
            assert group.txRxPacket() != 0
            time.sleep(2 * LATE_S)
            for cycle in range(3, 8):
                show_cycle(feetech, cycle)
                if group.txRxPacket() == 0:
                    assert group.getData(1, *FEETECH_POSITION) == cycle - 1
                    return
        pytest.fail("the naive driver read nothing at all")

    def test_ours_reads_the_cycle_it_asked_in_or_nothing(self, feetech: ServoStandIn) -> None:
        feetech.bus.tell(frozen=True)
        servos = servos_of(feetech, FeetechServos)
        feetech.bus.tell(fault="late", id=1, times=1, s=LATE_S)
        good = failed = 0
        for cycle in range(1, 60):
            show_cycle(feetech, cycle)
            try:
                ticks = servos.readings().ticks
            except BusError:
                failed += 1
                continue
            np.testing.assert_array_equal(ticks, cycle)
            good += 1
        servos.bus.close()
        assert failed, "the late answer was one"
        assert good > 20, "and it was got over"


class TestFeetechAfterAGap:
    """With one servo silent, the SDK still calls the previous cycle's value of those behind it available."""

    def test_the_naive_driver_takes_an_old_value_for_a_new_one(self, feetech: ServoStandIn) -> None:
        feetech.bus.tell(frozen=True)
        with vendor("feetech", feetech) as parts:
            group = group_read(parts, feetech, FEETECH_POSITION)
            show_cycle(feetech, 1)
            assert until_answered(parts[1], lambda: (group.txRxPacket(), 0))[0] == 0
            feetech.bus.tell(fault="silent", id=3)
            show_cycle(feetech, 2)
            group.txRxPacket()
            assert group.isAvailable(6, *FEETECH_POSITION)
            assert group.getData(6, *FEETECH_POSITION) == 1

    def test_ours_gives_nothing_of_such_a_reading(self, feetech: ServoStandIn) -> None:
        servos = servos_of(feetech, FeetechServos)
        feetech.bus.tell(fault="silent", id=3)
        for _ in range(3):
            with pytest.raises(BusError):
                servos.readings()
        servos.bus.close()


class TestDynamixelZero:
    """`getData` is 0 for what did not arrive: an arm that is sent there swings its joints to tick 0."""

    def test_the_naive_driver_takes_silence_for_position_zero(self, dynamixel: ServoStandIn) -> None:
        with vendor("dynamixel", dynamixel) as parts:
            group = group_read(parts, dynamixel, DYNAMIXEL_POSITION)
            dynamixel.bus.tell(fault="silent", id=4)
            group.txRxPacket()
            assert group.getData(1, *DYNAMIXEL_POSITION) == 0
            assert round(dynamixel.bus.state()["position"][0]) == 2048

    def test_ours_gives_no_position_and_no_goal(self, dynamixel: ServoStandIn) -> None:
        speeds = dynamixel.station.velocity_limit
        servos = servos_of(dynamixel, DynamixelServos, speeds)
        dynamixel.bus.tell(fault="silent", id=4)
        with pytest.raises(BusError):
            servos.readings()
        servos.bus.close()
        assert 0 not in dynamixel.bus.state()["goal"]


class TestSwappedLeaderAndFollower:
    """Two boards of one kind swap their names: the leader, at 5 V, answers where the follower should."""

    @pytest.fixture
    def leader(self, feetech: ServoStandIn) -> ServoStandIn:
        for servo in feetech.options.ids:
            feetech.bus.tell(set={"id": servo, "address": 62, "size": 1, "value": 50})
        return feetech

    def test_the_naive_driver_moves_the_leader(self, leader: ServoStandIn) -> None:
        with vendor("feetech", leader) as (_, port, packets):
            model, *_ = until_answered(port, lambda: packets.ping(port, 1))
            assert model == 777, "the model is the same, so nothing is noticed"
            before = leader.joints()[0]
            until_answered(port, lambda: packets.write2ByteTxRx(port, 1, 42, 2300))
            until_answered(port, lambda: packets.write1ByteTxRx(port, 1, 40, 1))
            time.sleep(0.2)
            assert abs(leader.joints()[0] - before) > 0.1

    def test_ours_says_whose_voltage_it_is_and_moves_nothing(self, leader: ServoStandIn) -> None:
        before = leader.joints()
        with make_arm(leader.station) as arm:
            assert all("5.0 V, the station says 10.5 to 13 V" in line for line in arm.mismatches)
            assert len(arm.mismatches) == 6
            with pytest.raises(ActionRejected, match="leader for the follower"):
                arm.command(arm.read().position, np.zeros(6))
        state = leader.bus.state()
        assert not any(state["torque"])
        np.testing.assert_allclose(leader.joints(), before, atol=1e-3)


def test_torque_comes_after_the_goal_was_set_to_where_the_servo_is(feetech: ServoStandIn) -> None:
    """The goal register still holds the goal of last time: here tick 2048, far from home."""
    before = feetech.joints()
    with make_arm(feetech.station) as arm:
        place = arm.read().position
        arm.command(place, np.zeros(6))
        time.sleep(0.3)
        assert all(feetech.bus.state()["torque"])
        np.testing.assert_allclose(feetech.joints(), before, atol=0.01)


def test_one_lost_answer_is_got_over_and_its_reading_is_the_old_one(feetech: ServoStandIn) -> None:
    arm = connected(feetech)
    last = arm.read()
    feetech.bus.tell(fault="corrupt", id=2, times=1)
    reading = arm.read()
    assert (reading.counter, reading.time_ns) == (last.counter, last.time_ns)
    for _ in range(50):
        if arm.read().counter > last.counter:
            break
    assert arm.read().counter > last.counter
    assert arm.state is DeviceState.CONNECTED
    arm.close()


def test_a_servo_that_says_the_same_while_its_goal_moves_makes_no_progress(feetech: ServoStandIn) -> None:
    arm = connected(feetech)
    place = arm.read().position
    arm.command(place, np.zeros(6))
    feetech.bus.tell(frozen=True)
    counters: list[int] = []
    for step in range(30):
        arm.command(place + np.eye(6)[0] * 0.004 * step, np.zeros(6))
        counters.append(arm.read().counter)
    assert counters[-1] == counters[15]
    arm.close()


def test_closing_leaves_the_torque_on_where_the_arm_would_fall(feetech: ServoStandIn) -> None:
    run_and_close(feetech, rest=())
    assert all(feetech.bus.state()["torque"])


def test_closing_in_the_rest_pose_takes_it_away(feetech: ServoStandIn) -> None:
    run_and_close(feetech, rest=tuple(feetech.joints()))
    assert not any(feetech.bus.state()["torque"])


def test_servos_of_different_firmware_are_refused(feetech: ServoStandIn) -> None:
    feetech.bus.tell(set={"id": 4, "address": 1, "size": 1, "value": 11})
    with make_arm(feetech.station) as arm:
        assert any("different firmware" in line and "4: 3.11" in line for line in arm.mismatches), arm.mismatches


def test_firmware_with_broken_packets_is_refused(feetech: ServoStandIn) -> None:
    for servo in feetech.options.ids:
        feetech.bus.tell(set={"id": servo, "address": 1, "size": 1, "value": 9})
    with make_arm(feetech.station) as arm:
        assert any("firmware 3.9, 3.10 or newer is needed" in line for line in arm.mismatches)


@pytest.mark.parametrize(
    ("register", "value", "reason"),
    [((11, 1), 1, "operating mode 1"), ((10, 1), 1, "drive mode 1"), ((0, 2), 1060, "model 1060")],
)
def test_a_dynamixel_that_is_set_up_otherwise_is_refused(
    dynamixel: ServoStandIn, register: tuple[int, int], value: int, reason: str
) -> None:
    dynamixel.bus.tell(set={"id": 6, "address": register[0], "size": register[1], "value": value})
    with make_arm(dynamixel.station) as arm:
        assert [line for line in arm.mismatches if reason in line and "forearm_roll" in line], arm.mismatches


def test_a_servo_that_turns_the_other_way_than_the_station_says_is_refused(dynamixel: ServoStandIn) -> None:
    """A ViperX comes with the drive mode of its shoulder turned round: without it every shoulder motion is mirrored."""
    dynamixel.bus.tell(set={"id": 2, "address": 10, "size": 1, "value": 0})
    with make_arm(dynamixel.station) as arm:
        assert any("servo 2 (shoulder): drive mode 0, 1 is needed" in line for line in arm.mismatches), arm.mismatches


def test_a_shadow_that_follows_nobody_is_refused(dynamixel: ServoStandIn) -> None:
    dynamixel.bus.tell(set={"id": 3, "address": 12, "size": 1, "value": 255})
    with make_arm(dynamixel.station) as arm:
        assert any("servo 3 on the same joint follows 255" in line for line in arm.mismatches), arm.mismatches


def test_a_program_that_stands_still_finds_its_servos_stopped(dynamixel: ServoStandIn) -> None:
    """The servos' own watchdog: goals are refused after it, so that going on would only seem to work."""
    arm = connected(dynamixel)
    place = arm.read().position
    arm.command(place, np.zeros(7))
    time.sleep(0.8)
    for _ in range(3):  # the first answers may be too late on a busy machine
        arm.read()
        if arm.state is DeviceState.FAULT:
            break
    assert arm.state is DeviceState.FAULT
    assert "nobody spoke to it" in arm.fault
    arm.recover()
    arm.command(arm.read().position, np.zeros(7))
    assert arm.state is DeviceState.ACTIVE
    arm.close()


def connected(stand_in: ServoStandIn) -> ServoArm:
    arm = make_arm(stand_in.station)
    assert isinstance(arm, ServoArm)
    arm.connect()
    return arm


def run_and_close(stand_in: ServoStandIn, rest: tuple[float, ...]) -> None:
    options = {**stand_in.station.arm.options, "rest_rad": [float(one) for one in rest]}
    station = replace(stand_in.station, arm=replace(stand_in.station.arm, options=options))
    with make_arm(station) as arm:
        place: Array = arm.read().position
        arm.command(place, np.zeros(len(place)))
        assert all(stand_in.bus.state()["torque"])
