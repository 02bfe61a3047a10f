"""Read an episode store for a world model: frames with the command that led to them and the label, cut into windows.

Row t of a stretch shows what the command of row t - 1 led to, and whether that solved the task; so the first row of a
stretch, which no command led to, is left out. Frames of a window are `ticks_per_frame` rows apart and may begin at any
row. Nothing is read across a gap.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from policies.data.contract import DataContract
from policies.data.episodes import ChosenEpisodes, open_episodes, usable_stretches
from policies.data.images import CachedImages
from robot.episode import Episode
from robot.errors import ConfigError
from robot.motion import make_action_space
from robot.specs import load_station
from robot.types import EndReason
from world_models.contract import WorldModelSpec
from world_models.settings import VideoModelConfig

ENDS = (EndReason.SUCCESS, EndReason.FAILURE, EndReason.TIMEOUT, EndReason.OPERATOR_ABORT, EndReason.SAFETY)
GRIPPER_WORDS = ("gripper", "finger", "jaw", "claw")


@dataclass(frozen=True)
class FrameTable:
    """All frames of a store, stretch after stretch; N frames."""

    episodes: np.ndarray  # (N,) number of the episode
    rows: np.ndarray  # (N,) row within it
    first: np.ndarray  # (N,) place in this table of the first frame of the stretch
    last: np.ndarray  # (N,) and of the last one
    commands: Tensor  # (N, A) that led to the frame, station units, float64
    success: Tensor  # (N,) float32, 1 where the frame shows the task solved
    is_validation: np.ndarray  # (N,) held out

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class WorldData:
    """A store read for a world model: what it means, its frames, and their images by view."""

    spec: WorldModelSpec
    table: FrameTable
    images: CachedImages
    episode_ids: tuple[str, ...]
    store_sha256: str

    @property
    def held_out_ids(self) -> list[str]:
        """Return the ids of the episodes that are for validation alone."""
        return [self.episode_ids[number] for number in np.unique(self.table.episodes[self.table.is_validation])]

    def read(self, view: str, places: np.ndarray) -> np.ndarray:
        """Return images (n, size, size, 3) uint8 of frames of the table."""
        return self.images.read(view, self.table.episodes[places], self.table.rows[places])


@dataclass(frozen=True)
class Windows:
    """Places in the frame table of windows, (n, 1 + memory + frames); -1 in `memory` columns that are copies."""

    places: np.ndarray
    is_null: np.ndarray  # (n, memory) bool

    def __len__(self) -> int:
        return len(self.places)


def read_world_data(
    store: Path, config: VideoModelConfig, cache: Path, *, views: Sequence[str] = (), task: str | None = None
) -> WorldData:
    """Read every kept episode of one task, successes and failures alike.

    Args:
        store: folder of the episode store.
        config: sizes and the gap between frames.
        cache: folder for decoded images.
        views: cameras, in the order the model shall have them; none named: all of the first episode.
        task: needed only where the store holds several.
    """
    chosen = open_episodes(store, task=task, end_reasons=ENDS)
    views = tuple(views or chosen.episodes[0].info.cameras)
    table = _table(chosen, views, config.validation_share)
    contract, info = chosen.contract, chosen.episodes[0].info
    spec = WorldModelSpec(
        station=info.station,
        task=info.task,
        views=views,
        image_size=config.image_size,
        action_names=contract.action_names,
        action_units=_units(contract),
        is_relative=_is_relative(chosen),
        control_rate_hz=contract.rate_hz,
        ticks_per_frame=config.ticks_per_frame,
        chunk=config.chunk,
        memory=config.memory,
        latent_shape=config.latent_shape,
        horizon=config.horizon,
    )
    images = CachedImages(cache, chosen.episodes, views, config.image_size)
    hashes = sorted(episode.info.content_sha256 for episode in chosen.episodes)
    ids = tuple(episode.info.episode_id for episode in chosen.episodes)
    return WorldData(spec, table, images, ids, hashlib.sha256("".join(hashes).encode()).hexdigest())


def warm_places(table: FrameTable, spec: WorldModelSpec, frames: int, *, validation: bool) -> np.ndarray:
    """Return the places of present frames with a whole memory before and `frames` frames after them."""
    gap = spec.ticks_per_frame
    place = np.arange(len(table))
    is_whole = (place - spec.memory * gap >= table.first) & (place + frames * gap <= table.last)
    return np.flatnonzero(is_whole & (table.is_validation == validation))


def cold_places(table: FrameTable, spec: WorldModelSpec, frames: int, *, validation: bool) -> np.ndarray:
    """Return the places of present frames with `frames` frames after them."""
    is_whole = np.arange(len(table)) + frames * spec.ticks_per_frame <= table.last
    return np.flatnonzero(is_whole & (table.is_validation == validation))


def windows_at(table: FrameTable, spec: WorldModelSpec, places: np.ndarray, cold: np.ndarray, frames: int) -> Windows:
    """Return windows around present frames: anchor, memory, new frames.

    A cold one has its present frame as anchor and for a memory; a warm one the first frame of its stretch as anchor.
    """
    gap = spec.ticks_per_frame
    back = gap * np.arange(1 - spec.memory, 1)
    memory = np.where(cold[:, None], places[:, None], places[:, None] + back)
    anchor = np.where(cold, places, table.first[places])
    new = places[:, None] + gap * np.arange(1, frames + 1)
    is_null = np.repeat(cold[:, None], spec.memory, axis=1)
    return Windows(np.concatenate([anchor[:, None], memory, new], axis=1), is_null)


def window_actions(table: FrameTable, spec: WorldModelSpec, windows: Windows) -> tuple[Tensor, Tensor]:
    """Return what produced memory and new frames, (n, memory + frames, A), and the commands in force at all frames.

    What is null holds its command still.
    """
    places = torch.from_numpy(windows.places)
    commands = table.commands[places]
    before = places[:, 1] - spec.ticks_per_frame
    before = torch.where(torch.from_numpy(windows.is_null[:, 0]), places[:, 1], before)
    actions = spec.frame_actions(commands[:, 1:], table.commands[before.clamp(min=0)])
    return actions.float(), commands.float()


def all_actions(table: FrameTable, spec: WorldModelSpec) -> Tensor:
    """Return the action of every training frame that has a frame before it, (n, A)."""
    place = np.arange(len(table))
    places = np.flatnonzero((place - spec.ticks_per_frame >= table.first) & ~table.is_validation)
    before = table.commands[places - spec.ticks_per_frame]
    return spec.frame_actions(table.commands[places][:, None], before)[:, 0]


def held_out(episodes: Sequence[Episode], share: float) -> list[bool]:
    """Say of each episode whether it is for validation: whole start cells together, where episodes name theirs.

    Which cells are held out follows from the episodes alone.
    """
    keys = [str(episode.metadata.get("start_cell") or episode.info.content_sha256) for episode in episodes]
    groups = sorted(set(keys))
    order = np.random.default_rng(0).permutation(len(groups))
    wanted, held, chosen = share * len(episodes), 0, set()
    for group in (groups[index] for index in order):
        if held >= wanted or len(chosen) + 1 == len(groups):
            break
        chosen.add(group)
        held += keys.count(group)
    return [key in chosen for key in keys]


def _table(chosen: ChosenEpisodes, views: tuple[str, ...], share: float) -> FrameTable:
    is_held = held_out(chosen.episodes, share)
    parts: list[tuple[np.ndarray, ...]] = []
    count = 0
    for number, episode in enumerate(chosen.episodes):
        columns = episode.columns
        rewards = np.maximum(columns["reward_task"], columns["reward_operator"])
        seen = max(episode.first_image_row(view) for view in views)
        for stretch in usable_stretches(episode):
            rows = stretch[stretch >= seen][1:]
            if not len(rows):
                continue
            ends = np.full(len(rows), count), np.full(len(rows), count + len(rows) - 1)
            held = np.full(len(rows), is_held[number])
            commands, solved = columns["executed_action"][rows - 1], rewards[rows - 1] > 0
            parts.append((np.full(len(rows), number), rows, *ends, commands, solved, held))
            count += len(rows)
    if not parts:
        raise ConfigError(f"no two consecutive ticks with images of {', '.join(views)}: record longer episodes")
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return FrameTable(
        *joined[:4],
        commands=torch.from_numpy(joined[4]),
        success=torch.from_numpy(joined[5].astype(np.float32)),
        is_validation=joined[6],
    )


def _is_relative(chosen: ChosenEpisodes) -> tuple[bool, ...]:
    """Return per action dimension whether it moves the arm; a gripper's target is read as it is."""
    names = chosen.contract.action_names
    if any("contract" in episode.metadata for episode in chosen.episodes):
        return tuple(not any(word in name.lower() for word in GRIPPER_WORDS) for name in names)
    grippers = make_action_space(load_station(chosen.episodes[0].info.station)).grippers
    is_gripper = np.zeros(len(names), bool)
    is_gripper[grippers] = True
    return tuple((~is_gripper).tolist())


def _units(contract: DataContract) -> tuple[str, ...]:
    units = contract.units.get("action", "").split()
    return tuple(units) if len(units) == len(contract.action_names) else ("",) * len(contract.action_names)


def with_success(table: FrameTable, success: Tensor) -> FrameTable:
    """Return the table with other labels (a control: labels by chance)."""
    return replace(table, success=success)
