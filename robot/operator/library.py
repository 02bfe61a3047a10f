"""The recorded episodes as the page shows them: a list, the rows of one to replay, its pictures, how it counts.

Only sealed episodes, and read only: a journal is sealed by the recorder's side, never here, and a label is a line
beside the store (`robot.outcome_labels`).
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robot.episode import Episode, EpisodeInfo, read_info
from robot.errors import StoreError, unknown_name
from robot.outcome_labels import AS_RECORDED, OutcomeLabel, add_label, outcome_of, read_labels
from robot.types import NS_PER_S, Array, Owner, Segment

SHOWN = 200  # episodes in the list
ROWS = 400  # of a replay; of a longer episode every so manieth
KINDS = {b"\xff\xd8": "image/jpeg", b"RI": "image/webp", b"\x89P": "image/png"}


class Library:
    """A store's folder, which need not exist yet. Blocks on the disk: call it from a worker thread."""

    def __init__(self, root: Path, figure: Callable[[Array], list[list[list[float]]]]) -> None:
        self.root = root
        self._figure = figure  # the lines of the arms at joints, each called under the caller's lock

    def infos(self) -> list[EpisodeInfo]:
        """Return the sealed episodes, the newest first; one that cannot be read is left out."""
        found = []
        for path in (self.root / "episodes").glob("*.zarr"):
            try:
                found.append(read_info(path))
            except StoreError:
                continue  # half moved away, or damaged: `tandem data list` tells of it
        return sorted(found, key=lambda info: (info.created_ns, info.episode_id), reverse=True)

    def entries(self) -> list[dict[str, Any]]:
        labels = read_labels(self.root)
        return [self._entry(info, labels) for info in self.infos()[:SHOWN]]

    def _entry(self, info: EpisodeInfo, labels: dict[str, OutcomeLabel]) -> dict[str, Any]:
        columns = Episode(info.path).columns if info.steps else {}
        times_ns = columns.get("tick_time_ns", np.zeros(1, np.int64))
        ids = columns.get("intervention_id", np.zeros(0, np.int64))
        return {
            "id": info.episode_id,
            "task": info.task,
            "when": time.strftime("%m-%d %H:%M:%S", time.localtime(info.created_ns / NS_PER_S)),
            "seconds": float(times_ns[-1] - times_ns[0]) / NS_PER_S,
            "takeovers": len(set(ids[ids >= 0].tolist())),
            "outcome": outcome_of(info, labels).name.lower(),
            "recorded": outcome_of(info, {}).name.lower(),
        }

    def replay(self, episode_id: str) -> dict[str, Any]:
        """Return what a replay needs beside the pictures: rows, their times [s], owners, segments, lines of the arm."""
        episode = self._open(episode_id)
        columns, steps = episode.columns, len(episode)
        first = max((episode.first_image_row(camera) for camera in episode.info.cameras), default=0)
        rows = np.unique(np.linspace(min(first, steps - 1), steps - 1, min(ROWS, steps)).astype(int))
        times_ns, joints = columns["tick_time_ns"][rows], columns["joint_command"][rows]
        return {
            "id": episode_id,
            "cameras": [camera for camera in episode.info.cameras if episode.first_image_row(camera) <= rows[0]],
            "rows": rows.tolist(),
            "times_s": ((times_ns - times_ns[0]) / NS_PER_S).tolist(),
            "owners": columns["owner"][rows].tolist(),
            "segments": columns["segment"][rows].tolist(),
            "owner_names": [owner.name.lower() for owner in Owner],
            "segment_names": [segment.name.lower() for segment in Segment],
            "figures": [self._figure(q) if np.isfinite(q).all() else [] for q in joints],
        }

    def image(self, episode_id: str, camera: str, row: int) -> tuple[bytes, str]:
        """Return the newest picture at a row as it is stored, and its media type."""
        blob = self._open(episode_id).image_bytes(camera, row)
        return blob, KINDS.get(blob[:2], "application/octet-stream")

    def label(self, episode_id: str, outcome: str, by: str) -> str:
        """Say how an episode counts; returns how it does now."""
        info = self._open(episode_id).info
        add_label(self.root, episode_id, AS_RECORDED if outcome == "as recorded" else outcome, by)
        return outcome_of(info, read_labels(self.root)).name.lower()

    def _open(self, episode_id: str) -> Episode:
        names: Sequence[str] = [path.stem for path in (self.root / "episodes").glob("*.zarr")]
        if episode_id not in names:  # a name is never joined to a path before it is known
            raise unknown_name("episode", episode_id, sorted(names))
        return Episode(self.root / "episodes" / f"{episode_id}.zarr")
