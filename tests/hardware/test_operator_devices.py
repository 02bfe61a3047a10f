"""Operator devices on the bytes they send: what their reports mean, and what idle hands must not do."""

import os
import pty
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardware.arm_drivers import make_arm
from hardware.operator_devices.byte_device import Adapter
from hardware.operator_devices.controls import ControlOptions
from hardware.operator_devices.gamepad import (
    ABSOLUTE,
    EVENT,
    KEY,
    MODE,
    NORTH,
    PAD_Y,
    RIGHT_BUMPER,
    RIGHT_TRIGGER,
    Gamepad,
    GamepadEvents,
    GamepadOptions,
    find_gamepad,
)
from hardware.operator_devices.keyboard import Keyboard, KeyboardBytes, KeyboardOptions
from hardware.operator_devices.leader import LeaderArm, LeaderJoints, LeaderOptions
from hardware.operator_devices.spacemouse import (
    SpaceMouse,
    SpaceMouseOptions,
    SpaceMouseReports,
    find_spacemouse,
)
from hardware.stand_ins.servo_arms import feetech
from robot import ownership
from robot.devices import FakeArm, FakeOperator
from robot.errors import ConfigError, DeviceDisconnected, DeviceNotFound
from robot.operator_devices import Beside, make_operator_device, operator_device_names, read_options
from robot.ownership import Ownership, OwnershipRules, advance
from robot.specs import load_station
from robot.types import NS_PER_S, Mark, OperatorInput, OwnerRequest, RobotState

STATION = load_station("fr3_sim")
SPEED, TURN = STATION.operator.linear_speed_m_s, STATION.operator.angular_speed_rad_s
MS = NS_PER_S // 1000


def motion(*axes: int) -> bytes:
    """Return a report of a SpaceMouse: translation and rotation in one, or translation alone."""
    return bytes([1]) + struct.pack(f"<{len(axes)}h", *axes)


def spacemouse(**controls: Any) -> SpaceMouseReports:
    options = ControlOptions(**({"trigger": "motion"} | controls))
    return SpaceMouseReports(STATION, SpaceMouseOptions(controls=options))


def engage(device: Adapter, report: bytes, at_ms: int = 0) -> int:
    """Deflect for as long as a motion-triggered device wants; returns the time [ms]."""
    for t in range(at_ms, at_ms + 161, 16):
        device.feed(report, t * MS)
    return at_ms + 161


def test_a_report_of_thirteen_bytes_moves_all_six_axes_and_right_is_right() -> None:
    device = spacemouse(response=1.0, dead_zone=0.0)
    now = engage(device, motion(350, 0, 0, 0, 0, 175))
    packet = device.packet(now * MS)
    assert packet.engaged
    np.testing.assert_allclose(packet.twist, [0, -SPEED, 0, 0, 0, -TURN / 2], atol=1e-12)
    assert packet.raw == motion(350, 0, 0, 0, 0, 175).hex()
    device.feed(motion(0, -350, -350, 0, 0, 0), now * MS)
    np.testing.assert_allclose(device.packet(now * MS).twist, [SPEED, 0, SPEED, 0, 0, 0], atol=1e-12)


def test_models_that_send_the_rotation_apart_are_understood_as_well() -> None:
    device = spacemouse(response=1.0, dead_zone=0.0)
    now = engage(device, motion(0, -350, 0))
    device.feed(b"\x02" + struct.pack("<3h", 350, 0, 0), now * MS)
    np.testing.assert_allclose(device.packet(now * MS).twist, [SPEED, 0, 0, 0, -TURN, 0], atol=1e-12)


def test_the_dead_zone_is_five_percent_and_the_response_begins_at_its_edge() -> None:
    device = spacemouse()
    now = engage(device, motion(17, 17, -17, 17, 17, 17))  # 17 / 350 is less
    assert not device.packet(now * MS).engaged
    now = engage(device, motion(0, -350, -18, 0, 0, 0), now)
    twist = device.packet(now * MS).twist
    assert twist[0] == pytest.approx(SPEED)
    assert 0.0 < twist[2] < 1e-6


def test_buttons_of_a_spacemouse_count_once_per_press() -> None:
    device = spacemouse()
    now = engage(device, motion(0, -350, 0, 0, 0, 0))
    device.feel(RobotState(0, STATION.home, np.zeros(8)))
    for report in (b"\x03\x01\x00", b"\x03\x01\x00", b"\x03\x03\x00", b"\x03\x00\x00"):
        device.feed(report, now * MS)
    packet = device.packet(now * MS)
    assert packet.gripper == STATION.gripper.joint_limits[0]  # it was open
    assert packet.request is OwnerRequest.HAND_BACK
    assert device.packet(now * MS).request is OwnerRequest.NONE


def test_garbage_is_no_motion() -> None:
    device = spacemouse(on_s=0.0)
    for report in (b"", b"\x01", b"\x01\x02\x03", b"\x17\x64", b"\xff" * 64, b"\x02", b"\x03"):
        device.feed(report, 1)
    assert device.packet(2).twist == (0.0,) * 6


def takeovers(device: Adapter, reports: Iterator[tuple[int, bytes]], seconds: float, tick_s: float = 0.05) -> int:
    """Let the ownership machine see a device tick by tick; returns how many interventions began."""
    rules, begun = OwnershipRules(), 0
    state, pending = ownership.begin(Ownership(), 0), next(reports, None)
    for tick in range(1, round(seconds / tick_s)):
        now_ns = round(tick * tick_s * NS_PER_S)
        while pending is not None and pending[0] <= now_ns:
            device.feed(pending[1], pending[0])
            pending = next(reports, None)
        before = state.intervention_id
        state = advance(rules, state, time_ns=now_ns, operator=device.packet(now_ns), operator_age_s=0.0, fault=False)
        begun += state.intervention_id >= 0 and state.intervention_id != before
        state = ownership.count_policy_tick(state)
    return begun


def jitter(seconds: float, amplitude: int, spike: int) -> Iterator[tuple[int, bytes]]:
    """Yield an idle device: 62.5 reports a second within `amplitude`, a fiftieth of them with a spike on one axis."""
    rng, count = np.random.default_rng(0), round(seconds * 62.5)
    axes = rng.integers(-amplitude, amplitude + 1, (count, 6))
    spiked = np.flatnonzero(rng.random(count) < 0.02)
    axes[spiked, rng.integers(6, size=len(spiked))] = spike
    for i, report in enumerate(axes.tolist()):
        yield i * 16 * MS, motion(*report)


def test_ten_minutes_of_an_idle_jittering_device_are_no_takeover() -> None:
    assert takeovers(spacemouse(), jitter(600.0, amplitude=16, spike=200), 600.0) == 0


def test_the_same_minutes_do_take_over_without_dead_zone_and_hysteresis() -> None:
    assert takeovers(spacemouse(dead_zone=0.0, on_s=0.0), jitter(20.0, amplitude=16, spike=200), 20.0) > 0


def test_a_single_zero_does_not_split_a_takeover() -> None:
    still = motion(0, 0, 0, 0, 0, 0)
    moved = [(t, still if t % 160 == 0 else motion(0, -300, 0, 0, 0, 0)) for t in range(0, 6000, 16)]
    reports = iter([(t * MS, report) for t, report in moved])
    assert takeovers(spacemouse(), reports, 5.9) == 1


def test_letting_go_gives_back_by_itself_only_where_that_was_asked_for() -> None:
    for hand_back_s, wanted in ((0.0, OwnerRequest.NONE), (0.5, OwnerRequest.HAND_BACK)):
        device = spacemouse(hand_back_s=hand_back_s)
        now = engage(device, motion(0, -350, 0, 0, 0, 0))
        device.feed(motion(0, 0, 0, 0, 0, 0), now * MS)
        asked = [device.packet((now + t) * MS) for t in range(0, 1500, 20)]
        released = [packet.request for packet in asked if not packet.engaged]
        assert max(released) is wanted
        assert released.count(OwnerRequest.HAND_BACK) == bool(wanted)


def test_the_interface_with_the_data_is_found_among_those_of_a_receiver(tmp_path: Path) -> None:
    with pytest.raises(DeviceNotFound, match="no SpaceMouse"):
        find_spacemouse(tmp_path)
    for node, vendor, descriptor in (
        ("hidraw0", "0000046D", b"\x05\x01\x09\x06"),  # a keyboard of the same vendor
        ("hidraw1", "0000256F", b"\x05\x01\x09\x02"),
        ("hidraw2", "0000256F", b"\x05\x01\x09\x08\xa1\x01"),
    ):
        folder = tmp_path / node / "device"
        folder.mkdir(parents=True)
        (folder / "uevent").write_text(f"DRIVER=hid-generic\nHID_ID=0003:{vendor}:0000C652\n")
        (folder / "report_descriptor").write_bytes(descriptor)
    assert find_spacemouse(tmp_path) == "/dev/hidraw2"


def event(kind: int, code: int, value: int) -> bytes:
    return EVENT.pack(0, 0, kind, code, value)


def gamepad(**controls: Any) -> GamepadEvents:
    options = ControlOptions(**({"dead_zone": 0.1, "response": 2.0} | controls))
    return GamepadEvents(STATION, GamepadOptions(controls=options))


def test_a_gamepad_owns_the_arm_while_its_bumper_is_held() -> None:
    device = gamepad(response=1.0)
    device.feed(event(ABSOLUTE, 1, -32768), 0)
    packet = device.packet(10)
    assert (packet.engaged, packet.request, packet.twist) == (False, OwnerRequest.NONE, (0.0,) * 6)
    device.feed(event(KEY, RIGHT_BUMPER, 1), 20)
    packet = device.packet(30)
    assert (packet.engaged, packet.request) == (True, OwnerRequest.TAKE_OVER)
    np.testing.assert_allclose(packet.twist, [SPEED, 0, 0, 0, 0, 0], atol=1e-5)
    device.feed(event(KEY, RIGHT_BUMPER, 0), 40)
    assert not device.packet(50).engaged


def test_what_was_frozen_is_taken_over_again_only_by_a_new_press() -> None:
    device = gamepad()
    device.feed(event(KEY, RIGHT_BUMPER, 1), 0)
    device.feed(event(KEY, 0x13D, 1), 10 * MS)
    assert device.packet(20 * MS).request is OwnerRequest.FREEZE
    assert device.packet(40 * MS).request is OwnerRequest.NONE
    device.feed(event(KEY, RIGHT_BUMPER, 0) + event(KEY, RIGHT_BUMPER, 1), 60 * MS)
    assert device.packet(80 * MS).request is OwnerRequest.TAKE_OVER


def test_events_may_be_cut_anywhere_and_triggers_rest_where_they_rest() -> None:
    device = gamepad()
    device.ranges = {RIGHT_TRIGGER: (0, 1023)}
    stream = event(KEY, RIGHT_BUMPER, 1) + event(ABSOLUTE, RIGHT_TRIGGER, 0) + event(KEY, NORTH, 1)
    for i in range(len(stream)):
        device.feed(stream[i : i + 1], i)
    packet = device.packet(100)
    assert (packet.engaged, packet.mark, packet.gripper) == (True, Mark.SUCCESS, None)
    device.feed(event(ABSOLUTE, RIGHT_TRIGGER, 900) + event(KEY, MODE, 1), 110)
    packet = device.packet(120)
    assert (packet.request, packet.gripper) == (OwnerRequest.STOP, STATION.gripper.joint_limits[0])


def test_the_directional_pad_has_a_range_of_its_own() -> None:
    device = gamepad(response=1.0, dead_zone=0.0)
    device.feed(event(KEY, RIGHT_BUMPER, 1) + event(ABSOLUTE, PAD_Y, -1), 0)
    np.testing.assert_allclose(device.packet(1).twist, [0, 0, 0, 0, TURN, 0], atol=1e-9)


def test_a_gamepad_is_told_from_other_event_devices(tmp_path: Path) -> None:
    with pytest.raises(DeviceNotFound, match="no gamepad"):
        find_gamepad(tmp_path)
    for node, keys in (("event0", "ffff 0 0 0 0"), ("event3", "7cdb000000000000 0 0 0 0")):
        folder = tmp_path / node / "device" / "capabilities"
        folder.mkdir(parents=True)
        (folder / "key").write_text(keys + "\n")
    assert find_gamepad(tmp_path) == "/dev/input/event3"


def keyboard(**options: Any) -> KeyboardBytes:
    return KeyboardBytes(STATION, KeyboardOptions(**options))


def test_a_key_is_down_as_long_as_it_repeats_and_a_little_longer() -> None:
    device = keyboard()
    device.feed(b"w", 0)
    assert device.packet(10 * MS).twist[0] == pytest.approx(SPEED)
    assert device.packet(140 * MS).twist[0] == pytest.approx(SPEED)
    gap = device.packet(200 * MS)  # the first repetition has not come yet: it stands, and is still owned
    assert (gap.engaged, gap.twist[0]) == (True, 0.0)
    for t in range(400, 800, 33):
        device.feed(b"w", t * MS)
        assert device.packet((t + 32) * MS).twist[0] == pytest.approx(SPEED)
    assert not device.packet(1600 * MS).engaged


def test_arrows_come_in_pieces_over_a_slow_line_and_are_no_letters() -> None:
    device = keyboard()
    for t, piece in enumerate((b"\x1b", b"[", b"A", b"\x1bOC")):
        device.feed(piece, t)
    packet = device.packet(10)
    np.testing.assert_allclose(packet.twist, [SPEED, -SPEED, 0, 0, 0, 0])
    assert (packet.request, packet.mark) == (OwnerRequest.TAKE_OVER, Mark.NONE)


def test_keys_label_and_a_stop_wins() -> None:
    device = keyboard()
    device.feed(b"txh", 0)
    assert device.packet(1).request is OwnerRequest.STOP
    device.feed(b"c", 2)
    assert device.packet(3).mark is Mark.CORRECTION
    device.feed(b"e", 4)
    packet = device.packet(5)
    assert (packet.mark, packet.mark_back_s) == (Mark.WENT_WRONG, 2.0)
    device.feed(b"\xc3\xa9\x00~", 6)  # what is no key is nothing
    assert device.packet(7).mark is Mark.NONE


def test_the_keyboard_reads_a_real_terminal_and_leaves_it_as_it_was() -> None:
    import termios

    ours, theirs = pty.openpty()
    path = os.ttyname(theirs)
    before = termios.tcgetattr(theirs)
    with Keyboard(keyboard(), path) as device:
        os.write(ours, b"d")
        deadline_s = time.monotonic() + 2.0
        while not (packet := device.read()).engaged and time.monotonic() < deadline_s:
            time.sleep(0.005)
        assert packet.twist[1] == pytest.approx(-SPEED)
        assert packet.request is OwnerRequest.TAKE_OVER
    assert termios.tcgetattr(theirs)[3] == before[3]
    os.close(ours)
    os.close(theirs)


def test_without_a_terminal_the_keyboard_says_so() -> None:
    with pytest.raises(DeviceNotFound, match="terminal"):
        Keyboard(keyboard(), os.devnull).connect()


@pytest.mark.parametrize("make", [lambda path: SpaceMouse(spacemouse(), path), lambda path: Gamepad(gamepad(), path)])
def test_a_device_that_is_pulled_out_is_gone_and_not_silent(make: Callable[[str], Any], tmp_path: Path) -> None:
    path = tmp_path / "device"
    os.mkfifo(path)
    with make(str(path)) as device:
        writer = os.open(path, os.O_WRONLY)
        assert device.read().twist == (0.0,) * 6
        os.close(writer)
        with pytest.raises(DeviceDisconnected, match="is gone"):
            device.read()
    with pytest.raises(DeviceNotFound):
        make(str(tmp_path / "nothing")).connect()


ARM = load_station("so101_sim")


def leader(**options: Any) -> LeaderJoints:
    return LeaderJoints(ARM, load_station("so101"), LeaderOptions("so101", **options))


def test_a_leader_takes_over_when_it_is_moved_and_lets_go_when_it_rests() -> None:
    device, home = leader(), ARM.home.copy()
    for t in range(0, 500, 20):
        device.feed(home, t * MS)
    assert not device.packet(500 * MS).engaged
    for t in range(500, 900, 20):
        home = home + np.eye(6)[0] * 0.01  # 0.5 rad/s
        device.feed(home, t * MS)
    packet = device.packet(900 * MS)
    assert (packet.engaged, packet.request) == (True, OwnerRequest.TAKE_OVER)
    np.testing.assert_allclose(packet.joints, home[:-1])
    assert not device.packet(3000 * MS).engaged


def test_a_mirrored_leader_has_signs_and_its_gripper_the_follower_s_range() -> None:
    device = leader(signs=(-1.0, 1.0, 1.0, 1.0, 1.0))
    high = load_station("so101").gripper.joint_limits[1]
    device.feed(np.array([0.3, 0.0, 0.0, 0.0, 0.0, high]), 0)
    packet = device.packet(1)
    assert packet.joints is not None
    assert packet.joints[0] == -0.3
    assert packet.gripper == pytest.approx(ARM.gripper.joint_limits[1])
    with pytest.raises(ConfigError, match="joints"):
        LeaderJoints(STATION, load_station("so101"), LeaderOptions("so101"))
    with pytest.raises(ConfigError, match="side"):
        leader(side="left")


def test_a_leader_of_real_registers_is_read_and_never_gets_torque() -> None:
    pytest.importorskip("scservo_sdk")
    with feetech() as stand_in:
        options = LeaderOptions("so101")
        with LeaderArm(make_arm(stand_in.station), LeaderJoints(ARM, stand_in.station, options)) as device:
            packet = device.read()
            joints, torque = stand_in.powered_joints()
    assert packet.joints is not None
    np.testing.assert_allclose(packet.joints, joints[:-1], atol=2e-3)
    assert not torque.any()
    assert not packet.engaged


def test_keys_beside_a_leader_own_the_arm_until_they_say_otherwise() -> None:
    arm = FakeArm(ARM)
    said = [OperatorInput(i, i) for i in range(6)]
    said[1] = replace(said[1], request=OwnerRequest.TAKE_OVER)
    said[3] = replace(said[3], mark=Mark.CORRECTION)
    said[4] = replace(said[4], mark=Mark.SUCCESS)
    device = Beside(LeaderArm(arm, leader(trigger="keys")), FakeOperator(said))
    with device:
        packets = [device.read() for _ in range(6)]
    assert [packet.engaged for packet in packets] == [False, True, True, True, False, False]
    assert [packet.mark for packet in packets][3:5] == [Mark.CORRECTION, Mark.SUCCESS]
    assert packets[1].request is OwnerRequest.TAKE_OVER
    assert all(packet.joints is not None for packet in packets)


def test_devices_are_found_by_name_and_wrong_options_are_named() -> None:
    assert {"spacemouse", "gamepad", "keyboard", "leader"} <= set(operator_device_names())
    options = read_options(["controls.dead_zone=0.2", "path=/dev/hidraw9"])
    device = make_operator_device("spacemouse", STATION, options)
    with pytest.raises(DeviceNotFound, match="hidraw9"):
        device.connect()
    with pytest.raises(ConfigError, match="dead_zon"):
        make_operator_device("gamepad", STATION, read_options(["controls.dead_zon=1"]))
    with pytest.raises(ConfigError, match="spacemouse"):
        make_operator_device("spacemous", STATION)
    with pytest.raises(ConfigError, match="name=value"):
        read_options(["fast"])
