"""A frozen probe that says where the hand is, from each view by itself and from all together.

It learns from true frames and from what the codec makes of them, never from imagined ones, so it cannot learn to agree
with a model. What it finds on held-out true frames is the reference of every figure it gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from robot.errors import ConfigError
from robot.motion import make_kinematics
from robot.specs import CameraSpec, StationSpec
from robot.types import Array
from world_models.contract import Frames, WorldModel
from world_models.episode_frames import EpisodeFrames

SIDE, FEATURES, RIDGE = 16, 512, 1e-4
ALL = "all views"


def hand_positions(station: StationSpec, commands: np.ndarray) -> Array:
    """Return where commands (..., A) want the first hand, (..., 3) in the cell's frame [m]."""
    if station.action.space == "tcp_position":
        return np.asarray(commands[..., :3], np.float64)
    kinematics = make_kinematics(station)
    flat = np.asarray(commands, np.float64).reshape(-1, commands.shape[-1])
    return np.array([kinematics.tcp_position(joints)[:3] for joints in flat]).reshape(*commands.shape[:-1], 3)


@dataclass(frozen=True)
class _Readout:
    """Ridge regression on shrunken pixels and random features of them (Rahimi and Recht 2008), in closed form."""

    mean: Array  # (D,)
    random: Array  # (D, FEATURES)
    weights: Array  # (D + FEATURES + 1, 3)

    @classmethod
    def fit(cls, pixels: Array, positions: Array, rng: np.random.Generator) -> "_Readout":
        mean, size = pixels.mean(axis=0), pixels.shape[1]
        random = rng.normal(0.0, 1.0 / np.sqrt(((pixels - mean) ** 2).sum(axis=1).mean()), (size, FEATURES))
        features = _features(pixels - mean, random)
        gram = features.T @ features
        gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        return cls(mean, random, np.linalg.solve(gram, features.T @ positions))

    def __call__(self, pixels: Array) -> Array:
        return _features(pixels - self.mean, self.random) @ self.weights


def _features(centred: Array, random: Array) -> Array:
    return np.concatenate([centred, np.maximum(centred @ random, 0.0), np.ones((len(centred), 1))], axis=1)


@dataclass(frozen=True)
class PoseProbe:
    """Answers in metres."""

    views: tuple[str, ...]
    readouts: tuple[_Readout, ...]  # one per view, then one of all together

    def __call__(self, frames: Frames) -> dict[str, Array]:
        """Return the hand's position, (..., 3) [m], by view and under ALL, of uint8 frames (..., H, W, 3)."""
        leading = frames[self.views[0]].shape[:-3]
        pixels = [_pixels(frames[view]) for view in self.views]
        inputs = [*pixels, np.concatenate(pixels, axis=1)]
        names = (*self.views, ALL)
        found = zip(names, self.readouts, inputs, strict=True)
        return {name: readout(given).reshape(*leading, 3) for name, readout, given in found}


def fit_probe(model: WorldModel, station: StationSpec, episodes: Sequence[EpisodeFrames], seed: int = 0) -> PoseProbe:
    """Return a probe that learned from the episodes' true frames; the same seed gives the same probe."""
    views = model.spec.views
    true = {view: np.concatenate([episode.frames[view] for episode in episodes]) for view in views}
    shown = model.decode(model.encode({view: images[None] for view, images in true.items()}))
    pixels = [np.concatenate([_pixels(true[view]), _pixels(shown[view][0])]) for view in views]
    once = hand_positions(station, np.concatenate([episode.commands for episode in episodes]))
    positions, rng = np.concatenate([once, once]), np.random.default_rng(seed)
    inputs = [*pixels, np.concatenate(pixels, axis=1)]
    return PoseProbe(tuple(views), tuple(_Readout.fit(given, positions, rng) for given in inputs))


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


def _pixels(frames: np.ndarray) -> Array:
    """Return shrunken pixels (N, SIDE * SIDE * 3) in [0, 1] of frames (..., H, W, 3)."""
    flat = frames.reshape(-1, *frames.shape[-3:])
    small = [cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in flat]
    return np.stack(small).reshape(len(flat), -1) / 255.0
