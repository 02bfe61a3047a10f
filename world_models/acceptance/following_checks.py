"""A5 to A8: whether the actions, each at its own time, are what decides."""

from dataclasses import replace

import numpy as np
import torch

from world_models.acceptance.clips import Clips, imagine_clips
from world_models.acceptance.rows import Report
from world_models.contract import WorldModel
from world_models.metrics.following import early_share, loss_ratio, variance_ratio
from world_models.metrics.video import moving_pixels

STARTS, ACTIONS, SEEDS = 6, 6, 4
CHANGE_WEIGHT = 4.0  # of a latent cell whose pixels move, beside 1 of every cell


def check_loss_ratio(model: WorldModel, clips: Clips, report: Report) -> None:
    """A5: the loss from pure noise in one step, under shuffled by that under true actions."""
    chunk = clips.short(model.spec.chunk)
    true = model.encode(chunk.true).cpu()
    weight = _change_weight(chunk, true)
    losses = [
        (weight * (imagine_clips(model, chunk, commands, steps=1).latents - true).square()).flatten(1).mean(dim=1)
        for commands in (chunk.commands, chunk.shuffled(model.spec))
    ]
    report.add("A5", "shuffle loss ratio at tau = 0", loss_ratio(*(loss.numpy() for loss in losses)), "x", key="ratio")


def check_variance(model: WorldModel, clips: Clips, report: Report) -> None:
    """A6: variance of the final latent between actions by that between seeds, whole and per action dimension."""
    chunk = clips.short(model.spec.chunk).few(max(STARTS, ACTIONS))
    actions = chunk.actions(model.spec)
    dims: list[int | None] = [None, *range(model.spec.action_dim)]
    for dim in dims:
        ratio = variance_ratio(_finals(model, chunk, actions, dim))
        what = "all dimensions" if dim is None else model.spec.action_names[dim]
        metric = f"variance between actions by between seeds, {what}"
        report.add("A6", metric, min(ratio, 1e6), "x", key="ratio" if dim is None else "")


def _finals(model: WorldModel, chunk: Clips, actions: torch.Tensor, dim: int | None) -> np.ndarray:
    """Return where the same actions lead from each start under the same seeds, (starts, actions, seeds, D).

    With a dimension named only that one is taken from the other clips.
    """
    starts, others = min(STARTS, len(chunk)), min(ACTIONS, len(chunk))
    rows = [(start, other, seed) for start in range(starts) for other in range(others) for seed in range(SEEDS)]
    given = actions[[other for _, other, _ in rows]].clone()
    if dim is not None:
        own = actions[[start for start, _, _ in rows]].clone()
        own[..., dim] = given[..., dim]
        given = own
    many = replace(
        chunk,
        records=tuple(chunk.records[start] for start, _, _ in rows),
        commands=chunk.commands[[start for start, _, _ in rows]],
    )
    commands = many.commands_of(model.spec, given)
    made = imagine_clips(model, many, commands, seeds=[1000 + seed for _, _, seed in rows])
    return made.latents[:, -1].flatten(1).double().numpy().reshape(starts, others, SEEDS, -1)


def check_timing(model: WorldModel, clips: Clips, report: Report) -> None:
    """A8: one action of a chunk is changed; how much of what changes lands in the frames before it."""
    chunk = clips.short(model.spec.chunk)
    actions = chunk.actions(model.spec)
    plain = imagine_clips(model, chunk).latents.numpy()
    other = torch.roll(actions, 1, dims=0)
    shares = []
    for frame in range(1, model.spec.chunk):
        changed = actions.clone()
        changed[:, frame] = 2 * other[:, frame] - actions[:, frame]
        made = imagine_clips(model, chunk, chunk.commands_of(model.spec, changed)).latents.numpy()
        shares.append(early_share(made, plain, frame))
    report.add("A8", "change energy before the changed action", float(np.mean(shares)), "share", key="early_max")


def _change_weight(chunk: Clips, latents: torch.Tensor) -> torch.Tensor:
    """Return the weight of each latent cell, (B, T, V, 1, H, W): more where its pixels move."""
    height, width = latents.shape[-2:]
    masks = torch.stack(
        [torch.from_numpy(moving_pixels(chunk.true[view], chunk.first[view])) for view in chunk.true], dim=2
    ).float()
    pooled = torch.nn.functional.adaptive_avg_pool2d(masks.flatten(0, 2)[:, None], (height, width))
    return 1.0 + CHANGE_WEIGHT * pooled.reshape(*masks.shape[:3], 1, height, width)
