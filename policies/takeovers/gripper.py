"""A gripper chosen by a critic of its own: close, stay or open (HIL-SERL, Luo et al. 2024).

    y = r + p + gamma m Q'(s', argmax_b Q(s', b))

p < 0 is the grasp penalty, for commands that would change the gripper's state; it is in this target and in no other.
Decisions are -1 (close), 0 (stay), 1 (open), the signs of the gripper's entry of an action in normalised units.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from policies.learners.sac import Transitions, adam
from policies.network import initialize, mlp, polyak

CLOSE, STAY, OPEN = -1, 0, 1


def decisions_of(commands: np.ndarray) -> np.ndarray:
    """Return the decisions that commands in [-1, 1] stand for, rounded: a person's 0.9 is 1, and 0.3 is 0.

    To cut off the fraction instead would turn every hand's 0.95 into a stay.
    """
    return np.rint(np.clip(commands, -1.0, 1.0)).astype(np.int64)


def grasp_penalties(commands: np.ndarray, penalty: float) -> np.ndarray:
    """Return the penalty of each executed gripper command of an episode, shape (T,).

    Args:
        commands: executed, in [-1, 1], shape (T,); the first one finds the gripper as it is.
        penalty: for a command that changes the state the gripper was in before it; 0 or below.
    """
    decisions, state, out = decisions_of(commands), STAY, np.zeros(len(commands))
    for t, decision in enumerate(decisions):
        if decision != STAY:
            out[t] = penalty if state not in (STAY, decision) else 0.0
            state = decision
    return out


class GripperCritic:
    """Q(s, close | stay | open), its target and optimiser; greedy while training and after."""

    def __init__(self, state: int, hidden: tuple[int, ...], learning_rate: float, generator: torch.Generator) -> None:
        self.live: nn.Module = mlp([state, *hidden, 3], layer_norm=True)
        initialize(self.live, generator)
        self.target = deepcopy(self.live)
        self._parameters, self._targets = list(self.live.parameters()), list(self.target.parameters())
        self.optimizer = adam(self._parameters, learning_rate)

    @torch.no_grad()
    def decide(self, state: Tensor) -> Tensor:
        """Return the best decision of each state (batch, state), shape (batch,)."""
        return self.live(state).argmax(dim=-1) - 1

    @torch.no_grad()
    def goal(self, batch: Transitions, penalty: Tensor) -> Tensor:
        """Return y, shape (batch,); `penalty` (batch,) is that of the executed command."""
        best = self.live(batch.next_state).argmax(dim=-1, keepdim=True)
        return batch.reward + penalty + batch.discount * self.target(batch.next_state).gather(1, best)[:, 0]

    def update(self, batch: Transitions, penalty: Tensor, tau: float) -> dict[str, Tensor]:
        """Make one update on a batch whose actions end with the gripper's entry."""
        decided = batch.action[:, -1].round().long() + 1
        loss = mse_loss(self.live(batch.state).gather(1, decided[:, None])[:, 0], self.goal(batch, penalty))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        polyak(self._targets, self._parameters, tau)
        return {"gripper/loss": loss.detach()}

    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name).state_dict() for name in ("live", "target", "optimizer")}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            getattr(self, name).load_state_dict(deepcopy(value))
