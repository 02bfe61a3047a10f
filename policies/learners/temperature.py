"""The weight of the entropy, tuned so that the policy keeps a wanted entropy (SAC, Haarnoja et al. 2018, section 6)."""

import math

import torch
from torch import Tensor, nn

from robot.errors import ConfigError


def entropy_target(action_dim: int, per_dimension: float = -1.0, scale: float = 1.0) -> float:
    """Return the wanted entropy of actions that are `scale` times a squashed Gaussian's [nat].

    Scaling by `scale` moves every entropy by action_dim * log(scale), the target included. A target that leaves this
    out (EXPO's -d/2 with edits of +-0.05) lies above what any distribution in the box can have, and the temperature
    grows without bound.

    Args:
        action_dim: number of dimensions.
        per_dimension: wanted entropy per dimension in units of the box (-1, 1): -1 (SAC), -0.5 (RLPD, EXPO).
        scale: half width of the box that the actions fill.
    """
    largest = math.log(2.0)  # of the uniform distribution on (-1, 1)
    if per_dimension >= largest:
        raise ConfigError(
            f"the entropy target per dimension is {per_dimension}, a distribution on (-1, 1) has less than "
            f"{largest:.3f}: choose a lower one, such as -1 or -0.5"
        )
    return action_dim * (per_dimension + math.log(scale))


def scaled_log_prob(log_prob: Tensor, action_dim: int, scale: float) -> Tensor:
    """Return the log density of `scale` times an action from the action's own: the units of `entropy_target`."""
    return log_prob - action_dim * math.log(scale)


class Temperature(nn.Module):
    """alpha = exp(log alpha), learned; the entropy it holds is `target_entropy` [nat]."""

    def __init__(self, target_entropy: float, initial: float = 1.0) -> None:
        super().__init__()
        if initial <= 0.0:
            raise ConfigError(f"the initial temperature is {initial}, it must be above 0")
        self.target_entropy = target_entropy
        self.log_alpha = nn.Parameter(torch.tensor(math.log(initial)))

    def forward(self) -> Tensor:
        """Return alpha as a number without gradient: what weighs the entropy in the losses of others."""
        return self.log_alpha.detach().exp()

    def loss(self, log_prob: Tensor) -> Tensor:
        """Return alpha * (entropy - target), whose slope lowers alpha where there is entropy to spare.

        Args:
            log_prob: log densities (batch,) of actions that were sampled, never of the mean action.
        """
        return self.log_alpha.exp() * (-log_prob.detach().mean() - self.target_entropy)
