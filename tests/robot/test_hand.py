"""What a hand asks for: every class of device takes over without a jump, and goes where it is led."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from robot import geometry, ownership
from robot.hand import ALIGNED_RAD, FINE_SHARE, frame_axes
from robot.ownership import Mode
from robot.record import Clip, TickRecord
from robot.specs import ActionSpec, StationSpec, load_station
from robot.tick import Cell, TickInputs, start, tick
from robot.types import Array, Observation, OperatorInput, OwnerRequest, RobotState

PLACES = load_station("fr3_sim")
JOINTS = replace(
    PLACES, action=ActionSpec("joint_position", tuple(PLACES.position_lower), tuple(PLACES.position_upper))
)
CELLS = {"tcp_position": Cell(PLACES), "joint_position": Cell(JOINTS)}
ARM = PLACES.home[:-1]
TURN = geometry.from_rotation_vector(np.array([0.0, 0.0, 0.2]))


class Drive:
    """Ticks of a world that follows perfectly, a person driving from the second one on."""

    def __init__(self, space: str = "tcp_position") -> None:
        self.cell = CELLS[space]
        self.state = start(self.cell, PLACES.home, 0)
        self.state = replace(self.state, ownership=ownership.begin(self.state.ownership, 0, autonomous=False))
        self.time_ns, self.seq = PLACES.period_ns, 0
        self.records: list[TickRecord] = []

    def step(self, **packet: Any) -> TickRecord:
        position = self.state.filter.position.copy()
        seen = Observation(self.time_ns, RobotState(self.time_ns, position, np.zeros(8)), {"joint_position": position})
        given = {"engaged": True, "request": OwnerRequest.TAKE_OVER} | packet
        operator = OperatorInput(self.seq, self.time_ns, "hand", **given)
        self.state, _, record = tick(self.cell, self.state, TickInputs(self.time_ns, seen, operator=operator))
        self.seq, self.time_ns = self.seq + 1, self.time_ns + PLACES.period_ns
        assert record is not None
        self.records.append(record)
        return record

    def pose(self) -> tuple[Array, Array]:
        return self.cell.kinematics.sides[0].tcp_pose(self.state.filter.position)


def hand(x: float = 0.0, y: float = 0.0, z: float = 0.0, quat: Any = geometry.IDENTITY_WXYZ) -> tuple[float, ...]:
    return (x, y, z, *(float(v) for v in quat))


HELD = {
    "twist": {"twist": (0.0,) * 6},
    "pose": {"pose": hand(3.0, -2.0, 1.0, TURN)},  # wherever the hand is when it presses
    "joints": {"joints": tuple(ARM + 0.7)},
    "absolute joints": {"joints": tuple(ARM), "is_absolute": True},
}


@pytest.mark.parametrize("space", CELLS)
@pytest.mark.parametrize("device", HELD)
def test_a_takeover_begins_where_the_arm_stands(space: str, device: str) -> None:
    drive = Drive(space)
    before = drive.pose()
    for _ in range(12):
        drive.step(**HELD[device])
    assert drive.state.ownership.mode is Mode.HUMAN_CORRECTION
    after = drive.pose()
    np.testing.assert_allclose(after[0], before[0], atol=1e-4)
    assert geometry.angle_between(geometry.quaternion(before[1]), geometry.quaternion(after[1])) < 1e-3


@pytest.mark.parametrize("space", CELLS)
def test_a_hand_leads_the_tcp_as_far_as_it_went_itself(space: str) -> None:
    drive = Drive(space)
    (place, rotation), from_, way = drive.pose(), np.array([0.4, 0.3, 0.2]), np.array([0.03, -0.04, 0.02])
    drive.step(pose=hand(*from_))
    for _ in range(40):
        drive.step(pose=hand(*(from_ + way), TURN))
    position, turned = drive.pose()
    np.testing.assert_allclose(position - place, way, atol=1e-3)
    if space == "joint_position":  # the other space keeps the orientation
        left = geometry.angle_between(
            geometry.quaternion(turned), geometry.multiply(TURN, geometry.quaternion(rotation))
        )
        assert left < 2e-3


def test_a_clutch_pressed_again_moves_nothing_and_goes_on_from_there() -> None:
    drive = Drive()
    for x in (0.0, 0.01, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02):
        drive.step(pose=hand(x))
    place = drive.pose()[0]
    drive.step(pose=hand(0.3), clutch=1)  # the hand came back to a comfortable place meanwhile
    np.testing.assert_allclose(drive.pose()[0], place, atol=1e-4)
    for _ in range(8):
        drive.step(pose=hand(0.31), clutch=1)
    np.testing.assert_allclose(drive.pose()[0] - place, [0.01, 0.0, 0.0], atol=1e-3)


def test_fine_goes_a_quarter_of_the_way_and_switching_jumps_nowhere() -> None:
    drive = Drive()
    start_m = drive.pose()[0]
    drive.step(pose=hand(), is_fine=True)
    for _ in range(20):
        drive.step(pose=hand(0.04), is_fine=True)
    place = drive.pose()[0]
    np.testing.assert_allclose(place - start_m, [0.04 * FINE_SHARE, 0.0, 0.0], atol=1e-3)
    for _ in range(5):
        drive.step(pose=hand(0.04), is_fine=False)
    np.testing.assert_allclose(drive.pose()[0], place, atol=2e-4)


@pytest.mark.parametrize("space", CELLS)
def test_a_leader_in_relative_mode_moves_the_arm_as_it_moves(space: str) -> None:
    drive = Drive(space)
    leader, moved = ARM - 0.3, np.array([0.05, 0.0, 0.0, 0.02, 0.0, 0.0, 0.0])
    wanted = drive.cell.kinematics.sides[0].tcp_position(np.append(ARM + moved, 0.04))
    drive.step(joints=tuple(leader))
    for _ in range(40):
        drive.step(joints=tuple(leader + moved))
    np.testing.assert_allclose(drive.pose()[0], wanted, atol=1e-3)
    if space == "joint_position":
        np.testing.assert_allclose(drive.state.filter.position[:-1], ARM + moved, atol=1e-6)


def test_a_leader_in_absolute_mode_takes_over_only_where_the_arm_is() -> None:
    drive = Drive("joint_position")
    off = ARM + np.eye(7)[3] * (ALIGNED_RAD + 1e-3)
    drive.step(joints=tuple(off), is_absolute=True)
    assert drive.state.ownership.mode is Mode.HOLD
    drive.step(joints=tuple(ARM + np.eye(7)[3] * (ALIGNED_RAD - 1e-3)), is_absolute=True)
    assert drive.state.ownership.mode is Mode.HUMAN_CORRECTION
    for _ in range(10):
        drive.step(joints=tuple(off), is_absolute=True)
    np.testing.assert_allclose(drive.state.filter.position[:-1], off, atol=1e-6)


def test_a_leader_that_leaps_is_followed_at_the_speed_the_joints_may_have() -> None:
    drive = Drive("joint_position")
    drive.step(joints=tuple(ARM))
    for _ in range(10):
        record = drive.step(joints=tuple(ARM + 1.0))
        assert not record.safety_clips & Clip.JUMP
    moved = drive.state.filter.position[:-1] - ARM
    assert 0.0 < moved[0] < 1.0
    np.testing.assert_array_less(moved, 10 * CELLS["joint_position"].filter.step_limit[:-1] + 1e-9)


def test_a_twist_is_meant_in_its_frame() -> None:
    for frame in ("cell", "tool", PLACES.cameras[0].name):
        drive = Drive()
        axes = frame_axes(PLACES, PLACES, frame, drive.pose()[1])
        place = drive.pose()[0]
        for _ in range(10):
            drive.step(twist=(0.05, 0.0, 0.0, 0.0, 0.0, 0.0), frame=frame)
        way = drive.pose()[0] - place
        np.testing.assert_allclose(way / np.linalg.norm(way), axes[:, 0], atol=0.02)


def test_to_the_right_of_a_camera_is_to_the_right_in_its_image() -> None:
    camera = PLACES.camera("scene")
    right, up, back = frame_axes(PLACES, PLACES, "scene", np.eye(3)).T
    view = np.array(camera.look_at_m) - np.array(camera.translation_m)
    assert abs(right[2]) < 1e-9  # level
    assert up[2] > 0.0
    np.testing.assert_allclose(np.cross(right, up), back, atol=1e-12)
    assert view @ back < 0.0


def side_of(station: StationSpec) -> str:
    return station.side_names[0]


def test_a_side_that_is_not_there_moves_nothing() -> None:
    pair = load_station("fr3_pair_sim")
    cell = Cell(pair)
    state = start(cell, pair.home, 0)
    state = replace(state, ownership=ownership.begin(state.ownership, 0, autonomous=False))
    for seq, side in enumerate(("", "", side_of(pair), side_of(pair))):
        time_ns = (seq + 1) * pair.period_ns
        seen = Observation(time_ns, RobotState(time_ns, pair.home, np.zeros(len(pair.home))), {})
        packet = OperatorInput(seq, time_ns, "hand", True, OwnerRequest.TAKE_OVER, side=side, joints=tuple(ARM + seq))
        state, command, _ = tick(cell, state, TickInputs(time_ns, seen, operator=packet))
        is_moved = not np.allclose(command.position, pair.home, atol=1e-9)
        assert is_moved == (seq == 3)  # the third latches hand and arm
        right = pair.joint_slices[1]
        np.testing.assert_allclose(command.position[right], pair.home[right], atol=1e-9)
