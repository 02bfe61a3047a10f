"""Meta-World's reach with a person: the script with a constant bias as a bad hand, the way to the goal as judge.

States are those of `metaworld/reach-v3`: the hand first, the goal last (interventions spec, section 11, T2 and T3). The
package steps 80 times a second and drags the hand after where it is sent, so what an action did is to be seen five
steps later. Nobody judges so fast: here a tick is `REPEAT` steps with one action, 16 a second.
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
HORIZON = 100  # ticks
REPEAT = 5  # steps of the package in a tick
BIAS = (0.3, 0.3, 0.0, 0.0)  # alone it reaches the goal in one episode of ten
STEP_M = 0.03  # what the hand gains in a tick at full action, once it moves
NEAR_M = 0.04  # who is that near has arrived; the world counts 0.05 as success
LOW, HIGH = -np.ones(4), np.ones(4)
Seen = Mapping[str, np.ndarray]


class Ticked(gymnasium.Wrapper[dict[str, np.ndarray], np.ndarray, dict[str, np.ndarray], np.ndarray]):
    """Executes an action `REPEAT` times; lasts to the horizon where it goes on after success."""

    def __init__(self, env: Env, *, goes_on: bool) -> None:
        super().__init__(env)
        self.goes_on = goes_on

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        self._ticks = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        self._ticks += 1
        for _ in range(REPEAT):
            seen, reward, terminated, _, info = self.env.step(action)
            if terminated and not self.goes_on:
                break
        terminated = bool(terminated) and not self.goes_on
        return seen, float(reward), terminated, not terminated and self._ticks >= HORIZON, info


def reach_world(*, goes_on: bool = False) -> Env:
    return Ticked(make_env(REACH, max_steps=REPEAT * HORIZON), goes_on=goes_on)


def distance(seen: Seen) -> float:
    """Return how far the hand is from having arrived [m].

    Not from the goal itself: then nobody could stand there, since with noise on every action, or slowing down as the
    script does, nothing is gained on it, and who has arrived would be taken over from in every tick.
    """
    return max(float(np.linalg.norm(seen["state"][:3] - seen["state"][-3:])) - NEAR_M, 0.0)


def hand(*, biased: bool) -> FaultyHand:
    expert: Expert = make_expert(REACH)
    return FaultyHand(expert, Faults(bias=BIAS if biased else ()), LOW, HIGH)


def person(*, biased: bool = True, lapse: float = 0.0, watches: bool = True) -> ScriptedPerson:
    """Return who looks on; `lapse` is the share of episodes that go unwatched."""
    judge: Judge = RegretJudge(distance, STEP_M) if watches else NeverJudge()
    return ScriptedPerson(hand(biased=biased), judge, Timing(lapse=lapse))
