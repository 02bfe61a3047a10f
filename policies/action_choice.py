"""Choose among what a base and an actor propose, by a critic: the policy of EXPO, PA-RL and IBRL, learning or deployed.

Candidates are decisions in the base's own normalised units (`policies.decisions`): the first points of its chunks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from policies.learners.action_optimizer import ActionOptimizer, Candidates, Edit, Value
from policies.learners.critics import CriticEnsemble, random_subset
from policies.learners.squashed_gaussian import SquashedGaussian
from policies.learners.value_heads import make_head
from robot.errors import ConfigError

ACTORS = ("none", "edit", "candidate")


@dataclass(frozen=True)
class ChoiceConfig:
    """What choosing needs to know of the parts; the same numbers build them for a deployed policy."""

    samples: int  # of the base
    keep: int
    grad_steps: int = 0
    step_size: float = 0.0
    actor: str = "none"  # or edit: corrects a copy of each candidate; or candidate: proposes one more
    edit_scale: float = 0.1
    subset: int = 2  # heads whose minimum ranks the candidates, a fresh draw for each choice; 0: the mean of all
    decision_steps: int = 1
    actor_hidden: tuple[int, ...] = (256, 256)
    actor_dropout: float = 0.0
    critic_hidden: tuple[int, ...] = (256, 256)
    heads: int = 10
    layer_norm: bool = True
    head: str = "mse"
    value_low: float = 0.0
    value_high: float = 1.0
    bins: int = 101

    def __post_init__(self) -> None:
        if self.actor not in ACTORS:
            raise ConfigError(f"actor is '{self.actor}', allowed: {', '.join(ACTORS)}")
        if not 0 <= self.subset <= self.heads or not 0.0 < self.edit_scale <= 2.0:
            raise ConfigError(
                f"subset {self.subset} must lie in 0..heads ({self.heads}), edit_scale {self.edit_scale} in (0, 2]"
            )

    @classmethod
    def of(cls, settings: Any, **more: Any) -> "ChoiceConfig":
        """Pick what a learner's settings say under the same names; `more` says the rest, and otherwise."""
        named = {field.name: getattr(settings, field.name) for field in fields(cls) if hasattr(settings, field.name)}
        return cls(**(named | more))

    def make_critic(self, state: int, action: int) -> CriticEnsemble:
        outputs = make_head(self.head, self.value_low, self.value_high, self.bins).outputs
        return CriticEnsemble(
            state, action, self.critic_hidden, self.heads, use_layer_norm=self.layer_norm, outputs=outputs
        )

    def make_actor(self, state: int, action: int) -> SquashedGaussian | None:
        if self.actor == "none":
            return None
        inputs = state + (action if self.actor == "edit" else 0)
        return SquashedGaussian(inputs, action, self.actor_hidden, dropout=self.actor_dropout)


@torch.no_grad()
def base_chunks(network: Any, states: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` chunks of a base network for each state, shape (batch, count, action_horizon, action), in the box.

    A base that cannot be steered has one answer, so `count` is 1 then. The network decodes in evaluation mode: without
    dropout, whatever it was doing before.

    Args:
        network: a `PolicyNetwork` without images.
        states: normalised by the base's own statistics, shape (batch, state).
        count: samples per state.
        generator: of the noise.
    """
    if network.training:
        network.eval()
    features = network.encode(states, {})
    if network.noise_spec is None:
        return network.decode(features)[:, None].clamp(-1.0, 1.0)
    noise = torch.randn((len(states) * count, *network.noise_spec[0]), generator=generator)
    chunks = network.decode(features.repeat_interleave(count, dim=0), noise)
    return chunks.unflatten(0, (len(states), count)).clamp(-1.0, 1.0)


def decisions_of(chunks: Tensor, steps: int) -> Tensor:
    """Return the first `steps` points of chunks (..., horizon, action), flattened to (..., steps * action)."""
    return chunks[..., :steps, :].flatten(-2)


class ActionChoice:
    """Base samples in, the best decision out. `critic` and `actor` are shared with whoever trains them."""

    def __init__(self, config: ChoiceConfig, critic: nn.Module, actor: SquashedGaussian | None) -> None:
        self.config, self.critic, self.actor = config, critic, actor
        self.optimizer = ActionOptimizer(config.samples, config.keep, config.grad_steps, config.step_size)
        self.head = make_head(config.head, config.value_low, config.value_high, config.bins)

    def value(self, generator: torch.Generator) -> Value:
        """Return what ranks candidates: the minimum over a fresh random subset of heads, or the mean of all."""
        if self.config.subset == 0:
            return lambda states, actions: self.head.value(self.critic(states, actions)).mean(dim=0)
        subset = random_subset(self.config.heads, self.config.subset, generator)
        return lambda states, actions: self.head.value(self.critic(states, actions, subset)).amin(dim=0)

    def edit(self, generator: torch.Generator) -> Edit | None:
        """Return the correction of a candidate, drawn from the actor and scaled; None without an edit actor."""
        actor = self.actor
        if self.config.actor != "edit" or actor is None:
            return None
        actor.eval()  # without dropout; who trains it switches it on
        return lambda s, a: self.config.edit_scale * actor.sample(torch.cat([s, a], dim=-1), generator)[0]

    def among(
        self,
        states: Tensor,
        candidates: Tensor,
        generator: torch.Generator,
        *,
        stored: Tensor | None = None,
        proposal: Tensor | None = None,
    ) -> Candidates:
        """Improve candidates (batch, samples, decision) of states (batch, state); `stored` as in the optimiser.

        `proposal` (batch, decision) takes the place of what a proposing actor answers without noise.
        """
        if self.config.actor == "candidate" and self.actor is not None:
            proposal = self.proposal(states) if proposal is None else proposal
            candidates = torch.cat([candidates, proposal[:, None]], dim=1)
        return self.optimizer(states, candidates, self.value(generator), self.edit(generator), stored=stored)

    @torch.no_grad()
    def proposal(self, states: Tensor) -> Tensor:
        """Return the actor's own decision for each state, shape (batch, decision), without noise and dropout."""
        assert self.actor is not None
        return self.actor.eval().mode(states)

    def __call__(self, network: Any, states: Tensor, generator: torch.Generator) -> Candidates:
        """Draw candidates from a base network and improve them."""
        samples = self.config.samples - (self.config.actor == "candidate")
        chunks = base_chunks(network, states, max(samples, 1), generator)
        return self.among(states, decisions_of(chunks, self.config.decision_steps), generator)

    def tensors(self) -> dict[str, Tensor]:
        """Return every weight by name."""
        parts: Mapping[str, nn.Module | None] = {"critic": self.critic, "actor": self.actor}
        return {
            f"{part}.{name}": value
            for part, module in parts.items()
            if module is not None
            for name, value in module.state_dict().items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Set every weight by name."""
        for part, module in (("critic", self.critic), ("actor", self.actor)):
            if module is not None:
                own = {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(part)}
                module.load_state_dict(own)
