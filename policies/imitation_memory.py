"""Chunks to imitate: those of the demonstrations and, growing, those of the episodes made online."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from policies.data.chunks import ChunkBatch, cut_chunks
from policies.data.trajectories import Trajectory
from policies.normalization import ActionLimits, StateNormalizer
from policies.replay import Replay, sample_mixed
from policies.steerable import SteerablePolicy


class ImitationMemory:
    """Rows of (state, executed chunk, mask) in the base's normalised units, demonstrations and online apart."""

    def __init__(
        self, demos: list[Trajectory], states: StateNormalizer, limits: ActionLimits, *, horizon: int, capacity: int
    ) -> None:
        self.states, self.limits, self.horizon = states, limits, horizon
        self.action = len(limits.half)
        layout = {"state": len(states.mean), "chunk": horizon * self.action, "mask": horizon}
        self.demos = Replay(layout, max(sum(len(item) for item in demos), 1))
        self.online = Replay(layout, capacity)
        for trajectory in demos:
            self._add(self.demos, trajectory)

    @classmethod
    def beside(cls, base: SteerablePolicy, demos: list[Trajectory], capacity: int) -> "ImitationMemory":
        """Return a memory of what this base can imitate: chunks of its length, in its units."""
        return cls(demos, base.states, base.actions, horizon=base.spec.action_horizon, capacity=capacity)

    def add(self, trajectory: Trajectory) -> None:
        """Remember an episode made online, a failed one included."""
        self._add(self.online, trajectory)

    def _add(self, replay: Replay, trajectory: Trajectory) -> None:
        states = self.states.normalize(trajectory.states[:-1])
        chunks, masks = cut_chunks(self.limits.normalize(trajectory.actions).clip(-1.0, 1.0), self.horizon)
        for state, chunk, mask in zip(states, chunks, masks, strict=True):
            replay.add(state=state, chunk=np.ravel(chunk), mask=mask)

    def sample(self, rows: int, demo_fraction: float, generator: torch.Generator) -> ChunkBatch:
        """Draw rows, demonstrations alone until an episode was made."""
        share = demo_fraction if len(self.online) else 1.0
        parts = self.demos.split(sample_mixed(self.demos, self.online, rows, share, generator))
        chunks = parts["chunk"].unflatten(-1, (self.horizon, self.action))
        return ChunkBatch(parts["state"], chunks, parts["mask"][..., None])

    def state(self) -> dict[str, Any]:
        return self.online.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.online.restore(dict(state))
