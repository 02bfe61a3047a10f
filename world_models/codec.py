"""The codec: frames to small latent maps and back, every view by itself with shared weights.

Eight pixels of a side become one cell. What a view shows on average is a part of the decoder, so that a fixed camera's
background costs no latent; latents are normalised per channel, and only normalised ones leave this file.

Pixels count by how rare their colour is in their view, as in colourisation (Zhang et al. 2016): what the task is about
may be four pixels of a frame, which no mean over pixels sees, and what the codec drops no dynamics can bring back.
"""

import torch
from torch import Tensor, nn

from world_models.settings import VideoModelConfig

BINS = 8  # of each channel, for how rare a colour is
LEAST_SHARE = 0.01  # of pixels, spread evenly over the colours that occur: bounds the weight of a single pixel's colour
SQUARE = 5.0  # weight of squared errors: at an error of 0.1 they pull as hard as the error itself


class Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.body(maps)


class Codec(nn.Module):
    """An autoencoder of images. Images are (N, 3, size, size) in [0, 1]; `views` (N,) says which camera each is of."""

    backgrounds: Tensor
    rarity: Tensor
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: VideoModelConfig, views: int) -> None:
        super().__init__()
        quarter, eighth = config.codec_widths
        self.encoder = nn.Sequential(
            nn.Conv2d(3, quarter, 4, stride=4),
            Residual(quarter),
            nn.Conv2d(quarter, eighth, 3, stride=2, padding=1),
            Residual(eighth),
            nn.Conv2d(eighth, config.latent_channels, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(config.latent_channels, eighth, 3, padding=1),
            Residual(eighth),
            nn.Conv2d(eighth, 4 * quarter, 3, padding=1),
            nn.PixelShuffle(2),
            Residual(quarter),
            nn.Conv2d(quarter, 48, 3, padding=1),
            nn.PixelShuffle(4),
        )
        self.register_buffer("backgrounds", torch.full((views, 3, config.image_size, config.image_size), 0.5))
        self.register_buffer("rarity", torch.ones(views, BINS**3), persistent=False)  # read in training alone
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(config.latent_channels, 1, 1))

    def encode(self, images: Tensor, views: Tensor) -> Tensor:
        """Return normalised latents (N, C, H, W)."""
        return (self.encoder(images - self.backgrounds[views]) - self.latent_mean) / self.latent_std

    def decode(self, latents: Tensor, views: Tensor) -> Tensor:
        """Return images of normalised latents, not clipped to [0, 1]."""
        return self.backgrounds[views] + self.decoder(latents * self.latent_std + self.latent_mean)

    def loss(self, images: Tensor, views: Tensor) -> Tensor:
        """Return the error, weighted up where an image is not what its view shows on average.

        L1, and beside it the square, which large errors at edges that move are judged by (PSNR is); rare colours more.
        """
        background = self.backgrounds[views]
        weight = 1.0 + 4.0 * ((images - background).abs().amax(dim=1, keepdim=True) / 0.25).clamp(max=1.0)
        weight = weight * self.rarity[views].gather(1, _colours(images).flatten(1)).view_as(weight)
        error = (self.decode(self.encode(images, views), views) - images).abs()
        return (weight * (error + SQUARE * error.square())).sum() / (3.0 * weight.sum())

    @torch.no_grad()
    def look_at(self, images: Tensor, views: Tensor) -> None:
        """Set what each view shows on average, and how rare its colours are, from images."""
        for view in range(len(self.backgrounds)):
            own = images[views == view]
            self.backgrounds[view] = own.mean(dim=0)
            self.rarity[view] = _rarity(own)

    @torch.no_grad()
    def normalize_latents(self, images: Tensor, views: Tensor) -> None:
        """Set the latents' mean and spread per channel from images; decoding stays what it was."""
        raw = self.encode(images, views) * self.latent_std + self.latent_mean
        self.latent_mean.copy_(raw.mean(dim=(0, 2, 3)).view_as(self.latent_mean))
        self.latent_std.copy_(raw.std(dim=(0, 2, 3)).clamp(min=1e-3).view_as(self.latent_std))


def _colours(images: Tensor) -> Tensor:
    """Return the number of each pixel's colour, (N, S, S) of BINS**3, of images (N, 3, S, S) in [0, 1]."""
    red, green, blue = (images * BINS).long().clamp(0, BINS - 1).unbind(1)
    return (red * BINS + green) * BINS + blue


def _rarity(images: Tensor) -> Tensor:
    """Return a weight per colour, (BINS**3,): one over the root of its share, 1 on average over the images' pixels."""
    share = torch.bincount(_colours(images).flatten(), minlength=BINS**3).float()
    share = share / share.sum()
    even = LEAST_SHARE / (share > 0).sum()
    weight = ((1.0 - LEAST_SHARE) * share + even).rsqrt()
    return weight / (share * weight).sum()
