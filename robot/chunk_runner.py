"""Ask a policy when its chunk is used up, and stamp what it answers; the graph and the lock-step loop share this."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from robot.policy import ActionChunk, Policy


class ChunkRunner:
    """Calls `policy.act` once every `execution_horizon` steps.

    A new ownership generation (a takeover or a hand-back) drops what is left of the chunk, so the first action after a
    hand-back comes from an observation made after it.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._steps_left = 0
        self._generation: int | None = None
        self._next_id = 0

    def reset(self) -> None:
        """Start an episode."""
        self.flush()

    def flush(self) -> None:
        """Drop the rest of the chunk here and inside the policy; the next step asks afresh."""
        self._steps_left = 0
        self.policy.reset()

    def step(self, observation: Mapping[str, np.ndarray], time_ns: int, generation: int = 0) -> ActionChunk | None:
        """Return a new chunk, or None while the current one is still being executed.

        Args:
            observation: arrays without a batch axis.
            time_ns: reference time of the observation.
            generation: ownership generation in which the policy is asked.
        """
        if generation != self._generation:
            if self._generation is not None:
                self.flush()
            self._generation = generation
        if self._steps_left > 0:
            self._steps_left -= 1
            return None
        chunk = replace(
            self.policy.act(observation),
            dt_s=1.0 / self.policy.spec.rate_hz,
            observation_time_ns=time_ns,
            generation=generation,
            chunk_id=self._next_id,
        )
        self._next_id += 1
        self._steps_left = self.policy.spec.execution_horizon - 1
        return chunk
