"""A18: batch invariance, determinism of a seed, and a branch that goes on as its run does."""

import torch
from torch import Tensor

from world_models.acceptance.clips import Clips, imagine_clips
from world_models.acceptance.rows import Report
from world_models.contract import WorldModel
from world_models.rollout import imagine_on
from world_models.start_records import history_of


def check_exactness(model: WorldModel, clips: Clips, report: Report) -> None:
    """Add the largest differences [latent units]; a device or a batch may round, a state may not leak."""
    some = clips.few(6)
    whole = imagine_clips(model, some).latents
    again = imagine_clips(model, some).latents
    report.add("A18", "same seeds again", _largest(whole, again), "latent", key="seed_max")
    alone = [_alone(model, some, row) for row in range(len(some))]
    report.add("A18", "alone against in a batch", _largest(torch.cat(alone), whole), "latent", key="batch_max")
    half = some.steps // 2 // model.spec.chunk * model.spec.chunk or model.spec.chunk
    history = history_of(model, some.records)
    seeds, commands = list(range(len(some))), some.commands.to(history.anchor.device)
    first = imagine_on(model, history, commands[:, :half], seeds, [0] * len(seeds), with_uncertainty=False)
    kept = type(first.history).from_state(first.history.state())
    second = imagine_on(model, kept, commands[:, half:], seeds, [half] * len(seeds), with_uncertainty=False)
    branched = torch.cat([first.latents, second.latents], dim=1).cpu()
    report.add("A18", "branch against its run", _largest(branched, whole), "latent", key="branch_max")


def _alone(model: WorldModel, clips: Clips, row: int) -> Tensor:
    history = history_of(model, clips.records[row : row + 1])
    commands = clips.commands[row : row + 1].to(history.anchor.device)
    return imagine_on(model, history, commands, [row], [0], with_uncertainty=False).latents.cpu()


def _largest(first: Tensor, second: Tensor) -> float:
    return float((first - second).abs().max())
