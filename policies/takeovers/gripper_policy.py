"""What HIL-SERL leaves behind: a Gaussian actor for the motion, a critic that decides about the gripper."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from policies.actor_policy import ActorConfig
from policies.checkpoint import PolicyContent, check_tensors
from policies.learners.squashed_gaussian import SquashedGaussian
from policies.network import mlp
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import flatten, state_size
from policies.takeovers.relative import TCP, RelativeFrames
from robot.policy import ActionChunk, PolicySpec
from robot.types import Array


@dataclass(frozen=True)
class GripperActorConfig(ActorConfig):
    """What acting needs to know of actor and gripper critic; no `gripper_hidden`: there is no gripper."""

    gripper_hidden: tuple[int, ...] = ()
    first_command: float = 0.0  # of the gripper, until it is decided about
    places: tuple[str, ...] = ()  # fields seen in relative frames; none: the world's own frame


class GripperActorPolicy:
    """Acts without noise: the actor's mean, and the best of close, stay and open; stay repeats the last command."""

    def __init__(
        self,
        kind: str,
        spec: PolicySpec,
        networks: nn.ModuleDict,
        states: StateNormalizer,
        limits: ActionLimits,
        config: GripperActorConfig,
    ) -> None:
        self.kind, self.spec, self.networks = kind, spec, networks
        self.states, self.limits, self.config = states, limits, config
        self._frames = RelativeFrames(config.places) if config.places else None
        self.reset()

    def reset(self) -> None:
        """Begin an episode: the gripper is as the demonstrations began, places are seen from where the tcp is next."""
        self._gripper = self.config.first_command
        self._start: Array | None = None

    @torch.inference_mode()
    def act(self, observation: Mapping[str, np.ndarray]) -> ActionChunk:
        seen = self._seen(observation)
        state = torch.from_numpy(self.states.normalize(flatten(seen, self.spec.observation_shapes)))[None]
        actor = self.networks["actor"]
        assert isinstance(actor, SquashedGaussian)
        action = actor.mode(state)[0].numpy().astype(np.float64)
        if "gripper" in self.networks:
            decision = int(self.networks["gripper"](state).argmax()) - 1
            self._gripper = float(decision) if decision else self._gripper
            action = np.append(action, self._gripper)
        action = self.limits.denormalize(action)
        if self._frames is not None:
            action = self._frames.to_base(action, observation[TCP])
        return ActionChunk(action[None], 1.0 / self.spec.rate_hz)

    def _seen(self, observation: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        if self._frames is None:
            return observation
        self._start = observation[TCP] if self._start is None else self._start
        return self._frames.seen(observation, self._start)

    def content(self) -> PolicyContent:
        return PolicyContent(
            kind=self.kind,
            config=asdict(self.config),
            spec=self.spec,
            tensors=dict(self.networks.state_dict()),
            statistics={"states": self.states.statistics(), "actions": self.limits.statistics()},
        )

    @classmethod
    def restore(cls, content: PolicyContent) -> "GripperActorPolicy":
        """Build the policy of a checkpoint from the checkpoint alone."""
        lists = {
            name: tuple(content.config[name])
            for name in ("hidden", "gripper_hidden", "places")
            if name in content.config
        }
        config = GripperActorConfig(**{**content.config, **lists})
        state, action = state_size(content.spec.observation_shapes), len(content.spec.action_names)
        networks = make_networks(state, action, config)
        check_tensors(dict(networks.state_dict()), content.tensors, "actor and gripper critic")
        networks.load_state_dict(content.tensors)
        return cls(
            content.kind,
            content.spec,
            networks,
            StateNormalizer.from_statistics(content.statistics.get("states", {})),
            ActionLimits.from_statistics(content.statistics.get("actions", {})),
            config,
        )


def make_networks(state: int, action: int, config: GripperActorConfig) -> nn.ModuleDict:
    """Return actor and, where there is a gripper, its critic, untrained."""
    parts: dict[str, nn.Module] = {}
    motion = action - bool(config.gripper_hidden)
    parts["actor"] = SquashedGaussian(
        state, motion, config.hidden, layer_norm=config.layer_norm, activation=config.activation
    )
    if config.gripper_hidden:
        parts["gripper"] = mlp([state, *config.gripper_hidden, 3], layer_norm=True)
    return nn.ModuleDict(parts)
