"""Diffusion policy (Chi et al. 2023): a chunk is denoised step by step; the noise it starts from is what steers it.

Trained as DDPM (Ho et al. 2020, eq. 14), solved by DDIM with eta = 0 (Song et al. 2021, eq. 12), so that the chunk is a
function of features and noise. Noise schedule and time steps are diffusers'; their numbers are worked out once.

The presets predict v = signal e - sigma a (Salimans & Ho 2022, appendix D). The noise e, as in the first papers, says
nothing of the chunk where nearly all is noise: a solver that starts there divides its error, and every rounding, by a
signal of 0.0025, and spends the first of its few steps on that (Lin et al. 2024, section 3.3).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn

from policies.base.denoisers import each_step, make_denoiser
from policies.data.chunks import ChunkBatch
from policies.encoders import ObservationEncoder
from policies.inpainting import solve_towards
from policies.learners.supervised import train_policy
from policies.observations import Shapes
from policies.steerable import BaseConfig, SteerablePolicy, masked_mean
from robot.errors import ConfigError


@dataclass(frozen=True)
class DiffusionConfig(BaseConfig):
    """Settings of the diffusion policy; the defaults are the published ones for states, one observation seen.

    The presets differ from them in what the network predicts.
    """

    execution_horizon: int = 8
    steps: int = 100_000
    learning_rate: float = 1e-4
    weight_decay: float = 1e-6
    beta1: float = 0.95
    warmup_steps: int = 500
    cosine: bool = True
    average_power: float = 0.75
    denoiser: str = "unet"  # mlp, unet or transformer
    train_steps: int = 100
    inference_steps: int = 16
    spacing: str = "trailing"  # of the inference steps; "leading" only for checkpoints that were made so
    prediction: str = "epsilon"  # what the network gives: v, or epsilon (which checkpoints without this setting have)
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
        if not 1 <= self.inference_steps <= self.train_steps:
            raise ConfigError(f"inference_steps {self.inference_steps} must lie in 1..train_steps ({self.train_steps})")
        if self.spacing not in ("trailing", "leading"):
            raise ConfigError(f"spacing is '{self.spacing}', allowed: trailing, leading")
        if self.prediction not in ("v", "epsilon"):
            raise ConfigError(f"prediction is '{self.prediction}', allowed: v, epsilon")


_CPU = DiffusionConfig(
    prediction="v",
    action_horizon=8,
    execution_horizon=8,
    steps=4000,
    learning_rate=1e-3,
    denoiser="mlp",
    train_steps=20,
    inference_steps=10,
    time_features=32,
    hidden=(256, 256, 256),
)
PRESETS = {
    "default": DiffusionConfig(prediction="v"),
    "gpu": DiffusionConfig(prediction="v", device="cuda", precision="bfloat16", compiled=True),
    "transformer": DiffusionConfig(prediction="v", denoiser="transformer", weight_decay=1e-3),
    "cpu": _CPU,
    "quick": replace(_CPU, steps=2000, hidden=(128, 128)),
    "debug": replace(_CPU, learning_rate=3e-3, steps=100, hidden=(32, 32), batch_size=64),
}


class DdimSchedule:
    """The numbers of a DDIM solver: what one step multiplies by, for every step, as plain floats."""

    def __init__(self, train_steps: int, inference_steps: int, spacing: str) -> None:
        scheduler = DDIMScheduler(
            num_train_timesteps=train_steps,
            beta_schedule="squaredcos_cap_v2",
            timestep_spacing=spacing,  # pyright: ignore[reportArgumentType]
        )
        scheduler.set_timesteps(inference_steps)
        self.signal = scheduler.alphas_cumprod.sqrt()  # (train_steps,)
        self.noise = (1.0 - scheduler.alphas_cumprod).sqrt()
        self.times = scheduler.timesteps.float()  # (inference_steps,), falling
        signal, noise = self.signal[scheduler.timesteps].tolist(), self.noise[scheduler.timesteps].tolist()
        self.steps = list(zip(signal, noise, [*signal[1:], 1.0], [*noise[1:], 0.0], strict=True))


class DiffusionNetwork(nn.Module):
    """Observation encoder and denoiser."""

    def __init__(self, shapes: Shapes, action: int, config: DiffusionConfig, archive: Tensor | None = None) -> None:
        super().__init__()
        self.encoder = ObservationEncoder(shapes, config, archive)
        self.denoiser = make_denoiser(config.action_horizon, action, self.encoder.size, config)
        self.schedule = DdimSchedule(config.train_steps, config.inference_steps, config.spacing)
        self.predicts_noise = config.prediction == "epsilon"
        self.noise_spec = ((config.action_horizon, action), "normal")

    def encode(self, states: Tensor, images: Mapping[str, Tensor]) -> Tensor:
        return self.encoder(states, images)

    def decode(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """Denoise from `noise`, shape (batch, action_horizon, action_dim); clips the clean chunk at every step."""
        assert noise is not None
        folded = self.denoiser.fold(noise)
        conditions = each_step(self.denoiser, features, self.schedule.times.to(features.device))
        for (signal, sigma, next_signal, next_sigma), condition in zip(self.schedule.steps, conditions, strict=True):
            clean, left = self.estimate(folded, condition, signal, sigma)
            folded = clean.clamp_(-1.0, 1.0).mul_(next_signal).add_(left, alpha=next_sigma)
        return self.denoiser.unfold(folded)

    def decode_after(self, features: Tensor, noise: Tensor, planned: Tensor, weights: Tensor) -> Tensor:
        """Denoise as `decode`, leaning to `planned` where it has weight (`policies.inpainting`)."""
        conditions = each_step(self.denoiser, features, self.schedule.times.to(features.device))
        steps = self.schedule.steps

        def estimate(index: int, z: Tensor) -> tuple[Tensor, Tensor]:
            signal, sigma, *_ = steps[index]
            folded = self.denoiser.fold(z * (signal + sigma))
            clean, left = map(self.denoiser.unfold, self.estimate(folded, conditions[index], signal, sigma))
            return clean.clamp(-1.0, 1.0), left

        signal, sigma, *_ = steps[0]
        taus = [signal / (signal + sigma) for signal, sigma, *_ in steps]
        return solve_towards(estimate, noise / (signal + sigma), taus, planned, weights)

    def estimate(
        self, folded: Tensor, condition: tuple[Tensor, ...], signal: float, sigma: float
    ) -> tuple[Tensor, Tensor]:
        """Return the clean chunk, not clipped, and the noise that the network sees in signal a + sigma e."""
        predicted = self.denoiser(folded, condition)
        if self.predicts_noise:
            return torch.sub(folded, predicted, alpha=sigma).div_(signal), predicted
        return (
            torch.mul(folded, signal).sub_(predicted, alpha=sigma),
            torch.mul(folded, sigma).add_(predicted, alpha=signal),
        )

    def loss(self, batch: ChunkBatch) -> Tensor:
        """Return the mean squared error of what the network predicts, at times drawn uniformly."""
        signal, sigma = self.schedule.signal.to(batch.chunks.device), self.schedule.noise.to(batch.chunks.device)
        times = torch.randint(len(signal), (len(batch.chunks),), device=batch.chunks.device)
        signal, sigma = signal[times, None, None], sigma[times, None, None]
        noise = torch.randn_like(batch.chunks)
        noisy = signal * batch.chunks + sigma * noise
        conditions = self.denoiser.condition(self.encode(batch.states, batch.images), times.float())
        predicted = self.denoiser.unfold(self.denoiser(self.denoiser.fold(noisy), conditions))
        wanted = noise if self.predicts_noise else signal * noise - sigma * batch.chunks
        return masked_mean((predicted - wanted).square(), batch.mask)


class DiffusionPolicy(SteerablePolicy):
    """diffusion policy"""

    kind, Config, Network = "diffusion", DiffusionConfig, DiffusionNetwork


restore = DiffusionPolicy.restore
train_base = partial(train_policy, DiffusionPolicy)
