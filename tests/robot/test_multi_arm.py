"""A station of several arms: composed of single-arm stations, one action, one filter, and space between the arms."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from robot import ownership
from robot.errors import ConfigError
from robot.kinematics.multi_arm import ArmClearance
from robot.motion import make_action_space, make_filter, make_kinematics
from robot.record import Clip
from robot.safety import REJECTING
from robot.specs import STATIONS, load_station
from robot.tick import Cell, TickInputs, TickState, start, tick
from robot.types import Array, Observation, OperatorInput, Owner, OwnerRequest, RobotState
from robot.units import field_units

PAIR, SINGLE = load_station("fr3_pair_sim"), load_station("fr3_sim")
CELL = Cell(PAIR)
HOME = CELL.actions.from_joints(PAIR.home)
DISTANCE_M = 1.35  # between the bases, as in the station's file
LEFT, RIGHT = slice(0, 4), slice(4, 8)


def write(folder: Path, **changes: object) -> Path:
    tree = yaml.safe_load((STATIONS / "fr3_pair_sim.yaml").read_text()) | changes
    path = folder / "pair.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def side(**changes: object) -> dict[str, object]:
    plain = {"name": "right", "station": "fr3_sim", "translation_m": [1.35, 0.0, 0.0], "quat_wxyz": [0, 0, 0, 1]}
    return plain | changes


def test_it_is_its_sides_one_after_the_other() -> None:
    assert PAIR.joint_names == tuple(f"{s}_{name}" for s in ("left", "right") for name in SINGLE.joint_names)
    assert PAIR.action_names == tuple(f"{s}_{name}" for s in ("left", "right") for name in SINGLE.action_names)
    for name in ("position_lower", "position_upper", "velocity_limit", "acceleration_limit", "home"):
        np.testing.assert_array_equal(getattr(PAIR, name), np.tile(getattr(SINGLE, name), 2))
    assert PAIR.joint_slices == (slice(0, 8), slice(8, 16))
    assert (SINGLE.sides, SINGLE.joint_slices, SINGLE.side_names) == ((SINGLE,), (slice(0, 8),), ("",))
    assert field_units(PAIR)["action"] == "m m m m m m m m"
    assert field_units(PAIR)["joint_position"].split() == [*["rad"] * 7, "m"] * 2


def test_boxes_are_carried_into_the_cell_s_frame() -> None:
    low, high = SINGLE.action_low, SINGLE.action_high
    np.testing.assert_array_equal(PAIR.action_low[LEFT], low)
    np.testing.assert_allclose(PAIR.action_low[RIGHT], [DISTANCE_M - high[0], -high[1], low[2], low[3]])
    np.testing.assert_allclose(PAIR.action_high[RIGHT], [DISTANCE_M - low[0], -low[1], high[2], high[3]])


def test_tcps_are_given_in_the_cell_s_frame() -> None:
    q = np.random.default_rng(0).uniform(-0.1, 0.1, 16) + PAIR.home
    single = make_kinematics(SINGLE)
    x, y, z = single.tcp_position(q[8:])
    found = make_kinematics(PAIR).tcp_position(q)
    np.testing.assert_allclose(found, [*single.tcp_position(q[:8]), DISTANCE_M - x, -y, z], atol=1e-12)


@pytest.mark.parametrize("name", ["arm", "gripper", "action", "safety"])
def test_what_is_of_one_arm_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ConfigError, match=r"has 2 arms \(left, right\)") as refusal:
        getattr(PAIR, name)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sides": [side()]}, "two at least"),
        ({"sides": [side(), side()]}, "a name of its own"),
        ({"sides": [side(), side(name="left_arm")]}, "plain word"),
        ({"sides": [side(), side(name="left", quat_wxyz=[0.9238795, 0, 0, 0.3826834])]}, "quarter turns"),
        ({"sides": [side(), side(name="left", station="so101_sim")]}, "state rates"),
        ({"sides": [side(), side(name="left", station="fr4_sim")]}, "did you mean 'fr3_sim'"),
        ({"spacing": {"link_margin_m": 0.0, "hand_margin_m": 0.02}}, "positive"),
        ({"cameras": [{**yaml.safe_load((STATIONS / "fr3_sim.yaml").read_text())["cameras"][1]}]}, "left/hand"),
        ({"arm": {}}, "unknown key"),
    ],
)
def test_a_file_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_station(write(tmp_path, **changes)).sides  # noqa: B018


def test_action_space_and_filter_are_those_of_the_sides() -> None:
    target = HOME + np.array([0.004, 0.003, -0.004, -0.002, -0.003, 0.002, 0.001, -0.001])
    bounded, clips = CELL.actions.bounded(target, HOME)
    np.testing.assert_array_equal(bounded, target)
    joints = CELL.actions.to_joints(bounded, PAIR.home)
    assert joints is not None and not clips
    moved, clips = CELL.filter.step(CELL.filter.start(PAIR.home), joints)
    for name, arm, part, of_action in zip(("left", "right"), PAIR.sides, PAIR.joint_slices, (LEFT, RIGHT), strict=True):
        space, filter_ = make_action_space(arm), make_filter(arm, arm.period_s)
        alone = space.to_joints(target[of_action], arm.home)
        assert alone is not None
        np.testing.assert_array_equal(joints[part], alone)
        expected, expected_clips = filter_.step(filter_.start(arm.home), alone)
        np.testing.assert_array_equal(moved.position[part], expected.position, err_msg=name)
        assert not expected_clips & ~clips


@pytest.mark.parametrize("broken", [np.nan, 50.0])
def test_what_one_side_rejects_holds_both(broken: float) -> None:
    joints = PAIR.home + np.array([*[0.01] * 7, -0.001] * 2)
    joints[3] = broken
    state = CELL.filter.start(PAIR.home)
    moved, clips = CELL.filter.step(state, joints)
    assert clips & REJECTING
    np.testing.assert_array_equal(moved.position, PAIR.home)
    action = HOME + 0.001
    action[5] = broken
    np.testing.assert_array_equal(CELL.actions.bounded(action, HOME)[0], HOME)
    assert CELL.filter.step(state, joints[:8])[1] & Clip.INCOMPLETE


def test_one_straying_arm_is_straying() -> None:
    state, measured = CELL.filter.start(PAIR.home), PAIR.home.copy()
    measured[9] += 0.2
    state, is_over = CELL.filter.track(state, measured, 1_000_000_000)
    assert state.is_straying and not is_over
    state, is_over = CELL.filter.track(state, measured, 1_300_000_000)
    assert is_over
    state, is_over = CELL.filter.track(state, PAIR.home, 1_350_000_000)
    assert not state.is_straying and not is_over


class Person:
    """Ticks of a cell that follows perfectly, with a person at one of its arms."""

    def __init__(self) -> None:
        state = start(CELL, PAIR.home, 0)
        self.state: TickState = replace(state, ownership=ownership.begin(state.ownership, 0, autonomous=False))
        self.time_ns, self.seq = PAIR.period_ns, 0

    def drive(self, side: str, twist: tuple[float, ...], gripper: float | None = None) -> tuple[Array, Owner]:
        position = self.state.filter.position.copy()
        seen = Observation(self.time_ns, RobotState(self.time_ns, position, np.zeros(16)), {"joint_position": position})
        self.seq += 1
        packet = OperatorInput(
            self.seq, self.time_ns, "hand", engaged=True, request=OwnerRequest.TAKE_OVER,
            twist=(*twist, 0.0, 0.0, 0.0), gripper=gripper, side=side,
        )  # fmt: skip
        self.state, command, record = tick(CELL, self.state, TickInputs(self.time_ns, seen, None, packet))
        self.time_ns += PAIR.period_ns
        assert record is not None
        return record.executed_action, command.owner


@pytest.mark.parametrize(("name", "own", "other"), [("left", LEFT, RIGHT), ("right", RIGHT, LEFT)])
def test_a_person_moves_one_side_and_the_other_stands(name: str, own: slice, other: slice) -> None:
    person = Person()
    for _ in range(10):
        executed, owner = person.drive(name, (0.0, 0.0, -0.1), 0.02)
    assert owner is Owner.HUMAN
    np.testing.assert_allclose(executed[other], HOME[other], atol=1e-9)
    assert executed[own][2] < HOME[own][2] - 0.03
    assert executed[own][3] == pytest.approx(0.02)


@pytest.mark.parametrize("name", ["", "middle"])
def test_a_side_that_is_not_named_moves_nothing(name: str) -> None:
    person = Person()
    for _ in range(5):
        executed, owner = person.drive(name, (0.0, 0.0, -0.1), 0.02)
    assert owner is Owner.HUMAN
    np.testing.assert_allclose(executed, HOME, atol=1e-9)


def too_near() -> Array:
    """Return joints in which the hands are nearer than their margin, without touching."""
    parts = []
    for arm, kinematics, x in zip(PAIR.sides, make_kinematics(PAIR).sides, (0.615, 0.735), strict=True):
        parts += [kinematics.inverse(np.array([x, 0.0, 0.3]), arm.home, iterations=60), [0.04]]
    return np.concatenate(parts)


def towards(q: Array, left_m: float, right_m: float) -> Array:
    """Return the joints after both tcps have moved along x."""
    action = CELL.actions.from_joints(q) + np.array([left_m, 0, 0, 0, right_m, 0, 0, 0])
    joints = CELL.actions.to_joints(action, q)
    assert joints is not None
    return joints


@pytest.mark.parametrize(("left_m", "right_m"), [(-0.002, 0.002), (-0.002, 0.0), (0.0, 0.002)])
def test_arms_that_are_too_near_may_leave(left_m: float, right_m: float) -> None:
    q = too_near()
    still = CELL.filter.start(q)
    moved, clips = CELL.filter.step(still, towards(q, left_m, right_m))
    assert not clips & Clip.ARMS_NEAR
    assert moved.step.any()


@pytest.mark.parametrize(("left_m", "right_m"), [(0.002, -0.002), (0.002, 0.0), (0.0, -0.002)])
def test_arms_that_are_too_near_come_no_nearer(left_m: float, right_m: float) -> None:
    q = too_near()
    moved, clips = CELL.filter.step(CELL.filter.start(q), towards(q, left_m, right_m))
    assert clips & Clip.ARMS_NEAR
    gap = ArmClearance(PAIR, 0.0, 0.0)
    assert gap.clearance(moved.position) >= gap.clearance(q)
    np.testing.assert_allclose(moved.position, q, atol=1e-4)  # what is left is of the redundant joint
