"""The facts of consecutive ticks that labels are derived from, as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robot.record import TickRecord
from robot.types import Owner

FACTS = ("step", "owner", "segment", "intervention_id", "blend_weight", "terminated", "truncated")


@dataclass(frozen=True)
class Ticks:
    """Columns of one episode, or of a stretch of it, in the order of the ticks; each of shape (T,)."""

    step: np.ndarray
    owner: np.ndarray  # Owner
    segment: np.ndarray  # Segment
    intervention_id: np.ndarray
    blend_weight: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray

    @classmethod
    def of(cls, records: Sequence[TickRecord]) -> "Ticks":
        return cls(**{name: np.array([getattr(record, name) for record in records]) for name in FACTS})

    @classmethod
    def of_columns(cls, columns: Mapping[str, Any]) -> "Ticks":
        """Take the columns of a stored episode."""
        return cls(**{name: np.asarray(columns[name]) for name in FACTS})

    def __len__(self) -> int:
        return len(self.step)

    @property
    def is_human(self) -> np.ndarray:
        return self.owner == Owner.HUMAN

    @property
    def is_policy(self) -> np.ndarray:
        return self.owner == Owner.POLICY

    @property
    def is_driven(self) -> np.ndarray:
        """Whether somebody's action was executed: not while holding, resetting or stopped for safety."""
        return np.isin(self.owner, (Owner.POLICY, Owner.HUMAN, Owner.SHARED))

    @property
    def begins_intervention(self) -> np.ndarray:
        """Whether the tick is the first of its intervention."""
        before = np.concatenate([[-1], self.intervention_id[:-1]])
        return self.is_human & (self.intervention_id != before)

    @property
    def follows(self) -> np.ndarray:
        """Whether the tick comes one control period after the one before it in these arrays."""
        return np.concatenate([[False], np.diff(self.step) == 1])
