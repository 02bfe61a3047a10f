"""Episodes as plain arrays: what demonstrations, relabelling and chunk datasets are made of."""

from dataclasses import dataclass

import numpy as np

from robot.errors import ConfigError


@dataclass(frozen=True)
class Trajectory:
    """One episode of T steps. `states` has T + 1 rows, the last one after the last action, flat in field order.

    `actions` are the executed ones in station units. `terminated` and `truncated` speak of the last step.
    """

    states: np.ndarray  # (T + 1, state)
    actions: np.ndarray  # (T, action)
    rewards: np.ndarray  # (T,)
    terminated: bool
    truncated: bool
    seed: int = -1

    def __post_init__(self) -> None:
        steps = len(self.actions)
        if steps == 0 or len(self.states) != steps + 1 or len(self.rewards) != steps:
            raise ConfigError(
                f"a trajectory of {steps} actions needs {steps + 1} states and {steps} rewards (and >= 1 step), "
                f"got {len(self.states)} and {len(self.rewards)}"
            )

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def is_success(self) -> bool:
        return self.terminated and float(self.rewards[-1]) > 0
