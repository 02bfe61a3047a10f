"""Audit prompts: from a few answers the operator's rate of hits and of false alarms, as they were set."""

import numpy as np
import pytest

from policies.takeovers.audit import Audit, prompt_ticks
from robot.errors import ConfigError
from sim.people.judges import RegretJudge
from tests.gates.two_rooms import STEP, TwoRooms, distance


@pytest.mark.parametrize("hit", [0.95, 0.7])
def test_answers_tell_the_judgement(hit: float) -> None:
    judge, audit, rng = RegretJudge(distance, STEP, hit=hit), Audit(), np.random.default_rng(0)
    judge.reset(np.random.default_rng(1))
    env = TwoRooms(success_ends=False)
    for episode in range(60):
        seen, _ = env.reset(seed=episode)
        asked = set(prompt_ticks(40, episode, 20).tolist())
        for tick in range(40):
            before = seen
            seen, *_ = env.step(rng.uniform(-1.0, 1.0, 2))
            was_taken = judge.looks_wrong(before, rng, seen)
            audit.note(was_taken=was_taken)
            if tick in asked:
                audit.answer(was_taken=was_taken, wanted=judge.verdict)
    assert audit.hit == pytest.approx(hit, abs=0.05)
    assert audit.false_alarm == pytest.approx(1.0 - hit, abs=0.08)


def test_questions_are_few_and_at_random() -> None:
    first, second = prompt_ticks(1000, 0), prompt_ticks(1000, 1)
    assert len(set(first.tolist())) == 5
    assert not np.array_equal(first, second)
    with pytest.raises(ConfigError, match="no room"):
        prompt_ticks(3, 0)
