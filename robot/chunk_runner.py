"""Ask a policy when it is due, and make the chunk to follow out of what it answers; graph and lock-step share this.

Three ways to execute chunks, chosen by one word (`Execution.of`):

- `receding[:STEPS]`: execute so many actions of a chunk, then ask again (Chi et al. 2023, receding horizon).
- `ensemble[:DECAY]`: ask at every step and average all answers that speak of the same time, the i-th oldest with
  weight exp(-DECAY i) (Zhao et al. 2023, section IV-B).
- `async[:STEPS]`: go on with the old chunk while the policy thinks for so many steps; these actions are frozen: they
  begin the new chunk, and a `PrefixPolicy` is told of them (Black et al. 2025, real-time chunking).
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Protocol, runtime_checkable

import numpy as np

from robot.errors import ConfigError, unknown_name
from robot.observation_history import ObservationHistory
from robot.policy import ActionChunk, Policy, PolicySpec
from robot.types import NS_PER_S, Array

RECEDING, ENSEMBLE, ASYNC = "receding", "ensemble", "async"
DECAY = 0.01
DELAY_STEPS = 1
LATENCIES_KEPT = 10


@runtime_checkable
class PrefixPolicy(Protocol):
    """A policy that can begin its chunk with actions that will be executed anyhow."""

    def act_after(self, observation: Mapping[str, np.ndarray], planned: Array, frozen: int) -> ActionChunk:
        """Return the chunk for one observation, as a continuation of the one that is being followed.

        Args:
            observation: arrays without a batch axis.
            planned: what that chunk still says of the new chunk's first points, shape (points >= frozen, action_dim).
            frozen: so many of them will be executed before the answer is there: it is to begin with them.
        """
        ...


@dataclass(frozen=True, slots=True)
class Execution:
    """How one policy's chunks are executed. `delay_steps` is what inference is taken to last in lock-step."""

    mode: str
    execution_horizon: int
    decay: float = DECAY
    delay_steps: int = 0

    @classmethod
    def of(cls, spec: PolicySpec, text: str = "") -> "Execution":
        """Read `MODE` or `MODE:VALUE`; "" takes what the policy declares. ConfigError names what is allowed."""
        mode, colon, value = (text or spec.execution).partition(":")
        if mode == RECEDING:
            steps = _number("receding", value, int) if colon else spec.execution_horizon
            _check("receding", "execution_horizon", steps, 1, spec.action_horizon)
            return cls(mode, int(steps))
        if mode == ENSEMBLE:
            decay = _number("ensemble", value, float) if colon else DECAY
            _check("ensemble", "decay", decay, 0.0, 100.0)
            return cls(mode, 1, decay=decay)
        if mode == ASYNC:
            delay = _number("async", value, int) if colon else min(DELAY_STEPS, spec.action_horizon // 2)
            _check("async", "steps of delay", delay, 0, spec.action_horizon // 2)
            return cls(mode, _between(spec, int(delay)), delay_steps=int(delay))
        raise unknown_name("way to execute chunks", mode, (RECEDING, ENSEMBLE, ASYNC))

    def __str__(self) -> str:
        if self.mode == ENSEMBLE:
            return f"ensemble of every step's answer, decay {self.decay:g}"
        frozen = f", {self.delay_steps} frozen" if self.mode == ASYNC else ""
        return f"executes {self.execution_horizon} ({self.mode}{frozen})"


def _number(mode: str, value: str, kind: type[int] | type[float]) -> float:
    try:
        return kind(value)
    except ValueError:
        raise ConfigError(f"execution '{mode}:{value}': got '{value}', expected {kind.__name__}") from None


def _check(mode: str, what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"execution '{mode}': {what} is {value:g}, it must lie in {low:g}..{high:g} for this policy")


def _between(spec: PolicySpec, delay: int) -> int:
    """Return the steps between two questions: long enough to answer one, short enough that the old chunk lasts."""
    return max(1, delay, min(spec.execution_horizon, spec.action_horizon - delay))


class ChunkRunner:
    """Calls the policy when it is due and keeps what the way of execution needs of earlier answers.

    A new ownership generation (a takeover or a hand-back) drops everything: what is left of the chunk, answers kept for
    averaging, an answer still under way. So the first action after a hand-back comes from an observation made after it.
    """

    def __init__(self, policy: Policy, execution: str = "", *, in_real_time: bool = False) -> None:
        """Begin without a chunk.

        Args:
            policy: whom to ask.
            execution: as `Execution.of`; "" takes the policy's own way.
            in_real_time: inference takes the time it takes, told by `note_latency`, and its answer is given out at
                once; else, in lock-step, after the declared delay.
        """
        self.policy = policy
        self.execution = Execution.of(policy.spec, execution)
        self._in_real_time = in_real_time
        self._delay_steps = self.execution.delay_steps
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._generation: int | None = None
        self._next_id = 0
        self._history = ObservationHistory(policy.spec.obs_horizon)
        self._forget()

    def reset(self) -> None:
        """Start an episode."""
        self.flush()

    def flush(self) -> None:
        """Drop every chunk here and inside the policy; the next step asks afresh."""
        self._forget()
        self.policy.reset()

    def _forget(self) -> None:
        self._history.clear()
        self._steps_left = 0
        self._followed: ActionChunk | None = None  # the chunk given out last
        self._answers: deque[ActionChunk] = deque()  # ensemble: those that still speak of times to come
        self._thinking: tuple[int, ActionChunk] | None = None  # async: steps until this answer is given out

    def note_latency(self, latency_s: float) -> None:
        """Tell how long an answer took, from observation to chunk; the longest of the last ten is frozen next time."""
        self._latencies_s.append(latency_s)
        longest = ceil(max(self._latencies_s) * self.policy.spec.rate_hz)
        if self.execution.mode == ASYNC:
            self._delay_steps = min(longest, self.policy.spec.action_horizon // 2)

    def step(self, observation: Mapping[str, np.ndarray], time_ns: int, generation: int = 0) -> ActionChunk | None:
        """Return a new chunk, or None while the current one is still to be followed.

        Args:
            observation: of this control step, arrays without a batch axis; the policy's history is kept here.
            time_ns: reference time of the observation.
            generation: ownership generation in which the policy is asked.
        """
        if generation != self._generation:
            if self._generation is not None:
                self.flush()
            self._generation = generation
        self._history.add(observation)
        given = self._arrived()
        if self._steps_left > 0:
            self._steps_left -= 1
            return given
        is_first = self._followed is None
        chunk = self._ask(self._history.stacked(observation), time_ns, generation)
        if self.execution.mode == ASYNC:
            self._steps_left = _between(self.policy.spec, self._delay_steps) - 1
            if not (is_first or self._in_real_time or self._delay_steps == 0):
                self._thinking = (self._delay_steps, chunk)
                return given
        else:
            self._steps_left = self.execution.execution_horizon - 1
        self._followed = chunk
        return chunk

    def _arrived(self) -> ActionChunk | None:
        """Return the answer whose time of thinking is over with this step."""
        if self._thinking is None:
            return None
        steps, chunk = self._thinking
        if steps > 1:
            self._thinking = (steps - 1, chunk)
            return None
        self._thinking, self._followed = None, chunk
        return chunk

    def _ask(self, observation: Mapping[str, np.ndarray], time_ns: int, generation: int) -> ActionChunk:
        dt_s = 1.0 / self.policy.spec.rate_hz
        stamp = {"dt_s": dt_s, "observation_time_ns": time_ns, "generation": generation, "chunk_id": self._next_id}
        self._next_id += 1
        if self.execution.mode == ASYNC and self._followed is not None and self._delay_steps:
            frozen = self._delay_steps
            actions, base, speaks = _points(self._followed, time_ns + _due_ns(self.policy.spec.action_horizon, dt_s))
            planned = actions[: max(frozen, int(speaks.sum()))]
            answer = replace(ask_after(self.policy, observation, planned, frozen), **stamp)
            return _begun_with(answer, actions[:frozen], base[:frozen])
        chunk = replace(self.policy.act(observation), **stamp)
        return self._averaged(chunk) if self.execution.mode == ENSEMBLE else chunk

    def _averaged(self, newest: ActionChunk) -> ActionChunk:
        """Average the answers of this generation that speak of the newest chunk's times, on those times."""
        times_ns = newest.observation_time_ns + _due_ns(len(newest.actions), newest.dt_s)
        self._answers.append(newest)
        sampled = [_points(chunk, times_ns) for chunk in self._answers]
        while not sampled[0][2][0]:  # the oldest says nothing of the next point: nor will it ever
            self._answers.popleft()
            sampled.pop(0)
        covers = np.array([mask for *_, mask in sampled])
        rank = np.cumsum(covers, axis=0) - 1  # 0 is the oldest that speaks of a time
        weights = np.where(covers, np.exp(-self.execution.decay * rank), 0.0)[..., None]
        total = weights.sum(axis=0)
        actions = (weights * np.array([points for points, *_ in sampled])).sum(axis=0) / total
        if all(chunk.base_actions is None for chunk in self._answers):
            return replace(newest, actions=actions)
        base = (weights * np.array([points for _, points, _ in sampled])).sum(axis=0) / total
        return replace(newest, actions=actions, base_actions=base)


def ask_after(policy: Policy, observation: Mapping[str, np.ndarray], planned: Array, frozen: int) -> ActionChunk:
    """Ask a policy, and hand it what is planned where it can continue that; arguments as `PrefixPolicy.act_after`."""
    if isinstance(policy, PrefixPolicy):
        return policy.act_after(observation, planned, frozen)
    return policy.act(observation)


def _due_ns(count: int, dt_s: float) -> np.ndarray:
    """Return when the first points of a chunk are due, after its observation [ns]."""
    return np.rint(np.arange(1, count + 1) * (dt_s * NS_PER_S)).astype(np.int64)


def _points(chunk: ActionChunk, times_ns: np.ndarray) -> tuple[Array, Array, np.ndarray]:
    """Return actions, base actions, (times, action_dim), and whether the chunk speaks of each time.

    As `robot.plan.Plan.sample`: linear between points, the ends held, on a point the point's own numbers.
    """
    last = len(chunk.actions) - 1
    position = (times_ns - chunk.observation_time_ns) / NS_PER_S / chunk.dt_s - 1.0
    nearest = np.rint(position)
    position = np.where(np.abs(position - nearest) < 1e-6, nearest, position)
    held = np.clip(position, 0.0, last)
    below = np.minimum(held.astype(int), max(last - 1, 0))
    above, share = np.minimum(below + 1, last), (held - below)[:, None]
    actions, base = (
        np.where(share == 0.0, points[below], np.where(share == 1.0, points[above], _mix(points, below, above, share)))
        for points in (chunk.actions, chunk.base)
    )
    return actions, base, position <= last


def _mix(points: Array, below: np.ndarray, above: np.ndarray, share: np.ndarray) -> Array:
    return (1.0 - share) * points[below] + share * points[above]


def _begun_with(chunk: ActionChunk, prefix: Array, base: Array) -> ActionChunk:
    """Return the chunk with its first points frozen."""
    count = min(len(prefix), len(chunk.actions))
    actions = np.concatenate([prefix[:count], chunk.actions[count:]])
    if chunk.base_actions is None and np.array_equal(prefix, base):
        return replace(chunk, actions=actions)
    return replace(chunk, actions=actions, base_actions=np.concatenate([base[:count], chunk.base[count:]]))
