"""Shortcut flow (Frans et al. 2024): a flow network that is told the length of its step, and so can do with one.

A plain flow's velocity is right for short steps only; one long one lands between the ways to do a task. Here a part of
every batch learns that a step is as good as two of half its length, up to the whole way:

    s(x_t, t, 2d) = (s(x_t, t, d) + s(x_{t-d}, t - d, d)) / 2,   x_{t-d} = x_t - d s(x_t, t, d)      (their eq. 5)

The other rows learn the velocity as `policies.base.flow` does, which is s(x_t, t, 0). Time runs from 1 (noise) to 0.

With one step every error of the network is an error of the chunk, also where it only had to hand the noise through:
e - a at time 1. What of the velocity is known from x_t alone is therefore not left to the network (`Preconditioned`).
"""

from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from policies.base import flow
from policies.base.denoisers import make_denoiser
from policies.base.flow import BETA, FIRST_TIME, TIME_SCALE, FlowConfig, FlowNetwork, FlowPolicy
from policies.data.chunks import ChunkBatch
from policies.learners.supervised import train_policy
from policies.observations import Shapes
from policies.steerable import masked_mean
from robot.errors import ConfigError

HALVINGS = 4  # steps of 1, 1/2, 1/4 and 1/8 of the way are learned from two of half their length
PLAIN = HALVINGS  # the level of a step that is as short as one likes
DEVIATION = 0.25  # sigma_d: of chunks that are scaled to +-1, where the observation is known


@dataclass(frozen=True)
class ShortcutFlowConfig(FlowConfig):
    """Settings of a flow, and how much of it learns long steps."""

    inference_steps: int = 1  # 1, 2, 4 or 8 are steps that were learned; any other number solves as a plain flow
    shortcut_share: float = 0.25  # of the rows of a batch

    def __post_init__(self) -> None:
        FlowConfig.__post_init__(self)
        if not 0.0 < self.shortcut_share < 1.0:
            raise ConfigError(f"shortcut_share is {self.shortcut_share}, allowed: above 0, below 1")


def _of(preset: FlowConfig) -> ShortcutFlowConfig:
    values = {field.name: getattr(preset, field.name) for field in fields(FlowConfig)}
    small_data = {"weight_decay": 0.3} if preset.denoiser == "mlp" else {}  # a thousand ticks are learned by heart
    return replace(ShortcutFlowConfig(**values), inference_steps=1, **small_data)


PRESETS = {name: _of(preset) for name, preset in flow.PRESETS.items()}


class Preconditioned(nn.Module):
    """A denoiser that gives c_skip(t) x_t + c_out(t) F (Karras et al. 2022, section 5, for x_t = t e + (1 - t) a).

    c_skip x_t is the best linear guess of e - a for a of deviation sigma_d, c_out the deviation of what it leaves;
    sigma_d is that of the chunks a person gives where one observation is seen, not of all chunks:

        v(t) = t^2 + (1 - t)^2 sigma_d^2,   c_skip = (t - (1 - t) sigma_d^2) / v,   c_out = sigma_d / sqrt(v)
    """

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self.fold, self.unfold = inner, inner.fold, inner.unfold

    def condition(self, features: Tensor, times: Tensor) -> tuple[Tensor, ...]:
        """Return what the inner denoiser needs, c_skip and c_out; shapes as of `Denoiser.condition`."""
        t = times[..., None] / TIME_SCALE
        variance = t.square() + ((1.0 - t) * DEVIATION).square()
        skip = (t - (1.0 - t) * DEVIATION**2) / variance
        return (*self.inner.condition(features, times), skip, DEVIATION * variance.rsqrt())

    def forward(self, folded: Tensor, conditions: tuple[Tensor, ...]) -> Tensor:
        *inner, skip, scale = conditions
        ones = (1,) * (folded.dim() - 1)
        return skip.reshape(-1, *ones) * folded + scale.reshape(-1, *ones) * self.inner(folded, tuple(inner))


class ShortcutFlowNetwork(FlowNetwork):
    """A flow's network whose features say the length of the step too."""

    def __init__(self, shapes: Shapes, action: int, config: ShortcutFlowConfig, archive: Tensor | None = None) -> None:
        super().__init__(shapes, action, config, archive)
        told = self.encoder.size + PLAIN + 1
        self.denoiser = Preconditioned(make_denoiser(config.action_horizon, action, told, config))
        lengths = {2**level: level for level in range(HALVINGS)}
        self.level = lengths.get(config.inference_steps, PLAIN)
        self.shortcut_share = config.shortcut_share

    def decode(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """Carry `noise`, shape (batch, action_horizon, action_dim), from time 1 to time 0."""
        return super().decode(_told(features, self.level), noise)

    def decode_after(self, features: Tensor, noise: Tensor, planned: Tensor, weights: Tensor) -> Tensor:
        """Carry noise as `decode`, leaning to `planned` where it has weight (`policies.inpainting`)."""
        return super().decode_after(_told(features, self.level), noise, planned, weights)

    def loss(self, batch: ChunkBatch) -> Tensor:
        """Return the mean squared error of the velocity and, on `shortcut_share` of the rows, of a long step."""
        noise, features = torch.randn_like(batch.chunks), self.encode(batch.states, batch.images)
        rows, device = len(noise), noise.device
        shortcuts = torch.arange(rows, device=device) < round(self.shortcut_share * rows)
        uniform = torch.rand(rows, device=device)
        levels = torch.where(shortcuts, torch.randint(HALVINGS, (rows,), device=device), PLAIN)
        length = 0.5**levels
        starts = length * (1 + (uniform / length).floor())  # of steps that end at time 0 together
        times = torch.where(shortcuts, starts, FIRST_TIME + (1.0 - FIRST_TIME) * uniform ** (1.0 / BETA))
        between = torch.lerp(batch.chunks, noise, times[:, None, None])
        predicted = self.velocity(between, times, features, levels)
        target = noise - batch.chunks
        count = int(shortcuts.sum())
        if count:
            few = (between[:count], times[:count], features[:count].detach(), levels[:count])
            target = torch.cat([self.two_halves(*few), target[count:]])
        return masked_mean((predicted - target).square(), batch.mask)

    @torch.no_grad()
    def two_halves(self, chunks: Tensor, times: Tensor, features: Tensor, levels: Tensor) -> Tensor:
        """Return the mean velocity of two steps of half the length that `levels` says."""
        half = 0.5 ** (levels + 1)
        first = self.velocity(chunks, times, features, levels + 1)
        moved = chunks - half[:, None, None] * first
        return 0.5 * (first + self.velocity(moved, times - half, features, levels + 1))

    def velocity(self, chunks: Tensor, times: Tensor, features: Tensor, levels: Tensor) -> Tensor:
        """Return s(x_t, t, d) in the shape of `chunks`, for times (batch,) and steps of 2 ** -level, (batch,)."""
        conditions = self.denoiser.condition(_told(features, levels), TIME_SCALE * times)
        return self.denoiser.unfold(self.denoiser(self.denoiser.fold(chunks), conditions))


def _told(features: Tensor, levels: Tensor | int) -> Tensor:
    """Return features (batch, size) with the step's length beside them."""
    known = torch.as_tensor(levels, device=features.device).expand(len(features))
    return torch.cat([features, one_hot(known, PLAIN + 1).to(features.dtype)], dim=-1)


class ShortcutFlowPolicy(FlowPolicy):
    """shortcut flow policy"""

    kind, Config, Network = "shortcut_flow", ShortcutFlowConfig, ShortcutFlowNetwork


restore = ShortcutFlowPolicy.restore
train_base = partial(train_policy, ShortcutFlowPolicy)
