"""Begin a chunk with what will be executed anyhow, and go on from it: real-time chunking (Black et al. 2025).

While a policy thinks, the robot follows the old chunk. The new one must agree with it on the steps that pass meanwhile
(frozen), and should lean to it on the steps that both speak of. So every solver step pulls its estimate of the clean
chunk towards the old one (eq. 2 of the paper, after Song et al. 2023, "pseudoinverse-guided diffusion models").

Both families solve the same equation: z = tau a + (1 - tau) e runs from noise (tau 0) to chunk (tau 1), by steps that
hold the estimates of a and e. Flow matching has tau = 1 - t. DDIM's x = signal a + sigma e is z (signal + sigma) with
tau = signal / (signal + sigma), and its step (Song et al. 2021, eq. 12) is Euler's in z as flow's is.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

LARGEST_PULL = 5.0  # beta of eq. 2: near pure noise its weight grows without bound
FIRST_PULL = 0.01  # tau before which nothing is pulled
# Estimates (clean chunk, noise) of z at a solver step, all of shape (batch, action_horizon, action_dim).
Estimate = Callable[[int, Tensor], tuple[Tensor, Tensor]]


def soft_mask(frozen: int, planned: int, horizon: int) -> Tensor:
    """Return the weight of the old chunk on every step of the new one, shape (horizon, 1) (eq. 5 of the paper).

    Args:
        frozen: first steps, executed before the new chunk can be followed: weight 1.
        planned: steps that the old chunk speaks of; from `frozen` to here the weight falls, behind it is 0.
        horizon: steps of the new chunk.
    """
    left = (planned - torch.arange(horizon, dtype=torch.float32)) / (planned - frozen + 1)
    weights = left.clamp(0.0, 1.0)
    falling = weights * torch.expm1(weights) / (torch.e - 1.0)
    return torch.where(torch.arange(horizon) < frozen, 1.0, falling)[:, None]


def pull(tau: float) -> float:
    """Return the weight of eq. 2: min(beta, (1 - tau) / (tau r^2)) with r^2 = (1 - tau)^2 / (tau^2 + (1 - tau)^2).

    At (nearly) pure noise it is 0: the estimate does not depend on z there, what is left is the network's error.
    """
    if tau < FIRST_PULL:
        return 0.0
    return min(LARGEST_PULL, (tau**2 + (1.0 - tau) ** 2) / (tau * (1.0 - tau)))


def solve_towards(estimate: Estimate, noise: Tensor, taus: Sequence[float], planned: Tensor, weights: Tensor) -> Tensor:
    """Carry noise to chunks by Euler steps that lean to `planned`; with weights of zero these are the plain steps.

    Args:
        estimate: the policy's network, in z and tau.
        noise: z at the first tau, shape (batch, action_horizon, action_dim).
        taus: rising times of the estimates, below 1; the last step goes to 1.
        planned: what to lean to, shape as noise; where the weight is zero it does not matter.
        weights: of `soft_mask`.
    """
    z = noise
    for index, (tau, following) in enumerate(pairwise([*taus, 1.0])):
        strength = pull(tau)
        with torch.set_grad_enabled(strength > 0.0):
            at = z.detach().requires_grad_(strength > 0.0)
            clean, left = estimate(index, at)
        z = following * clean.detach() + (1.0 - following) * left.detach()
        if strength > 0.0:
            (lean,) = torch.autograd.grad(clean, at, weights * (planned - clean.detach()))
            z = z + (following - tau) * strength * lean
    return z
