"""One learner for every phase of a world model, and the source that draws its batches."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from policies.learners.supervised import SEEDS, learning_rate
from policies.network import polyak, seeded
from policies.steerable import BaseConfig

Module = TypeVar("Module", bound=nn.Module)
Batch = TypeVar("Batch")
CLIP = 1.0  # of the gradient's norm


class AveragedLearner(Generic[Module, Batch]):
    """AdamW on a loss of a live copy; `average`, the module it was made of, is the moving average and what is used.

    Everything random in an update is drawn from one seed, which this learner's generator gives: resuming repeats it.
    """

    def __init__(
        self,
        average: Module,
        loss: Callable[[Module, Batch], tuple[Tensor, dict[str, Tensor]]],
        schedule: BaseConfig,
        *,
        decay: float,
        seed: int,
    ) -> None:
        """`schedule` gives rate, warm-up, steps, weight decay and precision; `decay` is the average's at its end."""
        self.average, self.live, self._loss = average, deepcopy(average), loss
        self._schedule, self._decay = schedule, decay
        self._device = next(average.parameters()).device
        self.optimizer = torch.optim.AdamW(
            self.live.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.updates = 0

    def update(self, batch: Batch) -> dict[str, Tensor]:
        self.live.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self._schedule, self.updates)
        seed = int(torch.randint(SEEDS, (), generator=self.generator))
        is_short = self._schedule.precision == "bfloat16"
        with seeded(seed), torch.autocast(self._device.type, torch.bfloat16, enabled=is_short):
            loss, metrics = self._loss(self.live, batch)
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.live.parameters(), CLIP)
        self.optimizer.step()
        self.updates += 1
        decay = min(self._decay, self.updates / (10.0 + self.updates))
        polyak(list(self.average.parameters()), list(self.live.parameters()), 1.0 - decay)
        return metrics | {"gradient_norm": norm.detach()}

    def state(self) -> dict[str, Any]:
        return {
            "live": self.live.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "updates": self.updates,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.live.load_state_dict(state["live"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(deepcopy(state["optimizer"]))  # it keeps the tensors it is given
        self.generator.set_state(state["generator"])
        self.updates = state["updates"]


class DrawSource(Generic[Batch]):
    """Batches drawn at random; `progress` counts them."""

    def __init__(self, draw: Callable[[torch.Generator], Batch], seed: int) -> None:
        self._draw = draw
        self._generator = torch.Generator().manual_seed(seed)
        self.progress = 0

    def next(self) -> Batch:
        self.progress += 1
        return self._draw(self._generator)

    def metrics(self) -> dict[str, float]:
        return {}

    def state(self) -> dict[str, Any]:
        return {"generator": self._generator.get_state(), "progress": self.progress}

    def restore(self, state: dict[str, Any]) -> None:
        self._generator.set_state(state["generator"])
        self.progress = state["progress"]
