"""What a policy that sees more than one observation is given: the last ones of the episode, oldest first.

With `obs_horizon` 1 a policy is given an observation as it is; with more, every field has a leading axis of that
length. An episode's first observation stands for those that would have been before it, as in training.
"""

from collections import deque
from collections.abc import Mapping

import numpy as np

from robot.errors import ConfigError

Values = Mapping[str, np.ndarray]


class ObservationHistory:
    """The last `length` observations since it was cleared; told of every control step."""

    def __init__(self, length: int) -> None:
        if length < 1:
            raise ConfigError(f"obs_horizon is {length}, it must be 1 or more")
        self.length = length
        self._seen: deque[Values] = deque(maxlen=length)

    def clear(self) -> None:
        """Forget all: an episode begins, or somebody else was in control."""
        self._seen.clear()

    def add(self, observation: Values) -> None:
        """Take the observation of one control step; the first one fills the history."""
        if self.length > 1:
            self._seen.extend([observation] * (1 if self._seen else self.length))

    def stacked(self, observation: Values) -> Values:
        """Return what the policy is given, `observation` being the one added last."""
        if self.length == 1:
            return observation
        return {name: np.stack([seen[name] for seen in self._seen]) for name in observation}


def repeated(observation: Values, length: int) -> Values:
    """Return what a policy is given at the first step of an episode."""
    history = ObservationHistory(length)
    history.add(observation)
    return history.stacked(observation)
