"""The Franka driver against franky-sim, through the vendor's library: libfranka's own protocol, timeouts and errors."""

import os
import signal
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from hardware.arm_drivers import make_arm
from hardware.arms import franka
from hardware.bench_device_faults import TARGETS
from hardware.stand_ins.franky_arm import FrankyProcess
from robot.arm_control import ArmControl
from robot.devices import Arm, DeviceState
from robot.errors import ActionRejected, ConfigError, DeviceDisconnected, DeviceNotFound, MissingDependency
from robot.specs import StationSpec, load_station
from robot.types import Array, Command, Owner

PERIOD_S = 0.005
STANDING_RAD_S = 0.05


@pytest.fixture(scope="module")
def running() -> Iterator[FrankyProcess]:
    pytest.importorskip("franky", reason="needs franky-control: pip install '.[franka]'")
    pytest.importorskip("franky_sim", reason="needs franky-sim: pip install '.[franka-sim]'")
    with FrankyProcess() as robot:
        yield robot


@pytest.fixture
def robot(running: FrankyProcess) -> Iterator[FrankyProcess]:
    yield running
    for fault in ("reflex", "user_stop", "silent", "frozen"):
        running.tell(**{fault: False})
    running.tell(slow=0.0)


@pytest.fixture
def arm(robot: FrankyProcess) -> Iterator[Arm]:
    with make_arm(robot.station()) as arm:
        yield arm


def stream(arm: Arm, target: Array, seconds: float) -> tuple[Array, Array]:
    """Send half a sine from here to the target; return what was asked and what was read, a row per period."""
    begin, asked, found = arm.read().position, [], []
    start_s = time.monotonic()
    while (elapsed_s := time.monotonic() - start_s) < seconds:
        share = (1 - np.cos(np.pi * elapsed_s / seconds)) / 2
        speed = np.pi / (2 * seconds) * np.sin(np.pi * elapsed_s / seconds)
        asked.append(begin + share * (target - begin))
        arm.command(asked[-1], speed * (target - begin))
        found.append(arm.read().position)
        time.sleep(PERIOD_S)
    return np.array(asked), np.array(found)


def moved(arm: Arm, joint: int, by: float) -> Array:
    target = arm.read().position
    target[joint] += by
    return target


def wait_for_fault(arm: Arm, timeout_s: float = 2.0) -> str:
    deadline_s = time.monotonic() + timeout_s
    while arm.state is not DeviceState.FAULT and time.monotonic() < deadline_s:
        try:
            arm.read()
        except DeviceDisconnected:
            break
        time.sleep(PERIOD_S)
    assert arm.state is DeviceState.FAULT
    return arm.fault


def speed_of(robot: FrankyProcess) -> float:
    return float(np.abs(robot.state()["velocity"]).max())


def test_who_connects_keeps_its_scheduling(arm: Arm) -> None:
    """libfranka gives the connecting thread the highest priority, and with it all that this process starts later."""
    assert arm.state is not DeviceState.DISCONNECTED
    arm.command(arm.read().position, np.zeros(8))
    assert os.sched_getscheduler(0) == os.SCHED_OTHER, "nor by the control thread that the first command starts"


def test_it_follows_a_200_hz_stream_with_a_small_lag(arm: Arm) -> None:
    asked, found = stream(arm, moved(arm, 0, 0.3), 2.0)
    lags = range(30)
    apart = [np.abs(asked[: len(asked) - n, 0] - found[n:, 0]).mean() for n in lags]
    assert np.argmin(apart) * 2.0 / len(asked) < 0.1
    assert np.abs(asked - found)[:, :7].max() < 0.05
    assert np.diff(found[:, 0]).min() > -0.01, "it never went backwards"
    stream(arm, moved(arm, 0, -0.3), 2.0)


def test_a_folded_arm_of_little_inertia_is_steady(arm: Arm) -> None:
    begin = arm.read().position
    folded = np.array([0.0, -0.38, 0.0, -2.95, 0.0, 2.6, 0.8, 0.02])
    stream(arm, folded, 3.0)
    for i in range(100):
        at = folded.copy()
        at[0] += 0.02 * (-1) ** (i // 20)
        arm.command(at, np.zeros(8))
        time.sleep(PERIOD_S)
    speeds = []
    for _ in range(120):
        arm.command(folded, np.zeros(8))
        speeds.append(np.abs(arm.read().velocity[:7]).max())
        time.sleep(PERIOD_S)
    assert max(speeds[80:]) < STANDING_RAD_S
    stream(arm, begin, 1.5)


def test_connecting_moves_nothing(robot: FrankyProcess) -> None:
    before = robot.state()["position"]
    with make_arm(robot.station()) as arm:
        assert arm.state is DeviceState.CONNECTED
        time.sleep(0.2)
        assert arm.read().counter > 0
        assert arm.health()["mode"] == "Idle", "no motion was started"
    assert np.allclose(robot.state()["position"], before, atol=1e-3)


@pytest.mark.parametrize(
    ("joint", "by", "words"),
    [(0, 0.3, "first command"), (3, 5.0, "outside"), (5, np.nan, "finite")],
)
def test_a_command_that_no_arm_may_follow_moves_nothing(
    robot: FrankyProcess, arm: Arm, joint: int, by: float, words: str
) -> None:
    before = robot.state()["position"]
    with pytest.raises(ActionRejected, match=words):
        arm.command(moved(arm, joint, by), np.zeros(8))
    time.sleep(0.2)
    assert np.allclose(robot.state()["position"], before, atol=1e-3)


def test_when_commands_stop_it_stands_by_itself(robot: FrankyProcess, arm: Arm) -> None:
    start, begun = arm.read().position, time.monotonic()
    while time.monotonic() - begun < 0.5:
        at = start.copy()
        at[0] += 0.5 * (time.monotonic() - begun)
        arm.command(at, np.eye(8)[0] * 0.5)
        time.sleep(PERIOD_S)
    assert speed_of(robot) > 0.3, "it was moving"
    time.sleep(0.15)
    assert arm.state is DeviceState.HOLDING
    time.sleep(0.15)
    assert speed_of(robot) < STANDING_RAD_S
    time.sleep(0.3)  # what is left of the swing
    where = arm.read().position
    time.sleep(0.3)
    assert np.allclose(arm.read().position, where, atol=5e-3)
    stream(arm, start, 1.0)


def test_after_a_reflex_nothing_moves_until_it_is_recovered(robot: FrankyProcess, arm: Arm) -> None:
    stream(arm, moved(arm, 0, 0.1), 0.5)
    robot.tell(reflex=True)
    assert "joint_reflex" in wait_for_fault(arm)
    before = robot.state()["position"]
    for _ in range(10):
        with pytest.raises(DeviceDisconnected, match="fault"):
            arm.command(arm.read().position, np.zeros(8))
    assert np.allclose(robot.state()["position"], before, atol=1e-3)
    arm.recover()
    assert (arm.state, arm.fault) == (DeviceState.CONNECTED, "")
    with pytest.raises(ActionRejected, match="first command"):
        arm.command(moved(arm, 0, 0.2), np.zeros(8))
    stream(arm, moved(arm, 0, -0.1), 0.5)


def test_no_program_clears_the_user_stop(robot: FrankyProcess, arm: Arm) -> None:
    stream(arm, moved(arm, 0, 0.05), 0.3)
    robot.tell(user_stop=True)
    assert "user stop" in wait_for_fault(arm)
    with pytest.raises(DeviceDisconnected, match="release it at the robot"):
        arm.recover()
    assert arm.state is DeviceState.FAULT
    robot.tell(user_stop=False)
    time.sleep(0.1)
    arm.recover()
    stream(arm, moved(arm, 0, -0.05), 0.3)


@pytest.mark.parametrize("is_moving", [False, True])
@pytest.mark.parametrize("kind", ["silent", "frozen"])
def test_an_old_state_is_never_reported_as_a_new_one(
    robot: FrankyProcess, arm: Arm, kind: str, is_moving: bool
) -> None:
    if is_moving:
        stream(arm, moved(arm, 0, 0.02), 0.2)
    robot.tell(**{kind: True})
    time.sleep(0.1)  # what is on its way arrives, also on a busy machine
    counters, deadline_s = set(), time.monotonic() + 2.0
    with pytest.raises(DeviceDisconnected, match="lost"):
        while time.monotonic() < deadline_s:
            counters.add(arm.read().counter)
            time.sleep(PERIOD_S)
    assert len(counters) == 1
    robot.tell(**{kind: False})
    time.sleep(0.1)
    arm.recover()
    assert arm.read().counter > 0
    stream(arm, moved(arm, 0, 0.02), 0.2)


def test_a_robot_that_is_only_slow_is_not_followed_and_does_not_move_until_a_reset(
    robot: FrankyProcess, arm: Arm
) -> None:
    """States 50 ms apart are each new when they come, and too old to go by long before the next one does."""
    control, place = ArmControl(arm, robot.station()), arm.read().position
    limit = tomllib.loads(TARGETS.read_text())["device_faults"]["moved"]  # rad

    def follow(seconds: float, until: str = "") -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and control.state != until:
            place[0] += 0.2 * PERIOD_S
            control.follow(Command(0, 0, place, Owner.POLICY))
            control.step()
            time.sleep(PERIOD_S)

    for _ in range(3):  # a machine that holds the control up ends a healthy motion too
        control.step()
        assert control.reset()[0]
        follow(0.3)
        if control.is_released:
            break
        place = arm.read().position
    assert control.is_released and speed_of(robot) > STANDING_RAD_S
    robot.tell(slow=0.05)
    follow(1.1, until="fault:stale")
    assert control.state == "fault:stale"
    time.sleep(0.3)
    stood = robot.state()["position"]
    robot.tell(slow=0.0)
    follow(0.4)
    assert np.allclose(robot.state()["position"], stood, atol=limit)  # it settles where it was told to stand
    assert control.reset()[0]


def test_an_unplugged_robot_is_lost_and_does_not_recover() -> None:
    pytest.importorskip("franky_sim")
    with FrankyProcess() as robot, make_arm(robot.station()) as arm:
        stream(arm, moved(arm, 0, 0.05), 0.3)
        robot.unplug()
        assert "lost" in wait_for_fault(arm)
        with pytest.raises(DeviceNotFound, match="no robot answers"):
            arm.recover()
        with pytest.raises(DeviceDisconnected):
            arm.read()


def test_closing_in_full_motion_leaves_the_arm_standing(robot: FrankyProcess) -> None:
    arm = make_arm(robot.station())
    arm.connect()
    start, begun = arm.read().position, time.monotonic()
    while time.monotonic() - begun < 0.4:
        at = start.copy()
        at[0] -= 0.5 * (time.monotonic() - begun)
        arm.command(at, np.eye(8)[0] * -0.5)
        time.sleep(PERIOD_S)
    arm.close()
    arm.close()
    assert arm.state is DeviceState.DISCONNECTED
    assert speed_of(robot) < STANDING_RAD_S


def test_the_hand_takes_the_newest_goal(arm: Arm) -> None:
    at = arm.read().position
    for finger_m in (0.0, 0.04, 0.005, 0.03):
        at[7] = finger_m
        arm.command(at, np.zeros(8))
        time.sleep(0.1)
    deadline_s = time.monotonic() + 4.0
    while abs(arm.read().position[7] - 0.03) > 0.001 and time.monotonic() < deadline_s:
        arm.command(at, np.zeros(8))
        time.sleep(0.02)
    assert arm.read().position[7] == pytest.approx(0.03, abs=0.001)


class NaiveFranka(franka.FrankaArm):
    """What a driver does that trusts the station file: it does not ask the robot for its limits."""

    def connect(self) -> None:
        super().connect()
        self.mismatches = ()


def test_a_panda_is_not_moved_as_an_fr3() -> None:
    pytest.importorskip("franky_sim")
    with FrankyProcess("--panda") as robot:
        station = robot.station()
        beyond = -1.7728  # of joint 2: an FR3 goes there, a Panda ends at -1.7628
        with NaiveFranka(station, franka.FrankaOptions(realtime="ignore")) as naive:
            target = moved(naive, 1, beyond - naive.read().position[1])
            stream(naive, target, 3.0)
            deadline_s = time.monotonic() + 3.0
            while naive.read().position[1] >= -1.765 and time.monotonic() < deadline_s:  # what it still lags behind
                naive.command(target, np.zeros(8))
                time.sleep(PERIOD_S)
            assert naive.read().position[1] < -1.765, "the naive driver moves it beyond its own limit"
            stream(naive, moved(naive, 1, -0.5 - naive.read().position[1]), 2.0)
        with make_arm(station) as arm:
            assert any("fr3_joint2" in line and "-1.7628" in line for line in arm.mismatches)
            assert any("fr3_joint6" in line for line in arm.mismatches)
            before = robot.state()["position"]
            with pytest.raises(ActionRejected, match="not the one of the station file"):
                arm.command(arm.read().position, np.zeros(8))
            time.sleep(0.1)
            assert np.allclose(robot.state()["position"], before, atol=1e-3)


def test_an_fr3_with_the_limits_of_its_station_is_moved(arm: Arm) -> None:
    assert arm.mismatches == ()


def test_another_version_of_the_robot_is_named() -> None:
    pytest.importorskip("franky_sim")
    with FrankyProcess("--version", "9") as robot, pytest.raises(DeviceNotFound, match=r"another version.*install"):
        make_arm(robot.station()).connect()


def test_nobody_there_says_what_to_look_at() -> None:
    pytest.importorskip("franky")
    station = station_at("127.9.9.9", realtime="ignore")
    with pytest.raises(DeviceNotFound, match=r"127\.9\.9\.9.*FCI"):
        make_arm(station).connect()


def test_without_its_sdk_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "franky", None)
    arm = make_arm(load_station("fr3"))
    assert arm.features.names[0] == "fr3_joint1"
    with pytest.raises(MissingDependency, match=r"pip install '\.\[franka\]'"):
        arm.connect()


def test_what_a_station_gets_wrong_is_named() -> None:
    with pytest.raises(ConfigError, match="address"):
        make_arm(station_at("")).connect()
    with pytest.raises(ConfigError, match="dynamics_factor"):
        make_arm(station_at("127.0.0.1", dynamics_factor=2.0))
    with pytest.raises(ConfigError, match="stifness"):
        make_arm(station_at("127.0.0.1", stifness=[1.0]))


def station_at(address: str, **options: object) -> StationSpec:
    station = load_station("fr3")
    return replace(station, arm=replace(station.arm, address=address, options=options))


def test_a_frozen_robot_and_a_killed_one_are_noticed_alike(robot: FrankyProcess, arm: Arm) -> None:
    stream(arm, moved(arm, 0, 0.02), 0.2)
    os.kill(robot.pid, signal.SIGSTOP)
    try:
        begun_s = time.monotonic()
        assert "lost" in wait_for_fault(arm)
        assert time.monotonic() - begun_s < 1.0
    finally:
        os.kill(robot.pid, signal.SIGCONT)
