"""Who is in control: one state machine for every method (interventions spec, section 5).

Pure and non-blocking: `advance` returns the next state within one tick. A takeover or hand-back raises
`generation`, which makes every chunk asked for before it stale.
"""

from dataclasses import dataclass, replace
from enum import Enum

from robot.types import NS_PER_S, UNDO_S, Mark, OperatorInput, Owner, OwnerRequest, Segment


class Mode(Enum):
    """States of the machine."""

    AUTO = "auto"
    HOLD = "hold"
    HUMAN_RECOVERY = "human_recovery"
    HUMAN_CORRECTION = "human_correction"
    SAFETY = "safety"
    RESET = "reset"
    ENDED = "ended"


HUMAN = (Mode.HUMAN_RECOVERY, Mode.HUMAN_CORRECTION)


@dataclass(frozen=True, slots=True)
class OwnershipRules:
    """What a method allows. The defaults are those of RLIF and HIL-SERL: takeover and hand-back at will."""

    hand_back: bool = True
    first_segment: Mode = Mode.HUMAN_CORRECTION  # RaC starts with HUMAN_RECOVERY
    min_policy_ticks: int = 1  # executed policy ticks between two takeovers
    disengage_ticks: int = 3  # ticks without the dead-man before the person has let go
    silence_hold_s: float = 0.1  # no packet for this long while a person drives: hold (0.25 for the page)
    silence_safety_s: float = 2.0
    policy_silence_s: float = 0.15


PAGE_RULES = OwnershipRules(silence_hold_s=0.25)


@dataclass(frozen=True, slots=True)
class Ownership:
    """The state. `since_ns` is the time of the last edge, `generation` counts edges that make chunks stale."""

    mode: Mode = Mode.HOLD
    since_ns: int = 0
    generation: int = 0
    intervention_id: int = -1
    next_intervention: int = 0
    policy_ticks: int = 0
    idle_ticks: int = 0
    handled_seq: int = -1
    operator_lost: bool = False  # holding because the driving person's packets stopped
    corrected_ns: int = -1  # when recovery was marked as over within this intervention

    @property
    def is_human(self) -> bool:
        return self.mode in HUMAN

    @property
    def owner(self) -> Owner:
        return _OWNER[self.mode]

    @property
    def segment(self) -> Segment:
        return _SEGMENT[self.mode]


_OWNER = {
    Mode.AUTO: Owner.POLICY,
    Mode.HOLD: Owner.HOLD,
    Mode.HUMAN_RECOVERY: Owner.HUMAN,
    Mode.HUMAN_CORRECTION: Owner.HUMAN,
    Mode.SAFETY: Owner.SAFETY,
    Mode.RESET: Owner.RESET,
    Mode.ENDED: Owner.HOLD,
}
_SEGMENT = {
    Mode.AUTO: Segment.ROLLOUT,
    Mode.HOLD: Segment.PAUSE,
    Mode.HUMAN_RECOVERY: Segment.RECOVERY,
    Mode.HUMAN_CORRECTION: Segment.CORRECTION,
    Mode.SAFETY: Segment.PAUSE,
    Mode.RESET: Segment.RESET,
    Mode.ENDED: Segment.PAUSE,
}


def advance(
    rules: OwnershipRules,
    state: Ownership,
    *,
    time_ns: int,
    operator: OperatorInput | None,
    operator_age_s: float,
    fault: bool,
) -> Ownership:
    """Return the state after one tick; faults win over everything, then silence, then requests."""
    is_new = operator is not None and operator.seq > state.handled_seq
    if is_new and operator is not None and operator.request is OwnerRequest.STOP:
        state, fault = replace(state, handled_seq=operator.seq), True
    if fault:
        return state if state.mode is Mode.SAFETY else _edge(state, Mode.SAFETY, time_ns)
    if state.mode in (Mode.SAFETY, Mode.RESET, Mode.ENDED):
        return state  # left only by `reset`, `begin` or `clear_safety`, never by itself
    state = _watch_dead_man(rules, state, time_ns, operator, operator_age_s)
    if operator is None or not is_new or operator_age_s > rules.silence_hold_s:
        return state
    return _obey(rules, replace(state, handled_seq=operator.seq), time_ns, operator)


def begin(state: Ownership, time_ns: int, *, autonomous: bool = True) -> Ownership:
    """Start an episode: the policy drives, or everything holds until a person takes over."""
    state = replace(state, intervention_id=-1, next_intervention=0, policy_ticks=10**6)
    return _edge(state, Mode.AUTO if autonomous else Mode.HOLD, time_ns)


def reset(state: Ownership, time_ns: int) -> Ownership:
    return _edge(state, Mode.RESET, time_ns)


def end(state: Ownership, time_ns: int) -> Ownership:
    return _edge(state, Mode.ENDED, time_ns)


def clear_safety(state: Ownership, time_ns: int) -> Ownership:
    """Leave SAFETY after an explicit reset; the arm holds until somebody asks for more."""
    return _edge(state, Mode.HOLD, time_ns) if state.mode is Mode.SAFETY else state


def count_policy_tick(state: Ownership) -> Ownership:
    """Note that the policy's action was executed in this tick; beyond a hundred nobody asks."""
    return state if state.policy_ticks > 100 else replace(state, policy_ticks=state.policy_ticks + 1)


def _edge(state: Ownership, mode: Mode, time_ns: int) -> Ownership:
    keeps_id = state.mode in HUMAN and mode in HUMAN
    return replace(
        state,
        mode=mode,
        since_ns=time_ns,
        generation=state.generation + 1,
        intervention_id=state.intervention_id if keeps_id else -1,
        idle_ticks=0,
        operator_lost=False,
        corrected_ns=-1,
    )


def _watch_dead_man(
    rules: OwnershipRules, state: Ownership, time_ns: int, operator: OperatorInput | None, age_s: float
) -> Ownership:
    if not state.is_human:
        if not state.operator_lost:
            return state
        if operator is not None and age_s <= rules.silence_hold_s:
            return replace(state, operator_lost=False)  # the person is back
        return _edge(state, Mode.SAFETY, time_ns) if age_s > rules.silence_safety_s else state
    if operator is None or age_s > rules.silence_hold_s:
        return replace(_edge(state, Mode.HOLD, time_ns), operator_lost=True)
    idle = 0 if operator.engaged else state.idle_ticks + 1
    if idle >= rules.disengage_ticks:
        return _edge(state, Mode.HOLD, time_ns)
    return replace(state, idle_ticks=idle)


def _obey(rules: OwnershipRules, state: Ownership, time_ns: int, operator: OperatorInput) -> Ownership:
    state = _mark(state, time_ns, operator.mark)
    if operator.request is OwnerRequest.FREEZE and state.mode is not Mode.HOLD:
        return _edge(state, Mode.HOLD, time_ns)
    if operator.request is OwnerRequest.TAKE_OVER and not state.is_human and operator.engaged:
        return _take_over(rules, state, time_ns)
    if operator.request is OwnerRequest.HAND_BACK and rules.hand_back and state.mode in (*HUMAN, Mode.HOLD):
        return replace(_edge(state, Mode.AUTO, time_ns), policy_ticks=0)
    return state


def _mark(state: Ownership, time_ns: int, mark: Mark) -> Ownership:
    """Go between recovery and correction as the person says; it stays one intervention, and no chunk gets stale."""
    if mark is Mark.CORRECTION and state.mode is Mode.HUMAN_RECOVERY:
        return replace(state, mode=Mode.HUMAN_CORRECTION, corrected_ns=time_ns)
    is_taken_back = mark is Mark.UNDO and state.corrected_ns >= 0 and time_ns - state.corrected_ns <= UNDO_S * NS_PER_S
    if state.mode is Mode.HUMAN_CORRECTION and (mark is Mark.RECOVERY or is_taken_back):
        return replace(state, mode=Mode.HUMAN_RECOVERY, corrected_ns=-1)
    return state


def _take_over(rules: OwnershipRules, state: Ownership, time_ns: int) -> Ownership:
    if state.mode is Mode.AUTO and state.policy_ticks < rules.min_policy_ticks:
        return state
    taken = _edge(state, rules.first_segment, time_ns)
    return replace(taken, intervention_id=state.next_intervention, next_intervention=state.next_intervention + 1)
