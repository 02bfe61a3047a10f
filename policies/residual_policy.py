"""A frozen chunked base plus a small per-step correction (ResFiT): the pieces that act.

Normalised units: the residual's action limits map to [-1, 1]. The physical reach of a residual is
`scale * half`, with `half` widened by (1 + scale) so that a correction at the rim of the demonstrated range is heard.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from policies.checkpoint import PolicyContent, SavablePolicy, check_tensors, restore_policy
from policies.network import initialize, mlp
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import flatten, state_size
from robot.errors import ConfigError
from robot.policy import ActionChunk, Policy
from robot.types import Array

KIND = "resfit"
Values = TypeVar("Values", np.ndarray, Tensor)


def compose(base: Values, residual: Values, scale: float, noise: Values | float = 0.0) -> Values:
    """Return the normalised action clip(base + scale * residual + noise, -1, 1).

    The one place that scales and clips: used to act, to write the replay, in the target and in the actor's loss.
    `residual` is in [-1, 1]; `noise` is in normalised action units, not scaled.
    """
    return (base + scale * residual + noise).clip(-1.0, 1.0)


def normalized_base(limits: ActionLimits, base_action: np.ndarray) -> np.ndarray:
    return limits.normalize(base_action).clip(-1.0, 1.0)


def executed(limits: ActionLimits, base_action: Array, base: np.ndarray, action: np.ndarray) -> Array:
    """Return `action` in station units, as the base action plus the normalised difference.

    So a zero residual gives the base's own numbers bit for bit, whatever rounding the normaliser has.
    """
    return base_action + limits.half * (action - base)


class BaseQueue:
    """The base policy's running chunk: one action falls due per control step, the base is asked when none is left."""

    def __init__(self, base: Policy) -> None:
        self.base = base
        self._chunk = np.zeros((0, len(base.spec.action_names)))
        self._used = 0

    def reset(self) -> None:
        """Drop the chunk: at every start, after success, timeout and hand-back alike."""
        self.base.reset()
        self._chunk = self._chunk[:0]
        self._used = 0

    def pop(self, observation: Mapping[str, np.ndarray]) -> Array:
        """Return what is left of the chunk, shape (remaining, action_dim); its first row is due now."""
        if self._used >= min(len(self._chunk), self.base.spec.execution_horizon):
            self._chunk = np.asarray(self.base.act(observation).actions, np.float64)
            self._used = 0
        self._used += 1
        return self._chunk[self._used - 1 :]

    def state(self) -> dict[str, Any]:
        return {"chunk": self._chunk, "used": self._used}

    def restore(self, state: dict[str, Any]) -> None:
        self._chunk, self._used = state["chunk"], state["used"]


@dataclass(frozen=True)
class ResidualConfig:
    """What acting needs to know of the residual."""

    scale: float
    hold_steps: int = 3  # points of the chunk that one residual covers
    hidden: tuple[int, ...] = (256, 256)
    layer_norm: bool = True
    action_gain: float = 1.0  # of actions as inputs of the networks: a residual is a small part of their range

    def __post_init__(self) -> None:
        if not 0.0 <= self.scale <= 1.0 or self.hold_steps < 1:
            raise ConfigError(f"residual scale must lie in [0, 1] and hold_steps be >= 1: {self}")


class ResidualActor(nn.Module):
    """tanh MLP on (state, base action); its last layer starts at exactly zero, so the residual does too."""

    def __init__(self, state: int, action: int, config: ResidualConfig) -> None:
        super().__init__()
        self.gain = config.action_gain
        hidden, layer_norm = config.hidden, config.layer_norm
        self.body = mlp([state + action, *hidden, action], layer_norm=layer_norm)

    def initialize(self, generator: torch.Generator) -> None:
        initialize(self.body, generator)
        last = self.body[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)

    def forward(self, state: Tensor, base: Tensor) -> Tensor:
        """Return the residual in [-1, 1], before scaling."""
        return torch.tanh(self.body(torch.cat([state, self.gain * base], dim=-1)))

    @torch.inference_mode()
    def act(self, state: np.ndarray, base: np.ndarray) -> np.ndarray:
        """Answer for one normalised state and base action."""
        return self(torch.from_numpy(state), torch.from_numpy(base.astype(np.float32))).numpy()


class ResidualPolicy:
    """Base and residual behind the policy contract; asked at every control step (execution_horizon 1).

    Each answer is the rest of the base's chunk with the residual of the current observation on its first
    `hold_steps` points: where the next answer is late, the correction fades out and the base's plan goes on.
    The chunk gets shorter until the base is asked again.
    """

    def __init__(
        self,
        base: SavablePolicy,
        actor: ResidualActor,
        states: StateNormalizer,
        limits: ActionLimits,
        config: ResidualConfig,
    ) -> None:
        if base.spec.obs_horizon > 1:
            raise ConfigError(
                f"the base sees {base.spec.obs_horizon} observations; a residual is learned on bases that see one: "
                "train the base with obs_horizon=1"
            )
        self.base, self.actor, self.states, self.limits, self.config = base, actor, states, limits, config
        self.spec = replace(base.spec, execution_horizon=1, execution="receding")
        self.queue = BaseQueue(base)

    def reset(self) -> None:
        self.queue.reset()

    def act(self, observation: Mapping[str, np.ndarray]) -> ActionChunk:
        points = self.queue.pop(observation)
        state = self.states.normalize(flatten(observation, self.spec.observation_shapes))
        base = normalized_base(self.limits, points)
        residual = np.zeros_like(base)
        residual[: self.config.hold_steps] = self.actor.act(state, base[0])
        actions = executed(self.limits, points, base, compose(base, residual, self.config.scale))
        return ActionChunk(actions, 1.0 / self.spec.rate_hz, base_actions=points.copy())

    def content(self) -> PolicyContent:
        base = self.base.content()
        return PolicyContent(
            kind=KIND,
            config=asdict(self.config),
            spec=self.spec,
            tensors=dict(self.actor.state_dict()),
            statistics={"states": self.states.statistics(), "actions": self.limits.statistics()},
            parts={"base": base},
            metadata={"base_sha256": base.sha256},
        )


def restore(content: PolicyContent) -> ResidualPolicy:
    """Build the policy of a checkpoint, its base included."""
    config = ResidualConfig(**{**content.config, "hidden": tuple(content.config["hidden"])})
    sizes = state_size(content.spec.observation_shapes), len(content.spec.action_names)
    actor = ResidualActor(*sizes, config)
    check_tensors(dict(actor.state_dict()), content.tensors, "residual actor")
    actor.load_state_dict(content.tensors)
    return ResidualPolicy(
        restore_policy(content.parts["base"]),  # type: ignore[arg-type]
        actor,
        StateNormalizer.from_statistics(content.statistics.get("states", {})),
        ActionLimits.from_statistics(content.statistics.get("actions", {})),
        config,
    )
