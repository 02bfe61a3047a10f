"""Soft actor-critic with an ensemble of critics: SAC (Haarnoja et al. 2018), and with it RLPD and WSRL.

    y = r + gamma^m (1 - e) (min_{j in S} Q'_j(s', a') - alpha log pi(a'|s')),  a' ~ pi(s')
    actor: minimise E[alpha log pi(a|s) - Q(s, a)];  temperature: hold the entropy of pi at its target

One update takes the whole batch of an environment step: `utd_ratio` slices for the critics, and the actor and the
temperature once, on the last slice (RLPD) or on all of it (WSRL). Q in the actor's loss is the mean of all heads, or
their minimum (WSRL). DSRL updates the actor on each slice.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from policies.learners.critics import CriticEnsemble, random_subset
from policies.learners.squashed_gaussian import LOG_STD, SquashedGaussian
from policies.learners.temperature import Temperature, entropy_target
from policies.learners.value_heads import make_head
from policies.network import ACTIVATIONS, polyak
from robot.errors import ConfigError


@dataclass(frozen=True)
class SACLearnerConfig:
    """Networks and updates; the defaults are RLPD's."""

    actor_hidden: tuple[int, ...] = (256, 256)
    critic_hidden: tuple[int, ...] = (256, 256)
    heads: int = 10
    subset: int = 2  # heads in the target's minimum, drawn without replacement
    layer_norm: bool = True  # of the critics
    actor_layer_norm: bool = False
    critic_learning_rate: float = 3e-4
    actor_learning_rate: float = 3e-4
    temperature_learning_rate: float = 3e-4
    tau: float = 0.005
    utd_ratio: int = 20
    backup_entropy: bool = True
    actor_value: str = "mean"  # of all heads, or min
    actor_batch: str = "last"  # slice, or all of them at once, or each in turn
    entropy_per_dimension: float = -0.5
    initial_temperature: float = 1.0
    activation: str = "relu"  # or tanh
    actor_head_gain: float = 1e-2  # of its last layer at the start; 0: mean 0 and standard deviation 1 exactly
    log_std_low: float = LOG_STD[0]
    head: str = "mse"  # or hl_gauss, over value_low to value_high
    value_low: float = 0.0
    value_high: float = 1.0
    bins: int = 101

    def __post_init__(self) -> None:
        if not 1 <= self.subset <= self.heads or self.utd_ratio < 1:
            raise ConfigError(
                f"subset {self.subset} must lie in 1..heads ({self.heads}), utd_ratio {self.utd_ratio} be >= 1"
            )
        for name, value, allowed in (
            ("actor_value", self.actor_value, ("mean", "min")),
            ("actor_batch", self.actor_batch, ("last", "all", "each")),
            ("activation", self.activation, tuple(ACTIVATIONS)),
        ):
            if value not in allowed:
                raise ConfigError(f"{name} is '{value}', allowed: {', '.join(allowed)}")


@dataclass(frozen=True)
class Transitions:
    """Rows of (n-step) transitions in normalised units; `discount` is gamma^m, or 0 where nothing is bootstrapped."""

    state: Tensor  # (batch, state)
    action: Tensor  # (batch, action), executed
    reward: Tensor  # (batch,)
    discount: Tensor  # (batch,)
    next_state: Tensor  # (batch, state)
    returns: Tensor | None = None  # (batch,) discounted reward to the episode's end, where a method asks for it
    key: Tensor | None = None  # (batch,) number of the row, where a method keeps something beside it

    def __len__(self) -> int:
        return len(self.reward)

    def slices(self, count: int) -> list["Transitions"]:
        """Cut the batch into `count` equal parts; ConfigError where it does not divide."""
        if len(self) % count:
            raise ConfigError(f"a batch of {len(self)} rows cannot be cut into {count} equal parts")
        parts = {
            name: value.chunk(count) for name, value in vars(self).items() if value is not None
        }  # views, in the order of the batch
        return [Transitions(**{name: part[index] for name, part in parts.items()}) for index in range(count)]

    @classmethod
    def of(cls, values: Mapping[str, Tensor]) -> "Transitions":
        """Pick the fields of transitions out of a replay's."""
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})


class Critics:
    """Live and target ensemble, their optimiser, and the value head: what every learner here has the same of."""

    def __init__(
        self, state: int, action: int, config: Any, generator: torch.Generator, *, activation: str = "relu"
    ) -> None:
        self.config, self.generator = config, generator
        self.head = make_head(config.head, config.value_low, config.value_high, config.bins)
        self.live, self.target = (
            CriticEnsemble(
                state,
                action,
                config.critic_hidden,
                config.heads,
                use_layer_norm=config.layer_norm,
                outputs=self.head.outputs,
                activation=activation,
            )
            for _ in range(2)
        )
        self.live.initialize(generator)
        self.target.load_state_dict(self.live.state_dict())
        self.parameters, self._targets = list(self.live.parameters()), list(self.target.parameters())
        self.renew_optimizer()

    def renew_optimizer(self) -> None:
        """Forget the moments of the optimiser (PA-RL does where it goes online)."""
        self.optimizer = adam(self.parameters, self.config.critic_learning_rate)

    def values(self, state: Tensor, action: Tensor, subset: Tensor | None = None) -> Tensor:
        """Return live values (heads, batch)."""
        return self.head.value(self.live(state, action, subset))

    @torch.no_grad()
    def pessimistic(self, state: Tensor, action: Tensor) -> Tensor:
        """Return the minimum over a fresh random subset of target heads, shape (batch,)."""
        subset = random_subset(self.config.heads, self.config.subset, self.generator)
        return self.head.value(self.target(state, action, subset)).amin(dim=0)

    def actor_value(self, state: Tensor, action: Tensor) -> Tensor:
        """Return the live value that an actor climbs, shape (batch,)."""
        values = self.values(state, action)
        return values.amin(dim=0) if self.config.actor_value == "min" else values.mean(dim=0)

    def step(self, loss: Tensor) -> None:
        """Descend the loss, then move the targets."""
        self.optimizer.zero_grad()
        loss.backward(inputs=self.parameters)
        self.optimizer.step()
        polyak(self._targets, self.parameters, self.config.tau)

    def regress(self, batch: Transitions, target: Tensor, extra: Tensor | float = 0.0) -> dict[str, Tensor]:
        """Make one update of every head towards `target` (batch,), with `extra` added to the loss."""
        answers = self.live(batch.state, batch.action)
        loss = self.head.loss(answers, target)
        self.step(loss + extra)
        values = self.head.value(answers.detach())
        return {
            "critic/loss": loss.detach(),
            "critic/value": values.mean(),
            "critic/value_max": values.amax(),
            "critic/spread": values.std(dim=0).mean() if len(values) > 1 else torch.zeros(()),
            "critic/target": target.mean(),
        }

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name).state_dict() for name in ("live", "target", "optimizer")}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            getattr(self, name).load_state_dict(deepcopy(value))  # optimisers keep the tensors they are given


def adam(parameters: list[nn.Parameter], learning_rate: float) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=learning_rate, fused=True)


class EntropyActor:
    """A squashed Gaussian with its optimiser, and the temperature that holds its entropy."""

    def __init__(self, actor: SquashedGaussian, target_entropy: float, config: Any) -> None:
        self.actor = actor
        self.temperature = Temperature(target_entropy, config.initial_temperature)
        self._parameters = list(actor.parameters())
        self.optimizer = adam(self._parameters, config.actor_learning_rate)
        self.temperature_optimizer = adam(list(self.temperature.parameters()), config.temperature_learning_rate)

    def step(self, loss: Tensor, log_prob: Tensor) -> dict[str, Tensor]:
        """Descend the actor's loss, and move the temperature by the log densities (batch,) of its samples."""
        self.optimizer.zero_grad()
        loss.backward(inputs=self._parameters)
        self.optimizer.step()
        self.temperature_optimizer.zero_grad()
        self.temperature.loss(log_prob).backward()
        self.temperature_optimizer.step()
        return {
            "actor/loss": loss.detach(),
            "actor/entropy": -log_prob.detach().mean(),
            "actor/temperature": self.temperature(),
        }

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name).state_dict() for name in self._SAVED}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name in self._SAVED:
            getattr(self, name).load_state_dict(deepcopy(state[name]))

    _SAVED = ("actor", "temperature", "optimizer", "temperature_optimizer")


def make_actor(state: int, action: int, config: SACLearnerConfig) -> SquashedGaussian:
    """Return the actor of these settings; its weights are yet to be drawn or loaded."""
    return SquashedGaussian(
        state,
        action,
        config.actor_hidden,
        layer_norm=config.actor_layer_norm,
        log_std=(config.log_std_low, LOG_STD[1]),
        activation=config.activation,
    )


class SACLearner:
    """Actor, critics and temperature; everything random in it comes from its own generator.

    Args:
        state: width of a state.
        action: width of what the actor chooses.
        config: settings.
        seed: of the networks and of everything that is drawn.
        valued: width of what the critics value, where that is something else (the chunk that a choice of noise gives).
    """

    def __init__(
        self, state: int, action: int, config: SACLearnerConfig, *, seed: int, valued: int | None = None
    ) -> None:
        self.config = config
        self.generator = torch.Generator().manual_seed(seed)
        self.actor = make_actor(state, action, config)
        self.actor.initialize(self.generator, head_gain=config.actor_head_gain)
        self.critics = Critics(state, valued or action, config, self.generator, activation=config.activation)
        self.entropic = EntropyActor(self.actor, entropy_target(action, config.entropy_per_dimension), config)
        self.temperature = self.entropic.temperature

    @torch.no_grad()
    def act(self, state: Tensor) -> np.ndarray:
        """Sample an action for one state (1, state), shape (action,)."""
        return self.actor.sample(state, self.generator)[0][0].numpy()

    def update(self, batch: Transitions) -> dict[str, Tensor]:
        """Make one update of the critics on each slice, and as many of actor and temperature as `actor_batch` says."""
        slices, metrics = batch.slices(self.config.utd_ratio), {}
        for part in slices:
            metrics = self.update_critics(part)
            if self.config.actor_batch == "each":
                metrics |= self.update_actor(part)
        if self.config.actor_batch == "each":
            return metrics
        actor_batch = batch if self.config.actor_batch == "all" else slices[-1]
        return metrics | self.update_actor(actor_batch)

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        """Return y, shape (batch,)."""
        action, log_prob = self.actor.sample(batch.next_state, self.generator)
        value = self.critics.pessimistic(batch.next_state, action)
        if self.config.backup_entropy:
            value = value - self.temperature() * log_prob
        return torch.addcmul(batch.reward, batch.discount, value)

    def update_critics(self, batch: Transitions, extra: Tensor | float = 0.0) -> dict[str, Tensor]:
        """Make one update of every head; `extra` is added to the loss."""
        return self.critics.regress(batch, self.target(batch), extra)

    def update_actor(self, batch: Transitions) -> dict[str, Tensor]:
        """Make one update of the actor and of the temperature on these states."""
        action, log_prob = self.actor.sample(batch.state, self.generator)
        loss = (self.temperature() * log_prob - self.critics.actor_value(batch.state, action)).mean()
        return self.entropic.step(loss, log_prob)

    def state(self) -> dict[str, Any]:
        parts = {"critics": self.critics.state(), "entropic": self.entropic.state()}
        return parts | {"generator": self.generator.get_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        self.critics.restore(state["critics"])
        self.entropic.restore(state["entropic"])
