"""Two rooms: a point, a wall with one opening, a goal in the other room (interventions spec, section 11, T1).

The smallest task on which learning from *when* a person takes over is told apart from cloning *what* they do: the bad
operator aims beside the goal, and the judge knows the shortest way. Numpy only.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from robot.worlds import Interface
from sim.people.judges import Judge, RandomJudge, RegretJudge
from sim.people.scripted import Faults, FaultyHand, ScriptedPerson

STEP = 0.1  # way per step at full action, in any direction
OPENING, HALF_OPENING = 0.35, 0.16
GOAL, GOAL_RADIUS = np.array([0.75, -0.5]), 0.06
HORIZON = 40
RATE_HZ = 10.0
BAD_AIM, BAD_NOISE = np.array([0.0, 0.12]), 0.25  # the operator aims above the goal, with noise on every action
LOW, HIGH = -np.ones(2), np.ones(2)


def within_reach(action: np.ndarray) -> np.ndarray:
    """Return an action no longer than 1."""
    return action / max(float(np.linalg.norm(action)), 1.0)


def crossing(position: np.ndarray, goal: np.ndarray) -> float:
    """Return where on the wall (its y) the shortest way from one room to the other passes."""
    share = position[0] / (position[0] - goal[0])
    y = position[1] + share * (goal[1] - position[1])
    return float(np.clip(y, OPENING - HALF_OPENING, OPENING + HALF_OPENING))


def distance(seen: Mapping[str, np.ndarray]) -> float:
    """Return the length of the shortest way to the goal."""
    position = seen["position"]
    if position[0] >= 0.0:
        return float(np.linalg.norm(GOAL - position))
    gate = np.array([0.0, crossing(position, GOAL)])
    return float(np.linalg.norm(gate - position) + np.linalg.norm(GOAL - gate))


class TwoRooms(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """Actions move the point by `STEP` at most; the wall stops it outside the opening.

    The reward is 1 within the goal. Success terminates where `success_ends`; else every episode lasts `HORIZON` steps,
    and `info["success"]` speaks of the last one.
    """

    def __init__(self, *, success_ends: bool = True) -> None:
        self.success_ends = success_ends
        self.interface = Interface({"position": (2,)}, ("x", "y"), RATE_HZ, HORIZON)
        self.observation_space = spaces.Dict({"position": spaces.Box(-np.inf, np.inf, (2,))})
        self.action_space = spaces.Box(-1.0, 1.0, (2,))
        self.position, self.steps = np.zeros(2), 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        draw = self.np_random.uniform
        self.position, self.steps = np.array([draw(-0.95, -0.15), draw(-0.95, 0.95)]), 0
        return {"position": self.position.copy()}, {"success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        action = within_reach(np.clip(np.asarray(action, np.float64), -1.0, 1.0))
        wanted = np.clip(self.position + STEP * action, -1.0, 1.0)
        if (self.position[0] < 0.0) != (wanted[0] < 0.0):
            share = self.position[0] / (self.position[0] - wanted[0])
            y = self.position[1] + share * (wanted[1] - self.position[1])
            if abs(y - OPENING) > HALF_OPENING:
                wanted[0] = -1e-3 if self.position[0] < 0.0 else 0.0
        self.position = wanted
        self.steps += 1
        success = bool(np.linalg.norm(self.position - GOAL) < GOAL_RADIUS)
        terminated = success and self.success_ends
        truncated = not terminated and self.steps >= HORIZON
        info = {"success": success, "executed_action": action}
        return {"position": self.position.copy()}, float(success), terminated, truncated, info


class TwoRoomsExpert:
    """Goes the shortest way, one step at a time, and stays there; aims `aim` beside the goal."""

    def __init__(self, aim: np.ndarray | None = None) -> None:
        self.goal = GOAL + (np.zeros(2) if aim is None else aim)

    def reset(self, seed: int) -> None:
        """Remember nothing."""

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        position = observation["position"]
        target = self.goal
        if position[0] < 0.0:
            y = np.clip(crossing(position, self.goal), OPENING - 0.6 * HALF_OPENING, OPENING + 0.6 * HALF_OPENING)
            target = np.array([0.05, y])
        return within_reach((target - position) / STEP)


def bad_hand() -> FaultyHand:
    """Return how the bad operator drives."""
    return FaultyHand(TwoRoomsExpert(BAD_AIM), Faults(noise=BAD_NOISE), LOW, HIGH)


def make_judge(*, shuffled: bool = False, threshold: float = 0.5, hit: float = 0.95) -> Judge:
    """Return the judge that knows the way, or one that takes over 30 % of the time whatever happens."""
    return RandomJudge(0.3) if shuffled else RegretJudge(distance, STEP, threshold, hit)


def bad_operator(*, shuffled: bool = False) -> ScriptedPerson:
    """Return a person with good judgement (unless shuffled) and a bad hand."""
    return ScriptedPerson(bad_hand(), make_judge(shuffled=shuffled))
