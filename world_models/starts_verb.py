"""`tandem imagine starts`: cut the moments that imagined episodes begin from out of recorded ones, and save them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from robot.errors import ConfigError, unknown_name
from world_models.episode_frames import read_frames
from world_models.loading import load_world_model
from world_models.start_records import KINDS, StartFile, StartRecord, keyframes

FILE = "starts.safetensors"


@dataclass(frozen=True)
class CutStarts:
    """Cut plain starts and keyframes: before a success, near misses, before a person took over, before the gripper."""

    model: tyro.conf.Positional[Path]
    """A run folder of `tandem imagine train`: its views, image size, rate and memory."""
    data: Path
    """Folder of an episode store."""
    kinds: tuple[str, ...] = ()
    """Kinds to keep: start, success, near_miss, takeover, gripper; none named: all."""
    lead: int = 4
    """Frames between a keyframe and what it is named for."""
    task: str | None = None
    """Task of the episodes, where the store holds several."""
    out: Path | None = None
    """File to write; None: starts.safetensors in the model's folder."""

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise unknown_name("kind of start", kind, KINDS)
        if self.lead < 0:
            raise ConfigError(f"lead is {self.lead}, it must be 0 or more frames")

    def run(self) -> dict[str, Any]:
        """Cut, list, save."""
        spec = load_world_model(self.model).spec
        folder = self.model if self.model.is_dir() else self.model.parent
        out = self.out or folder / FILE
        print(f"imagine starts: from {self.data}, for {self.model}, into {out}")
        episodes = read_frames(self.data, spec, task=self.task)
        found = [record for episode in episodes for record in keyframes(episode, spec, lead=self.lead)]
        records = [record for record in found if not self.kinds or record.kind in self.kinds]
        if not records:
            there = ", ".join(sorted({record.kind for record in found})) or "no moment that is long enough"
            raise ConfigError(f"{self.data} has no start of kind {' or '.join(self.kinds)}: found {there}")
        list_starts(records)
        sha256 = StartFile(tuple(records)).write(out)
        counts = dict(Counter(record.kind for record in records))
        print(f"{len(records)} starts of {len(episodes)} episodes: {counts}")
        print(f"next: tandem eval --env 'imagined/tandem/{spec.task}?model={self.model}&starts={out}' --policy RUN")
        return {"starts": out, "sha256": sha256, "kinds": counts, "episodes": len(episodes)}


def list_starts(records: Sequence[StartRecord]) -> None:
    """Print one line per start: where it is from."""
    for record in records:
        print(f"  {record.kind:<10} {record.episode}  frame {record.frame}, {record.frame * record.step_s:.1f} s")
