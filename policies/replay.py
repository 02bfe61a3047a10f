"""Replay memory and n-step returns.

Rows are float32 in one preallocated matrix, so that a random batch is one gather whatever the fields are.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot.errors import CheckpointMismatch, ConfigError


class Replay:
    """A ring of rows. `layout` gives the width of each field, 0 for a scalar; when full the oldest row goes."""

    def __init__(self, layout: Mapping[str, int], capacity: int) -> None:
        if capacity < 1:
            raise ConfigError(f"replay capacity must be >= 1, got {capacity}")
        self.layout = dict(layout)
        self._widths = [max(width, 1) for width in layout.values()]
        self.rows = np.zeros((capacity, sum(self._widths)), np.float32)
        self.size = self.added = 0
        self._tensor = torch.from_numpy(self.rows)

    def __len__(self) -> int:
        return self.size

    def add(self, **fields: np.ndarray | float) -> None:
        """Append one row; every field of the layout must be given."""
        row = self.rows[self.added % len(self.rows)]
        start = 0
        for name, width in zip(self.layout, self._widths, strict=True):
            row[start : start + width] = fields[name]
            start += width
        self.added += 1
        self.size = min(self.size + 1, len(self.rows))

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw rows uniformly with replacement, shape (count, width)."""
        if self.size == 0:
            raise ConfigError("the replay is empty: nothing to sample")
        return self._tensor.index_select(0, torch.randint(self.size, (count,), generator=generator))

    def split(self, rows: Tensor) -> dict[str, Tensor]:
        """Return views of the fields: (count, width), scalars (count,)."""
        parts = zip(self.layout.items(), rows.split(self._widths, dim=1), strict=True)
        return {name: part if width else part[:, 0] for (name, width), part in parts}

    def state(self) -> dict[str, Any]:
        return {"layout": self.layout, "rows": self.rows[: self.size], "added": self.added}

    def restore(self, state: dict[str, Any]) -> None:
        if dict(state["layout"]) != self.layout or len(state["rows"]) > len(self.rows):
            found = f"{len(state['rows'])} rows of {state['layout']}"
            raise CheckpointMismatch(f"replay: expected at most {len(self.rows)} rows of {self.layout}, found {found}")
        self.size, self.added = len(state["rows"]), state["added"]
        self.rows[: self.size] = state["rows"]


def sample_mixed(first: Replay, second: Replay, count: int, share: float, generator: torch.Generator) -> Tensor:
    """Draw `share` of the rows from `first`, interleaved so that every even slice has the same share (RLPD).

    With `share` 0.5 rows 0, 2, 4, ... come from `first`. Either replay may be empty only when its share is 0.
    """
    wanted = round(count * share)
    if wanted in (0, count):
        return (first if wanted else second).sample(count, generator)
    rows = torch.cat([first.sample(wanted, generator), second.sample(count - wanted, generator)])
    return rows.index_select(0, _interleaving(wanted, count - wanted))


@lru_cache
def _interleaving(first: int, second: int) -> Tensor:
    """Return the order that spreads `first` and then `second` rows evenly over the batch."""
    places = np.concatenate([np.arange(first) / first, np.arange(second) / second])
    return torch.from_numpy(np.argsort(places, kind="stable"))


@dataclass(frozen=True)
class Step:
    """One control step in normalised units; `action` is what the world executed."""

    state: np.ndarray
    base: np.ndarray
    action: np.ndarray
    reward: float


@dataclass(frozen=True)
class Transition:
    """Several steps as one: y = reward + discount * Q(next_state, ...). `discount` is gamma^m, or 0 at an end."""

    state: np.ndarray
    base: np.ndarray
    action: np.ndarray
    reward: float
    discount: float
    next_state: np.ndarray
    next_base: np.ndarray


class NStep:
    """Turns a stream of steps into n-step transitions (ResFiT section 2).

    m = min(n, steps until the end); where the episode ended inside the window nothing is bootstrapped, except that a
    timeout bootstraps from the final state when `timeout_is_terminal` is false. Windows never cross an end or `cut`.
    """

    def __init__(self, n: int, discount: float, timeout_is_terminal: bool) -> None:
        self.n, self.discount, self.timeout_is_terminal = n, discount, timeout_is_terminal
        self._window: deque[Step] = deque()
        self._next: tuple[np.ndarray, np.ndarray] | None = None

    def push(
        self, step: Step, next_state: np.ndarray, next_base: np.ndarray, *, terminated: bool, truncated: bool
    ) -> list[Transition]:
        """Add one step; return the transitions that are complete now, oldest first."""
        self._window.append(step)
        self._next = (next_state, next_base)
        if terminated or truncated:
            return self._drain(bootstrap=not terminated and not self.timeout_is_terminal)
        if len(self._window) < self.n:
            return []
        oldest = self._transition(bootstrap=True)
        self._window.popleft()
        return [oldest]

    def cut(self) -> list[Transition]:
        """End the stream without an end of the episode (an outside reset): shorter windows, still bootstrapped."""
        return self._drain(bootstrap=True)

    def _drain(self, *, bootstrap: bool) -> list[Transition]:
        out = []
        while self._window:
            out.append(self._transition(bootstrap=bootstrap))
            self._window.popleft()
        return out

    def _transition(self, *, bootstrap: bool) -> Transition:
        assert self._next is not None
        first, count = self._window[0], len(self._window)
        reward = sum(self.discount**i * step.reward for i, step in enumerate(self._window))
        return Transition(
            first.state, first.base, first.action, reward, self.discount**count if bootstrap else 0.0, *self._next
        )

    def state(self) -> dict[str, Any]:
        return {"window": [vars(step) for step in self._window], "next": self._next}

    def restore(self, state: dict[str, Any]) -> None:
        self._window = deque(Step(**step) for step in state["window"])
        self._next = tuple(state["next"]) if state["next"] is not None else None
