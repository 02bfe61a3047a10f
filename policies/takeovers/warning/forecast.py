"""How likely a person takes over soon: a classifier of the last ticks, from recorded takeovers (interventions, 15).

A tick of the policy is a positive where a person took over within `ahead` ticks. What is looked at is the state and by
how much it has changed over the last ticks, as far back as the policy has been driving: most of what goes wrong stands
still, turns round or drifts before it fails. Batches are half and half, so that rare takeovers count; the odds are
corrected by how rare they were, which makes the answer a probability again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from policies.normalization import StateNormalizer
from policies.takeovers.labels import ticks_to_takeover
from policies.takeovers.success import SuccessClassifier
from policies.takeovers.ticks import Ticks
from robot.errors import ConfigError

Shown = np.ndarray  # rows of what is looked at, (n, state * (1 + spans))


class Watched(Protocol):
    """One episode under a person's eyes; `policies.takeovers.rounds.RolledOut` is one."""

    @property
    def states(self) -> np.ndarray:
        """Flat states, a row for each tick and whatever comes after."""
        ...

    @property
    def ticks(self) -> Ticks:
        """The facts of its T ticks."""
        ...


@dataclass(frozen=True)
class Recorded:
    """A `Watched` episode out of a store; the state after its last tick may be missing, since nobody looks at it."""

    states: np.ndarray  # (T, state) or one row more
    ticks: Ticks


@dataclass(frozen=True)
class ForecastConfig:
    """What is looked at and how it is learned; ticks are control periods."""

    ahead: int = 10  # ticks within which a takeover counts as soon
    spans: tuple[int, ...] = (1, 4, 8)  # changes over so many ticks are looked at
    hidden: tuple[int, ...] = (64, 64)
    steps: int = 500
    batch_size: int = 128
    learning_rate: float = 1e-3
    std_floor: float = 1e-3  # of what is looked at, in the units of the state

    def __post_init__(self) -> None:
        if self.ahead < 1 or not self.spans or min(self.spans) < 1:
            raise ConfigError(f"a forecast needs ahead >= 1 and spans >= 1, got {self.ahead} and {list(self.spans)}")

    @classmethod
    def at(cls, rate_hz: float, **changes: Any) -> "ForecastConfig":
        """Return the settings of a control rate: a second ahead, changes over 0.1, 0.4 and 0.8 s."""
        spans = tuple(dict.fromkeys(max(1, round(seconds * rate_hz)) for seconds in (0.1, 0.4, 0.8)))
        return cls(**{"ahead": max(1, round(rate_hz)), "spans": spans, **changes})


def driven_since(ticks: Ticks) -> np.ndarray:
    """Return at which tick the policy's present run began, shape (T,); at a tick that is not the policy's, itself."""
    since = np.arange(len(ticks))
    goes_on = ticks.is_policy[1:] & ticks.is_policy[:-1] & ticks.follows[1:]
    for tick in np.flatnonzero(goes_on) + 1:
        since[tick] = since[tick - 1]
    return since


def look(states: np.ndarray, since: np.ndarray, spans: Sequence[int]) -> Shown:
    """Return each tick's state and its changes over the last ticks, no further back than `since`.

    Args:
        states: shape (T or more, state); rows beyond T are not looked at.
        since: shape (T,), first tick that may be looked back at.
        spans: ticks to look back.
    """
    now = np.arange(len(since))
    changes = [states[now] - states[np.maximum(now - span, since)] for span in spans]
    return np.concatenate([states[now], *changes], axis=1)


class TakeoverForecast:
    """P(a person takes over within `config.ahead` ticks) of what is looked at."""

    def __init__(self, config: ForecastConfig, shown: StateNormalizer, *, log_odds: float = 0.0, seed: int = 0) -> None:
        self.config, self.log_odds = config, log_odds  # of a takeover being near, in the recorded ticks
        self.classifier = SuccessClassifier(shown, config.hidden, seed)

    @classmethod
    def fit(cls, episodes: Sequence[Watched], config: ForecastConfig, *, seed: int) -> "TakeoverForecast":
        """Learn from episodes with takeovers; ConfigError where none, or nothing but them, was recorded."""
        rows, is_near = recorded_rows(episodes, config)
        if is_near.all() or not is_near.any():
            raise ConfigError(
                f"{is_near.sum()} of {len(is_near)} ticks lie before a takeover: a forecast needs both kinds, record "
                "episodes in which somebody takes over"
            )
        log_odds = float(np.log(is_near.sum() / (~is_near).sum()))
        forecast = cls(config, StateNormalizer.fit(rows, config.std_floor), log_odds=log_odds, seed=seed)
        fitting = {"steps": config.steps, "batch": config.batch_size, "rate": config.learning_rate}
        forecast.classifier.fit(rows[is_near], rows[~is_near], **fitting)
        return forecast

    def risk(self, shown: Shown) -> np.ndarray:
        """Return the probability of rows of `look`, shape (n,)."""
        balanced = self.classifier.probability(shown).clip(1e-6, 1.0 - 1e-6)
        odds = balanced / (1.0 - balanced) * np.exp(self.log_odds)
        return odds / (1.0 + odds)

    def risks(self, episode: Watched) -> np.ndarray:
        """Return the probability at every tick of an episode, shape (T,)."""
        return self.risk(look(episode.states, driven_since(episode.ticks), self.config.spans))

    def tensors(self) -> dict[str, Any]:
        return dict(self.classifier.network.state_dict())


def recorded_rows(episodes: Sequence[Watched], config: ForecastConfig) -> tuple[Shown, np.ndarray]:
    """Return what was to be seen in the policy's ticks, and whether a takeover was near, shape (n,)."""
    rows, near = [], []
    for episode in episodes:
        ticks = episode.ticks
        driven = ticks.is_policy
        rows.append(look(episode.states, driven_since(ticks), config.spans)[driven])
        near.append((ticks_to_takeover(ticks, config.ahead) < 0)[driven])
    return np.concatenate(rows), np.concatenate(near)
