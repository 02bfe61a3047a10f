"""Off-policy learning of a residual actor with a critic ensemble (ResFiT, TD3-like)."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from policies.learners.critics import CriticEnsemble, mean_square, random_subset
from policies.network import polyak
from policies.residual_policy import ResidualActor, ResidualConfig, compose
from robot.errors import ConfigError


@dataclass(frozen=True)
class ResidualLearnerConfig:
    """Settings of the networks and of their updates. Noise is in normalised action units."""

    critic_hidden: tuple[int, ...] = (256, 256)
    heads: int = 10
    subset: int = 2
    layer_norm: bool = True
    critic_learning_rate: float = 1e-4
    actor_learning_rate: float = 1e-5
    weight_decay: float = 0.01
    gradient_norm: float = 1.0
    tau: float = 0.005
    target_noise: float = 0.05
    noise_clip: float = 0.3

    def __post_init__(self) -> None:
        if not 1 <= self.subset <= self.heads:
            raise ConfigError(f"subset {self.subset} must lie in 1..heads ({self.heads})")


@dataclass(frozen=True)
class Batch:
    """One critic update's worth of n-step transitions in normalised units."""

    state: Tensor
    base: Tensor
    action: Tensor
    reward: Tensor
    discount: Tensor  # gamma^m, or 0 where nothing is bootstrapped
    next_state: Tensor
    next_base: Tensor
    update_actor: bool


class ResidualLearner:
    """The critic sees the executed action; the actor sees the state and the base action."""

    def __init__(
        self, state: int, action: int, residual: ResidualConfig, config: ResidualLearnerConfig, *, seed: int
    ) -> None:
        self.config, self.residual = config, residual
        self.generator = torch.Generator().manual_seed(seed)
        self.actor, self.target_actor = (ResidualActor(state, action, residual) for _ in range(2))
        self.critic, self.target_critic = (
            CriticEnsemble(
                state,
                action,
                config.critic_hidden,
                config.heads,
                use_layer_norm=config.layer_norm,
                action_gain=residual.action_gain,
            )
            for _ in range(2)
        )
        self.actor.initialize(self.generator)
        self.critic.initialize(self.generator)
        self.target_actor.load_state_dict(self.actor.state_dict())
        self.target_critic.load_state_dict(self.critic.state_dict())
        self._critic_parameters = list(self.critic.parameters())
        self._actor_parameters = list(self.actor.parameters())
        self.critic_optimizer = self._optimizer(self._critic_parameters, config.critic_learning_rate)
        self.actor_optimizer = self._optimizer(self._actor_parameters, config.actor_learning_rate)
        self._actor_metrics: dict[str, Tensor] = {}

    def _optimizer(self, parameters: list[nn.Parameter], learning_rate: float) -> torch.optim.AdamW:
        return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=self.config.weight_decay, fused=True)

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Make one critic update, and one actor update where the batch asks for it; targets follow each."""
        metrics = self._update_critic(batch)
        if batch.update_actor:
            self._actor_metrics = self._update_actor(batch)
        return metrics | self._actor_metrics

    @torch.no_grad()
    def target(self, batch: Batch) -> Tensor:
        """Return y (residual spec section 2), shape (batch,)."""
        noise = torch.randn(batch.action.shape, generator=self.generator) * self.config.target_noise
        noise = noise.clamp(-self.config.noise_clip, self.config.noise_clip)
        residual = self.target_actor(batch.next_state, batch.next_base)
        action = compose(batch.next_base, residual, self.residual.scale, noise)
        subset = random_subset(self.config.heads, self.config.subset, self.generator)
        value = self.target_critic(batch.next_state, action, subset).amin(dim=0)
        return torch.addcmul(batch.reward, batch.discount, value)

    def _update_critic(self, batch: Batch) -> dict[str, Tensor]:
        target = self.target(batch)
        values = self.critic(batch.state, batch.action)
        loss = mean_square(values, target)
        self.critic_optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(self._critic_parameters, self.config.gradient_norm, foreach=True)
        self.critic_optimizer.step()
        polyak(list(self.target_critic.parameters()), self._critic_parameters, self.config.tau)
        return {"critic/loss": loss.detach(), "critic/value": values.detach().mean(), "critic/target": target.mean()}

    def actor_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return minus the mean value over all heads, without noise, and the residual it was taken at."""
        residual = self.actor(batch.state, batch.base)
        action = compose(batch.base, residual, self.residual.scale)
        return -self.critic(batch.state, action).mean(), residual

    def _update_actor(self, batch: Batch) -> dict[str, Tensor]:
        loss, residual = self.actor_loss(batch)
        self.actor_optimizer.zero_grad()
        loss.backward(inputs=self._actor_parameters)
        clip_grad_norm_(self._actor_parameters, self.config.gradient_norm, foreach=True)
        self.actor_optimizer.step()
        polyak(list(self.target_actor.parameters()), self._actor_parameters, self.config.tau)
        return {"actor/loss": loss.detach(), "actor/residual_share": residual.detach().abs().mean()}

    def state(self) -> dict[str, Any]:
        modules = ("actor", "target_actor", "critic", "target_critic", "actor_optimizer", "critic_optimizer")
        return {name: getattr(self, name).state_dict() for name in modules} | {
            "generator": self.generator.get_state(),
            "actor_metrics": self._actor_metrics,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        self._actor_metrics = state["actor_metrics"]
        for name, value in state.items():
            if name not in ("generator", "actor_metrics"):
                getattr(self, name).load_state_dict(deepcopy(value))  # optimisers keep the tensors they are given
