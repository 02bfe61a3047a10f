"""The tick: who decides, how owners change, and that what is recorded is what was commanded."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot import ownership
from robot.ownership import Mode
from robot.policy import ActionChunk
from robot.record import Clip, TickRecord
from robot.specs import load_station
from robot.tick import Cell, TickInputs, TickState, start, tick
from robot.types import Array, Command, Mark, Observation, OperatorInput, Owner, OwnerRequest, RobotState, Segment

STATION = load_station("fr3_sim")
CELL = Cell(STATION)
PERIOD_NS = STATION.period_ns
HOME = CELL.actions.from_joints(STATION.home)


def aside(distance_m: float = 0.01) -> Array:
    return HOME + np.array([0.0, distance_m, 0.0, -0.001])


class Bench:
    """Ticks in a world that follows perfectly."""

    def __init__(self, *, autonomous: bool = True) -> None:
        state = start(CELL, STATION.home, 0)
        self.state: TickState = replace(state, ownership=ownership.begin(state.ownership, 0, autonomous=autonomous))
        self.time_ns, self.seq = PERIOD_NS, 0
        self.records: list[TickRecord] = []
        self.commands: list[Command] = []

    def observation(self) -> Observation:
        position = self.state.filter.position.copy()
        robot = RobotState(self.time_ns, position, np.zeros(8))
        return Observation(self.time_ns, robot, {"joint_position": position}, {"joint_position": self.time_ns})

    def chunk(self, target: Array, n: int = 4, **changes: Any) -> ActionChunk:
        made = ActionChunk(
            np.tile(target, (n, 1)), STATION.period_s, self.time_ns, self.state.ownership.generation, chunk_id=5
        )
        return replace(made, **changes)

    def packet(self, request: OwnerRequest = OwnerRequest.NONE, **changes: Any) -> OperatorInput:
        self.seq += 1
        return replace(OperatorInput(self.seq, self.time_ns, "hand", engaged=True, request=request), **changes)

    def step(self, chunk: ActionChunk | None = None, operator: OperatorInput | None = None, **more: Any) -> Command:
        inputs = TickInputs(self.time_ns, more.pop("observation", self.observation()), chunk, operator, **more)
        self.state, command, record = tick(CELL, self.state, inputs)
        self.time_ns += PERIOD_NS
        self.commands.append(command)
        if record is not None:
            self.records.append(record)
        return command

    @property
    def last(self) -> TickRecord:
        return self.records[-1]


def test_the_policy_s_action_is_executed_as_it_is() -> None:
    bench = Bench()
    command = bench.step(bench.chunk(aside()))
    assert command.owner is Owner.POLICY
    np.testing.assert_array_equal(bench.last.executed_action, aside())
    np.testing.assert_array_equal(bench.last.policy_action, aside())
    np.testing.assert_allclose(CELL.actions.from_joints(command.position), aside(), atol=2e-5)
    assert (bench.last.owner, bench.last.segment) == (Owner.POLICY, Segment.ROLLOUT)
    assert (bench.last.chunk_id, bench.last.chunk_offset, bench.last.safety_clips) == (5, 0, Clip.NONE)


def test_without_a_plan_the_arm_holds_and_says_so() -> None:
    bench = Bench()
    command = bench.step()
    assert command.owner is Owner.HOLD
    np.testing.assert_array_equal(command.position, STATION.home)
    assert bench.last.segment is Segment.PAUSE
    assert np.isnan(bench.last.policy_action).all()


def test_without_an_observation_the_arm_holds_by_commands_and_nothing_is_recorded() -> None:
    bench = Bench()
    bench.step(bench.chunk(aside()))
    records = len(bench.records)
    commands = [bench.step(observation=None) for _ in range(4)]
    assert [command.owner for command in commands] == [Owner.HOLD] * 4
    np.testing.assert_array_equal(commands[-1].position, commands[-2].position)
    assert len(bench.records) == records
    assert [command.seq for command in bench.commands] == list(range(5))


def test_a_silent_policy_is_not_followed() -> None:
    bench = Bench()
    bench.step(bench.chunk(aside()), policy_silence_s=0.14)
    assert bench.last.owner is Owner.POLICY
    bench.step(policy_silence_s=0.16)
    assert bench.last.owner is Owner.HOLD


@pytest.mark.parametrize(
    ("target", "clip"),
    [
        (aside(0.6), Clip.JUMP),  # beyond the bounds: not a wish for their edge
        (HOME - np.array([0.0, 0.0, 0.36, 0.0]), Clip.JUMP),
        (np.array([0.74, 0.34, 0.59, 0.02]), Clip.JUMP),
    ],
)
def test_a_jump_holds_in_joints(target: Array, clip: Clip) -> None:
    bench = Bench()
    for _ in range(3):
        bench.step(bench.chunk(target))
        assert bench.last.safety_clips & clip
        np.testing.assert_array_equal(bench.commands[-1].position, STATION.home)
        np.testing.assert_array_equal(bench.last.executed_action, HOME)


def test_what_the_arm_cannot_reach_is_held_not_flailed_at() -> None:
    bench = Bench()
    corner = np.array([0.745, -0.345, 0.55, 0.02])
    for _ in range(80):
        step = corner - bench.state.commanded
        bench.step(bench.chunk(bench.state.commanded + step * min(1.0, 0.012 / np.linalg.norm(step[:3]))))
        tcp = CELL.kinematics.tcp_position(bench.commands[-1].position)
        np.testing.assert_allclose(bench.last.executed_action[:3], tcp, atol=1e-3)  # recorded is what is
    assert bench.last.safety_clips & (Clip.WORKSPACE | Clip.JUMP)  # no joints found, or only far ones
    moves = np.diff([command.position for command in bench.commands[-5:]], axis=0)
    assert np.abs(moves).max() < 1e-9


def test_a_chunk_asked_for_before_the_takeover_is_never_followed() -> None:
    bench = Bench()
    stale = bench.chunk(aside(0.03), n=60)
    bench.step(stale)
    bench.step(operator=bench.packet(OwnerRequest.TAKE_OVER))
    assert bench.last.owner is Owner.HUMAN
    assert bench.last.generation == bench.records[0].generation + 1
    for _ in range(3):
        bench.step(stale, bench.packet())
        assert bench.last.safety_clips & Clip.STALE
        assert bench.last.chunk_id == -1
    bench.step(stale, bench.packet(OwnerRequest.HAND_BACK, engaged=False))
    bench.step(stale)
    assert bench.last.owner is Owner.HOLD


def test_after_the_hand_back_only_a_fresh_observation_is_followed() -> None:
    bench = Bench()
    bench.step(operator=bench.packet(OwnerRequest.TAKE_OVER))
    bench.step(operator=bench.packet(OwnerRequest.HAND_BACK, engaged=False))
    handed_ns = bench.state.ownership.since_ns
    seen_before = bench.chunk(aside(), n=30, observation_time_ns=handed_ns)
    bench.step(seen_before)
    assert bench.last.owner is Owner.HOLD
    bench.step(replace(seen_before, observation_time_ns=handed_ns + 1))
    assert bench.last.owner is Owner.POLICY


def test_takeover_and_hand_back_are_smooth() -> None:
    """The blend starts at the last commanded action; no joint steps further than its velocity limit."""
    bench = Bench()
    for _ in range(10):
        bench.step(bench.chunk(bench.state.commanded + np.array([0.0, 0.011, 0.0, 0.0]), n=1))
    bench.step(operator=bench.packet(OwnerRequest.TAKE_OVER, twist=(-0.15, 0.0, 0.0, 0.0, 0.0, 0.0)))
    weights = [bench.last.blend_weight]
    for _ in range(8):
        bench.step(operator=bench.packet(twist=(-0.15, 0.0, 0.0, 0.0, 0.0, 0.0)))
        weights.append(bench.last.blend_weight)
    bench.step(operator=bench.packet(OwnerRequest.HAND_BACK, engaged=False))
    for _ in range(8):
        bench.step(bench.chunk(bench.state.commanded - np.array([0.0, 0.011, 0.0, 0.0]), n=1))
    assert weights[0] < 0.2
    assert weights == sorted(weights)
    assert weights[-1] == 1.0
    steps = np.abs(np.diff([command.position for command in bench.commands], axis=0))
    assert (steps <= CELL.filter.step_limit * (1 + 1e-9)).all()
    bends = np.abs(np.diff(np.diff([command.position for command in bench.commands], axis=0), axis=0))[:, :7]
    assert (bends <= CELL.filter.bend_limit * (1 + 1e-6)).all()


def test_a_person_moves_the_tcp_at_their_speed_and_no_faster() -> None:
    bench = Bench(autonomous=False)
    twist = (9.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    bench.step(operator=bench.packet(OwnerRequest.TAKE_OVER, twist=twist))
    for _ in range(12):
        bench.step(operator=bench.packet(twist=twist))
    moved = np.diff([record.executed_action[0] for record in bench.records[-5:]])
    assert moved.max() <= STATION.operator.linear_speed_m_s * STATION.period_s + 1e-9
    assert moved.min() > 0.0
    assert bench.last.intervention_id == 0


def test_the_executed_action_of_a_person_without_blend_is_theirs() -> None:
    bench = Bench(autonomous=False)
    bench.step(operator=bench.packet(OwnerRequest.TAKE_OVER))
    for _ in range(8):
        bench.step(operator=bench.packet(twist=(0.05, 0.0, 0.0, 0.0, 0.0, 0.0)))
    assert bench.last.blend_weight == 1.0
    np.testing.assert_array_equal(bench.last.executed_action, bench.last.human_action)


def test_without_the_dead_man_nothing_moves() -> None:
    bench = Bench(autonomous=False)
    bench.step(operator=bench.packet(OwnerRequest.TAKE_OVER))
    before = bench.state.commanded
    bench.step(operator=bench.packet(engaged=False, twist=(0.15, 0.0, 0.0, 0.0, 0.0, 0.0)))
    np.testing.assert_allclose(bench.last.executed_action, before, atol=1e-6)


def test_a_fault_stops_whoever_drives_and_stays() -> None:
    bench = Bench()
    bench.step(bench.chunk(aside(0.03), n=40))
    bench.step(fault=True)
    assert bench.last.owner is Owner.SAFETY
    bench.step(bench.chunk(aside(0.03)))
    assert bench.last.owner is Owner.SAFETY
    assert bench.state.ownership.mode is Mode.SAFETY


def test_an_arm_that_does_not_follow_is_a_fault() -> None:
    bench = Bench()
    stuck = replace(bench.observation().robot, position=STATION.home + np.eye(8)[0] * 0.2)
    for _ in range(6):
        bench.step(bench.chunk(HOME), observation=replace(bench.observation(), robot=stuck))
    assert bench.last.safety_clips & Clip.TRACKING
    assert bench.last.owner is Owner.SAFETY


def test_a_label_is_recorded_once() -> None:
    bench = Bench()
    packet = bench.packet(mark=Mark.SUCCESS, engaged=False)
    bench.step(bench.chunk(aside()), packet)
    bench.step(operator=packet)
    assert [record.reward_operator for record in bench.records] == [1.0, 0.0]


def test_residual_and_base_are_told_apart() -> None:
    bench = Bench()
    base = np.tile(HOME, (4, 1))
    bench.step(bench.chunk(aside(), base_actions=base))
    np.testing.assert_array_equal(bench.last.base_action, HOME)
    np.testing.assert_allclose(bench.last.residual_action, aside() - HOME)


actions = st.one_of(
    st.lists(st.floats(-1, 1), min_size=4, max_size=4).map(lambda x: HOME + 0.05 * np.array(x)),
    st.lists(st.floats(width=64), min_size=4, max_size=4).map(np.array),
)
moves = st.lists(
    st.tuples(
        st.one_of(st.none(), actions),
        st.one_of(st.none(), st.tuples(st.sampled_from(OwnerRequest), st.booleans(), st.floats(-1, 1))),
        st.sampled_from([False] * 12 + [True]),
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=80, deadline=None)
@given(moves)
def test_whatever_happens_commands_keep_the_limits_and_records_tell_the_truth(sequence: list) -> None:
    bench = Bench()
    for action, person, fault in sequence:
        operator = None
        if person is not None:
            request, engaged, speed = person
            operator = bench.packet(request, engaged=engaged, twist=(speed, -speed, 0.0, 0.0, 0.0, 0.0))
        bench.step(None if action is None else bench.chunk(action), operator, fault=fault)
        command, record = bench.commands[-1], bench.last
        assert np.isfinite(command.position).all()
        assert np.isfinite(record.executed_action).all()
        np.testing.assert_array_equal(record.joint_command, command.position)
        np.testing.assert_allclose(
            record.executed_action, CELL.actions.from_joints(command.position), atol=1e-3
        )  # within the reach of the inverse kinematics
        if len(bench.commands) > 1:
            step = np.abs(command.position - bench.commands[-2].position)
            assert (step <= CELL.filter.step_limit * (1 + 1e-9) + 1e-12).all()
