"""A frozen probe that says where the hand is, from each view by itself and from all together.

It learns from true frames and from what the codec makes of them, never from imagined ones, so it cannot learn to agree
with a model. What it finds on held-out true frames is the reference of every figure it gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from policies.encoders import spatial_softmax
from policies.network import mlp, seeded
from robot.errors import ConfigError
from robot.motion import make_kinematics
from robot.specs import CameraSpec, StationSpec
from robot.types import Array
from world_models.contract import Frames, WorldModel
from world_models.episode_frames import EpisodeFrames

KEYPOINTS = 16
STEPS, BATCH, RATE = 600, 64, 3e-3  # of its training
LEAST_SPREAD_M = 0.01
ALL = "all views"


def hand_positions(station: StationSpec, commands: np.ndarray) -> Array:
    """Return where commands (..., A) want the first hand, (..., 3) in the cell's frame [m]."""
    if station.action.space == "tcp_position":
        return np.asarray(commands[..., :3], np.float64)
    kinematics = make_kinematics(station)
    flat = np.asarray(commands, np.float64).reshape(-1, commands.shape[-1])
    return np.array([kinematics.tcp_position(joints)[:3] for joints in flat]).reshape(*commands.shape[:-1], 3)


class _Readout(nn.Module):
    """Where the hand is: a convolutional spatial softmax per view, then a small network per view and one for all."""

    def __init__(self, views: int) -> None:
        super().__init__()
        self.eyes = nn.ModuleList(_eye() for _ in range(views))
        self.bodies = nn.ModuleList(mlp([size * 2 * KEYPOINTS, 64, 3]) for size in (*[1] * views, views))

    def forward(self, pixels: Sequence[Tensor]) -> Tensor:
        """Return normalised positions (views + 1, N, 3) of images (N, 3, H, W) in [-0.5, 0.5] of each view."""
        places = [spatial_softmax(eye(seen)).flatten(1) for eye, seen in zip(self.eyes, pixels, strict=True)]
        given = (*places, torch.cat(places, dim=1))
        return torch.stack([body(seen) for body, seen in zip(self.bodies, given, strict=True)])


def _eye() -> nn.Sequential:
    """Return four convolutions, to a quarter of the side."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 5, 2, padding=2), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, 2, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
        nn.Conv2d(32, KEYPOINTS, 1),
    )


@dataclass(frozen=True)
class PoseProbe:
    """Answers in metres."""

    views: tuple[str, ...]
    readout: _Readout
    middle: Array  # (3,) [m]
    spread: Array  # (3,) [m]

    @torch.no_grad()
    def __call__(self, frames: Frames) -> dict[str, Array]:
        """Return the hand's position, (..., 3) [m], by view and under ALL, of uint8 frames (..., H, W, 3)."""
        leading = frames[self.views[0]].shape[:-3]
        said = self.readout([_pixels(frames[view]) for view in self.views]).double().numpy()
        found = (said * self.spread + self.middle).reshape(len(said), *leading, 3)
        return dict(zip((*self.views, ALL), found, strict=True))


def fit_probe(
    model: WorldModel, station: StationSpec, episodes: Sequence[EpisodeFrames], seed: int = 0, *, steps: int = STEPS
) -> PoseProbe:
    """Return a probe that learned from the episodes' true frames; the same seed gives the same probe."""
    views = model.spec.views
    true = {view: np.concatenate([episode.frames[view] for episode in episodes]) for view in views}
    shown = model.decode(model.encode({view: images[None] for view, images in true.items()}))
    pixels = [torch.cat([_pixels(true[view]), _pixels(shown[view][0])]) for view in views]
    once = hand_positions(station, np.concatenate([episode.commands for episode in episodes]))
    middle, spread = once.mean(axis=0), np.maximum(once.std(axis=0), LEAST_SPREAD_M)
    wanted = torch.from_numpy((np.concatenate([once, once]) - middle) / spread).float()
    with seeded(seed):
        readout = _fit(_Readout(len(views)), pixels, wanted, steps)
    return PoseProbe(tuple(views), readout, middle, spread)


def _fit(readout: _Readout, pixels: Sequence[Tensor], wanted: Tensor, steps: int) -> _Readout:
    optimizer = torch.optim.AdamW(readout.parameters(), lr=RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(wanted), (BATCH,))
        found = readout([seen[rows] for seen in pixels])
        loss = functional.smooth_l1_loss(found, wanted[rows].expand_as(found), beta=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return readout.eval()


def fixed_camera(station: StationSpec, views: Sequence[str]) -> CameraSpec:
    """Return the first view that does not move with a hand."""
    for view in views:
        camera = station.camera(view)
        if camera.mount == "world":
            return camera
    raise ConfigError(f"none of the views {', '.join(views)} stands still; drift is measured in such a camera's pixels")


def project(camera: CameraSpec, points: Array, size: int) -> Array:
    """Return the pixels (..., 2), column and row, of points (..., 3) [m] in a square image of a fixed camera."""
    place = np.array(camera.translation_m)
    forward = np.array(camera.look_at_m) - place
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    seen = np.asarray(points) - place
    focal = size / 2 / np.tan(np.radians(camera.fovy_deg) / 2)
    depth = seen @ forward
    return np.stack([seen @ right / depth, seen @ down / depth], axis=-1) * focal + (size - 1) / 2


def _pixels(frames: np.ndarray) -> Tensor:
    """Return images (N, 3, H, W) in [-0.5, 0.5] of uint8 frames (..., H, W, 3)."""
    flat = np.ascontiguousarray(frames.reshape(-1, *frames.shape[-3:]))
    return torch.from_numpy(flat).permute(0, 3, 1, 2).float() / 255.0 - 0.5
