"""What the critics of a run are worth, for its log: values, their spread, and how well they rank what was earned.

A learner that chooses by critics that rank at random makes its base worse, and nothing else shows it before success
falls (off_policy spec, section 6: what every run logs).
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from policies.learners.sac import Critics
from policies.online import OnlineSource

EPISODES = 8  # the latest ones, whole: what "fresh" means
ROWS = 1024  # of the demonstrations


class Calibrated:
    """A source whose metrics also tell what `critics` think of demonstrations and of fresh episodes.

    It draws nothing at random and keeps nothing that a resumed run would need: the run itself is the same without it.
    """

    def __init__(self, source: OnlineSource, critics: Critics) -> None:
        self.source, self.critics = source, critics
        self.config, self.progress = source.config, source.progress
        self._fresh = deque[Any](maxlen=EPISODES)

    def next(self) -> Any | None:
        batch, finished = self.source.next(), self.source.collector.finished
        self.progress = self.source.progress
        if finished is not None and not (self._fresh and self._fresh[-1] is finished):
            self._fresh.append(finished)
        return batch

    def metrics(self) -> dict[str, float]:
        """Return the source's metrics with those of the critics on demonstrations and on the latest episodes."""
        demos, found = self.source.demos, self.source.metrics()
        if len(demos):
            parts = demos.split(torch.from_numpy(demos.rows[: min(len(demos), ROWS)]))
            found |= critic_metrics("demos", self.critics, parts["state"], parts["action"], parts["returns"])
        if self._fresh:
            found |= critic_metrics("fresh", self.critics, *self._fresh_rows())
        return found

    def _fresh_rows(self) -> tuple[Tensor, Tensor, Tensor]:
        collector, decisions = self.source.collector, self.config.decisions()
        rows = [pair for item in self._fresh for pair in decisions.cut(item, collector.states, collector.limits)]
        states, actions = (np.array([getattr(row, name) for row, _ in rows]) for name in ("state", "action"))
        returns = np.array([earned for _, earned in rows])
        state, action, earned = (torch.from_numpy(part.astype(np.float32)) for part in (states, actions, returns))
        return state, action, earned

    def state(self) -> dict[str, Any]:
        return self.source.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.source.restore(state)
        self.progress = self.source.progress


@torch.no_grad()
def critic_metrics(name: str, critics: Critics, state: Tensor, action: Tensor, returns: Tensor) -> dict[str, float]:
    """Return mean, maximum and spread of the values of rows, and Spearman's correlation with what they earned.

    Args:
        name: of the rows, in the keys.
        critics: the live ensemble is asked.
        state: shape (rows, state).
        action: shape (rows, action), executed.
        returns: shape (rows,), discounted, -inf where it is not known.

    Where all known returns, or all values of them, are one, there is no correlation.
    """
    values = critics.values(state, action)
    mean, known = values.mean(dim=0), torch.isfinite(returns)
    found = {
        f"critic/{name}_value": float(mean.mean()),
        f"critic/{name}_value_max": float(mean.amax()),
        f"critic/{name}_spread": float(values.std(dim=0, correction=0).mean()),
    }
    ours, earned = mean[known], returns[known]
    if len(ours.unique()) > 1 and len(earned.unique()) > 1:
        correlation: Any = spearmanr(ours.numpy(), earned.numpy())
        found[f"critic/{name}_rank"] = float(correlation.statistic)
    return found
