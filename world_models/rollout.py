"""Imagine further than one call: chained calls from the model's own output, each item by its own seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robot.errors import CheckpointMismatch
from world_models.contract import History, Imagined, WorldModel


@dataclass(frozen=True)
class Rollout:
    """What was imagined, (B, T, ...), and the history behind its last frame."""

    latents: Tensor  # (B, T, V, C, H, W)
    success: Tensor  # (B, T), as the model's head gives it
    uncertainty: Tensor  # (B, T)
    history: History


def call_seed(member: int, depth: int) -> int:
    """Return the seed of one member's call that begins after `depth` imagined frames."""
    return int(np.random.SeedSequence([member % 2**63, depth]).generate_state(1)[0])


def imagine_on(
    model: WorldModel,
    history: History,
    commands: Tensor,
    members: Sequence[int],
    depths: Sequence[int],
    *,
    steps: int | None = None,
    with_uncertainty: bool = True,
) -> Rollout:
    """Return the T frames that follow `history` under commands, in calls of at most `chunk` frames.

    Args:
        model: whoever imagines.
        history: of B items.
        commands: in force at the end of each new frame, (B, T, A) in station units.
        members: the seed of each item, (B,): equal seed, history and commands give equal frames.
        depths: how many frames each item was imagined before, (B,).
        steps: of the sampler; None: the model's own.
        with_uncertainty: as `WorldModel.imagine`.
    """
    spec = model.spec
    if commands.ndim != 3 or commands.shape[1] < 1 or commands.shape[2] != spec.action_dim:
        raise CheckpointMismatch(f"commands: expected (B, >= 1, {spec.action_dim}), found {tuple(commands.shape)}")
    parts: list[Imagined] = []
    for begin in range(0, commands.shape[1], spec.chunk):
        part = commands[:, begin : begin + spec.chunk]
        actions = spec.frame_actions(part, history.commands[:, -1])
        seeds = [call_seed(member, depth + begin) for member, depth in zip(members, depths, strict=True)]
        made = model.imagine(history, actions, seeds, steps=steps, with_uncertainty=with_uncertainty)
        history = history.after(made.latents, actions, part)
        parts.append(made)
    latents, success, uncertainty = (
        torch.cat([getattr(part, name) for part in parts], dim=1) for name in ("latents", "success", "uncertainty")
    )
    return Rollout(latents, success, uncertainty, history)
