"""A small true world to learn: a square in two views, moved by commands, solved while it is on the right; no camera,
no robot, exact pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from robot.episode_store import EpisodeStore
from robot.images import encode_image
from robot.record import tick_from_outside
from robot.types import EndReason, Owner, Segment
from world_models.data import WorldData, read_world_data
from world_models.settings import PRESETS

CONFIG = replace(
    PRESETS["debug"], ticks_per_frame=2, codec_steps=130, steps=250, learning_rate=4e-3, head_steps=4, horizon=8
)
SIZE, RATE_HZ = 32, 10.0
VIEWS = ("front", "top")


def picture(place: np.ndarray, view: int) -> np.ndarray:
    """Draw the square at `place` in [0, 1]^2; the views swap the axes."""
    image = np.full((SIZE, SIZE, 3), (60, 90, 120), np.uint8)
    x, y = (place if view == 0 else place[::-1]) * (SIZE - 8)
    image[int(y) : int(y) + 8, int(x) : int(x) + 8] = (230, 60 + 100 * view, 40)
    return image


def record_square(root: Path, episodes: int = 12, ticks: int = 32, seed: int = 0) -> Path:
    """Record smooth random motion of the square; the action is its absolute place, then a gripper without effect."""
    store, rng = EpisodeStore(root), np.random.default_rng(seed)
    contract = {
        "observation": ["place"],
        "action_names": ["x", "y", "gripper"],
        "action_low": [0.0, 0.0, 0.0],
        "action_high": [1.0, 1.0, 1.0],
        "rate_hz": RATE_HZ,
        "units": {"action": "m m m"},
    }
    for number in range(episodes):
        place, velocity = rng.uniform(0.2, 0.8, 2), np.zeros(2)
        facts = {"station": "square", "task": "push", "contract": contract, "start_cell": [number // 2]}
        writer = store.open_episode(facts, episode_id=f"e{number:02d}")
        for tick in range(ticks):
            velocity = 0.8 * velocity + 0.06 * rng.standard_normal(2)
            command = np.append((place + velocity).clip(0.0, 1.0), 0.5)
            images = {view: encode_image(picture(place, n), jpeg_quality=95) for n, view in enumerate(VIEWS)}
            record = tick_from_outside(
                tick, {"place": place.copy()}, command, owner=Owner.POLICY, segment=Segment.ROLLOUT,
                reward_task=float(command[0] > 0.6), truncated=tick + 1 == ticks,
            )  # fmt: skip
            writer.append(record, images)
            place = command[:2]
        writer.close(EndReason.TIMEOUT)
    return root


@pytest.fixture(scope="session")
def square_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record_square(tmp_path_factory.mktemp("square") / "store")


@pytest.fixture(scope="session")
def square_data(square_store: Path, tmp_path_factory: pytest.TempPathFactory) -> WorldData:
    return read_world_data(square_store, CONFIG, tmp_path_factory.mktemp("images"))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
