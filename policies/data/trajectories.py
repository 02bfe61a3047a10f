"""Episodes as plain arrays: what demonstrations, relabelling and chunk datasets are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from policies.data.image_rows import Images
from robot.errors import ConfigError


@dataclass(frozen=True)
class Trajectory:
    """One episode of T steps. `states` has T + 1 rows, the last one after the last action, flat in field order.

    `actions` are the executed ones in station units. `terminated` and `truncated` speak of the last step. `images` has
    one array per camera field, `image/<camera>` uint8 and `depth/<camera>` uint16 [mm], as long as `states`, or the
    rows of images that lie on disk (`policies.data.image_rows`).
    """

    states: np.ndarray  # (T + 1, state)
    actions: np.ndarray  # (T, action)
    rewards: np.ndarray  # (T,)
    terminated: bool
    truncated: bool
    seed: int = -1
    images: Mapping[str, Images] = field(default_factory=dict)  # (T + 1, H, W[, 3])

    def __post_init__(self) -> None:
        steps = len(self.actions)
        if steps == 0 or len(self.states) != steps + 1 or len(self.rewards) != steps:
            raise ConfigError(
                f"a trajectory of {steps} actions needs {steps + 1} states and {steps} rewards (and >= 1 step), "
                f"got {len(self.states)} and {len(self.rewards)}"
            )

        short = {name: len(images) for name, images in self.images.items() if len(images) != steps + 1}
        if short:
            raise ConfigError(f"a trajectory of {steps} actions needs {steps + 1} images of each camera, got {short}")

    def select(self, columns: np.ndarray, images: Mapping[str, Any]) -> "Trajectory":
        """Return the trajectory with some columns of its states and some of its cameras only."""
        return replace(self, states=self.states[:, columns], images={name: self.images[name] for name in images})

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def is_success(self) -> bool:
        return self.terminated and float(self.rewards[-1]) > 0
