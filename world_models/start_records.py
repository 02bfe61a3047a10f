"""Where imagined episodes begin: plain starts, and keyframes with their memory and the actions that produced it.

A keyframe that lost its memory, its actions or its anchor begins another episode than it says (Trap T9), so a record
is checked when it is made, and refused with expected against found.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch

from policies.state_file import read_tree, write_tree
from robot.errors import CheckpointMismatch, ConfigError, unknown_name
from robot.types import Array
from world_models.contract import History, WorldModel, WorldModelSpec
from world_models.episode_frames import EpisodeFrames

Pool = Literal["start", "keyframe", "mixed"]
KINDS = ("start", "success", "near_miss", "takeover", "gripper")


@dataclass(frozen=True)
class StartRecord:
    """One start. Images are uint8 RGB of the model's size, by view; commands and actions are those of frames.

    A plain start has the anchor only, and its history is m copies of it that nothing produced.
    """

    kind: str  # one of KINDS
    anchor: Mapping[str, np.ndarray]  # (size, size, 3): frame 0 of its episode
    memory: Mapping[str, np.ndarray]  # (m, size, size, 3), oldest first, the present frame last; empty: plain
    actions: Array  # (m, A): what produced each memory frame; (0, A) of a plain start
    commands: Array  # (m + 1, A): in force at the anchor and at each memory frame; (1, A) of a plain start
    joints: Array  # (n_joints,): commanded at the present frame [rad, m]
    step_s: float
    episode: str = ""  # where it is from
    frame: int = 0  # the present frame within that episode
    instruction: str = ""

    @property
    def is_plain(self) -> bool:
        return not self.memory

    def check(self, spec: WorldModelSpec) -> None:
        """Raise CheckpointMismatch where the record does not fit a model, by name, expected against found."""
        image = (spec.image_size, spec.image_size, 3)
        self._expect("views of the anchor", sorted(spec.views), sorted(self.anchor))
        self._expect("images of the anchor", {image}, {frame.shape for frame in self.anchor.values()})
        counts = {len(frames) for frames in self.memory.values()} or {0}
        if not counts <= {0, spec.memory} or len(counts) > 1:
            self._refuse("memory frames", f"0 or {spec.memory} of every view", sorted(counts))
        count = counts.pop()
        if count:
            self._expect("views of the memory", sorted(spec.views), sorted(self.memory))
            self._expect("images of the memory", {image}, {frames.shape[1:] for frames in self.memory.values()})
        self._expect("actions that produced the memory", (count, spec.action_dim), self.actions.shape)
        self._expect("commands at anchor and memory", (count + 1, spec.action_dim), self.commands.shape)
        self._expect("time between frames [s]", round(spec.step_s, 9), round(self.step_s, 9))

    def _expect(self, what: str, expected: Any, found: Any) -> None:
        if expected != found:
            self._refuse(what, expected, found)

    def _refuse(self, what: str, expected: Any, found: Any) -> None:
        where = f"start of kind {self.kind} from {self.episode or 'nowhere'}, frame {self.frame}"
        raise CheckpointMismatch(f"{where}: {what}: expected {expected}, found {found}; cut the starts again")


def history_of(model: WorldModel, records: Sequence[StartRecord]) -> History:
    """Return one history with an item per record."""
    spec = model.spec
    for record in records:
        record.check(spec)
    anchors = model.encode({view: np.stack([item.anchor[view] for item in records])[:, None] for view in spec.views})
    rows: list[History] = []
    for row, record in enumerate(records):
        commands = torch.as_tensor(record.commands, dtype=torch.float32, device=anchors.device)[None]
        cold = History.start(spec, anchors[row : row + 1, 0], commands[:, 0])
        if not record.is_plain:
            memory = model.encode({view: record.memory[view][None] for view in spec.views})
            actions = torch.as_tensor(record.actions, dtype=cold.actions.dtype, device=anchors.device)[None]
            cold = replace(
                cold, memory=memory, actions=actions, commands=commands, is_null=torch.zeros_like(cold.is_null)
            )
        rows.append(cold)
    return History.stack(rows)


def present(record: StartRecord) -> dict[str, np.ndarray]:
    """Return the frame a record begins from, by view, uint8 (size, size, 3)."""
    return {view: record.anchor[view] if record.is_plain else record.memory[view][-1] for view in record.anchor}


class Starts(Protocol):
    """Where starts come from; the same seed gives the same start."""

    def draw(self, seed: int, pool: Pool) -> StartRecord: ...


@dataclass(frozen=True)
class StartFile:
    """Starts that were cut from recorded episodes."""

    records: tuple[StartRecord, ...]

    def draw(self, seed: int, pool: Pool) -> StartRecord:
        """Return one of the pool; `mixed` takes either pool for half of the seeds."""
        rng = np.random.default_rng(seed)
        if pool == "mixed":
            pool = "keyframe" if rng.random() < 0.5 else "start"
        chosen = [record for record in self.records if record.is_plain == (pool == "start")]
        if not chosen:
            kinds = sorted({record.kind for record in self.records})
            raise ConfigError(f"there is no start in the pool '{pool}': the {len(self.records)} starts are {kinds}")
        return chosen[int(rng.integers(len(chosen)))]

    def write(self, path: Path) -> str:
        """Write the file; return its sha256."""
        return write_tree(path, {"starts": [vars(record) for record in self.records]})

    @classmethod
    def read(cls, path: Path, spec: WorldModelSpec) -> "StartFile":
        """Read the file; CheckpointMismatch where a record does not fit the model."""
        tree = read_tree(path)
        if not isinstance(tree, dict) or tree.keys() != {"starts"}:
            raise CheckpointMismatch(f"{path} holds no starts of imagined episodes: make some (tandem imagine starts)")
        try:
            records = tuple(StartRecord(**item) for item in tree["starts"])
        except TypeError as error:
            raise CheckpointMismatch(f"{path}: a start lacks what it needs ({error}): cut the starts again") from None
        for record in records:
            record.check(spec)
        return cls(records)


def cut(episode: EpisodeFrames, spec: WorldModelSpec, kind: str, frame: int) -> StartRecord:
    """Return the start at one frame of an episode: a plain one at frame 0, else a keyframe with its memory.

    Raises:
        ConfigError: an unknown kind, or a frame with less than `memory` frames before it.
    """
    if kind not in KINDS:
        raise unknown_name("kind of start", kind, KINDS)
    first = frame - spec.memory + 1
    if (frame > 0 and first < 1) or frame >= len(episode.commands):
        raise ConfigError(
            f"{episode.name}: a start at frame {frame} needs frame 0, or one of {spec.memory}.."
            f"{len(episode.commands) - 1}: {spec.memory} memory frames and the command before them"
        )
    rows = slice(first, frame + 1) if frame else slice(0, 0)
    commands = torch.as_tensor(episode.commands, dtype=torch.float64)
    actions = spec.frame_actions(commands[None, rows], commands[None, max(first - 1, 0)])[0]
    return StartRecord(
        kind=kind,
        anchor={view: frames[0] for view, frames in episode.frames.items()},
        memory={view: frames[rows] for view, frames in episode.frames.items()} if frame else {},
        actions=actions.numpy(),
        commands=np.concatenate([episode.commands[:1], episode.commands[rows]]),
        joints=episode.joints[frame],
        step_s=spec.step_s,
        episode=episode.name,
        frame=frame,
        instruction=episode.instruction,
    )


def keyframes(episode: EpisodeFrames, spec: WorldModelSpec, *, lead: int = 4) -> list[StartRecord]:
    """Return the starts of one episode: its beginning, and the moments that decide.

    A success gives the moment `lead` frames before it is solved, a failure the same before its gripper's last event
    (or its end): a near miss. Moments before a takeover, and before the gripper's first event, are there for both.
    """
    gripper = episode.commands[:, -1]
    events = np.flatnonzero(np.abs(np.diff(gripper)) > 0.25 * max(np.ptp(gripper), 1e-9)) + 1
    last = len(episode.commands) - 1
    decisive = int(episode.labels.argmax()) if episode.is_success else int(events[-1]) if len(events) else last
    wanted = [("success" if episode.is_success else "near_miss", decisive - lead)]
    wanted += [("takeover", at - lead) for at in episode.takeovers]
    wanted += [("gripper", int(events[0]) - lead)] if len(events) else []
    held = [("start", 0)] + [(kind, at) for kind, at in wanted if spec.memory <= at <= last]
    return [cut(episode, spec, kind, at) for kind, at in dict.fromkeys(held)]


@dataclass(frozen=True)
class ResetStarts:
    """Plain starts that another world's reset shows: the same seed begins the same episode there and in imagination."""

    reset: Callable[[int], StartRecord]

    def draw(self, seed: int, pool: Pool) -> StartRecord:
        if pool != "start":
            raise ConfigError(
                f"there is no start in the pool '{pool}': resets of a world are plain starts; give a file of starts"
            )
        return self.reset(seed)
