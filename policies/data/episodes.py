"""Read an episode store into trajectories: only ticks that executed an action, never across a gap."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from policies.data.contract import DataContract, contract_of
from policies.data.demonstrations import Demonstrations
from policies.data.image_rows import ImageRows
from policies.data.images import open_images
from policies.data.trajectories import Trajectory
from policies.observations import DEPTH, IMAGE
from robot.curation import read_flags
from robot.depth import camera_of
from robot.episode import Episode
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.outcome_labels import outcome_of, read_labels
from robot.types import EndReason


def read_store(
    path: Path,
    *,
    task: str | None = None,
    end_reasons: Sequence[EndReason] = (EndReason.SUCCESS,),
    images: Sequence[str] = (),
    image_size: int = 84,
    cached: bool = True,
) -> Demonstrations:
    """Read the episodes of one task that ended as wanted; discarded and flagged ones are left out.

    Images stay on disk: trajectories hold their places (`ImageRows`). Ticks before a camera's first image are left out.

    Args:
        path: folder of the store.
        task: needed only where the store holds several.
        end_reasons: how an episode must have ended.
        images: cameras whose images are read too, square and shrunk as a policy gets them.
        image_size: side of those images [pixels]; 0: as recorded, whole.
        cached: decode them once into `<store>/cache` and map that, instead of decoding at every access.
    """
    chosen = open_episodes(path, task=task, end_reasons=end_reasons)
    episodes, contract = chosen.episodes, chosen.contract
    first = episodes[0]
    shapes = {name: first.columns[f"observation/{name}"].shape[1:] for name in chosen.fields}
    seen: list[dict[str, ImageRows]] = [{} for _ in episodes]
    if images:
        reader = open_images(path, episodes, images, image_size, cached=cached)
        seen = [{camera: reader.rows(camera, number) for camera in images} for number in range(len(episodes))]
    parts = [cut_episode(episode, chosen.fields, rows) for episode, rows in zip(episodes, seen, strict=True)]
    trajectories = [trajectory for part in parts for trajectory in part]
    if not trajectories:
        condition = f" while {', '.join(images)} had sent an image" if images else ""
        raise ConfigError(f"{path}: no tick executed an action{condition}; record demonstrations that move the robot")
    return Demonstrations(
        env_id=f"{first.info.station}/{first.info.task}",
        observation_shapes=shapes | {name: seen.shape[1:] for name, seen in trajectories[0].images.items()},
        action_names=contract.action_names,
        action_low=contract.action_low,
        action_high=contract.action_high,
        rate_hz=contract.rate_hz,
        trajectories=trajectories,
        tried=chosen.tried,
        joint_names=contract.joint_names,
        units=contract.units,
    )


@dataclass(frozen=True)
class ChosenEpisodes:
    """Episodes of one task on one station, and the observation fields a policy may learn from."""

    episodes: list[Episode]
    fields: list[str]
    contract: DataContract
    tried: int  # kept episodes of the task, whatever their end


def open_episodes(
    path: Path, *, task: str | None = None, end_reasons: Sequence[EndReason] = (EndReason.SUCCESS,)
) -> ChosenEpisodes:
    """Open the episodes that ended as wanted, of one task; discarded and flagged ones are left out.

    How an episode ended is what a person said afterwards (`robot.outcome_labels`), else what was recorded.
    """
    store = EpisodeStore(path)
    flagged, labels = read_flags(path), read_labels(path)
    ends = {info.episode_id: outcome_of(info, labels) for info in store.episodes()}
    infos = [info for info in store.episodes() if task in (None, info.task) and info.episode_id not in flagged]
    infos = [info for info in infos if ends[info.episode_id] is not EndReason.DISCARD]
    wanted = [info for info in infos if ends[info.episode_id] in end_reasons and info.steps]
    if not wanted:
        raise ConfigError(
            f"{path} holds no usable episode: {len(infos)} kept, none ended as "
            f"{' or '.join(reason.name for reason in end_reasons)}; record demonstrations first (tandem record)"
        )
    pairs = {(info.station, info.task) for info in wanted}
    if len(pairs) > 1:
        raise ConfigError(f"the store mixes {sorted(pairs)}: name one task")
    contract = contract_of(wanted)
    episodes = [store.load(info.episode_id) for info in wanted]
    fields = [name for name in contract.observation if f"observation/{name}" in episodes[0].columns]
    return ChosenEpisodes(episodes, fields, contract, len(infos))


def cut_episode(episode: Episode, fields: Sequence[str], images: Mapping[str, ImageRows]) -> Iterator[Trajectory]:
    """Yield the stretches of consecutive ticks that executed an action; `images` has a row per tick of each camera.

    A stretch's final state is the observation of the tick after it; the last tick of an episode has none, so its own
    is repeated there (nothing is bootstrapped from it where the episode terminated).
    """
    columns = episode.columns
    states = flat_states(episode, fields)
    rewards = np.maximum(columns["reward_task"], columns["reward_operator"])
    for rows in seen_stretches(episode, tuple(images)):
        last = int(rows[-1])
        after = last + 1 if last + 1 < len(episode) and columns["step"][last + 1] == columns["step"][last] + 1 else last
        yield Trajectory(
            states=states[[*rows, after]],
            actions=columns["executed_action"][rows],
            rewards=rewards[rows],
            terminated=bool(columns["terminated"][last]),
            truncated=bool(columns["truncated"][last]) or (after == last and not columns["terminated"][last]),
            images={_image_field(camera, seen): seen.of([*rows, after]) for camera, seen in images.items()},
        )


def usable_stretches(episode: Episode) -> Iterator[np.ndarray]:
    """Yield the rows of each run of consecutive ticks that executed an action."""
    executed, steps = episode.columns["executed_action"], episode.columns["step"]
    usable = np.isfinite(executed.sum(axis=1))
    breaks = np.flatnonzero((np.diff(steps) != 1) | (np.diff(usable.astype(int)) != 0)) + 1
    for rows in np.split(np.arange(len(episode)), breaks):
        if len(rows) and usable[rows[0]]:
            yield rows


def seen_stretches(episode: Episode, cameras: Sequence[str]) -> list[np.ndarray]:
    """Return the runs of executed ticks, each from the first at which every camera had sent an image."""
    first = max((episode.first_image_row(camera) for camera in cameras), default=0)
    return [rows[rows >= first] for rows in usable_stretches(episode) if rows[-1] >= first]


def flat_states(episode: Episode, fields: Sequence[str]) -> np.ndarray:
    """Return the observation fields side by side, (steps, state); ConfigError names one absent or not finite."""
    parts = []
    for name in fields:
        column = episode.columns.get(f"observation/{name}")
        where = f"episode {episode.info.episode_id}: observation/{name}"
        if column is None:
            raise ConfigError(f"{where} is not recorded; recorded: {', '.join(_observed(episode))}")
        bad = np.flatnonzero(~np.isfinite(column.reshape(len(episode), -1)).all(axis=1))
        if len(bad):
            raise ConfigError(
                f"{where} is not finite at row {bad[0]} ({len(bad)} rows); drop the episode (tandem data)"
            )
        parts.append(column.reshape(len(episode), -1))
    return np.concatenate(parts, axis=1)


def _observed(episode: Episode) -> list[str]:
    return [name.removeprefix("observation/") for name in episode.columns if name.startswith("observation/")]


def _image_field(camera: str, images: ImageRows) -> str:
    return IMAGE + camera if images.ndim == 4 else DEPTH + camera_of(camera)
