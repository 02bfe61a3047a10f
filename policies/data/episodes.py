"""Read an episode store into trajectories: only ticks that executed an action, never across a gap."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from policies.data.demonstrations import Demonstrations
from policies.data.trajectories import Trajectory
from policies.observations import DEPTH, IMAGE
from robot.episode import Episode, EpisodeInfo
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.observation import square
from robot.specs import StationSpec, load_station
from robot.types import EndReason


def read_store(
    path: Path,
    *,
    task: str | None = None,
    end_reasons: Sequence[EndReason] = (EndReason.SUCCESS,),
    images: Sequence[str] = (),
    image_size: int = 84,
) -> Demonstrations:
    """Read the episodes of one task that ended as wanted; discarded ones are left out.

    Args:
        path: folder of the store.
        task: needed only where the store holds several.
        end_reasons: how an episode must have ended.
        images: cameras whose images are read too, square and shrunk as a policy gets them.
        image_size: side of those images [pixels].
    """
    store = EpisodeStore(path)
    infos = [info for info in store.episodes() if not info.is_discarded and task in (None, info.task)]
    wanted = [info for info in infos if info.end_reason in end_reasons]
    if not wanted:
        raise ConfigError(
            f"{path} holds no usable episode: {len(infos)} kept, none ended as "
            f"{' or '.join(reason.name for reason in end_reasons)}; record demonstrations first (tandem record)"
        )
    station = _one_station(wanted)
    columns = [store.load(info.episode_id) for info in wanted]
    fields = [name for name in station.observation if f"observation/{name}" in columns[0].columns]
    shapes = {name: columns[0].columns[f"observation/{name}"].shape[1:] for name in fields}
    trajectories = [part for episode in columns for part in cut_episode(episode, fields, images, image_size)]
    return Demonstrations(
        env_id=f"{wanted[0].station}/{wanted[0].task}",
        observation_shapes=shapes | {name: seen.shape[1:] for name, seen in trajectories[0].images.items()},
        action_names=station.action_names,
        action_low=station.action_low,
        action_high=station.action_high,
        rate_hz=station.control_rate_hz,
        trajectories=trajectories,
        tried=len(infos),
    )


def _one_station(infos: Sequence[EpisodeInfo]) -> StationSpec:
    pairs = {(info.station, info.task) for info in infos}
    if len(pairs) > 1:
        raise ConfigError(f"the store mixes {sorted(pairs)}: name one task")
    return load_station(infos[0].station)


def cut_episode(
    episode: Episode, fields: Sequence[str], images: Sequence[str] = (), image_size: int = 84
) -> Iterator[Trajectory]:
    """Yield the stretches of consecutive ticks that executed an action.

    A stretch's final state is the observation of the tick after it; the last tick of an episode has none, so its own
    is repeated there (nothing is bootstrapped from it where the episode terminated).
    """
    columns = episode.columns
    states = np.concatenate([columns[f"observation/{name}"].reshape(len(episode), -1) for name in fields], axis=1)
    executed, steps = columns["executed_action"], columns["step"]
    rewards = np.maximum(columns["reward_task"], columns["reward_operator"])
    usable = np.isfinite(executed.sum(axis=1))
    breaks = np.flatnonzero((np.diff(steps) != 1) | (np.diff(usable.astype(int)) != 0)) + 1
    for rows in np.split(np.arange(len(episode)), breaks):
        if not len(rows) or not usable[rows[0]]:
            continue
        last = int(rows[-1])
        after = last + 1 if last + 1 < len(episode) and steps[last + 1] == steps[last] + 1 else last
        yield Trajectory(
            states=states[[*rows, after]],
            actions=executed[rows],
            rewards=rewards[rows],
            terminated=bool(columns["terminated"][last]),
            truncated=bool(columns["truncated"][last]) or (after == last and not columns["terminated"][last]),
            images=dict(_images(episode, camera, [*rows, after], image_size) for camera in images),
        )


def _images(episode: Episode, camera: str, rows: Sequence[int], size: int) -> tuple[str, np.ndarray]:
    """Return the field of a camera, and its newest image at each row; a depth image keeps its 16 bits."""
    seen = np.stack([square(episode.image(camera, int(row)), size) for row in rows])
    return (IMAGE if seen.ndim == 4 else DEPTH) + camera, seen
