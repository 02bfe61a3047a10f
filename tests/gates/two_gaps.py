"""Two gaps: a point, a wall with two gaps, a goal behind it. The smallest task with two ways to do it.

Demonstrations take either gap. A base that learned them can be steered; with one gap closed, half of what it does
must fail (dsrl spec, section 10a). Numpy only.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from robot.worlds import Interface

STEP = 0.05  # way per step at full action
WALL_X = 0.5
GAPS = {"upper": 0.3, "lower": -0.3}
HALF_GAP = 0.05
GOAL, GOAL_RADIUS = np.array([1.0, 0.0]), 0.08
HORIZON = 60
RATE_HZ = 10.0
START_Y = 0.02


class TwoGaps(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """Actions in [-1, 1] move the point by `STEP` along x and y; the wall stops it outside the gaps in `is_open`.

    The reward is 1 at the goal, which terminates; `HORIZON` steps truncate.
    """

    def __init__(self, is_open: tuple[str, ...] = ("upper", "lower")) -> None:
        self.gaps = [GAPS[name] for name in is_open]
        self.interface = Interface({"position": (2,)}, ("x", "y"), RATE_HZ, HORIZON)
        self.observation_space = spaces.Dict({"position": spaces.Box(-np.inf, np.inf, (2,))})
        self.action_space = spaces.Box(-1.0, 1.0, (2,))
        self.position, self.steps = np.zeros(2), 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        self.position, self.steps = np.array([0.0, self.np_random.uniform(-START_Y, START_Y)]), 0
        return {"position": self.position.copy()}, {"success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        action = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        wanted = self.position + STEP * action
        if (self.position[0] < WALL_X) != (wanted[0] < WALL_X):
            share = (WALL_X - self.position[0]) / (wanted[0] - self.position[0])
            y = self.position[1] + share * (wanted[1] - self.position[1])
            if not any(abs(y - gap) < HALF_GAP for gap in self.gaps):
                wanted[0] = self.position[0]
        self.position = wanted
        self.steps += 1
        success = bool(np.linalg.norm(self.position - GOAL) < GOAL_RADIUS)
        truncated = not success and self.steps >= HORIZON
        info = {"success": success, "executed_action": action}
        return {"position": self.position.copy()}, float(success), success, truncated, info


class OneGap(TwoGaps):
    """Only the upper gap is open."""

    def __init__(self) -> None:
        super().__init__(("upper",))


class TwoGapsExpert:
    """Chooses a gap for the episode, goes through it near its middle, then to the goal; with noise on every action."""

    def __init__(self, gaps: tuple[str, ...] = ("upper", "lower"), noise: float = 0.1, offset: float = 0.03) -> None:
        self.gaps, self.noise, self.offset = gaps, noise, offset
        self.reset(0)

    def reset(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 11])
        self.gap = GAPS[self.gaps[self.rng.integers(len(self.gaps))]] + self.offset * self.rng.standard_normal()

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        position = observation["position"]
        goal = GOAL if position[0] >= WALL_X else np.array([WALL_X + 0.02, self.gap])
        way = goal - position
        wanted = way / max(float(np.linalg.norm(way)), STEP)
        return np.clip(wanted + self.noise * self.rng.standard_normal(2), -1.0, 1.0)
