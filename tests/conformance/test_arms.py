"""Every arm driver that has a stand-in, the fake and the simulated arm: the contract of `robot.devices.Arm`.

A driver of another package takes part once the package registers it in `tandem.arm_drivers` and its stand-in in
`tandem.arm_stand_ins`: see docs/extending.md.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from robot.arm_control import ArmControl
from robot.devices import Arm, DeviceState, JointReading
from robot.errors import ActionRejected, DeviceDisconnected, MissingDependency
from robot.types import NS_PER_S, Array
from tests.conformance.arms import Rig, arm_names, open_rig, still

PERIOD_S = 0.01
SOON_S = 0.5  # generous: these are processes on a busy machine; reaction times are `tandem bench device_faults`
STANDS = 0.01  # [rad, m]


@pytest.fixture(params=arm_names())
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with open_rig(request.param) as made:
        try:
            yield made
        finally:
            made.arm.close()


def repeat(action: Callable[[], object], seconds: float) -> None:
    """Do something every period for a while."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        action()
        time.sleep(PERIOD_S)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + 10 * SOON_S
    while not condition():
        assert time.monotonic() < end_s, what
        time.sleep(PERIOD_S)


def try_read(arm: Arm) -> JointReading | None:
    try:
        return arm.read()
    except DeviceDisconnected:
        return None


def stay(arm: Arm, seconds: float = 0.1) -> Array:
    """Command the arm to where it is for a while; return that place."""
    place = arm.read().position

    def once() -> None:
        arm.read()
        arm.command(place, still(place))

    repeat(once, seconds)
    return place


def towards(rig: Rig, place: Array, step: float = 0.1) -> Array:
    """Return a place near by, within the limits."""
    goal = place.copy()
    middle = (rig.station.position_lower[0] + rig.station.position_upper[0]) / 2
    goal[0] += step if place[0] < middle else -step
    return goal


def test_features_are_known_before_connecting(rig: Rig) -> None:
    assert rig.arm.state is DeviceState.DISCONNECTED
    assert rig.arm.features.kind == "arm"
    assert rig.arm.features.names == rig.station.joint_names
    assert rig.arm.features.shape == (len(rig.station.joint_names),)
    assert rig.arm.features.rate_hz == rig.station.arm.state_rate_hz
    with pytest.raises(DeviceDisconnected):
        rig.arm.read()


def test_without_its_sdk_one_error_names_the_extra(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    if not rig.stand_in.sdk:
        pytest.skip("it needs no SDK")
    for module in [name for name in sys.modules if name.partition(".")[0] in rig.stand_in.sdk]:
        monkeypatch.delitem(sys.modules, module)
    for module in rig.stand_in.sdk:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency, match=rf"pip install '\.\[{rig.name}\]'.*system"):
        rig.arm.connect()
    assert rig.arm.state is DeviceState.DISCONNECTED


def test_connecting_and_reading_move_nothing(rig: Rig) -> None:
    before = rig.stand_in.joints()
    rig.arm.connect()
    assert rig.arm.state is DeviceState.CONNECTED
    assert not rig.arm.mismatches
    repeat(rig.arm.read, 0.2)
    np.testing.assert_allclose(rig.stand_in.joints(), before, atol=STANDS)
    np.testing.assert_allclose(rig.arm.read().position, before, atol=STANDS)
    assert rig.arm.state is DeviceState.CONNECTED


def test_the_first_command_must_be_where_the_arm_is(rig: Rig) -> None:
    rig.arm.connect()
    place = rig.arm.read().position
    with pytest.raises(ActionRejected, match="first command"):
        rig.arm.command(towards(rig, place), still(place))
    assert rig.arm.state is DeviceState.CONNECTED
    stay(rig.arm)
    assert rig.arm.state is DeviceState.ACTIVE
    np.testing.assert_allclose(rig.stand_in.joints(), place, atol=STANDS)


def test_broken_commands_are_refused_and_move_nothing(rig: Rig) -> None:
    rig.arm.connect()
    place = stay(rig.arm)
    outside = place.copy()
    outside[0] = rig.station.position_upper[0] + 0.5
    for broken in (outside, place * np.nan, place[:-1]):
        with pytest.raises(ActionRejected):
            rig.arm.command(broken, still(broken))
    repeat(rig.arm.read, 0.1)
    np.testing.assert_allclose(rig.stand_in.joints(), place, atol=STANDS)


def test_it_goes_where_it_is_told_and_says_so(rig: Rig) -> None:
    rig.arm.connect()
    place = stay(rig.arm)
    goal = towards(rig, place)
    for share in np.linspace(0.0, 1.0, 50):
        rig.arm.read()
        rig.arm.command(place + share * (goal - place), (goal - place) / (50 * PERIOD_S))
        time.sleep(PERIOD_S)

    def settle() -> None:
        rig.arm.read()
        rig.arm.command(goal, still(goal))

    repeat(settle, 0.3)
    np.testing.assert_allclose(rig.stand_in.joints()[0], goal[0], atol=STANDS)
    np.testing.assert_allclose(rig.arm.read().position, rig.stand_in.joints(), atol=STANDS)


def test_readings_are_new_in_order_and_recent(rig: Rig) -> None:
    rig.arm.connect()
    last = rig.arm.read()
    for _ in range(10):
        time.sleep(PERIOD_S)
        reading = rig.arm.read()
        assert reading.counter > last.counter
        assert reading.time_ns > last.time_ns
        assert time.monotonic_ns() - reading.time_ns < SOON_S * NS_PER_S
        last = reading


def test_without_commands_it_stands_and_holds_by_itself(rig: Rig) -> None:
    rig.arm.connect()
    place = stay(rig.arm)
    goal = towards(rig, place, 0.05)
    rig.arm.command(goal, still(goal))
    repeat(rig.arm.read, SOON_S)
    assert rig.arm.state is DeviceState.HOLDING
    stood = rig.stand_in.joints()
    repeat(rig.arm.read, 0.2)
    np.testing.assert_allclose(rig.stand_in.joints(), stood, atol=STANDS)


def test_an_arm_that_says_nothing_is_never_taken_for_a_fresh_one(rig: Rig) -> None:
    rig.arm.connect()
    last = rig.arm.read()
    rig.stand_in.mute()
    begun = time.monotonic_ns()
    readings: list[JointReading | None] = []
    repeat(lambda: readings.append(try_read(rig.arm)), SOON_S)
    for reading in filter(None, readings):
        assert reading.counter <= last.counter + 1, "one may have been on its way"
        assert reading.time_ns <= begun + 0.05 * NS_PER_S
    assert readings[-1] is None or readings[-1].counter == readings[-4].counter


def test_a_fault_holds_the_arm_until_recover(rig: Rig) -> None:
    rig.arm.connect()
    place = stay(rig.arm)
    rig.stand_in.fail()
    wait_for(lambda: try_read(rig.arm) is not None and rig.arm.state is DeviceState.FAULT, "it notices its fault")
    assert rig.arm.fault
    rig.stand_in.mend()
    repeat(lambda: try_read(rig.arm), 0.2)
    assert rig.arm.state is DeviceState.FAULT, "that its cause is gone frees nothing"
    with pytest.raises(DeviceDisconnected):
        rig.arm.command(place, still(place))
    np.testing.assert_allclose(rig.stand_in.joints(), place, atol=STANDS)
    rig.arm.recover()
    assert rig.arm.state is DeviceState.CONNECTED
    assert not rig.arm.fault
    np.testing.assert_allclose(rig.stand_in.joints(), place, atol=STANDS)
    stay(rig.arm)
    assert rig.arm.state is DeviceState.ACTIVE


def test_a_fault_whose_cause_is_there_is_not_left(rig: Rig) -> None:
    if rig.name == "fake":
        pytest.skip("the fake's fault has no cause")
    rig.arm.connect()
    stay(rig.arm)
    rig.stand_in.fail()
    wait_for(lambda: try_read(rig.arm) is not None and rig.arm.state is DeviceState.FAULT, "it notices its fault")
    with pytest.raises(DeviceDisconnected, match="still at fault"):
        rig.arm.recover()
    assert rig.arm.state is DeviceState.FAULT


def test_closing_stops_where_it_is_and_may_come_twice(rig: Rig) -> None:
    with rig.arm as arm:
        place = stay(arm)
        goal = towards(rig, place, 0.05)
        arm.command(goal, still(goal))
    assert rig.arm.state is DeviceState.DISCONNECTED
    time.sleep(0.1)
    stood = rig.stand_in.joints()
    rig.arm.close()
    time.sleep(0.1)
    np.testing.assert_allclose(rig.stand_in.joints(), stood, atol=STANDS)
    with pytest.raises(DeviceDisconnected):
        rig.arm.command(place, still(place))


def test_an_arm_that_is_not_the_one_of_the_station_says_so_and_does_not_move(rig: Rig) -> None:
    joints = rig.station.arm.joints
    other = (replace(joints[0], upper_rad=joints[0].upper_rad / 2), *joints[1:])
    station = replace(rig.station, arm=replace(rig.station.arm, joints=other))
    with rig.make(station) as arm:
        assert any(joints[0].name in line and "limits" in line for line in arm.mismatches), arm.mismatches
        place = arm.read().position
        with pytest.raises(ActionRejected, match="limits"):
            arm.command(place, still(place))
        control = ArmControl(arm, station)
        done, text = control.reset()
        assert not done
        assert "limits" in text
        repeat(control.step, 0.1)
        np.testing.assert_allclose(rig.stand_in.joints(), place, atol=STANDS)
        assert arm.state is DeviceState.CONNECTED
