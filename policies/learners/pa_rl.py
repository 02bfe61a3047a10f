"""PA-RL: improve the base's actions by the critic, then teach them to the base (Mark et al. 2024).

    A(s): `samples` of the base, the `keep` best by the mean of all heads, each climbed by `grad_steps` of the value
    critic: y = r + gamma^m (1 - e) min over a random pair of Q'(s', argmax A(s'));  offline also Cal-QL's gap
    base: imitates one of A(s), drawn by softmax of the values; the stored action takes the place of the worst one kept

The base is never asked for a gradient, so it may be of any family.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from policies.action_choice import ChoiceConfig, base_chunks, decisions_of
from policies.data.chunks import ChunkBatch
from policies.learners.choosing import ChoosingLearner, trainable, with_network
from policies.learners.conservative import Contrast, conservative_gap, joined, random_contrast
from policies.learners.sac import Transitions
from policies.learners.supervised import SupervisedLearner
from policies.steerable import SteerablePolicy


@dataclass(frozen=True)
class PARLLearnerConfig:
    """Networks and updates; the defaults are the paper's code for states."""

    samples: int = 32
    keep: int = 10
    grad_steps: int = 10
    step_size: float = 3e-4  # normalised action units per unit of the value's slope
    softmax_temperature: float = 1.0  # in units of the value: it depends on the scale of the reward
    critic_hidden: tuple[int, ...] = (256, 256)
    heads: int = 10
    subset: int = 2
    layer_norm: bool = True
    tau: float = 0.005
    critic_learning_rate: float = 3e-4
    base_learning_rate: float = 5e-5
    conservative_weight: float = 0.005
    contrast_samples: int = 10
    actor_value: str = "mean"
    head: str = "mse"
    value_low: float = 0.0
    value_high: float = 1.0
    bins: int = 128

    def choice(self, steps: int) -> ChoiceConfig:
        """Return how actions are optimised."""
        return ChoiceConfig.of(self, subset=0, decision_steps=steps)


@dataclass(frozen=True)
class PARLBatch:
    """One update: of the critics where there are `transitions`, of the base where there is `imitation`."""

    transitions: Transitions | None = None
    imitation: ChunkBatch | None = None
    is_offline: bool = False
    ends_distillation: bool = False


class PARLLearner(ChoosingLearner):
    """Critics and base. `version` counts the rounds of distillation, and tells cached base samples apart."""

    def __init__(
        self,
        base: SteerablePolicy,
        sizes: tuple[int, int],
        steps: int,
        config: PARLLearnerConfig,
        *,
        rows: int,
        seed: int,
    ) -> None:
        self.config = config
        self.imitation = SupervisedLearner(trainable(base, config.base_learning_rate, 0.0), seed)
        own = with_network(base, self.imitation.policy.network)
        super().__init__(own, sizes, config.choice(steps), config, ranked_by="live", rows=rows, seed=seed)
        self.version, self.is_online = 0, False

    def update(self, batch: PARLBatch) -> dict[str, Tensor]:
        """Update the critics or the base, whichever the batch is for."""
        if not batch.is_offline and not self.is_online:
            self.is_online = True
            self.critics.renew_optimizer()
        if batch.imitation is not None:
            return self.distill(batch.imitation, ends=batch.ends_distillation)
        assert batch.transitions is not None
        extra = self.gap(batch.transitions) if batch.is_offline else 0.0
        metrics = self.critics.regress(batch.transitions, self.target(batch.transitions)[0], extra)
        return metrics | {
            "base/version": torch.tensor(float(self.version)),
            "cache/drawn": torch.tensor(self.cache.drawn),
        }

    def next_samples(self, batch: Transitions) -> Tensor:
        """Return base samples (batch, samples, decision) at the next states, drawn by the present base."""
        return self.kept_samples(batch, self.base.network, self.version)

    def gap(self, batch: Transitions) -> Tensor:
        """Return Cal-QL's weighted gap between random and base actions and the stored one."""
        count = self.config.contrast_samples
        random = random_contrast(len(batch), count, self.sizes[1], self.generator)
        own = self.draw(self.base.network, batch.state, count)
        shape = own.shape[:2]
        # A base of any family has no density to weigh by: its samples count like random ones.
        from_base = Contrast(own, random.log_prob[:, : shape[1]], torch.ones(shape[1], dtype=torch.bool))
        return self.config.conservative_weight * conservative_gap(self.critics, batch, joined(random, from_base))

    def distill(self, batch: ChunkBatch, *, ends: bool) -> dict[str, Tensor]:
        """Make one imitation step of the base towards optimised actions at the batch's states."""
        loss = self.imitation.update(self.improved(batch))["loss"]
        self.version += ends
        return {"base/loss": loss}

    def improved(self, batch: ChunkBatch) -> ChunkBatch:
        """Return the batch with its chunks replaced: optimised decisions, each continued by the chunk it came from."""
        chunks = base_chunks(self.base.network, batch.states, self.config.samples, self.generator)
        stored = decisions_of(batch.chunks, self.steps)
        found = self.choice.among(batch.states, decisions_of(chunks, self.steps), self.generator, stored=stored)
        index = found.draw(self.config.softmax_temperature, self.generator)
        rows = torch.arange(len(index))
        origin = found.origin[rows, index]
        whole = torch.cat([chunks, batch.chunks[:, None]], dim=1)[rows, origin].clone()
        whole[:, : self.steps] = found.pick(index).unflatten(-1, (self.steps, -1))
        is_stored = origin == chunks.shape[1]
        mask = torch.where(is_stored[:, None, None], batch.mask, torch.ones_like(batch.mask))
        return ChunkBatch(batch.states, whole, mask)

    def parts(self) -> dict[str, Any]:
        return super().parts() | {"imitation": self.imitation}

    def state(self) -> dict[str, Any]:
        return super().state() | {"version": self.version, "is_online": self.is_online}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.version, self.is_online = state["version"], state["is_online"]
