"""An open LeRobotDataset v3: its columns as they were written, its images by episode, and whether all of it agrees.

The format has no checksums. What it says twice is compared: lengths, indices and times in the table, the frames, rate
and size of every video, and the statistics that lerobot keeps of every episode. So a damaged number is found; a pixel
that was changed within a video that still decodes is not.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a damaged dataset is an error here, not a reason to download another

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.utils import load_nested_dataset
from lerobot.datasets.video_utils import decode_video_frames

from robot.errors import ConfigError

IMAGES = "observation.images."
FRAMES_AT_ONCE = 50
STATISTICS_TOLERANCE = 1e-3  # of a feature's largest value; lerobot computes in the feature's own type


class LeRobotSource:
    """An open dataset: its columns exactly as written, and its images by episode."""

    def __init__(self, root: Path) -> None:
        info = root / "meta" / "info.json"
        try:
            facts = json.loads(info.read_text())
            version, fps = facts["codebase_version"], facts["fps"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{root} is no LeRobotDataset: {info} cannot be read ({error!r})") from None
        if version != "v3.0":
            raise ConfigError(
                f"{root} has codebase_version {version}; v3.0 is read here: convert it with lerobot's script"
            )
        if not isinstance(fps, int | float) or not fps > 0:
            raise ConfigError(f"{info}: fps is {fps!r}; expected frames per second")
        try:
            self.dataset: Any = LeRobotDataset(f"local/{root.name}", root=root, video_backend="pyav")
            self.table = self.dataset.hf_dataset.with_format("arrow")[:]
            self.episodes = list(load_nested_dataset(root / "meta" / "episodes"))  # with statistics
        except Exception as error:  # whatever the libraries below raise on a damaged file
            raise ConfigError(f"{root}: lerobot cannot open it: {_first_line(error)}") from error
        self.root, self.fps = root, float(fps)
        self.features: Mapping[str, Mapping[str, Any]] = self.dataset.features
        if sum(episode["length"] for episode in self.episodes) != len(self.table):
            raise ConfigError(f"{root}: meta/episodes and data do not agree on the number of frames; it is incomplete")

    def rows(self, number: int) -> range:
        """Return the rows of an episode in the table."""
        episode = self.episodes[number]
        return range(episode["dataset_from_index"], episode["dataset_to_index"])

    def column(self, feature: str, rows: range, shape: Sequence[int] | None = None) -> np.ndarray:
        """Return rows of a feature in its own type, and in its own shape where none is given."""
        shape = tuple(self.features[feature]["shape"] if shape is None else shape)
        dtype = self.features[feature]["dtype"]
        column = self.table.column(feature).slice(rows.start, len(rows)).combine_chunks()
        try:
            while hasattr(column, "flatten") and column.type.num_fields:
                column = column.flatten()
            values = column.to_numpy(zero_copy_only=False).astype(dtype)
            return values.reshape(len(rows), *shape)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{self.root}: {feature} is not {dtype} {shape} as meta/info.json says: {error}"
            ) from None

    def _check_ends(self) -> None:
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
                begin = self.rows(number).start
                frames = [self.dataset.hf_dataset[begin + step][key].numpy() for step in steps]
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

    def check(self) -> None:
        """Hold everything against everything else; ConfigError names the first feature that does not fit."""
        for number in range(len(self.episodes)):
            self._check_indices(number)
            self._check_statistics(number)
        videos = {key for key in self.cameras().values() if self.features[key]["dtype"] == "video"}
        told = {name.split("/")[1] for name in self.episodes[0] if name.startswith("videos/")}
        if videos != told:
            raise ConfigError(
                f"{self.root}: meta/info.json and meta/episodes do not agree on {', '.join(sorted(videos ^ told))}"
            )
        for key in sorted(videos):
            self._check_videos(key)
        self._check_ends()

    def _check_indices(self, number: int) -> None:
        episode, rows = self.episodes[number], self.rows(number)
        steps = np.arange(len(rows))
        previous = self.rows(number - 1).stop if number else 0
        if rows.start != previous or len(rows) != episode["length"]:
            raise ConfigError(
                f"{self.root}: meta/episodes has rows {rows.start} to {rows.stop} and length {episode['length']} for "
                f"episode {number}; the one before it ends at {previous}"
            )
        expected = {
            "index": rows.start + steps,
            "frame_index": steps,
            "episode_index": np.full(len(rows), number),
            "timestamp": steps / self.fps,
        }
        for feature, values in expected.items():
            if not np.allclose(self.column(feature, rows, ()), values, rtol=0, atol=1e-3):
                raise ConfigError(
                    f"{self.root}, episode {number}: {feature} does not count its {len(rows)} frames at {self.fps} Hz"
                )

    def _check_statistics(self, number: int) -> None:
        for feature, facts in self.features.items():
            told = {name: self.episodes[number].get(f"stats/{feature}/{name}") for name in ("min", "max", "mean")}
            if facts["dtype"] in ("video", "image", "string") or None in told.values():
                continue
            values = self.column(feature, self.rows(number)).astype(np.float64)
            found = {"min": values.min(axis=0), "max": values.max(axis=0), "mean": values.mean(axis=0)}
            scale = 1.0 + np.abs(values).max()
            for name, value in found.items():
                other = np.asarray(told[name], np.float64)
                fits = other.size == value.size and np.allclose(
                    other.ravel(), value.ravel(), rtol=0, atol=STATISTICS_TOLERANCE * scale, equal_nan=True
                )
                if not fits:
                    raise ConfigError(
                        f"{self.root}, episode {number}: {name} of {feature} is {np.ravel(value)[:4]}, meta/episodes "
                        f"says {np.ravel(other)[:4]}; the data are damaged, or their statistics are of other data"
                    )

    def _check_videos(self, key: str) -> None:
        """Compare frames, rate and size of a camera's video files with what the episodes in them need."""
        due: dict[Path, int] = {}
        for number, episode in enumerate(self.episodes):
            path = self.root / self.dataset.meta.get_video_file_path(number, key)
            begin = round(episode[f"videos/{key}/from_timestamp"] * self.fps)
            if begin != due.get(path, 0):
                raise ConfigError(
                    f"{self.root}, episode {number}: {key} begins at frame {begin} of {path.name}, where "
                    f"{due.get(path, 0)} frames come before it"
                )
            due[path] = begin + len(self.rows(number))
        height, width, _ = self.features[key]["shape"]
        for path, frames in due.items():
            found = self._read_video(path, key)
            if found != (frames, self.fps, height, width):
                raise ConfigError(
                    f"{path}: {key} has (frames, rate, height, width) {found}, expected "
                    f"{(frames, self.fps, height, width)}"
                )

    def _read_video(self, path: Path, key: str) -> tuple[int, float, int, int]:
        try:
            with av.open(str(path)) as container:
                (stream,) = container.streams.video
                frames = sum(packet.size > 0 for packet in container.demux(stream))
                found = frames, float(stream.average_rate or 0), stream.height, stream.width
        except (FFmpegError, OSError, ValueError) as error:
            raise ConfigError(f"{path}: {key} cannot be decoded: {_first_line(error)}") from error
        return found


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
