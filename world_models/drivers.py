"""Who drives while a world model's data is recorded: experts, experts that just miss, clones, and smooth chance.

Demonstrations alone cannot show a policy's own failures, and a model that never saw a miss imagines a success
(World-VLA-Loop, WMPO). A near miss is the expert with a wrong idea of where the thing is, or a gripper at a wrong time.
It carries on with an empty hand, as policies that miss do: an expert that sees the truth opens its hand at once, and a
model that only saw those takes any closed hand that rises for one that holds something.
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
MISS_M = (0.01, 0.035)  # how far beside the thing a missed grasp is: under 1 cm most do not miss
ABOVE_M = (0.025, 0.06)  # or above it
BESIDE, ABOVE, LATE = 0.5, 0.42, 0.04  # shares of near misses; the rest moves the gripper too early
CLONE_MISS_M = (0.0, 0.08)
AT_HAND_M = 0.03  # who closes the hand within so much of where the thing is believed to be believes to have it
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


class Belief:
    """Where a driver takes the thing to be: `shift` [m] from where it is, or in the hand that it has closed there."""

    def __init__(self, shift: Array, grippers: np.ndarray) -> None:
        self.shift, self._grippers = shift, grippers
        self._in_hand: Array | None = None  # from the tcp [m]
        self._widest, self._is_closed = np.full(len(grippers), -np.inf), False

    def seen(self, observation: Observation) -> dict[str, np.ndarray]:
        """Return what the driver sees: the object state begins with the place of the thing."""
        seen = dict(observation)
        if "object_state" in seen:
            state = np.array(seen["object_state"], np.float64)
            state[:3] = state[:3] + self.shift if self._in_hand is None else seen["tcp_position"] + self._in_hand
            seen["object_state"] = state
        return seen

    def heed(self, seen: Observation, action: Array) -> None:
        """Take up what the driver does about `seen`: a hand that closes has the thing, one that opens lets go of it."""
        wish = np.array(action[self._grippers], np.float64)
        self._widest = np.maximum(self._widest, wish)
        closes, was_closed = bool((wish < self._widest / 2).any()), self._is_closed
        self._is_closed = closes
        if not closes:
            self._in_hand = None
        elif not was_closed and "object_state" in seen and np.shape(seen.get("tcp_position")) == (3,):  # pyright: ignore[reportCallIssue, reportArgumentType]
            offset = np.asarray(seen["object_state"][:3]) - seen["tcp_position"]
            self._in_hand = offset if np.linalg.norm(offset) < AT_HAND_M else None


class NearMiss:
    """The expert, sure of a place beside or above the thing, or with a gripper that comes late, or moves early.

    `grippers` says where grippers are in an action.
    """

    def __init__(self, env_id: str, grippers: np.ndarray) -> None:
        self._env_id, self._grippers = env_id, grippers
        self.reset(0)

    def reset(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._expert, self._ticks = _varied(self._env_id, rng, seed), 0
        self._delay: deque[Array] = deque()
        self._early_at = -1
        shift, kind = _beside(rng, MISS_M), rng.random()
        if kind >= BESIDE:
            shift[:] = 0.0
        if BESIDE <= kind < BESIDE + ABOVE:
            shift[2] = rng.uniform(*ABOVE_M)
        elif BESIDE + ABOVE <= kind < BESIDE + ABOVE + LATE:
            self._late = int(rng.integers(*LATE_TICKS))
            self._delay = deque(maxlen=self._late)
        elif kind >= BESIDE + ABOVE + LATE:
            self._early_at = int(rng.integers(5, 40))
        self.belief = Belief(shift, self._grippers)

    def act(self, observation: Observation, command: Array) -> Array:
        seen = self.belief.seen(observation)
        action = np.array(self._expert.act(seen), np.float64)
        self.belief.heed(seen, action)
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
    """A policy, its chunks executed one after the other, with an idea of its own of where the thing is."""

    def __init__(self, policy: Policy, grippers: np.ndarray) -> None:
        self._queue, self._grippers = BaseQueue(policy), grippers
        self.reset(0)

    def reset(self, seed: int) -> None:
        self._queue.reset()
        self.belief = Belief(_beside(np.random.default_rng(seed), CLONE_MISS_M), self._grippers)

    def act(self, observation: Observation, command: Array) -> Array:
        seen = self.belief.seen(observation)
        action = self._queue.pop(seen)[0]
        self.belief.heed(seen, action)
        return action


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


def _beside(rng: np.random.Generator, reach_m: tuple[float, float]) -> Array:
    """Return a horizontal way off, (3,) [m]."""
    angle, distance = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(*reach_m)
    return distance * np.array([np.cos(angle), np.sin(angle), 0.0])


def _varied(env_id: str, rng: np.random.Generator, seed: int) -> Expert:
    knobs: dict[str, Any] = {"noise": rng.uniform(0.0, NOISE_M), "slowness": rng.uniform(*SLOWNESS)}
    expert = make_expert(env_id, **knobs)
    expert.reset(seed)
    return expert
