"""Base samples kept per row of a replay, with the version of the base that drew them (PA-RL)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from robot.errors import CheckpointMismatch


class SampleCache:
    """Samples (rows, count, decision). Those of an older version than the one asked for are drawn again."""

    def __init__(self, rows: int, count: int, width: int) -> None:
        self.samples = torch.zeros(rows, count, width)
        self.versions = torch.full((rows,), -1, dtype=torch.long)
        self.drawn = 0

    def get(self, keys: Tensor, states: Tensor, version: int, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """Return samples (batch, count, decision) of rows `keys` (batch,), whose states are (batch, state).

        Args:
            keys: row numbers; one may come up more than once.
            states: what the base is asked at where a row has no sample of this version.
            version: of the base, >= 0.
            draw: the base: states (n, state) to samples (n, count, decision).
        """
        stale = torch.nonzero(self.versions[keys] != version).squeeze(1)
        if len(stale):
            self.samples[keys[stale]] = draw(states[stale])
            self.versions[keys[stale]] = version
            self.drawn += len(stale)
        return self.samples[keys]

    def forget(self, key: int) -> None:
        """Drop the samples of a row that now holds another state."""
        self.versions[key] = -1

    def state(self) -> dict[str, Any]:
        used = torch.nonzero(self.versions >= 0).squeeze(1)
        return {"rows": used, "samples": self.samples[used], "versions": self.versions[used], "drawn": self.drawn}

    def restore(self, state: Mapping[str, Any]) -> None:
        if state["samples"].shape[1:] != self.samples.shape[1:]:
            expected, found = tuple(self.samples.shape[1:]), tuple(state["samples"].shape[1:])
            raise CheckpointMismatch(f"cached base samples: expected {expected} per row, found {found}")
        self.versions.fill_(-1)
        self.samples[state["rows"]] = state["samples"]
        self.versions[state["rows"]] = state["versions"]
        self.drawn = state["drawn"]
