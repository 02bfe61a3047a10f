"""Normalisers: mean and standard deviation for states, limits for actions (ResFiT section 4).

They are fitted once on demonstrations, frozen, and travel inside the checkpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robot.errors import CheckpointMismatch, ConfigError
from robot.types import Array


def _statistic(statistics: Mapping[str, Any], name: str) -> Array:
    if name not in statistics:
        raise CheckpointMismatch(f"statistic '{name}' is missing (found: {sorted(statistics)}): train the policy again")
    value = np.asarray(statistics[name], np.float64)
    if not np.isfinite(value).all():
        raise CheckpointMismatch(f"statistic '{name}' is not finite: {value.tolist()}")
    return value


def _rows(values: np.ndarray, what: str) -> Array:
    rows = np.asarray(values, np.float64)
    if rows.ndim != 2 or len(rows) == 0:
        raise ConfigError(f"{what} statistics need rows of shape (n >= 1, size), got {rows.shape}")
    return rows


@dataclass(frozen=True)
class StateNormalizer:
    """(state - mean) / max(std, floor)."""

    mean: Array
    scale: Array

    @classmethod
    def fit(cls, states: np.ndarray, floor: float) -> "StateNormalizer":
        """Fit on rows of states. `floor` is in the units of the state.

        The paper's floor of 0.1 suits radians; station states are metres too, where a hole that moves by
        centimetres would all but vanish, so the floor is a setting of each policy.
        """
        rows = _rows(states, "state")
        return cls(rows.mean(axis=0), np.maximum(rows.std(axis=0), floor))

    @classmethod
    def from_statistics(cls, statistics: Mapping[str, Any]) -> "StateNormalizer":
        return cls(_statistic(statistics, "mean"), _statistic(statistics, "scale"))

    def statistics(self) -> dict[str, Array]:
        return {"mean": self.mean, "scale": self.scale}

    def normalize(self, states: np.ndarray) -> np.ndarray:
        return ((states - self.mean) / self.scale).astype(np.float32)


@dataclass(frozen=True)
class ActionLimits:
    """Per dimension the middle and half range that map to [-1, 1]."""

    middle: Array
    half: Array

    @classmethod
    def fit(cls, actions: np.ndarray, floor: np.ndarray | float, widen: float = 0.0) -> "ActionLimits":
        """Fit on rows of actions: half range max(h, floor), then times (1 + widen).

        `floor` is in station units, per dimension. The paper's 0.05 is for joint angles [rad]; station actions
        mix metres and finger travel, so callers give it as a share of each dimension's own box.
        """
        rows = _rows(actions, "action")
        low, high = rows.min(axis=0), rows.max(axis=0)
        half = np.maximum((high - low) / 2, floor) * (1.0 + widen)
        if not (half > 0).all():
            raise ConfigError(f"action half ranges {half.tolist()} must be positive: give a positive floor")
        return cls((high + low) / 2, half)

    @classmethod
    def from_statistics(cls, statistics: Mapping[str, Any]) -> "ActionLimits":
        return cls(_statistic(statistics, "middle"), _statistic(statistics, "half"))

    def statistics(self) -> dict[str, Array]:
        return {"middle": self.middle, "half": self.half}

    def normalize(self, actions: np.ndarray) -> np.ndarray:
        return (actions - self.middle) / self.half

    def denormalize(self, actions: np.ndarray) -> np.ndarray:
        return self.middle + self.half * actions
