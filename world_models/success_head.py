"""The success head: is the task solved in this frame, read from its latents and the command in force."""

import torch
from torch import Tensor, nn

from policies.network import mlp
from world_models.settings import VideoModelConfig

FEATURES = 48  # of one view


class SuccessHead(nn.Module):
    """One number per frame. Frames are latents (..., V, C, H, W), commands (..., A) normalised."""

    def __init__(self, config: VideoModelConfig, views: int, action_dim: int) -> None:
        super().__init__()
        size = config.latent_channels * config.cells**2
        self.pool = nn.Parameter(torch.randn(views, size, FEATURES) / size**0.5)
        self.norm = nn.LayerNorm(views * FEATURES + action_dim)
        self.body = mlp([views * FEATURES + action_dim, 64, 64])
        self.last = nn.Linear(64, 1)

    def features(self, frames: Tensor, commands: Tensor) -> Tensor:
        """Return what the decision is made from, (..., 64); the disagreement of two draws is measured here."""
        pooled = torch.einsum("...vs,vsf->...vf", frames.flatten(-3), self.pool)
        return torch.relu(self.body(self.norm(torch.cat([pooled.flatten(-2), commands], dim=-1))))

    def forward(self, frames: Tensor, commands: Tensor) -> Tensor:
        """Return logits (...)."""
        return self.last(self.features(frames, commands)).squeeze(-1)
