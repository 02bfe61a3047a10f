"""A world model with exact answers: a square that stands where the commanded tcp is, seen from above and from the side.

Latents are the images themselves. The scene view shows x to the right and y down, the wrist view y to the right and z
down; the gripper is the square's brightness. The background is that of the anchor's corner, so a model that loses its
anchor drifts as soon as there is noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robot.specs import load_station
from robot.types import Array
from world_models.contract import Frames, History, Imagined, WorldModelSpec, check_actions, check_history, check_views
from world_models.episode_frames import EpisodeFrames

SIZE, HALF, MARGIN = 24, 2.0, 5.0
GOAL_X, GRIP = 0.55, 0.03  # solved beyond this x with the gripper closed below this
STATION = load_station("fr3_sim")
SPEC = WorldModelSpec(
    station="fr3_sim",
    task="toy",
    views=("scene", "wrist"),
    image_size=SIZE,
    action_names=tuple(STATION.action_names),
    action_units=("m", "m", "m", "m"),
    is_relative=(True, True, True, False),
    control_rate_hz=20.0,
    ticks_per_frame=4,
    chunk=4,
    memory=3,
    latent_shape=(3, SIZE, SIZE),
    horizon=20,
)
LOW, SPAN = np.array([0.25, -0.35, 0.0]), np.array([0.5, 0.7, 0.6])


def pixels(tcp: Tensor) -> Tensor:
    """Return where the square's middle is, (..., view, 2) as column and row, of positions (..., 3) [m]."""
    place = (tcp - torch.tensor(LOW)) / torch.tensor(SPAN) * (SIZE - 1 - 2 * MARGIN) + MARGIN
    return torch.stack([place[..., [0, 1]], place[..., [1, 2]]], dim=-2)


def draw(commands: Tensor, background: Tensor) -> Tensor:
    """Return frames (N, V, 3, S, S) in [0, 1] of commands (N, 4) before backgrounds (N, V)."""
    at = torch.arange(SIZE, dtype=torch.float64)
    middle = pixels(commands[:, :3].double())
    cover = [(HALF + 0.5 - (at - middle[..., axis, None]).abs()).clamp(0, 1) for axis in (0, 1)]
    square = cover[1][..., :, None] * cover[0][..., None, :]  # (N, V, S, S)
    bright = (1.0 - 10.0 * commands[:, 3].double())[:, None, None, None]
    grey = background[..., None, None].double()
    red = grey + square * (bright - grey)
    return torch.stack([red, grey * (1 - square), grey * (1 - square)], dim=2).float()


def success_of(commands: Array) -> np.ndarray:
    return (commands[..., 0] >= GOAL_X) & (commands[..., 3] < GRIP)


@dataclass(frozen=True)
class ToyModel:
    """`noise` is the standard deviation of each imagined pixel."""

    noise: float = 0.0
    spec: WorldModelSpec = SPEC

    def encode(self, frames: Frames) -> Tensor:
        check_views(self.spec, frames)
        images = torch.stack([torch.as_tensor(np.array(frames[view])) for view in self.spec.views], dim=2)
        return images.movedim(-1, -3).float() / 255.0

    def decode(self, latents: Tensor) -> Frames:
        images = (latents.clamp(0, 1) * 255).round().to(torch.uint8).movedim(-3, -1).numpy()
        return {view: images[:, :, index] for index, view in enumerate(self.spec.views)}

    def imagine(
        self,
        history: History,
        actions: Tensor,
        seeds: Sequence[int],
        *,
        steps: int | None = None,
        with_uncertainty: bool = True,
    ) -> Imagined:
        check_history(self.spec, history)
        check_actions(self.spec, history, actions, seeds)
        commands = self.spec.commands_after(actions, history.commands[:, -1])
        count, frames = actions.shape[:2]
        background = history.anchor[:, :, 0, 0, 0][:, None].expand(-1, frames, -1).reshape(count * frames, -1)
        latents = draw(commands.reshape(count * frames, -1), background).reshape(count, frames, *self.spec.frame_shape)
        drawn = [torch.randn(latents[0].shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        success = torch.sigmoid((commands[..., 0] - GOAL_X) * 200) * torch.sigmoid((GRIP - commands[..., 3]) * 1000)
        unsure = torch.full_like(success, self.noise if with_uncertainty else float("nan"))
        return Imagined(latents + self.noise * torch.stack(drawn), success, unsure, commands)


def toy_episodes(count: int, frames: int = 21, seed: int = 0) -> list[EpisodeFrames]:
    """Return true episodes: smooth random motion of the tcp, every other one reaching the goal and closing."""
    rng = np.random.default_rng(seed)
    return [_episode(rng, index, frames, reaches=index % 2 == 0) for index in range(count)]


def _episode(rng: np.random.Generator, index: int, frames: int, *, reaches: bool) -> EpisodeFrames:
    begin = np.array([0.35, 0.0, 0.3]) + rng.uniform(-0.05, 0.05, 3)
    steps = np.cumsum(rng.normal(0, 0.008, (frames, 3)), axis=0)
    end = 0.62 if reaches else rng.uniform(0.3, 0.5)
    tcp = begin + np.linspace(0, 1, frames)[:, None] * np.array([end - begin[0], 0.0, 0.0]) + steps
    tcp[:, 0] = np.minimum(tcp[:, 0], 0.7 if reaches else GOAL_X - 0.03)
    grip = np.where(np.arange(frames) < frames * 2 // 3, 0.04, 0.0)
    commands = np.column_stack([tcp, grip])
    grey = torch.full((frames, 2), 0.2 + 0.1 * rng.random())
    images = ToyModel().decode(draw(torch.as_tensor(commands), grey)[None])
    joints = np.repeat(STATION.home[None], frames, axis=0)
    seen = {view: frames[0] for view, frames in images.items()}
    return EpisodeFrames(f"toy-{index}", seen, commands, joints, success_of(commands))
