"""EXPO: an expressive base, a Gaussian edit, and the argmax over both on the fly (Dong et al. 2025).

    Pi(s): a_1..a_N from the base; a_i + beta e_i, e_i ~ pi_e(.|s, a_i); then the one that a random pair values most
    y = r + gamma^m (1 - e) min over a second pair of Q'(s', Pi(s'));  no entropy in it
    base: imitation of every stored action, failures included
    edit: minimise alpha log pi_e(e|s, a) - mean_j Q_j(s, clip(a + beta e)) at stored actions a

The average of the base's weights acts, the live ones answer in the target. log pi_e and its target entropy are both of
the scaled edit (`entropy_target`), where the paper's code scales one of them only.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from policies.action_choice import ChoiceConfig
from policies.data.chunks import ChunkBatch
from policies.learners.choosing import ChoosingLearner, trainable, with_network
from policies.learners.sac import EntropyActor, Transitions
from policies.learners.supervised import SEEDS, SupervisedLearner
from policies.learners.temperature import entropy_target, scaled_log_prob
from policies.network import seeded
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
        return ChoiceConfig.of(self, keep=self.samples, actor="edit", decision_steps=steps)


@dataclass(frozen=True)
class EXPOBatch:
    """Transitions of one environment step, for the learner to slice, and what the base imitates."""

    transitions: Transitions
    imitation: ChunkBatch


class EXPOLearner(ChoosingLearner):
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
        self.config = config
        self.imitation = SupervisedLearner(trainable(base, config.base_learning_rate, config.base_average_power), seed)
        averaged = with_network(base, self.imitation.policy.network)  # the averaged weights propose
        super().__init__(averaged, sizes, config.choice(steps), config, ranked_by="target", rows=rows, seed=seed)
        target = entropy_target(sizes[1], config.entropy_per_dimension, config.edit_scale)
        self.entropic = EntropyActor(self.actor, target, config)
        self.temperature = self.entropic.temperature

    def update(self, batch: EXPOBatch) -> dict[str, Tensor]:
        """Update the critics on each slice, then the base, the edit and the temperature on the last one."""
        metrics: dict[str, Tensor] = {}
        slices = batch.transitions.slices(self.config.utd_ratio)
        for part in slices:
            target, found = self.target(part)
            metrics = self.critics.regress(part, target) | {"choice/edited_share": found.edited_share()}
        metrics |= {"base/loss": self.imitation.update(batch.imitation)["loss"]}
        return metrics | self.update_edit(slices[-1])

    def next_samples(self, batch: Transitions) -> Tensor:
        """Return samples (batch, samples, decision) of the live base at the next states, fresh every `sample_every`."""
        if self.config.sample_every == 1:
            return self.draw(self.imitation.live, batch.next_state)
        return self.kept_samples(batch, self.imitation.live, self.imitation.updates // self.config.sample_every)

    def update_edit(self, batch: Transitions) -> dict[str, Tensor]:
        """Make one update of the edit and of the temperature at the batch's stored actions."""
        self.actor.train()
        with seeded(int(torch.randint(SEEDS, (), generator=self.generator))):  # of the dropout
            edit, log_prob = self.actor.sample(torch.cat([batch.state, batch.action], dim=-1), self.generator)
        log_prob = scaled_log_prob(log_prob, self.sizes[1], self.config.edit_scale)
        action = (batch.action + self.config.edit_scale * edit).clamp(-1.0, 1.0)
        loss = (self.temperature() * log_prob - self.critics.actor_value(batch.state, action)).mean()
        return self.entropic.step(loss, log_prob) | {"edit/size": edit.detach().abs().mean()}

    def parts(self) -> dict[str, Any]:
        return super().parts() | {"entropic": self.entropic, "imitation": self.imitation}
