"""How clean each frame of a training window is: diffusion forcing with a clean anchor (Chen et al. 2024).

Tau is the share of the clean frame: x_tau = tau * x + (1 - tau) * noise.
"""

import torch
from torch import Tensor

from world_models.settings import VideoModelConfig

LEAST_MEMORY = 0.7


def draw_levels(config: VideoModelConfig, batch: int, device: torch.device) -> Tensor:
    """Return tau of anchor, memory and new frames, (batch, 1 + memory + chunk), from torch's global generator.

    The anchor is clean; memory is nearly so; new frames are logit-normal, of some windows all equal, of some pure
    noise: the hardest, where only the actions tell what happens. A deterministic model sees pure noise only, of zeros.
    """
    memory = 1.0 - config.memory_noise * torch.randn(batch, config.memory, device=device).abs()
    new = torch.sigmoid(torch.randn(batch, config.chunk, device=device))
    kind = torch.rand(batch, 1, device=device)
    new = torch.where(kind < config.lockstep_share, new[:, :1], new)
    is_pure = (kind >= config.lockstep_share) & (kind < config.lockstep_share + config.pure_noise_share)
    new = torch.zeros_like(new) if config.deterministic else torch.where(is_pure, 0.0, new)
    return torch.cat([torch.ones(batch, 1, device=device), memory.clamp(LEAST_MEMORY, 1.0), new], dim=1)


def add_noise(frames: Tensor, tau: Tensor, noise: Tensor) -> Tensor:
    """Return frames (B, F, V, C, H, W) noised to tau (B, F)."""
    share = tau[..., None, None, None, None]
    return share * frames + (1.0 - share) * noise


def loss_weight(tau: Tensor, ramp: float) -> Tensor:
    """Return the weight of a clean-frame error at a noise level: 1 when clean, `ramp` less in pure noise.

    Shortcut forcing has 0.9, for worlds of chance. Where the actions decide what happens, they do so in pure noise.
    """
    return 1.0 - ramp * (1.0 - tau)
