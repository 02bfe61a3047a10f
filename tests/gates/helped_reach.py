"""Meta-World's reach with a person: the script with a constant bias as a bad hand, the distance to the goal as judge.

States are those of `metaworld/reach-v3`: the hand first, the goal last (interventions spec, section 11, T2 and T3).
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from policies.data.demonstrations import Env
from robot.worlds import Expert, make_env, make_expert
from sim.people.judges import Judge, NeverJudge, RegretJudge
from sim.people.scripted import Faults, FaultyHand, ScriptedPerson, Timing

REACH = "metaworld/reach-v3"
HORIZON = 100
BIAS = (0.3, 0.3, 0.0, 0.0)  # alone it reaches the goal in one episode of ten
STEP_M = 0.01  # the most that the hand moves in a tick
LOW, HIGH = -np.ones(4), np.ones(4)


class GoesOn(gymnasium.Wrapper[dict[str, np.ndarray], np.ndarray, dict[str, np.ndarray], np.ndarray]):
    """Success ends nothing: every episode lasts to the horizon."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        self._steps = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        seen, reward, _, _, info = self.env.step(action)
        self._steps += 1
        return seen, float(reward), False, self._steps >= HORIZON, info


def reach_world(*, goes_on: bool = False) -> Env:
    env = make_env(REACH, max_steps=HORIZON)
    return GoesOn(env) if goes_on else env


def distance(seen: Mapping[str, np.ndarray]) -> float:
    """Return how far the hand is from the goal [m]."""
    return float(np.linalg.norm(seen["state"][:3] - seen["state"][-3:]))


def hand(*, biased: bool) -> FaultyHand:
    expert: Expert = make_expert(REACH)
    return FaultyHand(expert, Faults(bias=BIAS if biased else ()), LOW, HIGH)


def person(*, biased: bool = True, lapse: float = 0.0, watches: bool = True) -> ScriptedPerson:
    """Return who looks on; `lapse` is the share of episodes that go unwatched."""
    judge: Judge = RegretJudge(distance, STEP_M) if watches else NeverJudge()
    return ScriptedPerson(hand(biased=biased), judge, Timing(lapse=lapse))
