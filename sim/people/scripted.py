"""A scripted person: acts like an expert with faults, judges what was executed, reacts late, holds on, tires."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces

from robot.errors import ConfigError
from robot.operator.person import HANDS_OFF, Wish
from robot.types import Array
from robot.worlds import Expert, make_env, make_expert
from sim.people.judges import DisagreementJudge, Judge

Seen = Mapping[str, np.ndarray]
Env = gymnasium.Env[dict[str, np.ndarray], np.ndarray]
LEAST_CHANGE = 0.05  # half ranges


@dataclass(frozen=True, slots=True)
class Faults:
    """How a person drives worse than the expert, in units of the action's half range."""

    bias: tuple[float, ...] = ()  # constant; () is none: what cloning cannot average out
    noise: float = 0.0  # standard deviation on every action
    gain: float = 1.0  # below 1: a slow hand
    one_axis: bool = False  # a keyboard: the largest component alone

    def __post_init__(self) -> None:
        if self.noise < 0.0 or not 0.0 < self.gain <= 1.0:
            raise ConfigError(f"faults: noise must be >= 0 and gain in (0, 1], got {self.noise} and {self.gain}")


@dataclass(frozen=True, slots=True)
class Timing:
    """How a person's attention works, in ticks; 2 to 5 ticks of reaction at 10 Hz are human."""

    reaction: int = 0  # from the judgement to the hand
    hold: int = 4  # at least so long, once taken
    tiring: float = 0.0  # share of judgements that are missed, growing by this per thousand ticks looked at
    lapse: float = 0.0  # chance that a whole episode is not watched
    early_release: float = 0.0  # chance per tick to let go before the hold is over

    def __post_init__(self) -> None:
        if self.reaction < 0 or self.hold < 1:
            raise ConfigError(f"timing: reaction must be >= 0 and hold >= 1, got {self.reaction} and {self.hold}")


class Acts(Protocol):
    """How somebody drives: an expert's signature."""

    def reset(self, seed: int) -> None: ...
    def act(self, observation: Seen) -> Array: ...


class FaultyHand:
    """An expert's action with faults; `middle` and `half` describe the world's action box."""

    def __init__(self, expert: Expert, faults: Faults, low: Array, high: Array) -> None:
        self._expert, self._faults = expert, faults
        self._low, self._high, self._half = low, high, (high - low) / 2
        self._bias = np.asarray(faults.bias or np.zeros(len(low)), float)
        if self._bias.shape != low.shape:
            raise ConfigError(f"bias has {self._bias.size} values, this action has {low.size}")
        self.reset(0)

    def reset(self, seed: int) -> None:
        self._expert.reset(seed)
        self._rng = np.random.default_rng([seed, 21])

    def act(self, observation: Seen) -> Array:
        wanted = np.asarray(self._expert.act(observation), np.float64)
        if self._faults.gain < 1.0:
            wanted = (self._low + self._high) / 2 + self._faults.gain * (wanted - (self._low + self._high) / 2)
        noise = self._faults.noise * self._rng.standard_normal(len(wanted)) if self._faults.noise else 0.0
        wanted = wanted + self._half * (self._bias + noise)
        if self._faults.one_axis:
            wanted = np.where(np.arange(len(wanted)) == np.argmax(np.abs(wanted)), wanted, 0.0)
        return np.clip(wanted, self._low, self._high)


class ScriptedPerson:
    """Looks on, takes over where the judge says so, drives for the hold, lets the policy have one tick, looks again."""

    def __init__(self, hand: Acts, judge: Judge, timing: Timing = Timing()) -> None:
        self.hand, self.judge, self.timing = hand, judge, timing
        self.session_ticks = 0  # of the policy that were looked at, over all episodes: what tires
        self.driven_ticks = 0
        self.reset(0)

    def reset(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 20])
        self.hand.reset(seed)
        self.judge.reset(np.random.default_rng([seed, 22]))
        self._before: Seen | None = None
        self._was_driving, self._driving_left, self._reacts_in = False, 0, -1
        self._is_awake = self._rng.random() >= self.timing.lapse

    def look(self, observation: Seen, executed: Array | None, proposed: Array) -> Wish:
        before, self._before = self._before, observation
        if self._driving_left == 0 and self._is_awake and before is not None and executed is not None:
            self._judge(before, executed, observation)
        if self._driving_left == 0:
            self._was_driving = False
            return HANDS_OFF
        self._driving_left -= 1
        if self._driving_left and self._rng.random() < self.timing.early_release:
            self._driving_left = 0
        self._was_driving = True
        return Wish(self.hand.act(observation))

    def advise(self, observation: Seen) -> Array:
        return self.hand.act(observation)

    def _judge(self, before: Seen, executed: Array, after: Seen) -> None:
        """Judge a tick of the policy; one that was the person's own is not judged."""
        if self._was_driving:
            return
        self.session_ticks += 1
        misses = self._rng.random() < self.timing.tiring * self.session_ticks / 1000
        if self._reacts_in < 0 and not misses and self.judge.looks_wrong(before, executed, after):
            self._reacts_in = self.timing.reaction
        if self._reacts_in == 0:
            self._driving_left = self.timing.hold
        self._reacts_in = max(self._reacts_in - 1, -1)


def make_person(env_id: str, *, faults: Faults = Faults(), timing: Timing = Timing(), **judged: Any) -> ScriptedPerson:
    """Return a person of a world: drives like its expert, and takes over where the policy acts unlike it.

    Args:
        env_id: the world.
        faults: of the person's hand.
        timing: of the person's attention.
        judged: `threshold`, `hit` and `window` of the judge; the threshold in units of `own_change`.
    """
    env = make_env(env_id)
    box = env.action_space
    assert isinstance(box, spaces.Box)
    low, high = box.low.astype(np.float64), box.high.astype(np.float64)
    scale = own_change(env, make_expert(env_id)) * (high - low) / 2
    env.close()
    judging = make_expert(env_id)
    judging.reset(0)
    judge = DisagreementJudge(judging.act, scale, **{"threshold": 2.0, **judged})
    return ScriptedPerson(FaultyHand(make_expert(env_id), faults, low, high), judge, timing)


def own_change(env: Env, expert: Expert, seed: int = 0) -> float:
    """Return by how much an expert's action changes from tick to tick, median of one episode, in half ranges."""
    box = env.action_space
    assert isinstance(box, spaces.Box)
    half = (box.high.astype(np.float64) - box.low) / 2
    observation, _ = env.reset(seed=seed)
    expert.reset(seed)
    actions, is_over = [], False
    while not is_over:
        actions.append(np.asarray(expert.act(observation), np.float64))
        observation, _, terminated, truncated, _ = env.step(actions[-1])
        is_over = terminated or truncated
    changes = np.linalg.norm(np.diff(actions, axis=0) / half, axis=1)
    return max(float(np.median(changes)) if len(changes) else 0.0, LEAST_CHANGE)
