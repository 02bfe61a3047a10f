"""T0: labels derived from 1000 random ownership schedules, by count; every known mislabelling is caught by it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from policies.takeovers import labels
from policies.takeovers.ticks import Ticks
from robot.errors import ConfigError
from robot.types import Owner, Segment
from tests.policies.takeovers.schedules import random_ticks

SCHEDULES = [random_ticks(seed) for seed in range(1000)]
Label = Callable[[Ticks], np.ndarray]


def ticks_of(owners: str, ids: list[int] | None = None, segments: str | None = None) -> Ticks:
    """Return ticks from a word such as `ppphhp`: policy, human, hold."""
    owner = np.array([{"p": Owner.POLICY, "h": Owner.HUMAN, "-": Owner.HOLD}[letter] for letter in owners])
    if ids is None:
        begins = np.diff((owner == Owner.HUMAN).astype(int), prepend=0) == 1
        ids = np.where(owner == Owner.HUMAN, np.cumsum(begins) - 1, -1).tolist()
    kinds = {"r": Segment.RECOVERY, "c": Segment.CORRECTION, ".": Segment.ROLLOUT}
    segment = [kinds[letter] for letter in segments or owners.replace("h", "c").replace("p", ".").replace("-", ".")]
    count, nothing = len(owners), np.zeros(len(owners), bool)
    return Ticks(np.arange(count), owner, np.array(segment), np.array(ids), np.ones(count), nothing, nothing.copy())


def check_penalty(label: Label) -> None:
    """Hold a reward of takeovers against the record, tick by tick and by count, without any of the code under test."""
    for ticks in SCHEDULES:
        penalty, due, seen = label(ticks), 0, set()
        for t in range(len(ticks) - 1):
            starts = ticks.owner[t + 1] == Owner.HUMAN and int(ticks.intervention_id[t + 1]) not in seen
            starts &= ticks.owner[t] != Owner.HUMAN or ticks.intervention_id[t] != ticks.intervention_id[t + 1]
            seen |= {int(ticks.intervention_id[t + 1])} - {-1}
            if penalty[t] != 0.0:
                assert penalty[t] == -1.0
                assert ticks.owner[t] == Owner.POLICY, "blame is the policy's"
                assert starts, "blame comes with the beginning of an intervention"
            due += starts and ticks.owner[t] == Owner.POLICY and ticks.step[t + 1] == ticks.step[t] + 1
        assert penalty[-1] == 0.0
        assert -penalty.sum() == due, "one for each takeover from the policy"


def test_schedules_have_what_is_to_be_told_apart() -> None:
    owners = np.concatenate([ticks.owner for ticks in SCHEDULES])
    assert {int(owner) for owner in owners} == {Owner.POLICY, Owner.HUMAN, Owner.HOLD}
    assert sum(ticks.owner[0] == Owner.HUMAN for ticks in SCHEDULES) > 10
    assert sum(-labels.takeover_penalty(ticks).sum() for ticks in SCHEDULES) > 1000


def test_intervention_ids_are_contiguous() -> None:
    for ticks in SCHEDULES:
        for intervention in np.unique(ticks.intervention_id[ticks.is_human]):
            rows = np.flatnonzero(ticks.intervention_id == intervention)
            assert (np.diff(rows) == 1).all()


def test_one_penalty_for_each_takeover() -> None:
    check_penalty(labels.takeover_penalty)


def test_the_penalty_by_hand() -> None:
    assert labels.takeover_penalty(ticks_of("pphhpphp")).tolist() == [0, -1, 0, 0, 0, -1, 0, 0]
    assert not labels.takeover_penalty(ticks_of("hhpp")).any(), "nobody's fault at the beginning"
    assert not labels.takeover_penalty(ticks_of("pp-hh")).any(), "a hold lies between"


MISLABELLED: dict[str, Label] = {
    "every human tick": lambda t: -t.is_human.astype(float),
    "the first human tick": lambda t: -t.begins_intervention.astype(float),
    "the hand-back": lambda t: -np.append(t.is_human[:-1] & t.is_policy[1:], False).astype(float),
    "the last human tick too": lambda t: (
        labels.takeover_penalty(t) - np.append(t.is_human[:-1] & t.is_policy[1:], False).astype(float)
    ),
    "one tick early": lambda t: np.append(labels.takeover_penalty(t)[1:], 0.0),
    "all pre-takeover ticks": lambda t: -(labels.ticks_to_takeover(t, 3) < 0).astype(float),
    "across a hold": lambda t: -np.append(~t.is_human[:-1] & t.begins_intervention[1:], False).astype(float),
    "across a gap": lambda t: -np.append(t.is_policy[:-1] & t.begins_intervention[1:], False).astype(float),
    "with the opposite sign": lambda t: -labels.takeover_penalty(t),
}


@pytest.mark.parametrize("wrong", MISLABELLED)
def test_a_mislabelling_is_caught(wrong: str) -> None:
    with pytest.raises(AssertionError):
        check_penalty(MISLABELLED[wrong])


def test_soft_blame_is_the_penalty_spread() -> None:
    for ticks in SCHEDULES:
        hard, soft = labels.takeover_penalty(ticks), labels.soft_blame(ticks, (0.5, 0.3, 0.2))
        assert np.isclose(hard.sum(), soft.sum())
        assert ((soft == 0.0) | ticks.is_policy).all()
        assert np.array_equal(labels.soft_blame(ticks, (1.0,)), hard)
    assert np.allclose(labels.soft_blame(ticks_of("hppph"), (0.5, 0.5)), [0, 0, -0.5, -0.5, 0])
    assert np.allclose(labels.soft_blame(ticks_of("hph"), (0.5, 0.5)), [0, -1, 0]), "it does not leave the policy's run"
    with pytest.raises(ConfigError, match="kernel"):
        labels.soft_blame(ticks_of("ph"), (0.0, 1.0))


def test_ticks_to_takeover_stop_at_the_last_one() -> None:
    assert labels.ticks_to_takeover(ticks_of("ppphppph"), 2).tolist() == [0, -2, -1, 0, 0, -2, -1, 0]
    assert labels.ticks_to_takeover(ticks_of("hpph"), 30).tolist() == [0, -2, -1, 0]


def test_a_time_limit_keeps_the_bootstrap() -> None:
    for ticks in SCHEDULES:
        assert labels.bootstrap_mask(ticks)[-1] == (0.0 if ticks.terminated[-1] else 1.0)
        assert (labels.bootstrap_mask(ticks)[:-1] == 1.0).all()


def test_every_human_tick_is_kept() -> None:
    for ticks in SCHEDULES:
        assert labels.goes_to_replay(ticks)[ticks.is_human].all(), "all of a takeover, not its last tick alone"
        demos = labels.goes_to_demonstrations(ticks, recovery=True)
        assert np.array_equal(demos, ticks.is_human)
        assert not labels.goes_to_demonstrations(ticks)[ticks.segment == Segment.RECOVERY].any()
        assert not labels.goes_to_replay(ticks)[ticks.owner == Owner.HOLD].any()


def test_imitation_takes_people_and_clean_successes() -> None:
    helped, alone = ticks_of("pphp"), ticks_of("pppp")
    assert labels.goes_to_imitation(helped, succeeded=True).tolist() == [False, False, True, False]
    assert labels.goes_to_imitation(alone, succeeded=True).all()
    assert not labels.goes_to_imitation(alone, succeeded=False).any()
    blending = replace(helped, blend_weight=np.array([1.0, 1.0, 0.5, 1.0]))
    assert not labels.goes_to_imitation(blending, succeeded=False).any()


def test_the_rules_of_rac() -> None:
    kept = ticks_of("pphhhh", segments="..rrcc")
    assert not len(labels.breaks_recover_then_correct(kept))
    assert not labels.breaks_terminate(kept)
    assert labels.recovery_share(kept) == 0.5
    assert labels.breaks_recover_then_correct(ticks_of("phhphh", segments=".cc.rr")).tolist() == [0, 1]
    assert labels.breaks_terminate(ticks_of("phhp"))
