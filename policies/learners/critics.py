"""An ensemble of critics as one batched network, and targets over a random subset of it (REDQ)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, relu


class CriticEnsemble(nn.Module):
    """`heads` independent MLPs Q(state, action) whose weights are stacked along the first axis.

    Each hidden layer is Linear, LayerNorm (with its own gain and bias per head), ReLU or tanh.
    """

    def __init__(
        self,
        state: int,
        action: int,
        hidden: Sequence[int],
        heads: int,
        *,
        use_layer_norm: bool = True,
        action_gain: float = 1.0,
        outputs: int = 1,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.activate = {"relu": relu, "tanh": torch.tanh}[activation]
        self.gain = action_gain
        self.heads, self.use_layer_norm = heads, use_layer_norm
        sizes = [state + action, *hidden, outputs]
        pairs = list(pairwise(sizes))
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(heads, a, b)) for a, b in pairs)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(heads, 1, b)) for _, b in pairs)
        norms = hidden if use_layer_norm else []
        self.gains = nn.ParameterList(nn.Parameter(torch.ones(heads, 1, b)) for b in norms)
        self.shifts = nn.ParameterList(nn.Parameter(torch.zeros(heads, 1, b)) for b in norms)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw every head's matrices orthogonal (gain sqrt 2; 1 for the output), one head at a time."""
        for index, stacked in enumerate(self.weights):
            gain = 1.0 if index == len(self.weights) - 1 else 2.0**0.5
            for head in range(self.heads):
                nn.init.orthogonal_(stacked.data[head], gain, generator=generator)

    def forward(self, state: Tensor, action: Tensor, subset: Tensor | None = None) -> Tensor:
        """Return values, shape (heads or len(subset), batch); with several outputs they are the last axis."""

        def pick(parameter: Tensor) -> Tensor:
            return parameter if subset is None else parameter.index_select(0, subset)

        inputs = torch.cat([state, self.gain * action], dim=-1)
        values = inputs.expand(self.heads if subset is None else len(subset), *inputs.shape)
        last = len(self.weights) - 1
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = torch.baddbmm(pick(bias), values, pick(weight))
            if index == last:
                break
            if self.use_layer_norm:
                values = layer_norm(values, values.shape[-1:])
                values = torch.addcmul(pick(self.shifts[index]), values, pick(self.gains[index]))
            values = self.activate(values)
        return values.squeeze(-1)  # of one output


def random_subset(heads: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` different heads; one draw serves a whole batch."""
    return torch.randperm(heads, generator=generator)[:count]


def mean_square(values: Tensor, target: Tensor) -> Tensor:
    """Return the mean over heads and batch of (Q_j - y)^2: no coupling between heads."""
    return (values - target).square().mean()
