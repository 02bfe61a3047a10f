"""ACT, action chunking with transformers (Zhao et al. 2023): a conditional VAE whose latent is the noise to steer by.

As published: every place in the last feature map of a camera is a token with its sinusoidal position in the plane, and
the posterior sees the state, not the images. But the loss counts only steps inside the episode, positions are added to
the tokens once, not to queries and keys of each layer, and a learned vector says which camera (and step) a token is of.
Left alone it acts on the latent's mean, zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from policies.data.chunks import ChunkBatch
from policies.encoders import ObservationEncoder
from policies.learners.supervised import train_policy
from policies.network import sinusoidal_plane
from policies.observations import Shapes
from policies.steerable import BaseConfig, SteerablePolicy, masked_mean


@dataclass(frozen=True)
class ActConfig(BaseConfig):
    """Settings of ACT; the defaults are the published ones."""

    action_horizon: int = 100
    execution_horizon: int = 100
    steps: int = 100_000
    batch_size: int = 8
    learning_rate: float = 1e-5
    sampling: str = "mean"
    encoder: str = "resnet18"
    latent: int = 32
    kl_weight: float = 10.0
    width: int = 512
    attention_heads: int = 8
    feedforward: int = 3200
    encoder_layers: int = 4
    decoder_layers: int = 1
    dropout: float = 0.1


_CPU = ActConfig(
    action_horizon=8,
    execution_horizon=8,
    steps=3000,
    batch_size=128,
    learning_rate=5e-4,
    warmup_steps=100,
    cosine=True,
    encoder="small",
    latent=8,
    width=64,
    attention_heads=4,
    feedforward=128,
    encoder_layers=2,
)
PRESETS = {
    "default": ActConfig(),
    "gpu": ActConfig(device="cuda", precision="bfloat16", compiled=True),
    "cpu": _CPU,
    "quick": replace(_CPU, steps=1000),
    "debug": replace(_CPU, steps=50, width=32, feedforward=64, encoder_layers=1, batch_size=32),
}


class ActNetwork(nn.Module):
    """Posterior (training only), and a transformer from latent and observation to one action per query."""

    plane: Tensor  # positions of all image tokens, (tokens, width)

    def __init__(self, shapes: Shapes, action: int, config: ActConfig, archive: Tensor | None = None) -> None:
        super().__init__()
        self.encoder = ObservationEncoder(shapes, config, archive, pooled=False)
        has_state = self.encoder.state > 0
        self.horizon, self.latent, self.kl_weight = config.action_horizon, config.latent, config.kl_weight
        self.noise_spec = ((config.latent,), "normal")
        width = config.width
        self.posterior_in = nn.ModuleDict(
            {"actions": nn.Linear(action, width)}
            | ({"observation": nn.Linear(self.encoder.state, width)} if has_state else {})
        )
        self.posterior_token = nn.Parameter(0.02 * torch.randn(width))
        self.posterior_place = nn.Parameter(0.02 * torch.randn(1 + has_state + self.horizon, width))
        self.posterior = _encoder(config)
        self.posterior_out = nn.Linear(width, 2 * config.latent)
        self.latent_in = nn.Linear(config.latent, width)
        self.observed_in = nn.ModuleList([nn.Linear(self.encoder.state, width)] if has_state else [])
        self.place = nn.Parameter(0.02 * torch.randn(1 + has_state, width))
        if grids := list(self.encoder.grids.values()):
            self.image_in = nn.Linear(config.image_features, width)
            self.view = nn.Parameter(0.02 * torch.randn(len(grids) * config.obs_horizon, width))
            self.places = [height * width for height, width in grids for _ in range(config.obs_horizon)]
            planes = [sinusoidal_plane(*grid, width).repeat(config.obs_horizon, 1) for grid in grids]
            self.register_buffer("plane", torch.cat(planes), persistent=False)
        self.memory = _encoder(config)
        layer = nn.TransformerDecoderLayer(
            width, config.attention_heads, config.feedforward, config.dropout, batch_first=True
        )
        self.queries = nn.Parameter(0.02 * torch.randn(self.horizon, width))
        self.answer = nn.TransformerDecoder(layer, config.decoder_layers, nn.LayerNorm(width))
        self.head = nn.Linear(width, action)

    def encode(self, states: Tensor, images: Mapping[str, Tensor]) -> Tensor:
        return self.encoder(states, images)

    def decode(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return chunks for a latent `noise`, shape (batch, latent)."""
        assert noise is not None
        state, images = features.tensor_split([self.encoder.state], dim=1)
        tokens = torch.stack([self.latent_in(noise), *(layer(state) for layer in self.observed_in)], dim=1) + self.place
        if images.shape[1]:
            seen = self.image_in(images.unflatten(1, (len(self.plane), -1)))
            views = self.view.repeat_interleave(torch.tensor(self.places, device=seen.device), dim=0)
            tokens = torch.cat([tokens, seen + self.plane + views], dim=1)
        queries = self.queries.expand(len(features), -1, -1)
        return self.head(self.answer(queries, self.memory(tokens)))

    def infer_latent(self, features: Tensor, chunks: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of the latent given a chunk; padded steps are not looked at."""
        token = self.posterior_token.expand(len(chunks), 1, -1)
        if self.encoder.state:
            observed = self.posterior_in["observation"](features[:, : self.encoder.state])
            token = torch.cat([token, observed[:, None]], dim=1)
        padded = torch.cat([torch.zeros_like(token[..., 0]), 1.0 - mask[..., 0]], dim=1).bool()
        tokens = torch.cat([token, self.posterior_in["actions"](chunks)], dim=1) + self.posterior_place
        out = self.posterior_out(self.posterior(tokens, src_key_padding_mask=padded)[:, 0])
        mean, log_variance = out.chunk(2, dim=-1)
        return mean, log_variance

    def loss(self, batch: ChunkBatch) -> Tensor:
        """Return the L1 error of the chunk plus `kl_weight` times the latent's divergence from N(0, I)."""
        features = self.encode(batch.states, batch.images)
        mean, log_variance = self.infer_latent(features, batch.chunks, batch.mask)
        latent = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        error = masked_mean((self.decode(features, latent) - batch.chunks).abs(), batch.mask)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=-1).mean()
        return error + self.kl_weight * divergence


def _encoder(config: ActConfig) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        config.width, config.attention_heads, config.feedforward, config.dropout, batch_first=True
    )
    return nn.TransformerEncoder(layer, config.encoder_layers, enable_nested_tensor=False)


class ActPolicy(SteerablePolicy):
    """ACT"""

    kind, Config, Network = "act", ActConfig, ActNetwork


restore = ActPolicy.restore
train_base = partial(train_policy, ActPolicy)
