"""Models that are broken in one known way each: whoever passes the checks with one of these has no checks.

Wrappers around any model; only the one that never saw a failure has to be trained anew (`copy_successes`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot.curation import copy_episodes
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from world_models.contract import Frames, History, Imagined, WorldModel, WorldModelSpec


class _Wrapped:
    """A model that answers as another does, but for what a subclass spoils."""

    def __init__(self, model: WorldModel) -> None:
        self.model = model
        self.spec: WorldModelSpec = model.spec

    def encode(self, frames: Frames) -> Tensor:
        return self.model.encode(frames)

    def decode(self, latents: Tensor) -> Frames:
        return self.model.decode(latents)

    def imagine(self, history: History, actions: Tensor, seeds: Sequence[int], **how: Any) -> Imagined:
        return self.model.imagine(history, actions, seeds, **how)


class ActionBlind(_Wrapped):
    """Imagines that nothing was ever asked for, whatever its history says of commands."""

    def imagine(self, history: History, actions: Tensor, seeds: Sequence[int], **how: Any) -> Imagined:
        first = history.commands[:, 0]
        held = first[:, None].expand_as(history.commands)
        never = replace(history, commands=held, actions=self.spec.null_actions(first, history.actions.shape[1]))
        still = self.spec.null_actions(first, actions.shape[1])
        return self.model.imagine(never, still.to(actions.dtype), seeds, **how)


class OffByOne(_Wrapped):
    """Gives each frame the action of the frame after it."""

    def imagine(self, history: History, actions: Tensor, seeds: Sequence[int], **how: Any) -> Imagined:
        early = torch.cat([actions[:, 1:], actions[:, -1:]], dim=1)
        return self.model.imagine(history, early, seeds, **how)


class ViewSwapped(_Wrapped):
    """Gives each view's frames to the next view."""

    def imagine(self, history: History, actions: Tensor, seeds: Sequence[int], **how: Any) -> Imagined:
        made = self.model.imagine(history, actions, seeds, **how)
        return replace(made, latents=made.latents.roll(1, dims=2))


class NoAnchor(_Wrapped):
    """Forgets how the episode began: its anchor is empty.

    The present frame in the anchor's place would break nothing where the codec keeps what a view shows on average.
    """

    def imagine(self, history: History, actions: Tensor, seeds: Sequence[int], **how: Any) -> Imagined:
        commands = history.commands.clone()
        commands[:, 0] = commands[:, -1]
        forgot = replace(history, anchor=torch.zeros_like(history.anchor), commands=commands)
        return self.model.imagine(forgot, actions, seeds, **how)


@dataclass(frozen=True)
class Breakage:
    """How to break a model (None: it has to be trained anew), and the check that must notice."""

    wrap: Callable[[WorldModel], WorldModel] | None
    check: str


ZOO = {
    "action_blind": Breakage(ActionBlind, "A4"),
    "off_by_one": Breakage(OffByOne, "A8"),
    "view_swapped": Breakage(ViewSwapped, "A10"),
    "no_anchor": Breakage(NoAnchor, "A3"),
    "success_only": Breakage(None, "A11"),
}


class Shuffled(_Wrapped):
    """Gives each member of a batch its neighbour's actions: a control of learning, which it must not improve."""

    def imagine(self, history: History, actions: Tensor, seeds: Sequence[int], **how: Any) -> Imagined:
        return self.model.imagine(history, actions.roll(1, dims=0), seeds, **how)


def copy_successes(source: Path, target: Path) -> int:
    """Copy the episodes that were solved at any tick into another store, for a model that never sees a failure.

    Return how many there are; ConfigError where there is none. Those that are in the target already are passed over.
    """
    store, found = EpisodeStore(source), []
    for info in store.episodes():
        columns = store.load(info.episode_id).columns
        if not info.is_discarded and np.maximum(columns["reward_task"], columns["reward_operator"]).max() > 0:
            found.append(info.episode_id)
    if not found:
        raise ConfigError(f"{source} holds no episode that was solved at any tick: record some")
    copy_episodes(store, EpisodeStore(target), found)
    return len(found)
