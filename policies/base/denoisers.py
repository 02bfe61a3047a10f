"""Networks that look at a noisy chunk, its time and what was observed: an MLP and a transformer; the U-Net is beside.

All of them work in two parts, so that what does not change from one solver step to the next is computed once for a
chunk: `condition` takes features and times to whatever the steps need, `forward` is one step. Both give the same
numbers whether times come one by one per row (training) or as a column against all rows (solving).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.base.conditional_unet import ConditionalUnet
from policies.network import SinusoidalTime, initialize
from robot.errors import unknown_name

FIRST_OUTPUT = 0.1  # share of the last layer's start


class Denoiser(Protocol):
    """What both diffusion and flow matching solve with. `fold` and `unfold` go to a network's own layout and back."""

    def fold(self, chunks: Tensor) -> Tensor: ...
    def unfold(self, folded: Tensor) -> Tensor: ...

    def condition(self, features: Tensor, times: Tensor) -> tuple[Tensor, ...]:
        """Return what `forward` needs, each with the broadcast shape of times (..., 1) and features (batch, size).

        Args:
            features: shape (batch, size).
            times: shape (batch,) for one step of each row, or (steps, 1) for all steps of all rows.
        """
        ...

    def __call__(self, folded: Tensor, conditions: tuple[Tensor, ...]) -> Tensor:
        """Return the prediction for one time, in the layout of `fold`."""
        ...


class MlpDenoiser(nn.Module):
    """An MLP on chunk, time and features side by side (DPPO, Ren et al. 2024); Mish.

    Its first layer is split by input: W [x, t, f] = W_x x + (W_t t + W_f f), and the bracket is `condition`. Weights
    start orthogonal with gain sqrt(2): torch's own start is a third of that, layer upon layer, and in the few thousand
    steps of a small policy the network does not get steep enough to tell two ways apart.
    """

    def __init__(self, horizon: int, action: int, features: int, config: Any) -> None:
        super().__init__()
        self.shape, size, time, hidden = (horizon, action), horizon * action, config.time_features, config.hidden
        self.time = nn.Sequential(SinusoidalTime(time), nn.Linear(time, 2 * time), nn.Mish(), nn.Linear(2 * time, time))
        self.first = nn.Linear(size + time + features, hidden[0])
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(hidden))
        self.last = nn.Linear(hidden[-1], size)
        self.sizes = [size, time, features]
        initialize(self, torch.Generator().manual_seed(torch.initial_seed()))  # the seed it is built under
        with torch.no_grad():
            self.last.weight.mul_(FIRST_OUTPUT)

    def fold(self, chunks: Tensor) -> Tensor:
        return chunks.flatten(1)

    def unfold(self, folded: Tensor) -> Tensor:
        return folded.unflatten(1, self.shape)

    def condition(self, features: Tensor, times: Tensor) -> tuple[Tensor, ...]:
        _, of_time, of_features = self.first.weight.split(self.sizes, dim=1)
        rows = functional.linear(features, of_features, self.first.bias)
        return (functional.linear(self.time(times), of_time) + rows,)

    def forward(self, folded: Tensor, conditions: tuple[Tensor, ...]) -> Tensor:
        of_chunk = self.first.weight[:, : self.sizes[0]]
        hidden = functional.mish(torch.addmm(conditions[0], folded, of_chunk.t()))
        for layer in self.hidden:
            hidden = functional.mish(layer(hidden))
        return self.last(hidden)


class TransformerDenoiser(nn.Module):
    """One token per action, looking at a token of the time and one of the features (Chi et al. 2023, section IV-A)."""

    def __init__(self, horizon: int, action: int, features: int, config: Any) -> None:
        super().__init__()
        width = config.width
        self.time = nn.Sequential(SinusoidalTime(width), nn.Linear(width, width))
        self.observed = nn.Linear(features, width)
        self.first, self.last = nn.Linear(action, width), nn.Linear(width, action)
        self.place = nn.Parameter(0.02 * torch.randn(horizon, width))
        self.memory_place = nn.Parameter(0.02 * torch.randn(2, width))
        layer = nn.TransformerDecoderLayer(
            width, config.attention_heads, 4 * width, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerDecoder(layer, config.layers, nn.LayerNorm(width))
        self.register_buffer("causal", torch.ones(horizon, horizon).triu(1).bool(), persistent=False)

    def fold(self, chunks: Tensor) -> Tensor:
        return chunks

    def unfold(self, folded: Tensor) -> Tensor:
        return folded

    def condition(self, features: Tensor, times: Tensor) -> tuple[Tensor, ...]:
        time, observed = torch.broadcast_tensors(self.time(times), self.observed(features))
        return (torch.stack([time, observed], dim=-2) + self.memory_place,)

    def forward(self, folded: Tensor, conditions: tuple[Tensor, ...]) -> Tensor:
        tokens = self.first(folded) + self.place
        return self.last(self.layers(tokens, conditions[0], tgt_mask=self.causal, tgt_is_causal=True))


DENOISERS: dict[str, Any] = {"mlp": MlpDenoiser, "unet": ConditionalUnet, "transformer": TransformerDenoiser}


def make_denoiser(horizon: int, action: int, features: int, config: Any) -> Any:
    """Build the denoiser that `config.denoiser` names."""
    if config.denoiser not in DENOISERS:
        raise unknown_name("denoiser", config.denoiser, DENOISERS)
    return DENOISERS[config.denoiser](horizon, action, features, config)


def each_step(denoiser: Denoiser, features: Tensor, times: Tensor) -> Sequence[tuple[Tensor, ...]]:
    """Return the conditions of every solver step, computed together.

    Args:
        denoiser: the network.
        features: shape (batch, size).
        times: shape (steps,).
    """
    conditions = denoiser.condition(features, times[:, None])
    return list(zip(*(part.unbind(0) for part in conditions), strict=True))
