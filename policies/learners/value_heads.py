"""What the outputs of a critic mean: a value, or a distribution over bins of it (HL-Gauss, Farebrother et al. 2024)."""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from policies.learners.critics import mean_square
from robot.errors import ConfigError


class ValueHead(Protocol):
    """Turns what a critic answers into values, and into the loss against target values."""

    outputs: int

    def value(self, answers: Tensor) -> Tensor:
        """Return values (heads, batch) of answers (heads, batch[, outputs])."""
        ...

    def loss(self, answers: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss over heads and batch against targets (batch,)."""
        ...


class ScalarHead:
    """The answer is the value; the loss is the squared error."""

    outputs = 1

    def value(self, answers: Tensor) -> Tensor:
        return answers

    def loss(self, answers: Tensor, target: Tensor) -> Tensor:
        return mean_square(answers, target)


class HLGaussHead:
    """The answer is logits over bins; the target is the histogram of a Gaussian around the target value.

    The spread is 0.75 bins. Targets are clipped to the range: it must hold every return, reward shift included.
    """

    def __init__(self, low: float, high: float, bins: int) -> None:
        if not low < high or bins < 2:
            raise ConfigError(f"value range {low} to {high} with {bins} bins: low must be below high, bins >= 2")
        self.outputs = bins
        self.edges = torch.linspace(low, high, bins + 1)
        self.centers = (self.edges[1:] + self.edges[:-1]) / 2
        self.spread = 0.75 * (high - low) / bins

    def histogram(self, target: Tensor) -> Tensor:
        """Return the share of each bin, shape (batch, bins), renormalised over the range."""
        clipped = target.clamp(self.centers[0], self.centers[-1])
        below = torch.special.ndtr((self.edges - clipped[:, None]) / self.spread)
        return (below[:, 1:] - below[:, :-1]) / (below[:, -1:] - below[:, :1])

    def value(self, answers: Tensor) -> Tensor:
        return answers.softmax(dim=-1) @ self.centers

    def loss(self, answers: Tensor, target: Tensor) -> Tensor:
        return -(self.histogram(target) * log_softmax(answers, dim=-1)).sum(dim=-1).mean()


def make_head(name: str, low: float = 0.0, high: float = 1.0, bins: int = 101) -> ValueHead:
    """Return the head called `name`: mse or hl_gauss; the range and the bins are the latter's."""
    if name == "mse":
        return ScalarHead()
    if name == "hl_gauss":
        return HLGaussHead(low, high, bins)
    raise ConfigError(f"critic head is '{name}', allowed: mse, hl_gauss")
