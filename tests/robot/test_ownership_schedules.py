"""Thousands of schedules of takeovers, hand-backs, freezes, stops, silences and faults: what every record then says.

`TANDEM_SCHEDULES=10000` in the environment runs as many of them.
"""

import os
from dataclasses import replace

import numpy as np

from robot import ownership
from robot.ownership import Mode, OwnershipRules
from robot.policy import ActionChunk
from robot.record import Clip, TickRecord
from robot.specs import ActionSpec, load_station
from robot.tick import Cell, TickInputs, TickState, start, tick
from robot.types import Mark, Observation, OperatorInput, Owner, OwnerRequest, RobotState, Segment

FR3 = load_station("fr3_sim")
STATION = replace(FR3, action=ActionSpec("joint_position", tuple(FR3.position_lower), tuple(FR3.position_upper)))
RULES = (OwnershipRules(), OwnershipRules(first_segment=Mode.HUMAN_RECOVERY, hand_back=False))
CELLS = [Cell(STATION, rules) for rules in RULES]
PERIOD_NS = STATION.period_ns
SCHEDULES, TICKS = int(os.environ.get("TANDEM_SCHEDULES", "3500")), 6
HUMAN_SEGMENTS = (Segment.RECOVERY, Segment.CORRECTION)
REQUESTS = [OwnerRequest.TAKE_OVER] * 6 + [OwnerRequest.HAND_BACK] * 4 + [OwnerRequest.NONE] * 6 + [*OwnerRequest]


class Story:
    """One episode of a policy that answers two ticks late, a person beside it; checks each record as it is made."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.cell = rng, CELLS[rng.integers(2)]
        state = start(self.cell, STATION.home, 0)
        self.state: TickState = replace(state, ownership=ownership.begin(state.ownership, 0))
        self.time_ns, self.seq, self.asked = 0, 0, []
        self.chunks: dict[int, ActionChunk] = {}
        self.before: TickRecord | None = None

    def late_chunk(self) -> ActionChunk | None:
        """Return what was asked for two ticks ago: with the generation of then, which may be over by now."""
        number = len(self.asked)
        target = STATION.home + self.rng.uniform(-0.02, 0.02)
        self.asked.append(
            ActionChunk(
                target[None].repeat(4, 0), STATION.period_s, self.time_ns, self.state.ownership.generation, number
            )
        )
        return self.asked[number - 2] if number >= 2 and self.rng.random() < 0.8 else None

    def packet(self) -> OperatorInput | None:
        self.seq += 1
        if self.rng.random() < 0.15:
            return None
        request, engaged = REQUESTS[self.rng.integers(len(REQUESTS))], bool(self.rng.random() < 0.8)
        mark = Mark(int(self.rng.integers(len(Mark)))) if self.rng.random() < 0.2 else Mark.NONE
        return OperatorInput(
            self.seq, self.time_ns, "hand", engaged, request, mark, twist=(0.1, 0.0, 0.0, 0.0, 0.0, 0.0), gripper=0.01
        )

    def step(self) -> TickRecord:
        self.time_ns += PERIOD_NS
        robot = RobotState(self.time_ns, self.state.filter.position, np.zeros(8))
        inputs = TickInputs(
            self.time_ns, Observation(self.time_ns, robot, {}), self.late_chunk(), self.packet(),
            operator_age_s=float(self.rng.choice([0.0, 0.0, 0.0, 0.2])), fault=bool(self.rng.random() < 0.01),
        )  # fmt: skip
        self.state, _, record = tick(self.cell, self.state, inputs)
        assert record is not None
        self.check(record)
        self.before = record
        return record

    def check(self, record: TickRecord) -> None:
        is_human = record.owner is Owner.HUMAN
        assert is_human == (record.intervention_id >= 0) == (record.segment in HUMAN_SEGMENTS)
        assert is_human == bool(np.isfinite(record.human_action).all())
        if is_human and record.blend_weight == 1.0 and not record.safety_clips & ~Clip.STALE:
            np.testing.assert_array_equal(record.executed_action, record.human_action)
        if record.owner is Owner.POLICY:
            chunk = self.asked[record.chunk_id]
            assert chunk.generation == record.generation  # nothing that was asked for before the last edge
            assert chunk.observation_time_ns >= self.state.ownership.since_ns
            assert record.segment is Segment.ROLLOUT
        assert record.executed_action[-1] == record.joint_command[-1]
        if self.before is not None:
            self.check_edge(self.before, record)

    def check_edge(self, before: TickRecord, record: TickRecord) -> None:
        moved = np.abs(record.joint_command - before.joint_command)
        assert (moved <= self.cell.filter.step_limit + 1e-9).all()
        assert record.generation >= before.generation
        if record.intervention_id != before.intervention_id:
            assert record.generation > before.generation
        if record.intervention_id >= 0 > before.intervention_id:
            assert record.segment is self.first_segment
            assert record.blend_weight < 1.0
        if record.owner is not before.owner and Owner.HUMAN in (record.owner, before.owner):
            assert record.generation > before.generation

    @property
    def first_segment(self) -> Segment:
        is_rac = self.cell.rules.first_segment is Mode.HUMAN_RECOVERY
        return Segment.RECOVERY if is_rac else Segment.CORRECTION


def test_schedules_keep_what_a_record_promises() -> None:
    rng = np.random.default_rng(0)
    owners, ids = set(), 0
    for _ in range(SCHEDULES):
        story = Story(rng)
        records = [story.step() for _ in range(TICKS)]
        numbers = [record.intervention_id for record in records if record.intervention_id >= 0]
        assert numbers == sorted(numbers)  # each is one run of ticks: its number does not come back
        assert set(numbers) == set(range(len(set(numbers))))
        owners |= {record.owner for record in records}
        ids += len(set(numbers))
    assert owners == {Owner.POLICY, Owner.HUMAN, Owner.HOLD, Owner.SAFETY}
    assert ids > SCHEDULES / 2


def test_a_plan_that_is_not_flushed_is_seen() -> None:
    """The check above is one: a record that follows a chunk of before the takeover fails it."""
    rng = np.random.default_rng(1)
    for _ in range(200):
        story = Story(rng)
        records = [story.step() for _ in range(TICKS)]
        driven = [record for record in records if record.owner is Owner.POLICY]
        if driven and story.state.ownership.generation > driven[-1].generation:
            stale = replace(driven[-1], generation=story.state.ownership.generation)
            try:
                story.check(stale)
            except AssertionError:
                return
            raise AssertionError("a stale action was not noticed")
    raise AssertionError("no schedule had an edge after the policy drove")
