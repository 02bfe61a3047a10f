"""Read a LeRobotDataset v3 into an episode store: what we exported comes back whole, all else as foreign episodes."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a damaged dataset is an error here, not a reason to download another

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.video_utils import decode_video_frames

from policies.data.foreign import ForeignEpisode, ImportRules, import_episodes
from policies.data.lerobot_export import FACTS
from robot.episode import EpisodeInfo
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.images import encode_for_store
from robot.record import TickRecord
from robot.specs import ImageSpec
from robot.types import EndReason

OWN_COLUMNS = {"timestamp", "frame_index", "episode_index", "index", "task_index"}
IMAGES = "observation.images."
FRAMES_AT_ONCE = 50
KEPT_IMAGES = ImageSpec(webp_quality=90)  # of images that were through one lossy codec already


def import_lerobot(root: Path, store: EpisodeStore, rules: ImportRules) -> Iterator[EpisodeInfo]:
    """Yield each episode as it is sealed.

    Raises:
        ConfigError: no dataset there, another version of the format, or a field that does not fit; it names the field.
        StoreError: an episode of the same name is in the store.
    """
    source = _Source(root)
    source.check_ends()
    if (root / FACTS).exists():
        yield from _import_ours(source, store)
    else:
        yield from import_episodes(store, _foreign(source), rules)


class _Source:
    """An open dataset: its columns exactly as written, and its images by episode."""

    def __init__(self, root: Path) -> None:
        info = root / "meta" / "info.json"
        try:
            facts = json.loads(info.read_text())
            version = facts["codebase_version"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{root} is no LeRobotDataset: {info} cannot be read ({error!r})") from None
        if version != "v3.0":
            raise ConfigError(
                f"{root} has codebase_version {version}; v3.0 is read here: convert it with lerobot's script"
            )
        try:
            self.dataset: Any = LeRobotDataset(f"local/{root.name}", root=root, video_backend="pyav")
            self.table = self.dataset.hf_dataset.with_format("arrow")[:]
            self.episodes = list(self.dataset.meta.episodes)
        except Exception as error:  # whatever the libraries below raise on a damaged file
            raise ConfigError(f"{root}: lerobot cannot open it: {_first_line(error)}") from error
        self.root, self.fps = root, float(facts["fps"])
        self.features: Mapping[str, Mapping[str, Any]] = self.dataset.features
        if sum(episode["length"] for episode in self.episodes) != len(self.table):
            raise ConfigError(f"{root}: meta/episodes and data do not agree on the number of frames; it is incomplete")

    def column(self, feature: str, start: int, stop: int, shape: Sequence[int] | None = None) -> np.ndarray:
        """Return rows of a feature in its own type, and in its own shape where none is given."""
        shape = tuple(self.features[feature]["shape"] if shape is None else shape)
        dtype = self.features[feature]["dtype"]
        column = self.table.column(feature).slice(start, stop - start).combine_chunks()
        try:
            while hasattr(column, "flatten") and column.type.num_fields:
                column = column.flatten()
            values = column.to_numpy(zero_copy_only=False).astype(dtype)
            return values.reshape(stop - start, *shape)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{self.root}: {feature} is not {dtype} {shape} as meta/info.json says: {error}"
            ) from None

    def check_ends(self) -> None:
        """Decode the last image of every episode, so that a video cut off is refused before anything is written."""
        for number, episode in enumerate(self.episodes):
            for key in self.cameras().values():
                self._decode(key, number, range(episode["length"] - 1, episode["length"]))

    def image(self, key: str, number: int, kept: dict[str, tuple[int, np.ndarray]], step: int) -> np.ndarray:
        """Decode one image, uint8 HWC RGB, `FRAMES_AT_ONCE` ahead; `kept` holds what was decoded."""
        block, place = divmod(step, FRAMES_AT_ONCE)
        if kept.get(key, (-1,))[0] != block:
            length = self.episodes[number]["length"]
            steps = range(block * FRAMES_AT_ONCE, min((block + 1) * FRAMES_AT_ONCE, length))
            kept[key] = (block, self._decode(key, number, steps))
        return kept[key][1][place]

    def _decode(self, key: str, number: int, steps: range) -> np.ndarray:
        episode = self.episodes[number]
        try:
            if self.features[key]["dtype"] == "image":
                frames = [self.dataset[episode["dataset_from_index"] + step][key].numpy() for step in steps]
                pixels = np.stack(frames)
            else:
                path = self.root / self.dataset.meta.get_video_file_path(number, key)
                begin_s = episode[f"videos/{key}/from_timestamp"]
                times = [begin_s + step / self.fps for step in steps]
                pixels = decode_video_frames(path, times, self.dataset.tolerance_s, "pyav").numpy()
        except Exception as error:
            raise ConfigError(
                f"{self.root}, episode {number}: {key} cannot be decoded: {_first_line(error)}"
            ) from error
        return np.ascontiguousarray(np.round(pixels * 255).astype(np.uint8).transpose(0, 2, 3, 1))

    def cameras(self) -> dict[str, str]:
        """Return the feature of each camera."""
        keys = [key for key, feature in self.features.items() if feature["dtype"] in ("video", "image")]
        return {key.removeprefix(IMAGES).removeprefix("observation."): key for key in keys}


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


def _foreign(source: _Source) -> Iterator[ForeignEpisode]:
    if "action" not in source.features:
        raise ConfigError(f"{source.root}: no feature 'action'; it has {', '.join(source.features)}")
    cameras = source.cameras()
    observed = [key for key in source.features if key.startswith("observation.") and key not in cameras.values()]
    names = source.features["action"].get("names")
    if isinstance(names, Mapping):  # older datasets group them: {"motors": [...]}
        names = [name for group in names.values() for name in group]
    for number, episode in enumerate(source.episodes):
        start, stop = episode["dataset_from_index"], episode["dataset_to_index"]
        kept: dict[str, tuple[int, np.ndarray]] = {}

        def read(feature: str, start: int = start, stop: int = stop) -> np.ndarray | None:
            return source.column(feature, start, stop, ()) if feature in source.features else None

        success = read("next.success")
        yield ForeignEpisode(
            name=f"{source.root.name}-{number:06}",
            observation={key.removeprefix("observation."): source.column(key, start, stop) for key in observed},
            action=source.column("action", start, stop),
            action_names=tuple(map(str, names or ())),
            rate_hz=source.fps,
            task=next(iter(episode["tasks"]), ""),
            reward=read("next.reward"),
            is_success=None if success is None else bool(success.any()),
            images={name: partial(source.image, key, number, kept) for name, key in cameras.items()},
        )


@dataclass(frozen=True)
class _Part:
    """One of our episodes, or a stretch of it, as `lerobot_export` describes it."""

    name: str
    metadata: Mapping[str, Any]
    events: list[dict[str, Any]]
    end_reason: EndReason
    columns: Mapping[str, tuple[str, tuple[int, ...]]]  # by feature: name and shape


def _parts(source: _Source) -> list[_Part]:
    path = source.root / FACTS
    try:
        facts = json.loads(path.read_text())
        listed = facts["episodes"]
        columns = {key: (str(item["name"]), tuple(item["shape"])) for key, item in facts["columns"].items()}
        if len(listed) != len(source.episodes):
            raise ConfigError(f"{path} tells of {len(listed)} episodes, the dataset has {len(source.episodes)}")
        unknown = [feature for feature in columns if feature not in source.features]
        if unknown:
            raise ConfigError(f"{path} names {', '.join(unknown)}, which the dataset does not have")
        parts = []
        for item in listed:
            start, stop = item["rows"]
            is_whole = (start, stop) == (0, item["steps"])
            name = item["episode_id"] if is_whole else f"{item['episode_id']}-rows-{start}-{stop}"
            parts.append(_Part(name, item["metadata"], item["events"], EndReason[item["end_reason"].upper()], columns))
        return parts
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is damaged ({error!r}); remove it to import as a foreign dataset") from None


def _import_ours(source: _Source, store: EpisodeStore) -> Iterator[EpisodeInfo]:
    cameras = source.cameras()
    for number, part in enumerate(_parts(source)):
        episode = source.episodes[number]
        start, stop = episode["dataset_from_index"], episode["dataset_to_index"]
        columns = {name: source.column(feature, start, stop, shape) for feature, (name, shape) in part.columns.items()}
        kept: dict[str, tuple[int, np.ndarray]] = {}
        writer = store.open_episode({**part.metadata, "imported_from": source.root.name}, episode_id=part.name)
        is_whole = False
        try:
            for event in part.events:
                writer.event(int(event["time_ns"]), event)
            for step in range(stop - start):
                record = TickRecord.from_columns({name: column[step] for name, column in columns.items()})
                images = {
                    camera: encode_for_store(source.image(key, number, kept, step), KEPT_IMAGES)
                    for camera, key in cameras.items()
                    if _is_new(columns.get(f"time_ns/image/{camera}"), step)
                }
                writer.append(record, images)
            is_whole = True
        finally:
            if not is_whole:
                writer.event(0, {"mark": "discard", "because": "the source could not be read to its end"})
                writer.close(EndReason.CRASH)
        yield writer.close(part.end_reason)


def _is_new(stamps: np.ndarray | None, step: int) -> bool:
    """Say whether the camera had sent another image by this step; without its stamps every one counts."""
    return stamps is None or step == 0 or stamps[step] != stamps[step - 1]
