"""The people who look on while a drawer is tidied: patient with who gets on, not with who stands still."""

import numpy as np

from policies.takeovers.labels import breaks_recover_then_correct
from policies.takeovers.shared_control import RECOVER_FIRST, Watched, make_control
from policies.takeovers.ticks import Ticks
from robot.types import Owner, Segment
from tests.gates.tidy_drawer import PATIENCE, PatientJudge, is_home, left, recovering_person, stage, tidy_world


def test_who_stands_still_is_taken_over_from_brought_home_and_one_stage_on() -> None:
    env = tidy_world()
    person = recovering_person(env)
    control = make_control(Watched(env, person), RECOVER_FIRST)
    seen = control.reset(seed=3)
    records, states = [], [seen]
    while not (records and (records[-1].terminated or records[-1].truncated)):
        stays = np.append(states[-1]["tcp_position"] - [0.0, 0.0, 0.004 * (len(records) < 20)], 0.0)  # low, closed
        seen, record = control.step(stays)
        records.append(record)
        states.append(seen)
    ticks = Ticks.of(records)
    assert PATIENCE <= np.flatnonzero(ticks.is_human)[0] <= 2 * PATIENCE
    assert not len(breaks_recover_then_correct(ticks)), "recovery, then correction"
    assert not (ticks.owner[np.flatnonzero(ticks.is_human)[0] :] == Owner.POLICY).any(), "and no hand-back"
    corrects = np.flatnonzero(ticks.segment == Segment.CORRECTION)
    assert is_home(states[corrects[0]])
    assert (stage(states[0]), stage(states[-1])) == (0, 1)


def test_a_judge_counts_what_is_left_and_waits_again_after_each_verdict() -> None:
    judge = PatientJudge()
    judge.reset(np.random.default_rng(0))
    seen, _ = tidy_world().reset(seed=3)
    verdicts = [judge.looks_wrong(seen, np.zeros(4), seen) for _ in range(2 * PATIENCE + 1)]
    assert np.flatnonzero(verdicts).tolist() == [PATIENCE, 2 * PATIENCE]
    nearer = {**seen, "tcp_position": seen["tcp_position"] + 0.1 * (seen["object_state"][3:6] - seen["tcp_position"])}
    assert left(nearer) < left(seen) - 0.01
    assert not judge.looks_wrong(seen, np.zeros(4), nearer)
