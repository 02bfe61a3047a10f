"""Flow matching (Lipman et al. 2023): the network is a velocity, and a few Euler steps carry noise to a chunk.

Time runs from 1 (noise) to 0 (data), as in openpi: x_t = t e + (1 - t) a, and the velocity to learn is e - a. The
papers use the opposite sign; a data set of one point tells them apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from policies.base.denoisers import each_step, make_denoiser
from policies.data.chunks import ChunkBatch
from policies.encoders import ObservationEncoder
from policies.inpainting import solve_towards
from policies.learners.supervised import train_policy
from policies.observations import Shapes
from policies.steerable import BaseConfig, SteerablePolicy, masked_mean
from robot.errors import ConfigError

TIME_SCALE = 100.0  # times in [0, 1] to the range that the sinusoids of a time step resolve
FIRST_TIME, BETA = 0.001, 1.5  # t = 0.001 + 0.999 Beta(1.5, 1): more of the training near the noise


@dataclass(frozen=True)
class FlowConfig(BaseConfig):
    """Settings of the flow policy; the defaults are those of the diffusion policy, with 10 Euler steps."""

    execution_horizon: int = 8
    steps: int = 100_000
    learning_rate: float = 1e-4
    weight_decay: float = 1e-6
    beta1: float = 0.95
    warmup_steps: int = 500
    cosine: bool = True
    average_power: float = 0.75
    denoiser: str = "unet"  # mlp, unet or transformer
    inference_steps: int = 10  # Euler steps
    time_features: int = 256
    hidden: tuple[int, ...] = (512, 512, 512)  # mlp
    channels: tuple[int, ...] = (256, 512, 1024)  # unet
    kernel: int = 5
    groups: int = 8
    width: int = 256  # transformer
    layers: int = 8
    attention_heads: int = 4
    dropout: float = 0.1

    def __post_init__(self) -> None:
        BaseConfig.__post_init__(self)
        if self.inference_steps < 1:
            raise ConfigError(f"inference_steps is {self.inference_steps}, it must be 1 or more")


_CPU = FlowConfig(
    action_horizon=8,
    execution_horizon=8,
    steps=4000,
    learning_rate=1e-3,
    denoiser="mlp",
    inference_steps=10,
    time_features=32,
    hidden=(256, 256, 256),
)
PRESETS = {
    "default": FlowConfig(),
    "gpu": FlowConfig(device="cuda", precision="bfloat16", compiled=True),
    "transformer": FlowConfig(denoiser="transformer", weight_decay=1e-3),
    "cpu": _CPU,
    "quick": replace(_CPU, steps=2000, hidden=(128, 128)),
    "debug": replace(_CPU, learning_rate=3e-3, steps=100, hidden=(32, 32), batch_size=64),
}


class FlowNetwork(nn.Module):
    """Observation encoder and velocity network."""

    def __init__(self, shapes: Shapes, action: int, config: FlowConfig, archive: Tensor | None = None) -> None:
        super().__init__()
        self.encoder = ObservationEncoder(shapes, config, archive)
        self.denoiser = make_denoiser(config.action_horizon, action, self.encoder.size, config)
        count = config.inference_steps
        self.step, self.times = -1.0 / count, TIME_SCALE * (1.0 - torch.arange(count) / count)
        self.noise_spec = ((config.action_horizon, action), "normal")

    def encode(self, states: Tensor, images: Mapping[str, Tensor]) -> Tensor:
        return self.encoder(states, images)

    def decode(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """Carry `noise`, shape (batch, action_horizon, action_dim), from time 1 to time 0."""
        assert noise is not None
        folded = self.denoiser.fold(noise)
        for condition in each_step(self.denoiser, features, self.times.to(features.device)):
            folded = torch.add(folded, self.denoiser(folded, condition), alpha=self.step)
        return self.denoiser.unfold(folded)

    def decode_after(self, features: Tensor, noise: Tensor, planned: Tensor, weights: Tensor) -> Tensor:
        """Carry noise as `decode`, leaning to `planned` where it has weight (`policies.inpainting`)."""
        conditions = each_step(self.denoiser, features, self.times.to(features.device))
        taus = [-self.step * index for index in range(len(conditions))]

        def estimate(index: int, z: Tensor) -> tuple[Tensor, Tensor]:
            velocity = self.denoiser.unfold(self.denoiser(self.denoiser.fold(z), conditions[index]))
            return z - (1.0 - taus[index]) * velocity, z + taus[index] * velocity

        return solve_towards(estimate, noise, taus, planned, weights)

    def loss(self, batch: ChunkBatch) -> Tensor:
        """Return the mean squared error of the predicted velocity."""
        noise = torch.randn_like(batch.chunks)
        uniform = torch.rand(len(noise), device=noise.device)
        times = FIRST_TIME + (1.0 - FIRST_TIME) * uniform ** (1.0 / BETA)  # Beta(b, 1) by its inverse distribution
        between = torch.lerp(batch.chunks, noise, times[:, None, None])
        conditions = self.denoiser.condition(self.encode(batch.states, batch.images), TIME_SCALE * times)
        predicted = self.denoiser.unfold(self.denoiser(self.denoiser.fold(between), conditions))
        return masked_mean((predicted - (noise - batch.chunks)).square(), batch.mask)


class FlowPolicy(SteerablePolicy):
    """flow policy"""

    kind, Config, Network = "flow", FlowConfig, FlowNetwork


restore = FlowPolicy.restore
train_base = partial(train_policy, FlowPolicy)
