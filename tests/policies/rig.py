"""What the learning tests share: small settings, and a base whose chunks are known."""

from collections.abc import Mapping

import numpy as np

from policies.base.behavior_cloning import BehaviorCloningConfig
from policies.recipes.resfit import ResFiTConfig
from robot.policy import ActionChunk, PolicySpec

TINY_BASE = BehaviorCloningConfig(action_horizon=8, execution_horizon=8, hidden=(32,), steps=200, batch_size=64)
TINY = ResFiTConfig(
    env_steps=60,
    warmup_steps=30,
    critic_only_updates=7,
    utd_ratio=3,
    batch_size=16,
    n_step=3,
    residual_scale=0.3,
    sigma=0.1,
    heads=4,
    actor_hidden=(16, 16),
    critic_hidden=(16, 16),
    critic_learning_rate=3e-3,
    actor_learning_rate=3e-3,
    replay_capacity=500,
    evaluate_every=0,
    checkpoint_every=0,
    log_every=0,
)


class CountingBase:
    """Answers chunks that tell where they come from: element i of chunk number c is (c, i, 0) / 100."""

    def __init__(self, horizon: int, names: tuple[str, ...] = ("x", "y", "z")) -> None:
        shapes = {"peg_position": (3,), "hole_offset": (2,), "peg_velocity": (3,)}
        self.spec = PolicySpec(shapes, names, 10.0, horizon, horizon)
        self.asked = self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def act(self, observation: Mapping[str, np.ndarray]) -> ActionChunk:
        self.asked += 1
        chunk = np.zeros((self.spec.action_horizon, 3))
        chunk[:, 0], chunk[:, 1] = self.asked / 100, np.arange(len(chunk)) / 100
        return ActionChunk(chunk, 0.1)
