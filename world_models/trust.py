"""How far a model may be believed: its success calibrated on replays, and the disagreement that cuts a rollout."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from policies.run import write_json
from robot.errors import CheckpointMismatch, ConfigError
from robot.types import Array
from world_models.metrics.outcomes import Calibration

FILE = "trust.json"
THRESHOLD = 0.5
NO_GATE = 1e30  # a disagreement that no frame reaches, as JSON can hold it


@dataclass(frozen=True)
class Trust:
    """Fitted by `tandem imagine eval` on episodes that no figure is reported of; the default believes everything."""

    calibration: Calibration = field(default_factory=Calibration)
    threshold: float = THRESHOLD  # of the calibrated probability at which a frame counts as solved
    gate: float = NO_GATE  # a rollout whose mean disagreement so far is above it is cut
    replays: int = 0  # how many it was fitted on

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold < 1.0:
            raise ConfigError(f"threshold is {self.threshold}, it must lie between 0 and 1")

    def success(self, probabilities: np.ndarray) -> Array:
        """Return calibrated probabilities that the task is solved."""
        return self.calibration(probabilities)

    def outcome(self, probabilities: np.ndarray) -> np.ndarray:
        """Return whether each episode of frames (B, T) counts as solved, by first passage: (B,) bool."""
        return np.asarray((self.success(probabilities) >= self.threshold).any(axis=1))

    def write(self, folder: Path) -> Path:
        """Write `trust.json` into a model's folder."""
        write_json(folder / FILE, asdict(self))
        return folder / FILE


def read_trust(folder: Path) -> Trust:
    """Return what was fitted for the model in a folder, or the default where nothing was."""
    path = folder / FILE
    if not path.is_file():
        return Trust()
    try:
        stored: Mapping[str, Any] = json.loads(path.read_text())
        values: dict[str, Any] = {
            name: tuple(item) if isinstance(item, list) else item for name, item in stored["calibration"].items()
        }
        return Trust(**{**stored, "calibration": Calibration(**values)})
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointMismatch(f"{path} is no calibration ({error!r}): run tandem imagine eval again") from None
