"""One control tick, pure: (state, observation, chunk, operator, time) -> (state, command, record).

The lock-step loop and the arbiter process call this same function, so the executed action is decided in one place
in every world. Nothing here blocks, waits or reads a clock.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from robot import hand, ownership
from robot.hand import Grip
from robot.motion import make_action_space, make_filter, make_kinematics
from robot.ownership import Mode, Ownership, OwnershipRules
from robot.plan import Plan, PlanSample
from robot.policy import ActionChunk
from robot.record import Clip, TickRecord
from robot.safety import REJECTING, FilterState
from robot.specs import StationSpec
from robot.types import NS_PER_S, Array, Command, Mark, Observation, OperatorInput, Owner, Segment, facts


class Cell:
    """The unchanging parts of one station that a tick works with."""

    def __init__(self, station: StationSpec, rules: OwnershipRules = OwnershipRules()) -> None:  # noqa: B008
        self.station = station
        self.rules = rules
        self.kinematics = make_kinematics(station)
        self.actions = make_action_space(station, self.kinematics)
        self.filter = make_filter(station, station.period_s, self.kinematics)
        self.nothing = np.full(len(station.action_names), np.nan)
        self.blend_ns = round(station.operator.blend_s * NS_PER_S)


@facts
class TickState:
    """What one tick hands to the next."""

    seq: int
    step: int  # within the episode
    ownership: Ownership
    plan: Plan
    filter: FilterState
    commanded: Array  # the last executed action
    blend_from: Array  # the commanded action at the last change of owner
    grip: Grip | None = None  # hand and arm since the clutch was pressed


@facts
class TickInputs:
    """Everything a tick may depend on. Ages are measured by the caller on a monotonic clock."""

    time_ns: int
    observation: Observation | None  # None: some required stream is too old
    chunk: ActionChunk | None = None  # the newest answer of the policy, once
    operator: OperatorInput | None = None  # the newest packet
    operator_age_s: float = 0.0
    policy_silence_s: float = 0.0
    fault: bool = False  # e-stop, arm fault


def start(cell: Cell, measured: Array, time_ns: int, *, seq: int = 0, state: TickState | None = None) -> TickState:
    """Return the state that holds the arm where it is; `state` carries the ownership of an earlier episode on."""
    action = cell.actions.from_joints(measured)
    owner = state.ownership if state else Ownership(since_ns=time_ns)
    return TickState(seq, 0, owner, Plan(), cell.filter.start(measured), action, action)


def new_mark(state: TickState, operator: OperatorInput | None) -> Mark:
    """Return the operator's label if this packet has not been handled by an earlier tick."""
    is_new = operator is not None and operator.seq > state.ownership.handled_seq
    return operator.mark if operator is not None and is_new else Mark.NONE


def tick(cell: Cell, state: TickState, inputs: TickInputs) -> tuple[TickState, Command, TickRecord | None]:
    """Decide one command.

    Returns the next state, the joint command to be reached one period after `inputs.time_ns`, and the record of the
    tick (None without an observation: then the arm holds and there is nothing to learn from).
    """
    filtered, straying = state.filter, False
    if inputs.observation is not None:
        filtered, straying = cell.filter.track(state.filter, inputs.observation.robot.position, inputs.time_ns)
    owned = _advance_owner(cell, state, inputs, fault=inputs.fault or straying)
    plan, clips = _update_plan(owned, inputs)
    if straying:
        clips |= Clip.TRACKING
    decision = _decide(cell, owned, inputs, plan.sample(inputs.time_ns + cell.station.period_ns))
    motion = _execute(cell, owned, filtered, decision, clips)
    record = None
    if inputs.observation is not None:
        record = _record(cell, owned, inputs, decision, motion, new_mark(state, inputs.operator))
    after = TickState(
        seq=state.seq + 1,
        step=state.step + (record is not None),
        ownership=(ownership.count_policy_tick(owned.ownership) if decision.owner is Owner.POLICY else owned.ownership),
        plan=plan,
        filter=motion.filter,
        commanded=motion.executed,
        blend_from=owned.blend_from,
        grip=owned.grip,
    )
    return after, Command(state.seq, inputs.time_ns, motion.filter.position, decision.owner), record


class _Decision(NamedTuple):
    """Who decides this tick, the action wanted (None: hold), the person's action, the plan's proposal."""

    owner: Owner
    wanted: Array | None
    human: Array | None
    proposed: PlanSample | None
    weight: float = 1.0


class _Motion(NamedTuple):
    """What came of the decision: the filter's state, the executed action, what was changed on the way."""

    filter: FilterState
    executed: Array
    clips: Clip


def _advance_owner(cell: Cell, state: TickState, inputs: TickInputs, *, fault: bool) -> TickState:
    """Advance the ownership machine; an edge flushes the plan and starts a blend from the commanded action."""
    before, operator = state.ownership, inputs.operator
    if operator is not None and operator.is_absolute:
        operator = hand.admitted(cell, state, operator)
    after = ownership.advance(
        cell.rules,
        before,
        time_ns=inputs.time_ns,
        operator=operator,
        operator_age_s=inputs.operator_age_s,
        fault=fault,
    )
    if after is before:
        owned = state
    elif after.generation == before.generation:
        owned = replace(state, ownership=after)
    else:
        owned = replace(state, ownership=after, plan=Plan(), blend_from=state.commanded, grip=None)
    return hand.gripped(cell, owned, operator) if operator is not None and after.is_human else owned


def _update_plan(state: TickState, inputs: TickInputs) -> tuple[Plan, Clip]:
    if inputs.chunk is None:
        return state.plan, Clip.NONE
    return state.plan.accept(
        inputs.chunk,
        now_ns=inputs.time_ns,
        generation=state.ownership.generation,
        not_before_ns=state.ownership.since_ns if state.ownership.policy_ticks == 0 else -1,
    )


def _decide(cell: Cell, state: TickState, inputs: TickInputs, sample: PlanSample | None) -> _Decision:
    owner = state.ownership
    if inputs.observation is None:
        return _Decision(Owner.HOLD, None, None, None)
    if owner.is_human and inputs.operator is not None:
        human = hand.human_action(cell, state, inputs.operator)
        since_ns = inputs.time_ns - owner.since_ns + cell.station.period_ns
        return _Decision(Owner.HUMAN, human, human, sample, _blend_weight(cell, since_ns))
    if owner.mode is not Mode.AUTO:
        return _Decision(owner.owner, None, None, sample)
    if sample is None or inputs.policy_silence_s > cell.rules.policy_silence_s:
        return _Decision(Owner.HOLD, None, None, sample)
    since_ns = (owner.policy_ticks + 1) * cell.station.period_ns
    return _Decision(Owner.POLICY, sample.action, None, sample, _blend_weight(cell, since_ns))


def _blend_weight(cell: Cell, driving_ns: int) -> float:
    """Return w = 3x^2 - 2x^3 of the time a new owner has been driving (interventions spec, 13.1 row 6)."""
    x = driving_ns / max(cell.blend_ns, 1)
    return 1.0 if x >= 1.0 else x * x * (3.0 - 2.0 * x)


def _execute(cell: Cell, state: TickState, filtered: FilterState, decision: _Decision, clips: Clip) -> _Motion:
    """Blend, bound and filter an action."""
    wanted = decision.wanted
    if wanted is None:
        return _hold(cell, state, filtered, clips)
    if decision.weight < 1.0:
        blended = (1.0 - decision.weight) * state.blend_from + decision.weight * wanted
        blended[cell.actions.grippers] = wanted[cell.actions.grippers]  # a gripper is never blended
        wanted = blended
    action, bounded = cell.actions.bounded(wanted, state.commanded)
    if bounded and bounded & REJECTING:
        return _hold(cell, state, filtered, clips | bounded)
    target = cell.actions.to_joints(action, filtered.position)
    if target is None:
        return _hold(cell, state, filtered, clips | bounded | Clip.WORKSPACE)  # out of the arm's reach
    moved, changed = cell.filter.step(filtered, target)
    executed = action if not changed else cell.actions.from_joints(moved.position)
    if bounded or changed:
        clips |= bounded | changed
    return _Motion(moved, executed, clips)


def _hold(cell: Cell, state: TickState, filtered: FilterState, clips: Clip) -> _Motion:
    """Stand in joints: an action that stays the same would still let the elbow move towards home."""
    moved, changed = cell.filter.step(filtered, filtered.position)
    held = cell.actions.from_joints(moved.position) if moved.step.any() else state.commanded
    return _Motion(moved, held, clips | changed)


def _record(
    cell: Cell, state: TickState, inputs: TickInputs, decision: _Decision, motion: _Motion, mark: Mark
) -> TickRecord:
    observation, proposed, nothing = inputs.observation, decision.proposed, cell.nothing
    assert observation is not None
    owner = state.ownership
    return TickRecord(
        step=state.step,
        tick_time_ns=inputs.time_ns,
        observation_time_ns=observation.time_ns,
        stream_times_ns=observation.times_ns,
        observation={name: value for name, value in observation.values.items() if not name.startswith("image/")},
        base_action=proposed.base_action if proposed else nothing,
        residual_action=proposed.action - proposed.base_action if proposed else nothing,
        policy_action=proposed.action if proposed else nothing,
        human_action=decision.human if decision.human is not None else nothing,
        executed_action=motion.executed,
        joint_command=motion.filter.position,
        blend_weight=decision.weight,
        owner=decision.owner,
        segment=Segment.PAUSE if decision.owner is Owner.HOLD else owner.segment,
        intervention_id=owner.intervention_id,
        safety_clips=motion.clips,
        chunk_id=proposed.chunk.chunk_id if proposed else -1,
        chunk_offset=proposed.offset if proposed else -1,
        generation=owner.generation,
        policy_version=proposed.chunk.policy_version if proposed else -1,
        reward_operator=1.0 if mark is Mark.SUCCESS else 0.0,
        groups=proposed.chunk.groups if proposed else {},
    )
