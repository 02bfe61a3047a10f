"""The blocked peg: a point peg, a hole in a surface, and a drift that an open-loop chunk cannot see.

The smallest task that needs what residual fine-tuning adds (off_policy spec, section 8.2). Numpy only.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from robot.worlds import Interface

STEP = 0.04
RADIUS = 0.015
DRIFT = 0.009
DEPTH = -0.02
HORIZON = 60
RATE_HZ = 10.0
HOVER = 0.05  # height the expert aligns at [m]
SPEED = 0.6  # of the expert, share of the action range


class BlockedPeg(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """Move a point peg into a hole of `RADIUS`; beside it the surface at z = 0 blocks.

    Actions in [-1, 1] move by `STEP`. Each episode has one constant planar drift of up to `DRIFT` per step and axis.
    The reward is 1 at insertion, which terminates; `HORIZON` steps truncate.
    """

    def __init__(self, horizon: int = HORIZON, drift: float = DRIFT, radius: float = RADIUS) -> None:
        self.horizon, self.drift_limit, self.radius = horizon, drift, radius
        shapes = {"peg_position": (3,), "hole_offset": (2,), "peg_velocity": (3,)}
        self.interface = Interface(shapes, ("x", "y", "z"), RATE_HZ, horizon)
        self.observation_space = spaces.Dict(
            {name: spaces.Box(-np.inf, np.inf, shape) for name, shape in shapes.items()}
        )
        self.action_space = spaces.Box(-1.0, 1.0, (3,))
        self.peg, self.hole, self.drift, self.moved = np.zeros(3), np.zeros(2), np.zeros(2), np.zeros(3)
        self.steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        draw = self.np_random.uniform
        self.peg = np.array([*draw(-0.2, 0.2, 2), draw(0.25, 0.4)])
        self.hole = draw(-0.2, 0.2, 2)
        self.drift = draw(-self.drift_limit, self.drift_limit, 2)
        self.moved = np.zeros(3)
        self.steps = 0
        return self._observation(), {"success": False}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        action = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        before = self.peg.copy()
        wanted = self.peg + STEP * action
        wanted[:2] += self.drift
        if wanted[2] < 0.0 and np.linalg.norm(wanted[:2] - self.hole) > self.radius:
            wanted[2] = 0.0
        self.peg = wanted
        self.moved = self.peg - before
        self.steps += 1
        success = bool(self.peg[2] <= DEPTH)
        truncated = not success and self.steps >= self.horizon
        info = {"success": success, "executed_action": action}
        return self._observation(), float(success), success, truncated, info

    def _observation(self) -> dict[str, np.ndarray]:
        return {
            "peg_position": self.peg.copy(),
            "hole_offset": self.hole - self.peg[:2],
            "peg_velocity": self.moved / STEP,
        }


class BlockedPegExpert:
    """Hover over the hole, then descend; proportional, at most `SPEED`, with Gaussian noise on every action."""

    def __init__(self, noise: float = 0.1) -> None:
        self.noise = noise
        self.rng = np.random.default_rng()

    def reset(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 7])

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        peg, offset = observation["peg_position"], observation["hole_offset"]
        is_over = np.linalg.norm(offset) < 0.8 * RADIUS
        height = 2.0 * DEPTH if is_over else HOVER
        wanted = np.clip(0.7 * np.array([*offset, height - peg[2]]) / STEP, -SPEED, SPEED)
        return np.clip(wanted + self.noise * self.rng.standard_normal(3), -1.0, 1.0)
