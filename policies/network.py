"""Multi-layer perceptrons, seeded drawing, moving averages: what networks share."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from robot.errors import ConfigError

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def mlp(sizes: Sequence[int], *, layer_norm: bool = False, activation: str = "relu") -> nn.Sequential:
    """Build Linear (LayerNorm) activation blocks; the last is linear. `sizes`: input, hidden and output widths."""
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(inputs, outputs))
        if index < len(sizes) - 2:
            layers += [nn.LayerNorm(outputs)] if layer_norm else []
            layers.append(ACTIVATIONS[activation]())
    return nn.Sequential(*layers)


def initialize(network: nn.Module, generator: torch.Generator, gain: float = 2.0**0.5) -> None:
    """Set every linear layer orthogonal with zero bias, drawn from `generator` alone."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.orthogonal_(module.weight, gain, generator=generator)
            nn.init.zeros_(module.bias)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from torch's global generators as if seeded with `seed`, and leave them afterwards as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


class SinusoidalTime(nn.Module):
    """Sines, then cosines, of a time at `size` / 2 frequencies from 1 down to 1 / 10 000 (Vaswani et al. 2017)."""

    frequencies: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        exponents = torch.arange(size // 2) * (-math.log(10_000.0) / (size // 2 - 1))
        self.register_buffer("frequencies", exponents.exp(), persistent=False)

    def forward(self, times: Tensor) -> Tensor:
        angles = times[..., None] * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


def sinusoidal_plane(height: int, width: int, size: int) -> Tensor:
    """Return positions of the places of a map, row by row, shape (height * width, size): half for y, half for x.

    Each axis runs to 2 pi whatever its length (Carion et al. 2020); `size` is a multiple of 4.
    """
    if size % 4:
        raise ConfigError(f"positions in a plane need a width that is a multiple of 4, got {size}")
    frequencies = 10_000.0 ** (-torch.arange(size // 4) / (size // 4))

    def axis(length: int) -> Tensor:
        angles = (torch.arange(1, length + 1) * (2.0 * math.pi / length))[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    y, x = axis(height)[:, None].expand(-1, width, -1), axis(width)[None].expand(height, -1, -1)
    return torch.cat([y, x], dim=-1).flatten(0, 1)


def polyak(target: Sequence[Tensor], live: Sequence[Tensor], tau: float) -> None:
    """Move target parameters by `tau` towards the live ones."""
    with torch.no_grad():
        torch._foreach_lerp_(list(target), list(live), tau)  # pyright: ignore[reportPrivateImportUsage]
