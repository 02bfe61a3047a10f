"""The hard peg: the blocked peg with a narrower hole, stiction, ten coupled actuators and a long episode.

Made for the parts of a recipe that the easy peg forgives (off_policy spec, section 8.2): LayerNorm, n-step returns,
demonstrations in the batch, the executed action in the replay. Numpy only.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from robot.worlds import Interface
from tests.gates.blocked_peg import DEPTH, HOVER, RATE_HZ, STEP, BlockedPeg, BlockedPegExpert

RADIUS = 0.010
DRIFT = 0.005
HORIZON = 200
PACE = 0.5  # share of `STEP` that a full action moves by
STICTION = 0.15  # of the motion wanted along an axis: below it the peg stands still
DISTRACTORS = 7
COUPLING = 0.5  # length of each axis' row of the coupling
SPEED = 0.6  # of the expert, share of the action range


def coupling() -> np.ndarray:
    """Return how the distractors move the peg, shape (3, DISTRACTORS): the same in every episode."""
    rows = np.random.default_rng(0).standard_normal((3, DISTRACTORS))
    return COUPLING * rows / np.linalg.norm(rows, axis=1, keepdims=True)


class HardPeg(BlockedPeg):
    """Ten actions: three move the peg, the other seven move it too, by `coupling`.

    The wanted motion is a[:3] + coupling @ a[3:], clipped to +-1; along an axis where it is below `STICTION` the
    actuators do not move the peg. The drift does in any case.
    """

    def __init__(self, horizon: int = HORIZON, drift: float = DRIFT, radius: float = RADIUS) -> None:
        super().__init__(horizon, drift, radius)
        names = ("x", "y", "z", *(f"distractor_{index}" for index in range(DISTRACTORS)))
        self.interface = Interface(self.interface.observation_shapes, names, RATE_HZ, horizon)
        self.action_space = spaces.Box(-1.0, 1.0, (len(names),))
        self.coupling = coupling()

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        action = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        wanted = np.clip(action[:3] + self.coupling @ action[3:], -1.0, 1.0)
        moving = np.where(np.abs(wanted) < STICTION, 0.0, wanted)
        observation, reward, terminated, truncated, info = super().step(PACE * moving)
        return observation, reward, terminated, truncated, info | {"executed_action": action}


class HardPegExpert(BlockedPegExpert):
    """Hover over the hole, then descend; the distractors stay near 0. Gaussian noise on every action."""

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        peg, offset = observation["peg_position"], observation["hole_offset"]
        is_over = np.linalg.norm(offset) < 0.8 * RADIUS
        height = 2.0 * DEPTH if is_over else HOVER
        wanted = 0.7 * np.array([*offset, height - peg[2]]) / (PACE * STEP)
        action = np.concatenate([np.clip(wanted, -SPEED, SPEED), np.zeros(DISTRACTORS)])
        return np.clip(action + self.noise * self.rng.standard_normal(len(action)), -1.0, 1.0)
