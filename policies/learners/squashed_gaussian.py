"""The actor of maximum-entropy learners: a Gaussian, squashed into the action box by tanh (SAC, Haarnoja et al. 2018).

u ~ N(mean(s), std(s)^2), a = tanh(u), log pi(a|s) = sum_i log N(u_i) - log(1 - tanh(u_i)^2)        (their eq. 26)
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from policies.network import initialize, mlp

LOG_STD = (-5.0, 2.0)  # the range that log std is clipped to
LARGEST_ACTION = 1.0 - 1e-5  # stored actions at the edge of the box are clipped here: atanh stays finite
HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)


class SquashedGaussian(nn.Module):
    """MLP from inputs (batch, inputs) to a distribution of actions in (-1, 1), shape (batch, action)."""

    def __init__(
        self,
        inputs: int,
        action: int,
        hidden: Sequence[int],
        *,
        layer_norm: bool = False,
        dropout: float = 0.0,
        log_std: tuple[float, float] = LOG_STD,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.low, self.high = log_std
        self.body = mlp([inputs, *hidden, 2 * action], layer_norm=layer_norm, activation=activation)
        self.dropout = nn.Dropout(dropout) if dropout else None

    def initialize(self, generator: torch.Generator, *, head_gain: float = 1e-2) -> None:
        """Draw the weights; the last layer is small (0: none), so the first actions are near 0 with a spread of 1."""
        initialize(self.body, generator)
        last = self.body[-1]
        assert isinstance(last, nn.Linear)
        nn.init.orthogonal_(last.weight, head_gain, generator=generator)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log std before squashing, each (batch, action)."""
        hidden = self.body[:-1](inputs)
        hidden = hidden if self.dropout is None else self.dropout(hidden)
        mean, log_std = self.body[-1](hidden).chunk(2, dim=-1)
        return mean, log_std.clamp(self.low, self.high)

    def sample(self, inputs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return actions (batch, action) that gradients flow through, and their log densities (batch,)."""
        mean, log_std = self(inputs)
        noise = torch.randn(mean.shape, generator=generator)
        raw = torch.addcmul(mean, log_std.exp(), noise)
        gaussian = -0.5 * noise.square() - log_std - HALF_LOG_2_PI
        return torch.tanh(raw), (gaussian - log_slope(raw)).sum(dim=-1)

    def log_prob(self, inputs: Tensor, action: Tensor) -> Tensor:
        """Return the log density of given actions, shape (batch,); those at the edge of the box count as just inside.

        Actions may have more leading axes than the inputs: (samples, batch, action) gives (samples, batch).
        """
        mean, log_std = self(inputs)
        raw = torch.atanh(action.clamp(-LARGEST_ACTION, LARGEST_ACTION))
        gaussian = -0.5 * ((raw - mean) * (-log_std).exp()).square() - log_std - HALF_LOG_2_PI
        return (gaussian - log_slope(raw)).sum(dim=-1)

    def mode(self, inputs: Tensor) -> Tensor:
        """Return tanh of the mean: the action without noise."""
        return torch.tanh(self(inputs)[0])


def log_slope(raw: Tensor) -> Tensor:
    """Return log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)), finite wherever u is."""
    return 2.0 * (math.log(2.0) - raw - softplus(-2.0 * raw))
