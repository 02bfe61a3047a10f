"""Running bounds on success that decide which policy is deployed while a learner changes it: no dip.

A learner that corrects a base policy first makes it worse (ResFiT falls 30-70 points below its base). Here the episodes
of a run are a comparison that goes on: a small share of them is run by the base alone, the others by base and
correction. What is deployed changes only when the latest corrected episodes say so with confidence.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from robot.errors import ConfigError
from robot.evaluation import wilson


@dataclass(frozen=True)
class GuardConfig:
    """Settings of `SuccessGuard`; rates in 0..1."""

    window: int = 20  # corrected episodes that still count: the learner goes on changing
    margin: float = 0.05  # how far below its rival a lower bound may lie
    base_share: float = 0.1  # of the episodes
    alarm_share: float = 0.5  # of the episodes while the correction is known to be worse than the base

    def __post_init__(self) -> None:
        if self.window < 1 or not 0.0 <= self.margin < 1.0:
            raise ConfigError(f"window {self.window} must be >= 1 and margin {self.margin} lie in [0, 1)")
        if not 0.0 < self.base_share <= self.alarm_share < 1.0:
            raise ConfigError(
                f"base_share {self.base_share} and alarm_share {self.alarm_share}: 0 < base_share <= alarm_share < 1"
            )


@dataclass
class SuccessGuard:
    """Counts episodes of base and correction; all bounds are Wilson's at 95 %.

    `accepted` is the lower bound of the correction that is deployed, or None while that is the base.
    """

    config: GuardConfig
    base_successes: int = 0
    base_episodes: int = 0
    accepted: float | None = None
    recent: deque[bool] = field(default_factory=deque)
    _debt: float = 0.0  # base episodes that are due

    def add_base(self, is_success: bool) -> None:
        self.base_episodes += 1
        self.base_successes += is_success

    def add_corrected(self, is_success: bool) -> bool:
        """Count an episode of the correction; return whether it is to be deployed as it was in this episode."""
        self.recent.append(is_success)
        while len(self.recent) > self.config.window:
            self.recent.popleft()
        low, _ = self.bounds()
        if low < self._required():
            return False
        self.accepted = low
        return True

    def _required(self) -> float:
        """Return the lower bound that deploys: at the base's rate, and not behind what is deployed, less the margin.

        Before the first episode of the base, half is taken to succeed.
        """
        deployed = 0.0 if self.accepted is None else self.accepted
        return max(self.base_rate, deployed) - self.config.margin

    @property
    def base_rate(self) -> float:
        """Success of the base with one success and one failure added (Laplace)."""
        return (self.base_successes + 1) / (self.base_episodes + 2)

    def bounds(self) -> tuple[float, float]:
        """Return the interval of the correction's success over the window; all of 0..1 before the first episode."""
        return wilson(sum(self.recent), len(self.recent)) if self.recent else (0.0, 1.0)

    @property
    def is_worse(self) -> bool:
        """Whether the correction lies below the base by more than the margin, with confidence."""
        return self.bounds()[1] < self.base_rate - self.config.margin

    def next_is_base(self) -> bool:
        """Return whether the base runs the next episode: evenly spread, as often as its share says."""
        self._debt += self.config.alarm_share if self.is_worse else self.config.base_share
        if self._debt < 1.0:
            return False
        self._debt -= 1.0
        return True

    def metrics(self) -> dict[str, float]:
        low, high = self.bounds()
        return {
            "guard/base_rate": self.base_rate,
            "guard/corrected_low": low,
            "guard/corrected_high": high,
            "guard/accepted": 0.0 if self.accepted is None else self.accepted,
        }

    def state(self) -> dict[str, Any]:
        return {
            "base_successes": self.base_successes,
            "base_episodes": self.base_episodes,
            "accepted": self.accepted,
            "recent": [bool(outcome) for outcome in self.recent],
            "debt": self._debt,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.base_successes, self.base_episodes = state["base_successes"], state["base_episodes"]
        self.accepted, self.recent, self._debt = state["accepted"], deque(state["recent"]), state["debt"]
