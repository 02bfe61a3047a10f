"""Read a LeRobotDataset v3 into an episode store: what we exported comes back whole, all else as foreign episodes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from policies.data.depth_packing import DepthPacking
from policies.data.foreign import ForeignEpisode, ImportRules, import_episodes
from policies.data.lerobot_facts import FACTS, read_facts
from policies.data.lerobot_source import LeRobotSource
from robot.episode import EpisodeInfo
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.images import encode_for_store
from robot.record import TickRecord
from robot.specs import ImageSpec
from robot.types import EndReason

OWN_COLUMNS = {"timestamp", "frame_index", "episode_index", "index", "task_index"}
KEPT_IMAGES = ImageSpec(webp_quality=90)  # of images that were through one lossy codec already


def import_lerobot(root: Path, store: EpisodeStore, rules: ImportRules) -> Iterator[EpisodeInfo]:
    """Yield each episode as it is sealed.

    Raises:
        ConfigError: no dataset there, another version of the format, or a field that does not fit; it names the field.
        StoreError: an episode of the same name is in the store.
    """
    facts = read_facts(root) if (root / FACTS).exists() else None
    source = LeRobotSource(root)
    source.check()
    if facts is not None:
        yield from _import_ours(source, facts, store)
    else:
        yield from import_episodes(store, _foreign(source), rules)


def _foreign(source: LeRobotSource) -> Iterator[ForeignEpisode]:
    if "action" not in source.features:
        raise ConfigError(f"{source.root}: no feature 'action'; it has {', '.join(source.features)}")
    cameras = source.cameras()
    observed = [key for key in source.features if key.startswith("observation.") and key not in cameras.values()]
    names = source.features["action"].get("names")
    if isinstance(names, Mapping):  # older datasets group them: {"motors": [...]}
        names = [name for group in names.values() for name in group]
    for number, episode in enumerate(source.episodes):
        rows = source.rows(number)
        kept: dict[str, tuple[int, np.ndarray]] = {}

        def read(feature: str, rows: range = rows) -> np.ndarray | None:
            return source.column(feature, rows, ()) if feature in source.features else None

        success = read("next.success")
        yield ForeignEpisode(
            name=f"{source.root.name}-{number:06}",
            observation={key.removeprefix("observation."): source.column(key, rows) for key in observed},
            action=source.column("action", rows),
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


def _part(item: Mapping[str, Any]) -> _Part:
    start, stop = item["rows"]
    is_whole = (start, stop) == (0, item["steps"])
    name = item["episode_id"] if is_whole else f"{item['episode_id']}-rows-{start}-{stop}"
    return _Part(name, item["metadata"], item["events"], EndReason[item["end_reason"].upper()])


def _import_ours(source: LeRobotSource, facts: Mapping[str, Any], store: EpisodeStore) -> Iterator[EpisodeInfo]:
    """Read what `lerobot_export` wrote; its files have been held against their hashes."""
    cameras = source.cameras()
    depth = {camera: DepthPacking.from_json(item) for camera, item in facts["depth"].items()}
    for number, part in enumerate(map(_part, facts["episodes"])):
        rows = source.rows(number)
        columns = {item["name"]: source.column(key, rows, item["shape"]) for key, item in facts["columns"].items()}
        kept: dict[str, tuple[int, np.ndarray]] = {}
        writer = store.open_episode({**part.metadata, "imported_from": source.root.name}, episode_id=part.name)
        is_whole = False
        try:
            for event in part.events:
                writer.event(int(event["time_ns"]), event)
            for step in range(len(rows)):
                record = TickRecord.from_columns({name: column[step] for name, column in columns.items()})
                images = {}
                for camera, key in cameras.items():
                    if _is_new(columns.get(f"time_ns/image/{camera}"), step):
                        image = source.image(key, number, kept, step)
                        image = depth[camera].unpack(image) if camera in depth else image
                        images[camera] = encode_for_store(image, KEPT_IMAGES)
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
