"""Turn candidate actions into better ones under a critic: one path for EXPO, PA-RL, IBRL and best-of-N.

    1. clip the candidates to the box, keep the `keep` most valued; a stored action may take the place of the worst kept
    2. add an edited copy of each (EXPO: a small learned correction), clipped
    3. climb the value by `grad_steps` of gradient ascent, clipped, and keep the best point of each path (PA-RL)
    4. the answer is the candidate with the largest value, or one drawn by softmax of the values

EXPO is samples 8, an edit and no gradient; PA-RL 32 samples, keep 10, 10 steps of 3e-4; IBRL the two candidates of the
clone and of the actor; best-of-N neither edit nor gradient. Candidates that came in are never left out for worse ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robot.errors import ConfigError

Value = Callable[[Tensor, Tensor], Tensor]  # states (rows, state), actions (rows, action) -> values (rows,)
Edit = Callable[[Tensor, Tensor], Tensor]  # states (rows, state), actions (rows, action) -> corrections (rows, action)


@dataclass(frozen=True)
class Candidates:
    """Actions to choose from, and what the critic thinks of them."""

    actions: Tensor  # (batch, candidates, action), in the box
    values: Tensor  # (batch, candidates)
    origin: Tensor  # (batch, candidates), index of the given candidate each one comes from
    edited: int  # how many of them, the last ones, are edited copies

    def best(self) -> Tensor:
        """Return the most valued action, shape (batch, action)."""
        return self.pick(self.values.argmax(dim=1))

    def sample(self, temperature: float, generator: torch.Generator) -> Tensor:
        """Draw one action per state by softmax(values / temperature), the temperature in units of the value."""
        return self.pick(self.draw(temperature, generator))

    def draw(self, temperature: float, generator: torch.Generator) -> Tensor:
        """Draw indices (batch,) by softmax(values / temperature)."""
        shares = (self.values / temperature).softmax(dim=1)
        return torch.multinomial(shares, 1, generator=generator).squeeze(1)

    def pick(self, index: Tensor) -> Tensor:
        """Return the actions (batch, action) of given indices (batch,)."""
        return self.actions[torch.arange(len(index)), index]

    def best_origin(self) -> Tensor:
        """Return which given candidate the most valued action comes from, shape (batch,)."""
        return self.origin.gather(1, self.values.argmax(dim=1, keepdim=True)).squeeze(1)

    def edited_share(self) -> Tensor:
        """Return the share of states whose best action is an edited one."""
        return (self.values.argmax(dim=1) >= self.values.shape[1] - self.edited).float().mean()


@dataclass(frozen=True)
class ActionOptimizer:
    """How candidates are improved. `step_size` is in normalised action units per unit of the value's slope."""

    samples: int
    keep: int
    grad_steps: int = 0
    step_size: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.keep <= self.samples:
            raise ConfigError(f"keep {self.keep} must lie in 1..samples ({self.samples})")
        if self.grad_steps < 0 or (self.grad_steps > 0 and self.step_size <= 0.0):
            raise ConfigError(f"{self.grad_steps} gradient steps need a step_size above 0, got {self.step_size}")

    def __call__(
        self,
        states: Tensor,
        candidates: Tensor,
        value: Value,
        edit: Edit | None = None,
        *,
        stored: Tensor | None = None,
    ) -> Candidates:
        """Return improved candidates.

        Args:
            states: shape (batch, state).
            candidates: shape (batch, samples, action).
            value: ranks them.
            edit: corrects a copy of each kept one.
            stored: actions (batch, action) that take the place of the worst kept, or join a single one; their origin
                is the number of candidates.
        """
        score = _per_candidate(value, states)
        actions = candidates.clamp(-1.0, 1.0)
        with torch.no_grad():
            values = score(actions)
        kept = values.topk(min(self.keep, actions.shape[1]), dim=1).indices
        actions, values = _take(actions, kept), values.gather(1, kept)
        origin, edited = kept, 0
        if stored is not None:
            count = max(kept.shape[1] - 1, 1)
            added = stored.clamp(-1.0, 1.0)[:, None]
            with torch.no_grad():
                values = torch.cat([values[:, :count], score(added)], dim=1)
            actions = torch.cat([actions[:, :count], added], dim=1)
            origin = torch.cat([kept[:, :count], torch.full_like(kept[:, :1], candidates.shape[1])], dim=1)
        if edit is not None:
            with torch.no_grad():
                changed = (actions + _per_candidate(edit, states)(actions)).clamp(-1.0, 1.0)
                values = torch.cat([values, score(changed)], dim=1)
            edited = changed.shape[1]
            actions, origin = torch.cat([actions, changed], dim=1), torch.cat([origin, origin], dim=1)
        if self.grad_steps:
            actions, values = self._ascend(score, actions, values)
        return Candidates(actions, values, origin, edited)

    def _ascend(self, score: Callable[[Tensor], Tensor], start: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Climb from every candidate; return the best point of each path and its value."""
        best, best_values, point = start, values, start
        for _ in range(self.grad_steps):
            point = point.detach().requires_grad_()
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(score(point).sum(), point)
            with torch.no_grad():
                point = (point + self.step_size * slope).clamp(-1.0, 1.0)
                found = score(point)
                better = found > best_values
                best = torch.where(better[..., None], point, best)
                best_values = torch.where(better, found, best_values)
        return best.detach(), best_values


def _per_candidate(function: Callable[[Tensor, Tensor], Tensor], states: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the function of (batch, candidates, action) that answers per candidate."""

    def answer(actions: Tensor) -> Tensor:
        rows = states[:, None].expand(-1, actions.shape[1], -1).flatten(0, 1)
        return function(rows, actions.flatten(0, 1)).unflatten(0, actions.shape[:2])

    return answer


def _take(actions: Tensor, index: Tensor) -> Tensor:
    return actions.gather(1, index[..., None].expand(-1, -1, actions.shape[-1]))
