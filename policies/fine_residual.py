"""A residual whose actor and critics see waves of the state: what learns it, and the policy that it becomes."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from policies.checkpoint import PolicyContent, SavablePolicy, check_tensors, restore_policy
from policies.learners.critics import CriticEnsemble
from policies.learners.residual import Batch, ResidualLearner, ResidualLearnerConfig
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import state_size
from policies.presets import with_tuples
from policies.residual_policy import ResidualActor, ResidualConfig, ResidualPolicy
from policies.state_waves import waves, waves_size
from robot.errors import ConfigError

KIND = "resfit_fine"


@dataclass(frozen=True)
class FineConfig:
    """How finely states are told apart, and what values may be."""

    frequencies: tuple[float, ...] = (2.0, 4.0, 8.0)  # radians per standard deviation of the state
    value_range: tuple[float, float] | None = (0.0, 1.0)  # of the targets; None where rewards are not one 1 at the end
    critic_output_gain: float = 0.01  # of the last layer's first weights: values start near 0 everywhere

    def __post_init__(self) -> None:
        if self.value_range is not None and self.value_range[0] >= self.value_range[1]:
            raise ConfigError(f"value_range is {self.value_range}, its first value must be below its second")
        if self.critic_output_gain < 0.0 or any(k <= 0.0 for k in self.frequencies):
            raise ConfigError(f"frequencies must be > 0 and critic_output_gain >= 0, got {self}")


class FineActor(ResidualActor):
    """A residual actor that sees the waves of its state."""

    def __init__(self, state: int, action: int, config: ResidualConfig, frequencies: Sequence[float]) -> None:
        super().__init__(waves_size(state, frequencies), action, config)
        self.frequencies = tuple(frequencies)

    def forward(self, state: Tensor, base: Tensor) -> Tensor:
        """Return the residual in [-1, 1], before scaling."""
        return super().forward(waves(state, self.frequencies), base)


class FineCritics(CriticEnsemble):
    """A critic ensemble that sees the waves of its state; without frequencies, a plain one."""

    def __init__(
        self,
        state: int,
        action: int,
        hidden: Sequence[int],
        heads: int,
        *,
        frequencies: Sequence[float],
        use_layer_norm: bool = True,
        action_gain: float = 1.0,
    ) -> None:
        width = waves_size(state, frequencies)
        super().__init__(width, action, hidden, heads, use_layer_norm=use_layer_norm, action_gain=action_gain)
        self.frequencies = tuple(frequencies)

    def forward(self, state: Tensor, action: Tensor, subset: Tensor | None = None) -> Tensor:
        """Return values, shape (heads or len(subset), batch)."""
        return super().forward(waves(state, self.frequencies), action, subset)


class FineResidualLearner(ResidualLearner):
    """ResFiT's learner with networks that see waves, targets in a known range and values that start near zero."""

    def __init__(
        self,
        state: int,
        action: int,
        residual: ResidualConfig,
        config: ResidualLearnerConfig,
        *,
        fine: FineConfig,
        seed: int,
    ) -> None:
        super().__init__(state, action, residual, config, seed=seed)
        self.fine = fine
        self.actor: FineActor = FineActor(state, action, residual, fine.frequencies)
        self.critic = FineCritics(
            state,
            action,
            config.critic_hidden,
            config.heads,
            frequencies=fine.frequencies,
            use_layer_norm=config.layer_norm,
            action_gain=residual.action_gain,
        )
        self.actor.initialize(self.generator)
        self.critic.initialize(self.generator)
        self.critic.weights[-1].data.mul_(fine.critic_output_gain)
        self.target_actor, self.target_critic = deepcopy(self.actor), deepcopy(self.critic)
        self._critic_parameters = list(self.critic.parameters())
        self._actor_parameters = list(self.actor.parameters())
        self.critic_optimizer = self._optimizer(self._critic_parameters, config.critic_learning_rate)
        self.actor_optimizer = self._optimizer(self._actor_parameters, config.actor_learning_rate)

    @torch.no_grad()
    def target(self, batch: Batch) -> Tensor:
        """Return y (residual spec, sections 2 and 3), inside the range of values; shape (batch,)."""
        target = super().target(batch)
        return target if self.fine.value_range is None else target.clamp(*self.fine.value_range)


class FinePolicy(ResidualPolicy):
    """Base and fine residual behind the policy contract."""

    def __init__(
        self,
        base: SavablePolicy,
        actor: FineActor,
        states: StateNormalizer,
        limits: ActionLimits,
        config: ResidualConfig,
    ) -> None:
        super().__init__(base, actor, states, limits, config)
        self.frequencies = actor.frequencies

    def content(self) -> PolicyContent:
        content = super().content()
        return replace(content, kind=KIND, config={"residual": asdict(self.config), "frequencies": self.frequencies})


def restore(content: PolicyContent) -> FinePolicy:
    """Build the policy of a checkpoint, its base included."""
    config = ResidualConfig(**with_tuples(content.config["residual"]))
    sizes = state_size(content.spec.observation_shapes), len(content.spec.action_names)
    actor = FineActor(*sizes, config, content.config["frequencies"])
    check_tensors(dict(actor.state_dict()), content.tensors, "fine residual actor")
    actor.load_state_dict(content.tensors)
    return FinePolicy(
        restore_policy(content.parts["base"]),  # type: ignore[arg-type]
        actor,
        StateNormalizer.from_statistics(content.statistics.get("states", {})),
        ActionLimits.from_statistics(content.statistics.get("actions", {})),
        config,
    )
