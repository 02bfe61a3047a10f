"""A squashed Gaussian actor behind the policy contract: what SAC, RLPD and WSRL leave behind."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch

from policies.checkpoint import PolicyContent, check_tensors
from policies.learners.squashed_gaussian import SquashedGaussian
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import flatten, state_size
from robot.policy import ActionChunk, PolicySpec


@dataclass(frozen=True)
class ActorConfig:
    """What acting needs to know of the actor."""

    hidden: tuple[int, ...] = (256, 256)
    layer_norm: bool = False
    activation: str = "relu"


class ActorPolicy:
    """Acts without noise: tanh of the actor's mean. A decision of several steps is answered as a chunk."""

    def __init__(
        self,
        kind: str,
        spec: PolicySpec,
        actor: SquashedGaussian,
        states: StateNormalizer,
        limits: ActionLimits,
        config: ActorConfig,
    ) -> None:
        self.kind, self.spec, self.actor = kind, spec, actor
        self.states, self.limits, self.config = states, limits, config

    def reset(self) -> None:
        """Begin an episode: nothing is remembered from one answer to the next."""

    @torch.inference_mode()
    def act(self, observation: Mapping[str, np.ndarray]) -> ActionChunk:
        state = self.states.normalize(flatten(observation, self.spec.observation_shapes))
        chunk = self.actor.mode(torch.from_numpy(state)[None]).reshape(self.spec.action_horizon, -1)
        return ActionChunk(self.limits.denormalize(chunk.numpy().astype(np.float64)), 1.0 / self.spec.rate_hz)

    def content(self) -> PolicyContent:
        return PolicyContent(
            kind=self.kind,
            config=asdict(self.config),
            spec=self.spec,
            tensors=dict(self.actor.state_dict()),
            statistics={"states": self.states.statistics(), "actions": self.limits.statistics()},
        )

    @classmethod
    def restore(cls, content: PolicyContent) -> "ActorPolicy":
        """Build the policy of a checkpoint from the checkpoint alone."""
        config = ActorConfig(**{**content.config, "hidden": tuple(content.config["hidden"])})
        spec = content.spec
        sizes = state_size(spec.observation_shapes), len(spec.action_names) * spec.action_horizon
        actor = SquashedGaussian(*sizes, config.hidden, layer_norm=config.layer_norm, activation=config.activation)
        check_tensors(dict(actor.state_dict()), content.tensors, "actor")
        actor.load_state_dict(content.tensors)
        return cls(
            content.kind,
            spec,
            actor,
            StateNormalizer.from_statistics(content.statistics.get("states", {})),
            ActionLimits.from_statistics(content.statistics.get("actions", {})),
            config,
        )
