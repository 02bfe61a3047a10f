"""Image encoders: uint8 images in, features out; one encoder per camera, depth as a fourth channel where there is any.

`small` is for processors without a GPU. `resnet18` is diffusion policy's: no weights from elsewhere, GroupNorm in the
place of BatchNorm, since a moving average of weights destroys policies with the latter (base_policies spec, 3.2). Both
end in a spatial softmax (Finn et al. 2016). `frozen` is any network exported by `torch.export`; its file travels inside
the checkpoint.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.observations import DEPTH, IMAGE, Shapes, cameras, image_shapes, state_size
from policies.resnet import resnet18
from robot.errors import CheckpointMismatch, ConfigError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which published encoders expect
KEYPOINTS = 32


class ObservationEncoder(nn.Module):
    """Concatenates the flat state and the features of every camera; without cameras it is the state itself.

    Of several observations (`obs_horizon` > 1) come first all states, oldest first, then camera by camera its features.
    While training every image is cropped at random (one offset per image), otherwise in the middle.
    """

    archive: Tensor

    def __init__(self, shapes: Shapes, config: Any, archive: Tensor | None = None, *, pooled: bool = True) -> None:
        """Build the encoder.

        Args:
            shapes: of the observation's fields.
            config: a `policies.steerable.BaseConfig`.
            archive: holds a frozen image encoder.
            pooled: one vector per camera; else one of `image_features` numbers for each place in its last feature
                map, `grids` being the (height, width) of these maps. A frozen encoder gives one vector in any case.
        """
        super().__init__()
        names = cameras(shapes)
        self.steps = config.obs_horizon
        self.state = self.steps * state_size(shapes)
        self.grids = dict.fromkeys(names, (1, 1))
        self.crop_share, self.depth_range_m = config.crop_share, config.depth_range_m
        self.has_depth = {name: DEPTH + name in shapes for name in names}
        if extra := [name for name in image_shapes(shapes) if name.partition("/")[2] not in names]:
            raise ConfigError(
                f"depth without colour: {extra} need {[IMAGE + name.partition('/')[2] for name in extra]}"
            )
        if not self.state and not names:
            raise ConfigError("the policy reads nothing: give it vectors or images")
        self._frozen: list[nn.Module] = []  # in a list: neither trained, nor saved by its tensors
        self.cameras = nn.ModuleDict()
        if names and config.encoder == "frozen":
            self.register_buffer("archive", _read(config.encoder_path) if archive is None else archive)
            self._frozen, self._side, width = _load(self.archive)
            self.cameras.update({name: nn.Linear(width, config.image_features) for name in names})
        else:
            make = resnet18 if config.encoder == "resnet18" else small_backbone
            for name in names:
                backbone, channels = make(3 + self.has_depth[name])
                head = SpatialFeatures if pooled else FeatureMap
                self.cameras[name] = head(backbone, channels, config.image_features)
                if not pooled:
                    side = self._side_of(shapes[IMAGE + name][1])
                    with torch.no_grad():
                        maps = backbone(torch.zeros(1, 3 + self.has_depth[name], side, side))
                    self.grids[name] = (maps.shape[-2], maps.shape[-1])
        places = sum(height * width for height, width in self.grids.values())
        self.size = self.state + self.steps * places * config.image_features

    def forward(self, states: Tensor, images: Mapping[str, Tensor]) -> Tensor:
        """Return features (batch, size) of states (batch, state) and images (batch, H, W, 3), depth (batch, H, W).

        With obs_horizon > 1 each of them has the axis of time behind that of the batch.
        """
        if self.steps > 1:
            states = states.flatten(1)
            images = {name: values.flatten(0, 1) for name, values in images.items()}
        if not self.cameras:
            return states
        seen = [head(self.pixels(name, images)) for name, head in self.cameras.items()]
        return torch.cat([states, *(part.reshape(len(states), -1) for part in seen)], dim=-1)

    def pixels(self, name: str, images: Mapping[str, Tensor]) -> Tensor:
        """Return what a camera's layers read: cropped pixels (batch, channels, side, side), or frozen features."""
        pixels = images[IMAGE + name].float().movedim(-1, 1) / 255.0
        mean, std = (torch.tensor(values, device=pixels.device)[:, None, None] for values in (MEAN, STD))
        pixels = (pixels - mean) / std
        if self.has_depth[name] and not self._frozen:
            metres = images[DEPTH + name].float()[:, None] / 1000.0
            pixels = torch.cat([pixels, (metres / self.depth_range_m).clamp(0.0, 1.0)], dim=1)
        pixels = crop(pixels, self._side_of(pixels.shape[-1]), at_random=self.training)
        if not self._frozen:
            return pixels
        resized = functional.interpolate(pixels, (self._side, self._side), mode="bilinear", antialias=True)
        with torch.no_grad():
            return self._frozen[0](resized).flatten(1)

    def _side_of(self, width: int) -> int:
        """Return the side of what is cut out of images of a width [pixels]."""
        return max(1, round(self.crop_share * width))


class SpatialFeatures(nn.Module):
    """A convolutional backbone, a spatial softmax over its maps, and a linear layer."""

    def __init__(self, backbone: nn.Module, channels: int, features: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.keypoints = nn.Conv2d(channels, KEYPOINTS, 1)
        self.head = nn.Linear(2 * KEYPOINTS, features)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(spatial_softmax(self.keypoints(self.backbone(pixels))).flatten(1))


class FeatureMap(nn.Module):
    """A convolutional backbone and a 1 x 1 convolution: one vector for each place of the map, row by row."""

    def __init__(self, backbone: nn.Module, channels: int, features: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.project = nn.Conv2d(channels, features, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return vectors, shape (batch, height * width, features)."""
        return self.project(self.backbone(pixels)).flatten(2).transpose(1, 2)


def spatial_softmax(maps: Tensor) -> Tensor:
    """Return the expected place of each map's mass, shape (batch, maps, 2): y then x, each in [-1, 1]."""
    height, width = maps.shape[-2:]
    shares = maps.flatten(2).softmax(dim=-1).unflatten(2, (height, width))
    y = shares.sum(dim=3) @ torch.linspace(-1.0, 1.0, height, device=maps.device)
    x = shares.sum(dim=2) @ torch.linspace(-1.0, 1.0, width, device=maps.device)
    return torch.stack([y, x], dim=-1)


def crop(pixels: Tensor, side: int, *, at_random: bool) -> Tensor:
    """Cut squares of `side` out of (batch, channels, H, W): one random offset per image, or the middle."""
    height, width = pixels.shape[-2:]
    if not at_random or side == height == width:
        top, left = (height - side) // 2, (width - side) // 2
        return pixels[..., top : top + side, left : left + side]
    reach = torch.arange(side, device=pixels.device)
    rows = torch.randint(height - side + 1, (len(pixels), 1), device=pixels.device) + reach
    columns = torch.randint(width - side + 1, (len(pixels), 1), device=pixels.device) + reach
    each = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    return pixels.movedim(1, -1)[each, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def small_backbone(channels: int) -> tuple[nn.Module, int]:
    """Return four convolutions, three of stride 2, and their output channels: 10 MFLOP for 76 x 76 pixels."""
    layers: list[nn.Module] = []
    for inputs, stride in ((channels, 2), (32, 2), (32, 2), (32, 1)):
        layers += [nn.Conv2d(inputs, 32, 3, stride, padding=1), nn.GroupNorm(4, 32), nn.ReLU()]
    return nn.Sequential(*layers), 32


def export_encoder(network: nn.Module, side: int, path: Path) -> None:
    """Write a network as the file that `encoder=frozen` reads.

    Args:
        network: maps images (batch, 3, side, side), normalised as ImageNet's, to features (batch, ...).
        side: of the images that it wants [pixels]; others are resized to it.
        path: of the file.
    """
    batch = torch.export.Dim("batch", min=1, max=4096)
    example = torch.zeros(2, 3, side, side)
    program = torch.export.export(network.eval(), (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)


def _read(path: str) -> Tensor:
    if not Path(path).is_file():
        raise ConfigError(f"encoder_path is '{path}': encoder=frozen needs the file of an exported network there")
    return torch.frombuffer(bytearray(Path(path).read_bytes()), dtype=torch.uint8)


def _load(archive: Tensor) -> tuple[list[nn.Module], int, int]:
    """Return the network in an archive, the side of its images and how many features it gives."""
    try:
        program = torch.export.load(io.BytesIO(archive.numpy().tobytes()))
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise CheckpointMismatch(f"the frozen encoder cannot be read ({error}): export it with this torch") from error
    assert program.example_inputs is not None
    side = int(program.example_inputs[0][0].shape[-1])
    network = program.module()
    with torch.no_grad():
        width = network(torch.zeros(1, 3, side, side)).flatten(1).shape[1]
    return [network], side, width
