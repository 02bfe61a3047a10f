"""Held-out clips of one length, and the same clips with each other's actions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from robot.errors import ConfigError
from world_models.contract import Frames, History, WorldModel, WorldModelSpec
from world_models.episode_frames import EpisodeFrames
from world_models.metrics.following import derangement
from world_models.rollout import Rollout, imagine_on
from world_models.start_records import StartRecord, cut, history_of

BATCH = 64  # clips imagined at once


@dataclass(frozen=True)
class Clips:
    """Starts and what truly came after them; B clips of T new frames."""

    records: tuple[StartRecord, ...]
    first: Frames  # by view: the present frame, uint8 (B, size, size, 3)
    true: Frames  # by view: uint8 (B, T, size, size, 3)
    commands: Tensor  # (B, T, A), in force at each new frame
    labels: np.ndarray  # (B, T) bool

    def __len__(self) -> int:
        return len(self.records)

    @property
    def steps(self) -> int:
        return self.commands.shape[1]

    @cached_property
    def before(self) -> Tensor:
        """Return the command in force at the present frame, (B, A)."""
        return torch.as_tensor(np.stack([record.commands[-1] for record in self.records]), dtype=torch.float32)

    def actions(self, spec: WorldModelSpec) -> Tensor:
        return spec.frame_actions(self.commands, self.before)

    def commands_of(self, spec: WorldModelSpec, actions: Tensor) -> Tensor:
        """Return the commands (B, T, A) that other actions lead to from these clips' starts."""
        return spec.commands_after(actions, self.before)

    def shuffled(self, spec: WorldModelSpec, seed: int = 0) -> Tensor:
        """Return the commands of these starts under another clip's actions; none keeps its own."""
        order = derangement(len(self), np.random.default_rng(seed))
        return self.commands_of(spec, self.actions(spec)[torch.from_numpy(order)])

    def short(self, steps: int) -> "Clips":
        """Return the clips' first frames."""
        return Clips(
            self.records,
            self.first,
            {view: frames[:, :steps] for view, frames in self.true.items()},
            self.commands[:, :steps],
            self.labels[:, :steps],
        )

    def few(self, count: int) -> "Clips":
        """Return the first clips."""
        return Clips(
            self.records[:count],
            {view: frames[:count] for view, frames in self.first.items()},
            {view: frames[:count] for view, frames in self.true.items()},
            self.commands[:count],
            self.labels[:count],
        )


def cut_clips(episodes: Sequence[EpisodeFrames], spec: WorldModelSpec, steps: int, *, is_cold: bool = True) -> Clips:
    """Cut one clip of every episode that is long enough: from its first frame, or from a warm start in its middle."""
    begins = [0 if is_cold else max(spec.memory, (len(episode) - steps) // 2) for episode in episodes]
    kept = [(episode, begin) for episode, begin in zip(episodes, begins, strict=True) if begin + steps < len(episode)]
    if len(kept) < 2:
        raise ConfigError(
            f"{len(kept)} of {len(episodes)} episodes have {steps} frames after their start; the checks need at least 2"
        )
    new = [slice(begin + 1, begin + 1 + steps) for _, begin in kept]
    pairs = list(zip([episode for episode, _ in kept], new, strict=True))
    return Clips(
        records=tuple(cut(episode, spec, "start" if begin == 0 else "gripper", begin) for episode, begin in kept),
        first={view: np.stack([episode.frames[view][begin] for episode, begin in kept]) for view in spec.views},
        true={view: np.stack([episode.frames[view][rows] for episode, rows in pairs]) for view in spec.views},
        commands=torch.as_tensor(np.stack([episode.commands[rows] for episode, rows in pairs]), dtype=torch.float32),
        labels=np.stack([episode.labels[rows] for episode, rows in pairs]),
    )


def imagine_clips(
    model: WorldModel,
    clips: Clips,
    commands: Tensor | None = None,
    *,
    seeds: Sequence[int] | None = None,
    steps: int | None = None,
    with_uncertainty: bool = False,
) -> Rollout:
    """Return what the model makes of the clips' starts; own commands, and numbers for seeds, where none are given."""
    commands = clips.commands if commands is None else commands
    seeds = range(len(clips)) if seeds is None else seeds
    parts = []
    for begin in range(0, len(clips), BATCH):
        rows = slice(begin, begin + BATCH)
        history = history_of(model, clips.records[rows])
        members = list(seeds)[rows]
        parts.append(
            imagine_on(
                model,
                history,
                commands[rows].to(history.anchor.device),
                members,
                [0] * len(members),
                steps=steps,
                with_uncertainty=with_uncertainty,
            )
        )
    latents, success, uncertainty = (
        torch.cat([getattr(part, name).cpu() for part in parts]) for name in ("latents", "success", "uncertainty")
    )
    return Rollout(latents, success, uncertainty, History.stack([part.history for part in parts]))
