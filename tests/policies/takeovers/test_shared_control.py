"""Policy and person in one world: what is recorded is what happened, in toys and through the tick alike."""

import numpy as np
import pytest

from policies.takeovers.labels import before_takeover
from policies.takeovers.shared_control import AT_WILL, RECOVER_FIRST, PlainControl, TickControl, Watched, make_control
from policies.takeovers.ticks import Ticks
from robot.errors import ConfigError
from robot.operator.person import HANDS_OFF, Wish
from robot.record import TickRecord
from robot.types import EndReason, Owner, Segment
from robot.worlds import make_env
from sim.people.judges import RandomJudge, RegretJudge
from sim.people.scripted import Faults, FaultyHand, ScriptedPerson, Timing, make_person
from tests.gates.two_rooms import HIGH, LOW, STEP, TwoRooms, TwoRoomsExpert, bad_hand, bad_operator, distance


def episode(control, command: np.ndarray, seed: int = 0) -> list[TickRecord]:
    control.reset(seed)
    records = []
    while not records or not (records[-1].terminated or records[-1].truncated):
        records.append(control.step(command)[1])
    return records


def hold_invariants(records: list[TickRecord]) -> None:
    ticks = Ticks.of(records)
    for record in records:
        assert np.isfinite(record.human_action).all() == (record.owner is Owner.HUMAN)
        assert (record.intervention_id >= 0) == (record.owner is Owner.HUMAN)
    starts = np.flatnonzero(ticks.begins_intervention)
    assert before_takeover(ticks).sum() == (starts > 0).sum()
    runs = np.diff(starts)
    assert not len(runs) or runs.min() >= 2, "a policy's tick between two takeovers"


def test_the_record_tells_whose_action_was_executed() -> None:
    control = PlainControl(TwoRooms(), bad_operator())
    records = episode(control, np.array([-1.0, 0.0]))
    hold_invariants(records)
    human = [record for record in records if record.owner is Owner.HUMAN]
    assert len(human) > len(records) / 2, "who goes the wrong way is taken from"
    assert all(np.array_equal(record.executed_action, record.executed_action) for record in human)
    assert all(record.executed_action[0] < -0.9 for record in records if record.owner is Owner.POLICY)
    assert {record.segment for record in human} == {Segment.CORRECTION}


def test_a_person_holds_on_and_lets_go_for_one_tick() -> None:
    person = ScriptedPerson(bad_hand(), RandomJudge(1.0), Timing(hold=4))
    owners = [record.owner is Owner.HUMAN for record in episode(PlainControl(TwoRooms(), person), np.zeros(2))]
    assert owners[:11] == [False, *[True] * 4, False, *[True] * 4, False]


def test_who_never_lets_go_gets_one_takeover_per_policy_tick() -> None:
    class Clinging:
        session_ticks = driven_ticks = wishes = 0

        def reset(self, seed): ...
        def advise(self, observation): ...

        def look(self, observation, executed, proposed):
            self.wishes += 1
            return HANDS_OFF if self.wishes % 3 == 0 else Wish(np.ones(2))

    records = episode(PlainControl(TwoRooms(), Clinging()), np.zeros(2))
    hold_invariants(records)
    with_tick_between = [r.owner is Owner.HUMAN for r in records[:6]]
    assert with_tick_between == [True, True, False, True, True, False]


def test_a_reaction_comes_late_and_a_lapse_never() -> None:
    late = ScriptedPerson(bad_hand(), RandomJudge(1.0), Timing(reaction=3))
    owners = [record.owner for record in episode(PlainControl(TwoRooms(), late), np.zeros(2))]
    assert owners.index(Owner.HUMAN) == 4
    asleep = ScriptedPerson(bad_hand(), RandomJudge(1.0), Timing(lapse=1.0))
    assert all(r.owner is Owner.POLICY for r in episode(PlainControl(TwoRooms(), asleep), np.zeros(2)))


def test_an_exact_judge_all_but_leaves_the_best_way_alone() -> None:
    def takeovers(expert: TwoRoomsExpert) -> int:
        person = ScriptedPerson(bad_hand(), RegretJudge(distance, STEP, hit=1.0))
        control = PlainControl(TwoRooms(), person)
        seen, count = control.reset(3), 0
        for _ in range(30):
            seen, record = control.step(expert.act(seen))
            count += record.owner is Owner.HUMAN
        return count

    round_the_corner = 4  # ticks of one takeover: a straight step cannot follow the bend in the opening
    assert takeovers(TwoRoomsExpert()) <= round_the_corner
    assert takeovers(TwoRoomsExpert(aim=np.array([0.0, 1.2]))) > round_the_corner


def test_hands_have_the_faults_they_are_given() -> None:
    seen, plain = {"position": np.array([-0.5, 0.0])}, TwoRoomsExpert()
    wanted = plain.act(seen)
    biased = FaultyHand(plain, Faults(bias=(-0.1, 0.2)), LOW, HIGH).act(seen)
    assert np.allclose(biased, wanted + np.array([-0.1, 0.2]))
    keyboard = FaultyHand(plain, Faults(one_axis=True), LOW, HIGH).act(seen)
    assert np.count_nonzero(keyboard) == 1
    assert np.allclose(FaultyHand(plain, Faults(gain=0.5), LOW, HIGH).act(seen), 0.5 * wanted)
    with pytest.raises(ConfigError, match="bias"):
        FaultyHand(plain, Faults(bias=(1.0,)), LOW, HIGH)


def test_recovery_comes_first_and_the_person_ends_the_episode() -> None:
    class Recovering:
        session_ticks = driven_ticks = 0

        def reset(self, seed):
            self.tick = 0

        def advise(self, observation): ...

        def look(self, observation, executed, proposed):
            self.tick += 1
            if self.tick < 4:
                return HANDS_OFF
            return Wish(np.zeros(2), is_recovery=self.tick < 6, ends_episode=self.tick == 8)

    records = episode(PlainControl(TwoRooms(), Recovering(), RECOVER_FIRST), np.zeros(2))
    assert [r.segment for r in records[3:]] == [Segment.RECOVERY] * 2 + [Segment.CORRECTION] * 3
    assert records[-1].truncated
    assert records[-1].end_reason is EndReason.OPERATOR_ABORT


def test_a_station_task_goes_through_the_tick() -> None:
    env = make_env("tandem/reach", max_steps=40)
    person = make_person("tandem/reach", threshold=1.0, hit=1.0)
    control = make_control(Watched(env, person), AT_WILL)
    assert isinstance(control, TickControl)
    seen = control.reset(1)
    away = np.append(seen["tcp_position"] + [0.0, 0.0, 0.1], 0.04)
    records = episode(control, away, seed=1)
    hold_invariants([record for record in records if record.owner is not Owner.HOLD])
    owners = {record.owner for record in records}
    assert Owner.HUMAN in owners
    human = [r for r in records if r.owner is Owner.HUMAN and r.blend_weight == 1.0 and not r.safety_clips]
    assert all(np.allclose(r.executed_action, r.human_action, atol=1e-6) for r in human)
    env.close()
