"""Behaviour cloning: one MLP from the observation to a chunk of actions.

With the head `regression` (L1 loss) the chunk is a function of the observation alone: there is no noise to steer
by, and demonstrations that pass an obstacle left and right are averaged. With `gmm` the network gives a mixture of
chunks of one fixed spread (DPPO, Ren et al. 2024); one number of noise chooses a mode, whose mean is executed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from policies.data.chunks import ChunkBatch
from policies.encoders import ObservationEncoder
from policies.learners import supervised
from policies.learners.supervised import train_policy
from policies.network import initialize, mlp
from policies.observations import Shapes
from policies.steerable import BaseConfig, NoiseSpec, SteerablePolicy, masked_mean
from robot.errors import ConfigError

KIND = "bc"


@dataclass(frozen=True)
class BehaviorCloningConfig(BaseConfig):
    """Settings of the clone and of its training."""

    hidden: tuple[int, ...] = (256, 256)
    head: str = "regression"  # or gmm
    modes: int = 5  # of the gmm
    mode_std: float = 0.1  # share of the action range

    def __post_init__(self) -> None:
        BaseConfig.__post_init__(self)
        if self.head not in ("regression", "gmm") or self.modes < 1:
            raise ConfigError(f"head is '{self.head}' with {self.modes} modes, allowed: regression, gmm with >= 1")


PRESETS = {
    "default": BehaviorCloningConfig(),
    "cpu": BehaviorCloningConfig(action_horizon=8, execution_horizon=8, steps=2500),
    "gmm": BehaviorCloningConfig(action_horizon=8, execution_horizon=8, steps=2500, head="gmm"),
    "quick": BehaviorCloningConfig(action_horizon=8, execution_horizon=8, steps=1000, hidden=(128, 128)),
    "debug": BehaviorCloningConfig(action_horizon=8, execution_horizon=8, steps=100, hidden=(32, 32), batch_size=64),
}


class ChunkNetwork(nn.Module):
    """Trunk (encode) and linear head (decode), both in normalised units."""

    def __init__(
        self, shapes: Shapes, action: int, config: BehaviorCloningConfig, archive: Tensor | None = None
    ) -> None:
        super().__init__()
        self.encoder = ObservationEncoder(shapes, config, archive)
        self.modes = config.modes if config.head == "gmm" else 1
        self.shape, self.std = (self.modes, config.action_horizon, action), config.mode_std
        self.noise_spec: NoiseSpec | None = ((1,), "normal") if config.head == "gmm" else None
        self.trunk = nn.Sequential(mlp([self.encoder.size, *config.hidden]), nn.ReLU())
        self.head = nn.Linear(config.hidden[-1], self.modes * config.action_horizon * action)
        self.mode = nn.Linear(config.hidden[-1], self.modes) if self.modes > 1 else None
        draw = torch.Generator().manual_seed(torch.initial_seed())  # the seed it is built under
        for part in (self.trunk, self.head):
            initialize(part, draw)

    def encode(self, states: Tensor, images: Mapping[str, Tensor] | None = None) -> Tensor:
        return self.trunk(self.encoder(states, images or {}))

    def decode(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return chunks, shape (batch, action_horizon, action_dim); `noise` (batch, 1) chooses the mode of a gmm."""
        means = self.head(features).unflatten(-1, self.shape)
        if self.mode is None or noise is None:
            return means[:, 0]
        uniform = torch.special.ndtr(noise)
        passed = (self.mode(features).softmax(dim=-1).cumsum(dim=-1) < uniform).sum(dim=-1)
        return means[torch.arange(len(means), device=means.device), passed.clamp(max=self.modes - 1)]

    def loss(self, batch: ChunkBatch) -> Tensor:
        """Return the mean L1 error, or the negative log likelihood of the mixture per chunk."""
        features = self.encode(batch.states, batch.images)
        means = self.head(features).unflatten(-1, self.shape)
        if self.mode is None:
            return masked_mean((means[:, 0] - batch.chunks).abs(), batch.mask)
        square = ((means - batch.chunks[:, None]) / self.std).square() * batch.mask[:, None]
        log_likelihood = self.mode(features).log_softmax(dim=-1) - 0.5 * square.sum(dim=(-2, -1))
        return -log_likelihood.logsumexp(dim=-1).mean()


class BehaviorCloning(SteerablePolicy):
    """behaviour cloning"""

    kind, Config, Network = KIND, BehaviorCloningConfig, ChunkNetwork


restore = BehaviorCloning.restore
build = partial(supervised.build, BehaviorCloning)
train_base = partial(train_policy, BehaviorCloning)
