"""Recorded episodes at a world model's frame rate: what imagination begins from and is held against."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policies.data.episodes import open_episodes, usable_stretches
from robot.episode import Episode
from robot.errors import CheckpointMismatch, ConfigError
from robot.observation import square
from robot.types import Array, EndReason, Owner
from world_models.contract import Frames, WorldModelSpec

ENDS = (EndReason.SUCCESS, EndReason.FAILURE, EndReason.TIMEOUT, EndReason.OPERATOR_ABORT, EndReason.SAFETY)


@dataclass(frozen=True)
class EpisodeFrames:
    """One recorded episode; row i of everything is frame i, and what was in force or true at it."""

    name: str
    frames: Frames  # by view: uint8, (T, size, size, 3)
    commands: Array  # (T, A) in station units
    joints: Array  # (T, n_joints) commanded [rad, m]
    labels: np.ndarray  # (T,) bool: the task is solved in this frame
    takeovers: tuple[int, ...] = ()  # frames at which a person began to drive
    instruction: str = ""

    def __len__(self) -> int:
        return len(self.commands)

    @property
    def is_success(self) -> bool:
        return bool(self.labels.any())


def read_frames(
    store: Path, spec: WorldModelSpec, *, task: str | None = None, episodes: Sequence[str] = ()
) -> list[EpisodeFrames]:
    """Read the first stretch of every kept episode; its frame 0 is the first that a command led to.

    Args:
        store: folder of the episode store.
        spec: the model's: views, image size, frame rate.
        task: needed only where the store holds several.
        episodes: ids of those wanted; none named: all.
    """
    chosen = open_episodes(store, task=task, end_reasons=ENDS).episodes
    if chosen[0].info.station != spec.station:
        raise CheckpointMismatch(f"{store}: station: expected {spec.station}, found {chosen[0].info.station}")
    wanted = [item for item in chosen if not episodes or item.info.episode_id in episodes]
    found = [read for item in wanted for read in _frames_of(item, spec)]
    if not found:
        raise ConfigError(f"{store} holds no episode with a frame after the first: record longer ones")
    return found


def _frames_of(episode: Episode, spec: WorldModelSpec) -> Iterator[EpisodeFrames]:
    """Yield the episode, where it has a stretch long enough for a second frame."""
    absent = [view for view in spec.views if view not in episode.info.cameras]
    if absent:
        raise CheckpointMismatch(
            f"episode {episode.info.episode_id}: camera {absent[0]}: expected by the model, found "
            f"{', '.join(episode.info.cameras)}"
        )
    columns, seen = episode.columns, max(episode.first_image_row(view) for view in spec.views)
    for stretch in usable_stretches(episode):
        rows = stretch[stretch >= seen][1 :: spec.ticks_per_frame]
        if len(rows) < 2:
            continue
        rewards = np.maximum(columns["reward_task"], columns["reward_operator"])
        human = (columns["owner"] == Owner.HUMAN).astype(int)
        began = np.flatnonzero(np.diff(human, prepend=human[0]) > 0)
        yield EpisodeFrames(
            name=episode.info.episode_id,
            frames={view: _images(episode, view, rows, spec.image_size) for view in spec.views},
            commands=columns["executed_action"][rows - 1],
            joints=columns["joint_command"][rows - 1],
            labels=rewards[rows - 1] > 0,
            takeovers=tuple(int(np.searchsorted(rows, at)) for at in began if rows[0] <= at <= rows[-1]),
            instruction=str(episode.metadata.get("instruction", "")),
        )
        return


def _images(episode: Episode, view: str, rows: np.ndarray, size: int) -> np.ndarray:
    return np.stack([square(episode.image(view, int(row)), size) for row in rows])
