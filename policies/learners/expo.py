"""EXPO: an expressive base, a Gaussian edit, and the argmax over both on the fly (Dong et al. 2025).

    Pi(s): a_1..a_N from the base; a_i + beta e_i, e_i ~ pi_e(.|s, a_i); then the one that a random pair values most
    y = r + gamma^m (1 - e) min over a second pair of Q'(s', Pi(s'));  no entropy in it
    base: imitation of every stored action, failures included
    edit: minimise alpha log pi_e(e|s, a) - mean_j Q_j(s, clip(a + beta e)) at stored actions a

The average of the base's weights acts, the live ones answer in the target. log pi_e and its target entropy are both of
the scaled edit (`entropy_target`), where the paper's code scales one of them only.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies.action_choice import ActionChoice, ChoiceConfig, base_chunks, decisions_of
from policies.data.chunks import ChunkBatch
from policies.learners.sac import Critics, EntropyActor, Transitions
from policies.learners.squashed_gaussian import SquashedGaussian
from policies.learners.supervised import SEEDS, SupervisedLearner
from policies.learners.temperature import entropy_target, scaled_log_prob
from policies.network import seeded
from policies.sample_cache import SampleCache
from policies.steerable import SteerablePolicy


@dataclass(frozen=True)
class EXPOLearnerConfig:
    """Networks and updates; the defaults are the paper's code for states, robomimic."""

    samples: int = 8
    edit_scale: float = 0.05
    actor_hidden: tuple[int, ...] = (256, 256, 256)
    actor_dropout: float = 0.0
    critic_hidden: tuple[int, ...] = (256, 256, 256)
    heads: int = 10
    subset: int = 2
    layer_norm: bool = True
    utd_ratio: int = 20
    tau: float = 0.005
    critic_learning_rate: float = 3e-4
    actor_learning_rate: float = 3e-4
    temperature_learning_rate: float = 3e-4
    base_learning_rate: float = 3e-4
    base_average_power: float = 0.75
    sample_every: int = 1  # updates of the base that its samples at one next state are used for
    entropy_per_dimension: float = -0.5
    initial_temperature: float = 1.0
    actor_value: str = "mean"
    head: str = "mse"
    value_low: float = 0.0
    value_high: float = 1.0
    bins: int = 101

    def choice(self, steps: int) -> ChoiceConfig:
        """Return how the policy on the fly chooses: every sample and an edit of each."""
        return ChoiceConfig(
            samples=self.samples,
            keep=self.samples,
            actor="edit",
            edit_scale=self.edit_scale,
            subset=self.subset,
            decision_steps=steps,
            actor_hidden=self.actor_hidden,
            actor_dropout=self.actor_dropout,
            critic_hidden=self.critic_hidden,
            heads=self.heads,
            layer_norm=self.layer_norm,
            head=self.head,
            value_low=self.value_low,
            value_high=self.value_high,
            bins=self.bins,
        )


@dataclass(frozen=True)
class EXPOBatch:
    """Transitions of one environment step, for the learner to slice, and what the base imitates."""

    transitions: Transitions
    imitation: ChunkBatch


def trainable(base: SteerablePolicy, learning_rate: float, average_power: float) -> SteerablePolicy:
    """Return a copy of the base that is trained at a constant rate on this machine's processor."""
    config = replace(
        base.config,
        learning_rate=learning_rate,
        warmup_steps=0,
        cosine=False,
        average_power=average_power,
        device="cpu",
        compiled=False,
        precision="float32",
    )
    return type(base)(base.spec, config, base.states, base.actions, deepcopy(base.network))


class EXPOLearner:
    """Base, edit, critics and temperature."""

    def __init__(
        self,
        base: SteerablePolicy,
        sizes: tuple[int, int],
        steps: int,
        config: EXPOLearnerConfig,
        *,
        rows: int,
        seed: int,
    ) -> None:
        self.config, self.sizes = config, sizes
        self.generator = torch.Generator().manual_seed(seed)
        self.imitation = SupervisedLearner(trainable(base, config.base_learning_rate, config.base_average_power), seed)
        # What is saved is the base as it was configured, with the averaged weights.
        self.base = type(base)(base.spec, base.config, base.states, base.actions, self.imitation.policy.network)
        choice = config.choice(steps)
        actor = choice.make_actor(*sizes)
        assert actor is not None
        self.actor: SquashedGaussian = actor
        self.actor.initialize(self.generator)
        self.critics = Critics(*sizes, config, self.generator)
        self.choice = ActionChoice(choice, self.critics.target, self.actor)
        count = config.samples if base.noise_spec is not None else 1
        self.cache = SampleCache(rows, count, sizes[1])
        target = entropy_target(sizes[1], config.entropy_per_dimension, config.edit_scale)
        self.entropic = EntropyActor(self.actor, target, config)
        self.temperature = self.entropic.temperature

    @torch.no_grad()
    def act(self, state: Tensor) -> np.ndarray:
        """Choose a decision for one state (1, state): the averaged base proposes."""
        return self.choice(self.base.network, state, self.generator).best()[0].numpy()

    @torch.no_grad()
    def base_decision(self, state: Tensor) -> np.ndarray:
        """Return one sample of the averaged base for one state (1, state): what the warm-up executes."""
        chunk = base_chunks(self.base.network, state, 1, self.generator)[0, 0]
        return decisions_of(chunk, self.choice.config.decision_steps).numpy()

    def update(self, batch: EXPOBatch) -> dict[str, Tensor]:
        """Update the critics on each slice, then the base, the edit and the temperature on the last one."""
        metrics: dict[str, Tensor] = {}
        slices = batch.transitions.slices(self.config.utd_ratio)
        for part in slices:
            target, chosen = self.target(part)
            metrics = self.critics.regress(part, target) | chosen
        metrics |= {"base/loss": self.imitation.update(batch.imitation)["loss"]}
        return metrics | self.update_edit(slices[-1])

    @torch.no_grad()
    def target(self, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        """Return y (batch,): one random pair of target heads chooses the next action, another one values it."""
        found = self.choice.among(batch.next_state, self.next_samples(batch), self.generator)
        value = self.critics.pessimistic(batch.next_state, found.best())
        return torch.addcmul(batch.reward, batch.discount, value), {"choice/edited_share": found.edited_share()}

    def next_samples(self, batch: Transitions) -> Tensor:
        """Return samples (batch, samples, decision) of the live base at the next states, fresh every `sample_every`."""
        assert batch.key is not None

        def draw(states: Tensor) -> Tensor:
            chunks = base_chunks(self.imitation.live, states, self.config.samples, self.generator)
            return decisions_of(chunks, self.choice.config.decision_steps)

        if self.config.sample_every == 1:
            return draw(batch.next_state)
        version = self.imitation.updates // self.config.sample_every
        return self.cache.get(batch.key.long(), batch.next_state, version, draw)

    def update_edit(self, batch: Transitions) -> dict[str, Tensor]:
        """Make one update of the edit and of the temperature at the batch's stored actions."""
        self.actor.train()
        with seeded(int(torch.randint(SEEDS, (), generator=self.generator))):  # of the dropout
            edit, log_prob = self.actor.sample(torch.cat([batch.state, batch.action], dim=-1), self.generator)
        log_prob = scaled_log_prob(log_prob, self.sizes[1], self.config.edit_scale)
        action = (batch.action + self.config.edit_scale * edit).clamp(-1.0, 1.0)
        loss = (self.temperature() * log_prob - self.critics.actor_value(batch.state, action)).mean()
        return self.entropic.step(loss, log_prob) | {"edit/size": edit.detach().abs().mean()}

    def state(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state() for name in ("critics", "entropic", "imitation", "cache")}
        return parts | {"generator": self.generator.get_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        for name in ("critics", "entropic", "imitation", "cache"):
            getattr(self, name).restore(state[name])
