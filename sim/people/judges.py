"""When a scripted person finds that something went wrong. Judges look at what was executed, as people do.

A judge answers True in a bad tick with probability `hit`, and in a good one with 1 - `hit`: its false alarms. What it
would have said of the last tick had it thought twice is its `verdict`: the answer to an audit prompt.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from robot.types import Array

Seen = Mapping[str, np.ndarray]
Distance = Callable[[Seen], float]  # how far the goal is from here, on the best way
Advice = Callable[[Seen], Array]  # what an expert would do here


class Judge(Protocol):
    """Says after each tick of the policy whether a person would now take over."""

    def reset(self, rng: np.random.Generator) -> None: ...

    def looks_wrong(self, before: Seen, executed: Array, after: Seen) -> bool:
        """Return whether the executed action, and what came of it, call for a takeover."""
        ...


@dataclass
class RegretJudge:
    """Privileged regret: (D(s') - D*(s)) / step over the last `window` ticks, against `threshold`.

    D* is what the best single step would have left, so regret is 0 on the best way and 1 where nothing was gained.
    `hit` 1 never errs; the threshold is absolute, so that it means the same for values of either sign.
    """

    distance: Distance
    step: float  # the most that one tick can shorten the way
    threshold: float = 0.5
    hit: float = 0.95
    window: int = 1

    def reset(self, rng: np.random.Generator) -> None:
        self._rng, self._regrets = rng, deque[float](maxlen=self.window)

    def looks_wrong(self, before: Seen, executed: Array, after: Seen) -> bool:
        best = max(self.distance(before) - self.step, 0.0)
        self._regrets.append((self.distance(after) - best) / self.step)
        self.verdict = float(np.mean(self._regrets)) > self.threshold
        return bool(self._rng.random() < (self.hit if self.verdict else 1.0 - self.hit))


@dataclass
class DisagreementJudge:
    """For worlds without a known way: how far the executed action is from an expert's, in units of `scale`."""

    advice: Advice
    scale: Array
    threshold: float = 0.5
    hit: float = 0.95
    window: int = 3

    def reset(self, rng: np.random.Generator) -> None:
        self._rng, self._errors = rng, deque[float](maxlen=self.window)

    def looks_wrong(self, before: Seen, executed: Array, after: Seen) -> bool:
        self._errors.append(float(np.linalg.norm((executed - self.advice(before)) / self.scale)))
        self.verdict = float(np.mean(self._errors)) > self.threshold
        return bool(self._rng.random() < (self.hit if self.verdict else 1.0 - self.hit))


@dataclass
class RandomJudge:
    """Takes over at a constant rate, whatever is done: the shuffled judge of every claim about takeovers."""

    rate: float = 0.3  # per tick of the policy

    def reset(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def looks_wrong(self, before: Seen, executed: Array, after: Seen) -> bool:
        return bool(self._rng.random() < self.rate)


@dataclass
class NeverJudge:
    """Looks on and lets everything happen."""

    def reset(self, rng: np.random.Generator) -> None: ...

    def looks_wrong(self, before: Seen, executed: Array, after: Seen) -> bool:
        return False
