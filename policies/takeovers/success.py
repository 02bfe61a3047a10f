"""A classifier of success, and the gate it needs: it alone is fooled, and a learner finds out how (HIL-SERL).

Success is believed where the classifier is sure, the geometry allows it, and both hold for some ticks in a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from policies.network import initialize, mlp
from policies.normalization import StateNormalizer
from robot.errors import ConfigError


class SuccessClassifier:
    """Probability of success of a flat state, or of features of images; trained on balanced batches.

    Negatives should outnumber positives two or three times and include near misses: what was never shown as a failure
    is taken for a success.
    """

    def __init__(self, states: StateNormalizer, hidden: tuple[int, ...] = (128, 128), seed: int = 0) -> None:
        self.states, self._generator = states, torch.Generator().manual_seed(seed)
        self.network: nn.Module = mlp([len(states.mean), *hidden, 1], layer_norm=True)
        initialize(self.network, self._generator)

    def fit(
        self, positives: np.ndarray, negatives: np.ndarray, *, steps: int = 300, batch: int = 128, rate: float = 3e-4
    ) -> float:
        """Train on states (n, state) of either kind, half of each batch from each; return the last loss."""
        if not len(positives) or not len(negatives):
            raise ConfigError(f"a classifier needs both kinds: {len(positives)} positives, {len(negatives)} negatives")
        pools = [torch.from_numpy(self.states.normalize(rows)) for rows in (positives, negatives)]
        labels = torch.cat([torch.ones(batch // 2), torch.zeros(batch // 2)])
        optimizer = torch.optim.Adam(self.network.parameters(), lr=rate)
        loss = torch.zeros(())
        for _ in range(steps):
            drawn = [pool[torch.randint(len(pool), (batch // 2,), generator=self._generator)] for pool in pools]
            loss = binary_cross_entropy_with_logits(self._logits(torch.cat(drawn)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    @torch.no_grad()
    def probability(self, states: np.ndarray) -> np.ndarray:
        """Return P(success) of flat states (n, state), shape (n,)."""
        return self._logits(torch.from_numpy(self.states.normalize(states))).sigmoid().numpy()

    def _logits(self, rows: Tensor) -> Tensor:
        return self.network(rows)[:, 0]


@dataclass(frozen=True)
class Geometry:
    """A box of fields of the observation that a success must lie in: `low` <= field <= `high`, element by element."""

    low: Mapping[str, np.ndarray]
    high: Mapping[str, np.ndarray]

    def allows(self, observation: Mapping[str, np.ndarray]) -> bool:
        above = all((observation[name] >= bound).all() for name, bound in self.low.items())
        return above and all((observation[name] <= bound).all() for name, bound in self.high.items())


class BelievedSuccess:
    """Says tick by tick whether an episode has succeeded: classifier and geometry, `in_a_row` times."""

    def __init__(
        self, classifier: SuccessClassifier, geometry: Geometry, *, threshold: float = 0.8, in_a_row: int = 2
    ) -> None:
        if not 0.0 < threshold < 1.0 or in_a_row < 1:
            raise ConfigError(f"threshold must lie in (0, 1) and in_a_row be >= 1, got {threshold} and {in_a_row}")
        self.classifier, self.geometry, self.threshold, self.in_a_row = classifier, geometry, threshold, in_a_row
        self.reset()

    def reset(self) -> None:
        """Begin an episode."""
        self._count = 0

    def __call__(self, observation: Mapping[str, np.ndarray], state: np.ndarray) -> bool:
        """Take one tick: its observation, and the flat state that the classifier reads."""
        is_sure = float(self.classifier.probability(state[None])[0]) > self.threshold
        self._count = self._count + 1 if is_sure and self.geometry.allows(observation) else 0
        return self._count >= self.in_a_row
