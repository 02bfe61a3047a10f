"""PA-RL: improve the base's actions by the critic, then teach them to the base (Mark et al. 2024).

    A(s): `samples` of the base, the `keep` best by the mean of all heads, each climbed by `grad_steps` of the value
    critic: y = r + gamma^m (1 - e) min over a random pair of Q'(s', argmax A(s'));  offline also Cal-QL's gap
    base: imitates one of A(s), drawn by softmax of the values; the stored action takes the place of the worst one kept

The base is never asked for a gradient, so it may be of any family.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies.action_choice import ActionChoice, ChoiceConfig, base_chunks, decisions_of
from policies.data.chunks import ChunkBatch
from policies.learners.conservative import Contrast, conservative_gap, joined, random_contrast
from policies.learners.expo import trainable
from policies.learners.sac import Critics, Transitions
from policies.learners.supervised import SupervisedLearner
from policies.sample_cache import SampleCache
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
        return ChoiceConfig(
            samples=self.samples,
            keep=self.keep,
            grad_steps=self.grad_steps,
            step_size=self.step_size,
            subset=0,
            decision_steps=steps,
            critic_hidden=self.critic_hidden,
            heads=self.heads,
            layer_norm=self.layer_norm,
            head=self.head,
            value_low=self.value_low,
            value_high=self.value_high,
            bins=self.bins,
        )


@dataclass(frozen=True)
class PARLBatch:
    """One update: of the critics where there are `transitions`, of the base where there is `imitation`."""

    transitions: Transitions | None = None
    imitation: ChunkBatch | None = None
    is_offline: bool = False
    ends_distillation: bool = False


class PARLLearner:
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
        self.config, self.sizes, self.steps = config, sizes, steps
        self.generator = torch.Generator().manual_seed(seed)
        self.imitation = SupervisedLearner(trainable(base, config.base_learning_rate, 0.0), seed)
        self.base = type(base)(base.spec, base.config, base.states, base.actions, self.imitation.policy.network)
        self.critics = Critics(*sizes, config, self.generator)
        self.choice = ActionChoice(config.choice(steps), self.critics.live, None)
        count = config.samples if base.noise_spec is not None else 1
        self.cache = SampleCache(rows, count, sizes[1])
        self.version, self.is_online = 0, False

    @torch.no_grad()
    def act(self, state: Tensor) -> np.ndarray:
        """Return the best optimised action for one state (1, state)."""
        return self.choice(self.base.network, state, self.generator).best()[0].numpy()

    @torch.no_grad()
    def base_decision(self, state: Tensor) -> np.ndarray:
        """Return one sample of the base for one state (1, state): what the warm-up executes."""
        return decisions_of(base_chunks(self.base.network, state, 1, self.generator)[0, 0], self.steps).numpy()

    def update(self, batch: PARLBatch) -> dict[str, Tensor]:
        """Update the critics or the base, whichever the batch is for."""
        if not batch.is_offline and not self.is_online:
            self.is_online = True
            self.critics.renew_optimizer()
        if batch.imitation is not None:
            return self.distill(batch.imitation, ends=batch.ends_distillation)
        assert batch.transitions is not None
        extra = self.gap(batch.transitions) if batch.is_offline else 0.0
        metrics = self.critics.regress(batch.transitions, self.target(batch.transitions), extra)
        return metrics | {
            "base/version": torch.tensor(float(self.version)),
            "cache/drawn": torch.tensor(self.cache.drawn),
        }

    def next_samples(self, batch: Transitions) -> Tensor:
        """Return base samples (batch, samples, decision) at the next states, drawn by the present base."""
        assert batch.key is not None

        def draw(states: Tensor) -> Tensor:
            chunks = base_chunks(self.base.network, states, self.config.samples, self.generator)
            return decisions_of(chunks, self.steps)

        return self.cache.get(batch.key.long(), batch.next_state, self.version, draw)

    def target(self, batch: Transitions) -> Tensor:
        """Return y, shape (batch,), with the best optimised action at the next state."""
        action = self.choice.among(batch.next_state, self.next_samples(batch), self.generator).best()
        value = self.critics.pessimistic(batch.next_state, action)
        return torch.addcmul(batch.reward, batch.discount, value)

    def gap(self, batch: Transitions) -> Tensor:
        """Return Cal-QL's weighted gap between random and base actions and the stored one."""
        count = self.config.contrast_samples
        random = random_contrast(len(batch), count, self.sizes[1], self.generator)
        own = decisions_of(base_chunks(self.base.network, batch.state, count, self.generator), self.steps)
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

    def state(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state() for name in ("critics", "imitation", "cache")}
        own = {"generator": self.generator.get_state(), "version": self.version, "is_online": self.is_online}
        return parts | own

    def restore(self, state: Mapping[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        self.version, self.is_online = state["version"], state["is_online"]
        for name in ("critics", "imitation", "cache"):
            getattr(self, name).restore(state[name])
