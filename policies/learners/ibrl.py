"""IBRL: the clone's action or the learned one, whichever the critics value more (Hu et al. 2023).

    Pi(s) = argmax over {mu_BC(s), mu(s) + e} of min over a random pair of Q',  e ~ N(0, sigma^2), clipped to learn
    y = r + gamma^m (1 - e) min Q'(s', Pi'(s')),  Pi' with the averaged actor
    actor: climb min over a random pair of live heads at mu(s) + e, with dropout

Noise is the actor's alone: what the clone proposes is executed as it is. The base is frozen, so its action at a stored
state is drawn once and kept.
"""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies.action_choice import ChoiceConfig
from policies.learners.action_optimizer import Candidates
from policies.learners.choosing import ChoosingLearner
from policies.learners.critics import random_subset
from policies.learners.sac import Transitions, adam
from policies.learners.supervised import SEEDS
from policies.network import polyak, seeded
from policies.steerable import SteerablePolicy
from robot.errors import ConfigError


@dataclass(frozen=True)
class IBRLLearnerConfig:
    """Networks and updates; the defaults are the released code's for robomimic states."""

    sigma: float = 0.1  # of the noise on the actor's own action, in normalised action units
    noise_clip: float = 0.3  # of that noise in the target and in the actor's loss
    softmax_temperature: float = 0.0  # of acting while it learns; 0: the more valued one
    actor_hidden: tuple[int, ...] = (1024, 1024, 1024)
    actor_dropout: float = 0.5
    critic_hidden: tuple[int, ...] = (1024, 1024, 1024)
    heads: int = 5
    subset: int = 2
    layer_norm: bool = True
    utd_ratio: int = 5
    tau: float = 0.01
    critic_learning_rate: float = 1e-4
    actor_learning_rate: float = 1e-4
    actor_value: str = "mean"
    head: str = "mse"
    value_low: float = 0.0
    value_high: float = 1.0
    bins: int = 101

    def __post_init__(self) -> None:
        amounts = (self.sigma, self.noise_clip, self.softmax_temperature)
        if min(amounts) < 0.0 or not 1 <= self.subset <= self.heads:
            raise ConfigError(
                f"sigma, noise_clip and softmax_temperature {amounts} must be >= 0, subset {self.subset} lie in "
                f"1..heads ({self.heads})"
            )

    def choice(self, steps: int) -> ChoiceConfig:
        """Return how the two actions are held against each other."""
        return ChoiceConfig.of(self, samples=2, keep=2, actor="candidate", decision_steps=steps)


class IBRLLearner(ChoosingLearner):
    """Frozen base, actor and critics."""

    def __init__(
        self,
        base: SteerablePolicy,
        sizes: tuple[int, int],
        steps: int,
        config: IBRLLearnerConfig,
        *,
        rows: int,
        seed: int,
    ) -> None:
        self.config = config
        super().__init__(base, sizes, config.choice(steps), config, ranked_by="target", rows=rows, seed=seed)
        self._parameters = list(self.actor.parameters())
        self.target_actor = deepcopy(self.actor).eval()
        self._target_parameters = list(self.target_actor.parameters())
        self.actor_optimizer = adam(self._parameters, config.actor_learning_rate)

    @torch.no_grad()
    def act(self, state: Tensor) -> np.ndarray:
        """Return the chosen action for one state (1, state): the clone's as it is, or the actor's with noise."""
        samples = self.draw(self.base.network, state)
        proposal = self.noisy(self.choice.proposal(state), math.inf)
        found = self.choice.among(state, samples, self.generator, proposal=proposal)
        heat = self.config.softmax_temperature
        action = found.sample(heat, self.generator) if heat else found.best()
        return action[0].numpy()

    def noisy(self, action: Tensor, clip: float) -> Tensor:
        """Return actions of the actor (batch, decision) with noise of at most `clip`, in the box."""
        noise = self.config.sigma * torch.randn(action.shape, generator=self.generator)
        return (action + noise.clamp(-clip, clip)).clamp(-1.0, 1.0)

    def answers(self, states: Tensor, samples: Tensor) -> Candidates:
        proposal = self.noisy(self.target_actor.mode(states), self.config.noise_clip)
        return self.choice.among(states, samples, self.generator, proposal=proposal)

    def update(self, batch: Transitions) -> dict[str, Tensor]:
        """Update the critics on each slice, then the actor on the last one."""
        metrics: dict[str, Tensor] = {}
        slices = batch.slices(self.config.utd_ratio)
        for part in slices:
            target, found = self.target(part)
            is_own = found.best_origin() == 1
            metrics = self.critics.regress(part, target) | {"choice/actor_share": is_own.float().mean()}
        return metrics | self.update_actor(slices[-1])

    def update_actor(self, batch: Transitions) -> dict[str, Tensor]:
        """Climb the minimum of a random pair of live heads at the actor's own action, noise and dropout on."""
        self.actor.train()
        with seeded(int(torch.randint(SEEDS, (), generator=self.generator))):  # of the dropout
            action = self.noisy(self.actor.mode(batch.state), self.config.noise_clip)
        subset = random_subset(self.config.heads, self.config.subset, self.generator)
        loss = -self.critics.values(batch.state, action, subset).amin(dim=0).mean()
        self.actor_optimizer.zero_grad()
        loss.backward(inputs=self._parameters)
        self.actor_optimizer.step()
        polyak(self._target_parameters, self._parameters, self.config.tau)
        return {"actor/loss": loss.detach()}

    def state(self) -> dict[str, Any]:
        return super().state() | {name: getattr(self, name).state_dict() for name in self._MODULES}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        for name in self._MODULES:
            getattr(self, name).load_state_dict(deepcopy(state[name]))

    _MODULES = ("actor", "target_actor", "actor_optimizer")
