"""Who is in control: every edge of the machine, and what no sequence of inputs may bring about."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot import ownership
from robot.ownership import HUMAN, PAGE_RULES, Mode, Ownership, OwnershipRules, advance
from robot.types import Mark, OperatorInput, Owner, OwnerRequest

RULES = OwnershipRules()
AUTO = ownership.begin(Ownership(), 0)


def packet(
    request: OwnerRequest = OwnerRequest.NONE, *, seq: int = 1, engaged: bool = True, mark: Mark = Mark.NONE
) -> OperatorInput:
    return OperatorInput(seq, 0, "test", engaged, request, mark)


TAKE, BACK, FREEZE = (packet(r) for r in (OwnerRequest.TAKE_OVER, OwnerRequest.HAND_BACK, OwnerRequest.FREEZE))


def step(
    state: Ownership,
    operator: OperatorInput | None = None,
    *,
    t: int = 1,
    age_s: float = 0.0,
    fault: bool = False,
    rules: OwnershipRules = RULES,
) -> Ownership:
    return advance(rules, state, time_ns=t, operator=operator, operator_age_s=age_s, fault=fault)


def driving(rules: OwnershipRules = RULES) -> Ownership:
    return step(AUTO, TAKE, rules=rules)


def test_a_takeover_is_one_tick_and_makes_chunks_stale() -> None:
    taken = driving()
    assert taken.mode is Mode.HUMAN_CORRECTION
    assert taken.owner is Owner.HUMAN
    assert taken.generation == AUTO.generation + 1
    assert (taken.intervention_id, taken.since_ns) == (0, 1)


def test_a_takeover_needs_the_dead_man() -> None:
    assert step(AUTO, replace(TAKE, engaged=False)).mode is Mode.AUTO


def test_a_request_is_obeyed_once() -> None:
    held = step(driving(), packet(OwnerRequest.FREEZE, seq=2))
    assert held.mode is Mode.HOLD
    assert step(held, replace(TAKE, seq=2)).mode is Mode.HOLD
    assert step(held, replace(TAKE, seq=3)).mode is Mode.HUMAN_CORRECTION


def test_hand_back_goes_to_the_policy_where_the_method_allows_it() -> None:
    back = step(driving(), replace(BACK, seq=2), t=5)
    assert (back.mode, back.since_ns, back.policy_ticks) == (Mode.AUTO, 5, 0)
    rac = OwnershipRules(hand_back=False)
    assert step(driving(rac), replace(BACK, seq=2), rules=rac).is_human


def test_between_two_takeovers_a_policy_tick_is_executed() -> None:
    back = step(driving(), replace(BACK, seq=2))
    assert step(back, replace(TAKE, seq=3)).mode is Mode.AUTO
    again = step(ownership.count_policy_tick(back), replace(TAKE, seq=3))
    assert again.intervention_id == 1


def test_letting_go_ends_in_hold_after_three_ticks_not_before() -> None:
    state = driving()
    for seq in (2, 3):
        state = step(state, packet(seq=seq, engaged=False))
        assert state.is_human
    assert step(state, packet(seq=4)).idle_ticks == 0  # a gap stays one intervention
    assert step(state, packet(seq=4, engaged=False)).mode is Mode.HOLD


@pytest.mark.parametrize(("rules", "limit_s"), [(RULES, 0.1), (PAGE_RULES, 0.25)])
def test_silence_while_driving_holds_then_is_a_safety_stop(rules: OwnershipRules, limit_s: float) -> None:
    state = driving(rules)
    assert step(state, TAKE, age_s=limit_s, rules=rules).is_human
    held = step(state, TAKE, age_s=limit_s + 0.01, rules=rules)
    assert held.mode is Mode.HOLD
    assert step(held, TAKE, age_s=1.9, rules=rules).mode is Mode.HOLD
    assert step(held, TAKE, age_s=2.01, rules=rules).mode is Mode.SAFETY


def test_a_person_who_came_back_may_leave_again() -> None:
    held = step(driving(), TAKE, age_s=0.5)
    back = step(held, packet(seq=2, engaged=False))
    assert step(back, packet(seq=2, engaged=False), age_s=5.0).mode is Mode.HOLD


def test_silence_of_somebody_who_does_not_drive_is_nothing() -> None:
    assert step(AUTO, TAKE, age_s=60.0) is AUTO


def test_a_fault_wins_and_safety_never_ends_by_itself() -> None:
    stopped = step(driving(), TAKE, fault=True)
    assert stopped.mode is Mode.SAFETY
    for request in (TAKE, BACK, FREEZE):
        assert step(stopped, replace(request, seq=9)).mode is Mode.SAFETY
    cleared = ownership.clear_safety(stopped, 7)
    assert (cleared.mode, cleared.generation) == (Mode.HOLD, stopped.generation + 1)


def test_recovery_becomes_correction_within_one_intervention() -> None:
    rac = OwnershipRules(first_segment=Mode.HUMAN_RECOVERY, hand_back=False)
    recovering = driving(rac)
    assert recovering.mode is Mode.HUMAN_RECOVERY
    correcting = step(recovering, packet(seq=2, mark=Mark.CORRECTION), rules=rac)
    assert correcting.mode is Mode.HUMAN_CORRECTION
    assert correcting.intervention_id == recovering.intervention_id


def test_the_end_of_recovery_can_be_taken_back_for_five_seconds() -> None:
    rac = OwnershipRules(first_segment=Mode.HUMAN_RECOVERY)
    correcting = step(driving(rac), packet(seq=2, mark=Mark.CORRECTION), t=10, rules=rac)
    undo = packet(seq=3, mark=Mark.UNDO)
    back = step(correcting, undo, t=10 + 5 * 10**9, rules=rac)
    assert (back.mode, back.intervention_id) == (Mode.HUMAN_RECOVERY, correcting.intervention_id)
    assert step(correcting, undo, t=11 + 5 * 10**9, rules=rac).mode is Mode.HUMAN_CORRECTION
    assert step(driving(), undo).mode is Mode.HUMAN_CORRECTION  # nothing was marked
    assert step(correcting, packet(seq=3, mark=Mark.RECOVERY), t=10**12, rules=rac).mode is Mode.HUMAN_RECOVERY


def test_a_mark_does_not_swallow_the_request_beside_it() -> None:
    rac = OwnershipRules(first_segment=Mode.HUMAN_RECOVERY)
    both = packet(OwnerRequest.FREEZE, seq=2, mark=Mark.CORRECTION)
    assert step(driving(rac), both, rules=rac).mode is Mode.HOLD


def test_a_stop_is_obeyed_however_late_it_comes_and_is_no_pause() -> None:
    for state in (AUTO, driving(), ownership.begin(Ownership(), 0, autonomous=False)):
        stopped = step(state, packet(OwnerRequest.STOP, seq=9, engaged=False), age_s=30.0)
        assert stopped.mode is Mode.SAFETY
        assert step(ownership.clear_safety(stopped, 5), packet(OwnerRequest.STOP, seq=9)).mode is Mode.HOLD


def test_an_episode_starts_with_interventions_counted_anew() -> None:
    second = ownership.begin(step(driving(), replace(BACK, seq=2)), 9)
    assert (second.next_intervention, second.intervention_id, second.mode) == (0, -1, Mode.AUTO)
    assert ownership.begin(second, 9, autonomous=False).mode is Mode.HOLD


inputs = st.lists(
    st.tuples(
        st.one_of(
            st.none(),
            st.builds(
                packet,
                st.sampled_from(OwnerRequest),
                seq=st.integers(0, 40),
                engaged=st.booleans(),
                mark=st.sampled_from(Mark),
            ),
        ),
        st.sampled_from([0.0, 0.0, 0.0, 0.15, 3.0]),
        st.sampled_from([False] * 9 + [True]),
    ),
    max_size=40,
)


@given(inputs)
def test_no_sequence_breaks_the_machine(sequence: list[tuple[OperatorInput | None, float, bool]]) -> None:
    state = AUTO
    for t, (operator, age_s, fault) in enumerate(sequence, start=1):
        before, state = state, step(state, operator, t=t, age_s=age_s, fault=fault)
        assert state.generation >= before.generation
        if state.owner is not before.owner:
            assert state.generation > before.generation  # what the old owner asked for is stale
            assert state.since_ns == t
        assert (state.intervention_id >= 0) == (state.mode in HUMAN)
        is_stop = operator is not None and operator.request is OwnerRequest.STOP and operator.seq > before.handled_seq
        if before.mode is Mode.SAFETY or fault or is_stop:
            assert state.mode is Mode.SAFETY
        if state.mode in HUMAN and before.mode not in HUMAN:
            assert operator is not None
            assert operator.engaged
            assert operator.request is OwnerRequest.TAKE_OVER
        if state.mode is Mode.AUTO and before.mode is not Mode.AUTO:
            assert operator is not None
            assert operator.request is OwnerRequest.HAND_BACK
