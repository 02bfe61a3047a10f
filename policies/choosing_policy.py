"""A base, and a critic that chooses among its samples, behind the policy contract (EXPO, PA-RL, IBRL)."""

import zlib
from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np
import torch

from policies.action_choice import ActionChoice, ChoiceConfig
from policies.checkpoint import PolicyContent, check_tensors, restore_policy
from policies.observations import flatten, state_size
from policies.presets import with_tuples
from policies.steerable import SteerablePolicy
from robot.errors import CheckpointMismatch
from robot.policy import ActionChunk, Policy


class ChoosingPolicy:
    """Answers with the best of the base's samples and of their corrections.

    What is drawn for an answer depends on the observation and on how often it was asked since the reset, so two runs of
    one start agree in any process.
    """

    def __init__(self, kind: str, base: SteerablePolicy, choice: ActionChoice) -> None:
        self.kind, self.base, self.choice = kind, base, choice
        steps = choice.config.decision_steps
        self.spec = replace(base.spec, action_horizon=steps, execution_horizon=steps, execution="receding")
        self._asked = 0
        self._generator = torch.Generator()

    def reset(self) -> None:
        """Begin an episode."""
        self.base.reset()
        self._asked = 0

    def act(self, observation: Mapping[str, np.ndarray]) -> ActionChunk:
        raw = flatten(observation, self.spec.observation_shapes)
        self._generator.manual_seed(zlib.crc32(raw.data, self._asked))
        self._asked += 1
        states = torch.from_numpy(self.base.states.normalize(raw))[None]
        decision = self.choice(self.base.network, states, self._generator).best()
        chunk = decision.reshape(self.spec.action_horizon, -1)
        return ActionChunk(self.base.postprocess(chunk), 1.0 / self.spec.rate_hz)

    def content(self) -> PolicyContent:
        base = self.base.content()
        return PolicyContent(
            kind=self.kind,
            config=asdict(self.choice.config),
            spec=self.spec,
            tensors=self.choice.tensors(),
            statistics={},
            parts={"base": base},
            metadata={"base_sha256": base.sha256},
        )


def restore(content: PolicyContent) -> ChoosingPolicy:
    """Build the policy of a checkpoint, its base included."""
    config = ChoiceConfig(**with_tuples(content.config))
    base = steerable(restore_policy(content.parts["base"]), content.kind)
    sizes = sizes_of(base, config.decision_steps)
    choice = ActionChoice(config, config.make_critic(*sizes), config.make_actor(*sizes))
    check_tensors(choice.tensors(), content.tensors, f"critic and actor of '{content.kind}'")
    choice.load(content.tensors)
    return ChoosingPolicy(content.kind, base, choice)


def sizes_of(base: SteerablePolicy, steps: int) -> tuple[int, int]:
    """Return the widths of a state and of a decision."""
    return state_size(base.spec.observation_shapes), len(base.spec.action_names) * steps


def steerable(base: Policy, recipe: str, steps: int = 1) -> SteerablePolicy:
    """Return the base as one whose network can be asked for samples; CheckpointMismatch where it cannot."""
    if not isinstance(base, SteerablePolicy):
        raise CheckpointMismatch(
            f"{recipe} draws samples from the base's network, and a {type(base).__name__} shows none: give a bc, act, "
            "diffusion or flow policy"
        )
    seen = getattr(base.spec, "obs_horizon", 1)
    if seen != 1:
        raise CheckpointMismatch(f"{recipe} learns from one observation at a time, this base sees {seen}: give another")
    if base.spec.action_horizon < steps:
        raise CheckpointMismatch(
            f"decisions of {steps} steps need a base that answers as many, this one answers {base.spec.action_horizon}"
        )
    return base
