"""Who drives while a world model's data is recorded: experts, experts that just miss, clones, and smooth chance.

Demonstrations alone cannot show a policy's own failures, and a model that never saw a miss imagines a success
(World-VLA-Loop, WMPO). A near miss is the expert with a wrong idea of where the thing is, or a gripper at a wrong time.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from policies.residual_policy import BaseQueue
from robot.policy import Policy
from robot.types import Array
from robot.worlds import Expert, make_expert

Observation = Mapping[str, np.ndarray]
MISS_M = (0.005, 0.03)  # how far from the thing a missed grasp is
LATE_TICKS = (4, 16)  # how late a late gripper is
NOISE_M, SLOWNESS = 0.004, (1.0, 1.8)


class Driver(Protocol):
    """Gives one command per tick; `command` is the one in force."""

    def reset(self, seed: int) -> None: ...

    def act(self, observation: Observation, command: Array) -> Array: ...


class Scripted:
    """The world's expert, every episode with another noise and speed."""

    def __init__(self, env_id: str) -> None:
        self._env_id = env_id
        self.reset(0)

    def reset(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._expert = _varied(self._env_id, rng, seed)

    def act(self, observation: Observation, command: Array) -> Array:
        return self._expert.act(observation)


class NearMiss:
    """The expert, sure of a place beside the thing, or with a gripper that comes late or, as often, moves early.

    `grippers` says where grippers are in an action.
    """

    def __init__(self, env_id: str, grippers: np.ndarray) -> None:
        self._env_id, self._grippers = env_id, grippers
        self.reset(0)

    def reset(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._expert = _varied(self._env_id, rng, seed)
        angle, self._ticks = rng.uniform(0.0, 2.0 * np.pi), 0
        self._shift = np.zeros(3)
        self._delay: deque[Array] = deque()
        self._early_at = -1
        kind = rng.random()
        if kind < 0.7:
            self._shift[:2] = rng.uniform(*MISS_M) * np.array([np.cos(angle), np.sin(angle)])
        elif kind < 0.85:
            self._late = int(rng.integers(*LATE_TICKS))
            self._delay = deque(maxlen=self._late)
        else:
            self._early_at = int(rng.integers(5, 40))

    def act(self, observation: Observation, command: Array) -> Array:
        seen = dict(observation)
        if "object_state" in seen:
            state = np.array(seen["object_state"], np.float64)
            state[:3] += self._shift
            seen["object_state"] = state
        action = np.array(self._expert.act(seen), np.float64)
        wish = action[self._grippers].copy()
        if self._delay.maxlen:
            action[self._grippers] = (
                self._delay[0] if len(self._delay) == self._delay.maxlen else command[self._grippers]
            )
            self._delay.append(wish)
        if 0 <= self._early_at <= self._ticks < self._early_at + 10:
            action[self._grippers] = 0.0
        self._ticks += 1
        return action


class Cloned:
    """A policy, its chunks executed one after the other."""

    def __init__(self, policy: Policy) -> None:
        self._queue = BaseQueue(policy)

    def reset(self, seed: int) -> None:
        self._queue.reset()

    def act(self, observation: Observation, command: Array) -> Array:
        return self._queue.pop(observation)[0]


class Wander:
    """Smooth random motion within the box of the actions; the gripper opens and closes by chance, where it may."""

    def __init__(self, low: Array, high: Array, grippers: np.ndarray, *, with_gripper: bool = True) -> None:
        self._low, self._high, self._grippers, self._with_gripper = low, high, grippers, with_gripper
        self.reset(0)

    def reset(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._velocity = np.zeros_like(self._low)
        self._target: Array | None = None

    def act(self, observation: Observation, command: Array) -> Array:
        span = self._high - self._low
        kick = self._rng.standard_normal(len(span)) * 0.008 * span
        self._velocity = 0.85 * self._velocity + 0.5 * kick
        action = np.clip(command + self._velocity, self._low, self._high)
        self._velocity[(action == self._low) | (action == self._high)] *= -0.5
        if self._target is None or not self._with_gripper:
            self._target = command[self._grippers].copy()
        elif self._rng.random() < 0.06:
            self._target = self._rng.uniform(self._low[self._grippers], self._high[self._grippers])
        action[self._grippers] = self._target
        return action


def _varied(env_id: str, rng: np.random.Generator, seed: int) -> Expert:
    knobs: dict[str, Any] = {"noise": rng.uniform(0.0, NOISE_M), "slowness": rng.uniform(*SLOWNESS)}
    expert = make_expert(env_id, **knobs)
    expert.reset(seed)
    return expert
