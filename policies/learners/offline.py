"""Actor and critics from data alone, in the shape that SAC goes on with: Cal-QL or IQL.

Cal-QL (Nakamoto et al. 2023): SAC's updates, and a weighted gap beside the temporal difference (`conservative`).
IQL (Kostrikov et al. 2021): V is an expectile of Q over the data's actions, y = r + gamma^m (1 - e) V(s'), the actor
imitates with weights exp(beta (Q - V)). No action that the data does not hold is ever valued.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from policies.learners.conservative import actor_contrast, conservative_gap, joined, random_contrast
from policies.learners.sac import Critics, SACLearner, Transitions, adam
from policies.network import initialize, mlp
from robot.errors import ConfigError

METHODS = ("cal_ql", "iql")
LARGEST_WEIGHT = 100.0  # of one row in IQL's imitation
HEAD_SHARE = 1e-2  # of the critics' last layer that is left at the start: nothing is worth anything yet


@dataclass(frozen=True)
class OfflineConfig:
    """Settings of learning from data alone."""

    method: str = "cal_ql"  # or iql
    conservative_weight: float = 5.0
    contrast_samples: int = 10
    expectile: float = 0.7
    inverse_temperature: float = 3.0  # of IQL's imitation
    value_hidden: tuple[int, ...] = (256, 256)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"offline method is '{self.method}', allowed: {', '.join(METHODS)}")
        if not 0.5 <= self.expectile < 1.0 or self.conservative_weight < 0.0:
            raise ConfigError(f"expectile must lie in [0.5, 1), conservative_weight be >= 0: {self}")


class OfflineLearner:
    """Updates the parts of a SAC learner; what it leaves behind is that learner's whole state."""

    def __init__(self, sac: SACLearner, state: int, config: OfflineConfig) -> None:
        self.sac, self.config = sac, config
        shrink_head(sac.critics)
        self.value = mlp([state, *config.value_hidden, 1], layer_norm=True)
        initialize(self.value, sac.generator)
        self._parameters = list(self.value.parameters())
        self.value_optimizer = adam(self._parameters, sac.config.critic_learning_rate)

    def update(self, batch: Transitions) -> dict[str, Tensor]:
        """Make one update of everything."""
        return self._update_conservative(batch) if self.config.method == "cal_ql" else self._update_implicit(batch)

    def _update_conservative(self, batch: Transitions) -> dict[str, Tensor]:
        gap = self.gap(batch)
        metrics = self.sac.update_critics(batch, self.config.conservative_weight * gap)
        return metrics | self.sac.update_actor(batch) | {"critic/gap": gap.detach()}

    def gap(self, batch: Transitions) -> Tensor:
        """Return Cal-QL's gap with random actions and those of pi(s) and pi(s'), all valued at s."""
        sac, count = self.sac, self.config.contrast_samples
        random = random_contrast(len(batch), count, batch.action.shape[1], sac.generator)
        own = (actor_contrast(sac.actor, states, count, sac.generator) for states in (batch.state, batch.next_state))
        return conservative_gap(sac.critics, batch, joined(random, *own))

    def _update_implicit(self, batch: Transitions) -> dict[str, Tensor]:
        earned = self.sac.critics.pessimistic(batch.state, batch.action)
        value = self.value(batch.state).squeeze(-1)
        loss = expectile_loss(earned - value, self.config.expectile)
        self.value_optimizer.zero_grad()
        loss.backward()
        self.value_optimizer.step()
        with torch.no_grad():
            ahead = self.value(batch.next_state).squeeze(-1)
            target = torch.addcmul(batch.reward, batch.discount, ahead)
            advantage = earned - self.value(batch.state).squeeze(-1)
        metrics = self.sac.critics.regress(batch, target)
        return metrics | self._imitate(batch, advantage) | {"value/loss": loss.detach()}

    def _imitate(self, batch: Transitions, advantage: Tensor) -> dict[str, Tensor]:
        """Imitate with weights exp(beta * advantage), and let the temperature follow the actor's entropy."""
        weight = (self.config.inverse_temperature * advantage).exp().clamp(max=LARGEST_WEIGHT)
        loss = -(weight * self.sac.actor.log_prob(batch.state, batch.action)).mean()
        _, log_prob = self.sac.actor.sample(batch.state, self.sac.generator)
        return self.sac.entropic.step(loss, log_prob)

    def state(self) -> dict[str, Any]:
        own = {"value": self.value.state_dict(), "value_optimizer": self.value_optimizer.state_dict()}
        return {"sac": self.sac.state()} | own

    def restore(self, state: Mapping[str, Any]) -> None:
        self.sac.restore(state["sac"])
        self.value.load_state_dict(deepcopy(state["value"]))
        self.value_optimizer.load_state_dict(deepcopy(state["value_optimizer"]))


@torch.no_grad()
def shrink_head(critics: Critics) -> None:
    """Start values near 0 (those of a histogram near the middle of its range).

    Those of a fresh ensemble are off by +-0.5. Bootstrapping alone forgets that after 1 / (1 - gamma^n) / tau updates,
    thousands, and until then the offset drowns a reward of 0 and 1 and, through the values of states that are never
    left, comes back wherever the data does not end.
    """
    critics.live.weights[-1].mul_(HEAD_SHARE)
    critics.target.load_state_dict(critics.live.state_dict())


def expectile_loss(difference: Tensor, expectile: float) -> Tensor:
    """Return the mean of |expectile - 1(difference < 0)| * difference^2; its minimum is the expectile."""
    weight = torch.where(difference < 0, 1.0 - expectile, expectile)
    return (weight * difference.square()).mean()
