"""Steer a frozen base through its noise: DSRL (Wagenmaker et al. 2025), as SAC and with noise aliasing (NA).

A decision is the noise w of one chunk; a = f(s, w) is what the base makes of it, c = w / box the coordinates that
networks see and that log pi is the density of. DSRL-SAC is soft actor-critic on (s, c). DSRL-NA:

    A. Q^A: y = R + gamma_c m (min_i Q'^A_i(s', f(s', w')) - alpha log pi(c'|s')),  c' ~ pi(s')    on stored (s, a)
       actor: minimise alpha log pi(c|s) - min_i Q^W_i(s, c)
    B. Q^W_i(s, c) <- Q^A_i(s, f(s, w)) of the live critics, head by head; half of w from the prior, half from the actor

Many w give the same a, so what was learned of a is known of all of them. Q^A is asked only where data or the base are.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from policies.learners.critics import CriticEnsemble, mean_square
from policies.learners.sac import SACLearner, SACLearnerConfig, Transitions, adam
from policies.noise_space import NoiseSpace
from robot.errors import ConfigError

Decode = Callable[[Tensor, Tensor], Tensor]  # features (batch, F), coordinates (batch, d) -> chunks (batch, action)
VARIANTS = ("na", "sac")


@dataclass(frozen=True)
class NoiseSteeringConfig(SACLearnerConfig):
    """Networks and updates; the defaults are the released code's for states (robomimic can)."""

    variant: str = "na"  # noise aliasing, or sac
    actor_hidden: tuple[int, ...] = (2048, 2048, 2048)
    critic_hidden: tuple[int, ...] = (2048, 2048, 2048)
    heads: int = 2
    activation: str = "tanh"
    actor_layer_norm: bool = True
    actor_head_gain: float = 0.0
    actor_value: str = "min"
    actor_batch: str = "each"
    entropy_per_dimension: float = 0.0
    log_std_low: float = -20.0
    noise_critic_steps: int = 10  # na: updates of Q^W after those of Q^A
    actor_share: float = 0.5  # na: of the noise that Q^W is taught at; the rest is the prior's
    value_low: float = -100.0  # what values can be; how many lie outside by more than a tenth is told
    value_high: float = 0.0

    def __post_init__(self) -> None:
        SACLearnerConfig.__post_init__(self)
        if self.variant not in VARIANTS:
            raise ConfigError(f"variant is '{self.variant}', allowed: {', '.join(VARIANTS)}")
        if self.noise_critic_steps < 1 or not 0.0 <= self.actor_share <= 1.0:
            raise ConfigError(
                f"noise_critic_steps {self.noise_critic_steps} must be >= 1, actor_share {self.actor_share} in [0, 1]"
            )

    @property
    def slices(self) -> int:
        """Batches of one update."""
        return self.utd_ratio + (self.noise_critic_steps if self.variant == "na" else 0)

    def outside(self, values: Tensor) -> Tensor:
        """Return the share of values that lie outside their range by more than a tenth of it."""
        slack = 0.1 * (self.value_high - self.value_low)
        return ((values < self.value_low - slack) | (values > self.value_high + slack)).float().mean()


class NoiseSACLearner(SACLearner):
    """DSRL-SAC: soft actor-critic whose action is the coordinates of the noise."""

    config: NoiseSteeringConfig

    def update(self, batch: Transitions) -> dict[str, Tensor]:
        metrics = super().update(batch)
        last = batch.slices(self.config.slices)[-1]
        with torch.no_grad():
            values = self.critics.values(last.state, last.action)
        return metrics | {"critic/outside_share": self.config.outside(values)}


class NoiseAliasingLearner(SACLearner):
    """DSRL-NA. `critics` are Q^A over executed chunks, `noise_critic` is Q^W over coordinates; it has no target.

    Args:
        state: width of the features.
        action: width of an executed chunk.
        space: of the noise.
        decode: the frozen base.
        config: settings.
        seed: of the networks and of everything that is drawn.
    """

    config: NoiseSteeringConfig

    def __init__(
        self, state: int, action: int, space: NoiseSpace, decode: Decode, config: NoiseSteeringConfig, *, seed: int
    ) -> None:
        super().__init__(state, space.size, config, seed=seed, valued=action)
        self.space, self.decode = space, decode
        self.noise_critic = CriticEnsemble(
            state,
            space.size,
            config.critic_hidden,
            config.heads,
            use_layer_norm=config.layer_norm,
            outputs=self.critics.head.outputs,
            activation=config.activation,
        )
        self.noise_critic.initialize(self.generator)
        self._parameters = list(self.noise_critic.parameters())
        self.noise_optimizer = adam(self._parameters, config.critic_learning_rate)

    def update(self, batch: Transitions) -> dict[str, Tensor]:
        """Make `utd_ratio` updates of Q^A and of the actor, then `noise_critic_steps` of Q^W, each on a slice."""
        slices = batch.slices(self.config.slices)
        metrics: dict[str, Tensor] = {}
        for part in slices[: self.config.utd_ratio]:
            metrics = self.update_critics(part) | self.update_actor(part)
        for part in slices[self.config.utd_ratio :]:
            metrics |= self.distill(part.state)
        with torch.no_grad():
            values = self.critics.values(slices[-1].state, slices[-1].action)
        return metrics | {"critic/outside_share": self.config.outside(values)}

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        """Return y, shape (batch,), from what the base makes of the actor's noise at s'."""
        noise, log_prob = self.actor.sample(batch.next_state, self.generator)
        value = self.critics.pessimistic(batch.next_state, self.decode(batch.next_state, noise))
        if self.config.backup_entropy:
            value = value - self.temperature() * log_prob
        return torch.addcmul(batch.reward, batch.discount, value)

    def update_actor(self, batch: Transitions) -> dict[str, Tensor]:
        """Make one update of the actor up Q^W, and of the temperature."""
        noise, log_prob = self.actor.sample(batch.state, self.generator)
        values = self.critics.head.value(self.noise_critic(batch.state, noise))
        value = values.amin(dim=0) if self.config.actor_value == "min" else values.mean(dim=0)
        loss = (self.temperature() * log_prob - value).mean()
        return self.entropic.step(loss, log_prob)

    def distill(self, state: Tensor) -> dict[str, Tensor]:
        """Make one update of Q^W at features (batch, F), towards the live Q^A of what the base makes of noise."""
        noise = self.teaching_noise(state)
        with torch.no_grad():
            target = self.critics.values(state, self.decode(state, noise))
        loss = mean_square(self.critics.head.value(self.noise_critic(state, noise)), target)
        self.noise_optimizer.zero_grad()
        loss.backward(inputs=self._parameters)
        self.noise_optimizer.step()
        return {"noise_critic/loss": loss.detach(), "noise_critic/target": target.mean()}

    @torch.no_grad()
    def teaching_noise(self, state: Tensor) -> Tensor:
        """Return coordinates (batch, d): `actor_share` of the rows from the actor, the rest from the clipped prior."""
        count = round(self.config.actor_share * len(state))
        chosen = self.actor.sample(state[:count], self.generator)[0]
        return torch.cat([chosen, self.space.prior(len(state) - count, self.generator)])

    def state(self) -> dict[str, Any]:
        own = {"noise_critic": self.noise_critic, "noise_optimizer": self.noise_optimizer}
        return super().state() | {name: part.state_dict() for name, part in own.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.noise_critic.load_state_dict(deepcopy(state["noise_critic"]))
        self.noise_optimizer.load_state_dict(deepcopy(state["noise_optimizer"]))
