"""The box of noise that a steering policy chooses from, and how a choice becomes the noise that a base is decoded with.

Choices are coordinates in [-1, 1]; noise is `box` times them, in the shape of the base's `noise_spec`:

    full       every number of the noise
    repeated   one vector, the same at all points of the chunk
    low_rank   `rank` coefficients per dimension of an orthonormal cosine basis in time
    active     some dimensions of every point

What is not chosen (the complement of the basis, the other dimensions) is one fixed draw from the prior, so equal
choices decode equally (DSRL, Wagenmaker et al. 2025; modes beyond `full` and `repeated` are ours).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from robot.errors import ConfigError

MODES = ("full", "repeated", "low_rank", "active")


@dataclass(frozen=True)
class NoiseSpace:
    """Coordinates of noise. All of it follows from these numbers, so a saved policy needs no more than them."""

    shape: tuple[int, ...]  # of the base's noise, without batch axis
    mode: str = "full"
    box: float = 1.5  # half width of the box, in standard deviations of the prior
    rank: int = 1  # of low_rank
    active: tuple[int, ...] = ()  # indices along the last axis
    seed: int = 0  # of what is not chosen

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(f"noise mode is '{self.mode}', allowed: {', '.join(MODES)}")
        if self.box <= 0.0:
            raise ConfigError(f"the noise box is {self.box}, it must be above 0; 0.75 to 2.5 are common")
        if self.mode in ("repeated", "low_rank") and len(self.shape) != 2:
            raise ConfigError(
                f"noise mode '{self.mode}' needs noise of shape (points, dimensions), this base's is {self.shape}: "
                "choose full or active"
            )
        if self.mode == "low_rank" and not 1 <= self.rank <= self.shape[0]:
            raise ConfigError(f"rank {self.rank} must lie in 1..{self.shape[0]}, the points of a chunk")
        outside = [index for index in self.active if not 0 <= index < self.shape[-1]]
        if self.mode == "active" and (not self.active or outside or len(set(self.active)) < len(self.active)):
            raise ConfigError(
                f"active dimensions {list(self.active)} must be different ones of 0..{self.shape[-1] - 1}, at least one"
            )

    @property
    def size(self) -> int:
        """Number of coordinates."""
        last = self.shape[-1]
        points = int(np.prod(self.shape[:-1]))
        sizes = {"full": points * last, "repeated": last, "active": points * len(self.active)}
        return sizes.get(self.mode, self.rank * last)

    def prior(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw coordinates (count, size) whose noise is N(0, I) clipped to the box."""
        return (torch.randn((count, self.size), generator=generator) / self.box).clamp(-1.0, 1.0)

    def noise(self, coordinates: Tensor) -> Tensor:
        """Return the noise (batch, *shape) of coordinates (batch, size)."""
        chosen = self.box * coordinates
        if self.mode == "full":
            return chosen.unflatten(1, self.shape)
        if self.mode == "repeated":
            return chosen[:, None].expand(-1, *self.shape)
        if self.mode == "low_rank":
            return self._rest + torch.matmul(self._basis, chosen.unflatten(1, (self.rank, -1)))
        noise = self._rest.repeat(len(chosen), *(1 for _ in self.shape))
        noise[..., list(self.active)] = chosen.unflatten(1, (*self.shape[:-1], -1))
        return noise

    @cached_property
    def _basis(self) -> Tensor:
        """The first `rank` vectors of the orthonormal cosine basis (DCT-II), shape (points, rank)."""
        points = self.shape[0]
        times, orders = np.arange(points)[:, None] + 0.5, np.arange(self.rank)[None]
        basis = np.sqrt(2.0 / points) * np.cos(np.pi / points * times * orders)
        basis[:, 0] /= np.sqrt(2.0)
        return torch.from_numpy(basis.astype(np.float32))

    @cached_property
    def _rest(self) -> Tensor:
        """What is not chosen: one draw of the prior, without its part along the basis."""
        drawn = torch.from_numpy(np.random.default_rng(self.seed).standard_normal(self.shape).astype(np.float32))
        return drawn - self._basis @ (self._basis.T @ drawn) if self.mode == "low_rank" else drawn
