"""Write episodes as a LeRobotDataset v3 that lerobot's own loader and training command take as it is.

`observation.state`, `action` and `observation.images.<camera>` are what lerobot trains on. Every column of ours is kept
beside them as `tandem.<column>`, in its own type; what has no place in a frame (ids, metadata, events, endings, how
depth was packed, the hash of every file) lies in `meta/tandem.json`. Colour goes into videos; depth into PNG images,
packed as `depth_packing` says, since the format has no depth and lerobot's videos would not keep it.

Needs lerobot: an environment of its own, `make install CONSTRAINTS=constraints/lerobot.txt`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from policies.data.contract import DataContract
from policies.data.depth_packing import DepthPacking
from policies.data.episodes import ChosenEpisodes, flat_states, seen_stretches
from policies.data.images import check_cameras
from policies.data.lerobot_facts import FACTS, hash_files, seal_facts
from policies.data.lerobot_source import IMAGES
from robot.episode import Episode
from robot.errors import ConfigError
from robot.types import EndReason, Owner

PREFIX = "tandem."


@dataclass(frozen=True)
class Exported:
    """What was written. `left_out_ticks` executed no action or came before a camera's first image."""

    path: Path
    episodes: int
    frames: int
    left_out_ticks: int
    left_out_columns: tuple[str, ...]


def export_lerobot(chosen: ChosenEpisodes, out: Path, *, cameras: Sequence[str], repo_id: str) -> Exported:
    """Write a new dataset folder; each stretch of consecutive executed ticks becomes one episode of it.

    Raises:
        ConfigError: the folder exists, a camera is missing, the rate is no whole number, or nothing is left to write.
    """
    if out.exists():
        raise ConfigError(f"{out} exists; lerobot writes only new folders: choose another --out or remove it")
    rate_hz = chosen.contract.rate_hz
    if rate_hz != round(rate_hz):
        raise ConfigError(f"the rate is {rate_hz} Hz; lerobot's fps is a whole number")
    parts = [(episode, rows) for episode in chosen.episodes for rows in _stretches(episode, cameras)]
    if not parts:
        raise ConfigError("no tick executed an action while all cameras had sent an image: nothing to export")
    columns = common_columns([episode for episode, _ in parts])
    depth = _depth_packings(parts, cameras)
    dataset = LeRobotDataset.create(
        repo_id,
        fps=round(rate_hz),
        features=_features(chosen, parts[0], columns, cameras, depth),
        root=out,
        robot_type=chosen.episodes[0].info.station or None,
        use_videos=True,
        video_backend="pyav",
    )
    for episode, rows in parts:
        _write(dataset, episode, rows, chosen, columns, depth)
    dataset.finalize()
    kept = {_feature(name): {"name": name, "shape": shape} for name, (_, shape) in columns.items()}
    facts = {
        "columns": kept,
        "depth": {camera: packing.to_json() for camera, packing in depth.items()},
        "episodes": [_facts(*part) for part in parts],
        "files": hash_files(out),
    }
    (out / FACTS).write_bytes(seal_facts(facts))
    frames = sum(len(rows) for _, rows in parts)
    every = {name for episode in chosen.episodes for name in episode.columns}
    return Exported(
        path=out,
        episodes=len(parts),
        frames=frames,
        left_out_ticks=sum(map(len, chosen.episodes)) - frames,
        left_out_columns=tuple(sorted(every - set(columns))),
    )


def _stretches(episode: Episode, cameras: Sequence[str]) -> list[np.ndarray]:
    check_cameras([episode], cameras)
    episode.verify()
    return seen_stretches(episode, cameras)


def common_columns(episodes: Sequence[Episode]) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Return type and shape of the columns that all episodes have alike."""
    described = [{name: (column.dtype, column.shape[1:]) for name, column in item.columns.items()} for item in episodes]
    return {name: kind for name, kind in described[0].items() if all(other.get(name) == kind for other in described)}


def _feature(column: str) -> str:
    """Return what a column is called in the dataset; lerobot takes whatever has `image` in its name for pixels."""
    return PREFIX + column.replace("/", ".").replace("image", "camera")


def _features(
    chosen: ChosenEpisodes,
    part: tuple[Episode, np.ndarray],
    columns: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]],
    cameras: Sequence[str],
    depth: Mapping[str, DepthPacking],
) -> dict[str, Any]:
    episode, rows = part
    names = state_names(chosen.fields, episode)
    features: dict[str, Any] = {
        "observation.state": {"dtype": "float32", "shape": (len(names),), "names": names},
        "action": _action(chosen.contract),
    }
    for camera in cameras:
        height, width = episode.image(camera, int(rows[0])).shape[:2]
        shape = {"shape": (height, width, 3), "names": ["height", "width", "channels"]}
        features[IMAGES + camera] = {"dtype": "image" if camera in depth else "video", **shape}
    for name, dtype in (("reward", "float32"), ("done", "bool"), ("success", "bool")):
        features[f"next.{name}"] = {"dtype": dtype, "shape": (1,), "names": None}
    features["intervention"] = {"dtype": "bool", "shape": (1,), "names": None}
    for name, (dtype, shape) in columns.items():
        features[_feature(name)] = {"dtype": dtype.name, "shape": shape or (1,), "names": None}
    return features


def state_names(fields: Sequence[str], episode: Episode) -> list[str]:
    """Return one name per dimension of the state, in order: `<field>.<i>`."""
    widths = {name: int(np.prod(episode.columns[f"observation/{name}"].shape[1:])) for name in fields}
    return [f"{name}.{i}" for name, width in widths.items() for i in range(width)]


def _action(contract: DataContract) -> dict[str, Any]:
    return {"dtype": "float32", "shape": (len(contract.action_names),), "names": list(contract.action_names)}


def _write(
    dataset: Any,
    episode: Episode,
    rows: np.ndarray,
    chosen: ChosenEpisodes,
    columns: Mapping[str, Any],
    depth: Mapping[str, DepthPacking],
) -> None:
    states = flat_states(episode, chosen.fields).astype(np.float32)
    cameras = [key.removeprefix(IMAGES) for key in dataset.meta.camera_keys]
    table = episode.columns
    reward = np.maximum(table["reward_task"], table["reward_operator"]).astype(np.float32)
    is_human = np.isin(table["owner"], (Owner.HUMAN, Owner.SHARED))
    succeeded = episode.end_reason is EndReason.SUCCESS
    for row in rows:
        is_end = bool(row == len(episode) - 1)
        frame = {
            "observation.state": states[row],
            "action": table["executed_action"][row].astype(np.float32),
            "next.reward": reward[row : row + 1],
            "next.done": np.array([is_end]),
            "next.success": np.array([is_end and succeeded]),
            "intervention": is_human[row : row + 1],
            "task": episode.info.task or "unnamed",
        }
        images = {camera: episode.image(camera, int(row)) for camera in cameras}
        frame |= {IMAGES + name: depth[name].pack(it) if name in depth else it for name, it in images.items()}
        frame |= {_feature(name): np.atleast_1d(table[name][row]) for name in columns}
        dataset.add_frame(frame)
    dataset.save_episode(parallel_encoding=False)


def _depth_packings(parts: Sequence[tuple[Episode, np.ndarray]], cameras: Sequence[str]) -> dict[str, DepthPacking]:
    """Return how the images of each depth camera are packed, over the range of all of them."""
    first, rows = parts[0]
    found = {}
    for camera in cameras:
        if first.image(camera, int(rows[0])).ndim == 2:
            found[camera] = DepthPacking.over(
                episode.image(camera, int(row)) for episode, rows in parts for row in rows
            )
    return found


def _facts(episode: Episode, rows: np.ndarray) -> dict[str, Any]:
    info = episode.info
    return {
        "episode_id": info.episode_id,
        "rows": [int(rows[0]), int(rows[-1]) + 1],
        "steps": info.steps,
        "end_reason": info.end_reason.name.lower(),
        "metadata": dict(info.metadata),
        "events": episode.events,
        "content_sha256": info.content_sha256,
    }
