"""The learners that choose by their critics among samples of a base: what EXPO, IBRL and PA-RL have the same of.

    y = r + gamma^m (1 - e) min over a random pair of Q'(s', Pi(s')),  Pi(s) the choice among the base's samples at s

They differ in who proposes beside the base, in which base answers at the next state, and in what is trained.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies.action_choice import ActionChoice, ChoiceConfig, base_chunks, decisions_of
from policies.learners.action_optimizer import Candidates
from policies.learners.offline import shrink_head
from policies.learners.sac import Critics, Transitions
from policies.learners.squashed_gaussian import SquashedGaussian
from policies.sample_cache import SampleCache
from policies.steerable import SteerablePolicy


class ChoosingLearner(ABC):
    """Critics, the choice by them, and samples of the base kept per row of the replay.

    Args:
        base: proposes; its normalised units are those of every action here.
        sizes: widths of a state and of a decision.
        choice: how a decision is chosen; with an actor in it that actor is made here.
        config: the learner's own settings.
        ranked_by: the ensemble that ranks candidates, `live` or `target`.
        rows: how many keys a batch may hold (`OnlineSource.rows_kept`).
        seed: of the networks and of everything that is drawn.
    """

    def __init__(
        self,
        base: SteerablePolicy,
        sizes: tuple[int, int],
        choice: ChoiceConfig,
        config: Any,
        *,
        ranked_by: str,
        rows: int,
        seed: int,
    ) -> None:
        self.base, self.sizes, self.steps = base, sizes, choice.decision_steps
        self.generator = torch.Generator().manual_seed(seed)
        actor = choice.make_actor(*sizes)
        if actor is not None:
            actor.initialize(self.generator)
        self.critics = Critics(*sizes, config, self.generator)
        shrink_head(self.critics)  # who chooses by fresh values of +-0.5 chooses at random, and the base is left for it
        self.choice = ActionChoice(choice, getattr(self.critics, ranked_by), actor)
        # A base that cannot be steered has one answer; a proposing actor takes the place of one sample.
        self._samples = choice.samples - (choice.actor == "candidate") if base.noise_spec is not None else 1
        self.cache = SampleCache(rows, self._samples, sizes[1])

    @property
    def actor(self) -> SquashedGaussian:
        """The actor of the choice; who asks has made one."""
        assert self.choice.actor is not None
        return self.choice.actor

    @torch.no_grad()
    def act(self, state: Tensor) -> np.ndarray:
        """Choose a decision for one state (1, state), shape (decision,)."""
        return self.choice(self.base.network, state, self.generator).best()[0].numpy()

    @torch.no_grad()
    def base_decision(self, state: Tensor) -> np.ndarray:
        """Return one sample of the base for one state (1, state): what the warm-up executes."""
        return self.draw(self.base.network, state, 1)[0, 0].numpy()

    def draw(self, network: Any, states: Tensor, count: int | None = None) -> Tensor:
        """Return decisions (batch, samples, decision) of a base network, `count` or as many as are kept."""
        return decisions_of(base_chunks(network, states, count or self._samples, self.generator), self.steps)

    def next_samples(self, batch: Transitions) -> Tensor:
        """Return the base's samples (batch, samples, decision) at the next states."""
        return self.kept_samples(batch, self.base.network, version=0)

    def kept_samples(self, batch: Transitions, network: Any, version: int) -> Tensor:
        """Return samples at the next states, drawn afresh where none of this version of the base is kept."""
        assert batch.key is not None
        return self.cache.get(batch.key.long(), batch.next_state, version, lambda states: self.draw(network, states))

    def answers(self, states: Tensor, samples: Tensor) -> Candidates:
        """Return what the target chooses from at next states (batch, state), given the base's samples there."""
        return self.choice.among(states, samples, self.generator)

    @torch.no_grad()
    def target(self, batch: Transitions) -> tuple[Tensor, Candidates]:
        """Return y (batch,) and what was chosen from: who chooses and who values draw their heads apart."""
        found = self.answers(batch.next_state, self.next_samples(batch))
        value = self.critics.pessimistic(batch.next_state, found.best())
        return torch.addcmul(batch.reward, batch.discount, value), found

    @abstractmethod
    def update(self, batch: Any) -> Mapping[str, Tensor]:
        """Make the updates that belong to one batch of the recipe's source."""

    def parts(self) -> dict[str, Any]:
        """Return whatever has a state of its own, by name."""
        return {"critics": self.critics, "cache": self.cache}

    def state(self) -> dict[str, Any]:
        return {name: part.state() for name, part in self.parts().items()} | {"generator": self.generator.get_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.generator.set_state(state["generator"])
        for name, part in self.parts().items():
            part.restore(state[name])


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


def with_network(base: SteerablePolicy, network: Any) -> SteerablePolicy:
    """Return the base as it was configured, with another network: what is saved of a base that was trained on."""
    return type(base)(base.spec, base.config, base.states, base.actions, network)
