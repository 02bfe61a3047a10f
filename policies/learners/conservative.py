"""Cal-QL: conservative values that never fall below what was seen to be earned (Nakamoto et al. 2023).

    gap = logsumexp_k( max(Q(s, a_k), G) - log p(a_k) ) - Q(s, a),    a_k random, from pi(s) and from pi(s')

The floor G, the return from s on, is for the policy's samples only; densities are importance weights. Minimised beside
the temporal difference it lowers the values of actions that the data does not hold.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from policies.learners.sac import Critics, Transitions
from policies.learners.squashed_gaussian import SquashedGaussian


@dataclass(frozen=True)
class Contrast:
    """Actions to be lowered: (batch, k, action), their log densities (batch, k), and which k come from a policy."""

    actions: Tensor
    log_prob: Tensor
    is_policy: Tensor  # (k,), bool


def random_contrast(rows: int, count: int, action: int, generator: torch.Generator) -> Contrast:
    """Draw actions uniformly from the box (-1, 1)^action."""
    actions = torch.rand(rows, count, action, generator=generator) * 2.0 - 1.0
    density = torch.full((rows, count), -action * math.log(2.0))
    return Contrast(actions, density, torch.zeros(count, dtype=torch.bool))


@torch.no_grad()
def actor_contrast(actor: SquashedGaussian, states: Tensor, count: int, generator: torch.Generator) -> Contrast:
    """Draw actions of a Gaussian actor."""
    actions, log_prob = actor.sample(states.repeat_interleave(count, dim=0), generator)
    shape = (len(states), count)
    return Contrast(actions.unflatten(0, shape), log_prob.unflatten(0, shape), torch.ones(count, dtype=torch.bool))


def joined(*parts: Contrast) -> Contrast:
    """Put contrasts of the same states side by side."""
    return Contrast(
        torch.cat([part.actions for part in parts], dim=1),
        torch.cat([part.log_prob for part in parts], dim=1),
        torch.cat([part.is_policy for part in parts]),
    )


def conservative_gap(critics: Critics, batch: Transitions, contrast: Contrast) -> Tensor:
    """Return the mean gap over heads and batch; `batch.returns` is the floor, -inf where it is not known."""
    rows, count = contrast.log_prob.shape
    states = batch.state[:, None].expand(-1, count, -1).flatten(0, 1)
    values = critics.values(states, contrast.actions.flatten(0, 1)).unflatten(1, (rows, count))
    if batch.returns is not None:
        floored = torch.maximum(values, batch.returns[:, None])
        values = torch.where(contrast.is_policy, floored, values)
    above = torch.logsumexp(values - contrast.log_prob, dim=-1)
    return (above - critics.values(batch.state, batch.action)).mean()
