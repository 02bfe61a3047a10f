"""Multi-layer perceptrons."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def mlp(sizes: Sequence[int], *, layer_norm: bool = False) -> nn.Sequential:
    """Build Linear (LayerNorm) ReLU blocks; the last layer is linear. `sizes` has input, hidden and output widths."""
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(inputs, outputs))
        if index < len(sizes) - 2:
            layers += [nn.LayerNorm(outputs), nn.ReLU()] if layer_norm else [nn.ReLU()]
    return nn.Sequential(*layers)


def initialize(network: nn.Module, generator: torch.Generator, gain: float = 2.0**0.5) -> None:
    """Set every linear layer orthogonal with zero bias, drawn from `generator` alone."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.orthogonal_(module.weight, gain, generator=generator)
            nn.init.zeros_(module.bias)


def polyak(target: Sequence[Tensor], live: Sequence[Tensor], tau: float) -> None:
    """Move target parameters by `tau` towards the live ones."""
    with torch.no_grad():
        torch._foreach_lerp_(list(target), list(live), tau)  # pyright: ignore[reportPrivateImportUsage]
