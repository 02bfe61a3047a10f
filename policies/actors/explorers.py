"""What acts in an actor: collectors of the recipes, with a copy of the network that the learner trains."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from policies.actors.contract import Parameters
from policies.checkpoint import PolicyContent, restore_policy
from policies.collection import ResidualCollector
from policies.decisions import DecisionCollector, Decisions
from policies.evaluation import World, build_world
from policies.learners.sac import SACLearnerConfig, make_actor
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import Shapes, state_size
from policies.recipes.resfit import ResFiTConfig
from policies.replay import Transition
from policies.residual_policy import ResidualActor
from robot.worlds import make_env


@dataclass(frozen=True)
class GaussianTask:
    """Decisions of a squashed Gaussian, uniform ones in the warm-up: SAC and what is built on it."""

    world: World
    shapes: Shapes
    states: StateNormalizer
    limits: ActionLimits
    decisions: Decisions
    learner: SACLearnerConfig

    def __call__(self, seed: int) -> "GaussianExplorer":
        return GaussianExplorer(self, seed)


class GaussianExplorer:
    """Samples from the actor of its last order."""

    def __init__(self, task: GaussianTask, seed: int) -> None:
        env = make_env(task.world) if isinstance(task.world, str) else task.world()
        self.collector = DecisionCollector(env, task.shapes, task.states, task.limits, task.decisions, seed)
        self.width = len(task.limits.half) * task.decisions.steps
        self.actor = make_actor(state_size(task.shapes), self.width, task.learner)
        self.rng, self.generator = np.random.default_rng([seed, 1]), torch.Generator().manual_seed(seed)

    def load(self, parameters: Parameters) -> None:
        load_parameters(self.actor, parameters)

    @torch.no_grad()
    def step(self, *, explores: bool) -> list[Transition]:
        if explores:
            return self.collector.step(self.rng.uniform(-1.0, 1.0, self.width))
        state = torch.from_numpy(self.collector.state_now)[None]
        return self.collector.step(self.actor.sample(state, self.generator)[0][0].numpy())


@dataclass(frozen=True)
class ResidualTask:
    """A frozen base with noise alone in the warm-up, with the residual actor and noise after it: ResFiT."""

    world: World
    base: PolicyContent
    states: StateNormalizer
    limits: ActionLimits
    config: ResFiTConfig

    def __call__(self, seed: int) -> "ResidualExplorer":
        return ResidualExplorer(self, seed)


class ResidualExplorer:
    """Adds the residual of its last order to the base's actions."""

    def __init__(self, task: ResidualTask, seed: int) -> None:
        self.config = config = task.config
        base: Any = restore_policy(task.base)
        self.collector = ResidualCollector(
            build_world(task.world, base.spec),
            base,
            task.states,
            task.limits,
            config.window(),
            scale=config.residual_scale,
            seed=seed,
        )
        self.width = len(task.limits.half)
        self.actor = ResidualActor(state_size(base.spec.observation_shapes), self.width, config.residual())
        self.rng = np.random.default_rng([seed, 1])

    def load(self, parameters: Parameters) -> None:
        load_parameters(self.actor, parameters)

    def step(self, *, explores: bool) -> list[Transition]:
        config = self.config
        if explores:
            reach = config.warmup_noise
            return self.collector.step(np.zeros(self.width), self.rng.uniform(-reach, reach, self.width))
        noise = np.clip(config.sigma * self.rng.standard_normal(self.width), -config.noise_clip, config.noise_clip)
        return self.collector.step(self.collector.act(self.actor), noise)


def parameters_of(network: nn.Module) -> Parameters:
    """Return a copy of what a network has learned, to be sent."""
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}


def load_parameters(network: nn.Module, parameters: Parameters) -> None:
    network.load_state_dict({name: torch.tensor(value) for name, value in parameters.items()})
