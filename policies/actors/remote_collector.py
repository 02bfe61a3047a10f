"""A collector whose steps are made by actors: to its source it looks like one world that is stepped here."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from policies.actors.contract import Made, Order, Parameters
from policies.actors.crew import Crew
from policies.data.trajectories import Trajectory
from policies.replay import Transition


class RemoteCollector:
    """Hands out step after step of the crew's segments, in place of `collector`, whose facts it goes on stating.

    Args:
        collector: what the source had; its world is never stepped.
        crew: who acts.
        warmup_steps: control steps that are made exploring; which, is settled when they are ordered.
        parameters: asked for what to act by, with every order.
        updates: asked for the learner's updates so far: by them the age of parameters is told.
    """

    def __init__(
        self,
        collector: Any,
        crew: Crew,
        *,
        warmup_steps: int,
        parameters: Callable[[], Parameters],
        updates: Callable[[], int],
    ) -> None:
        self.env, self.shapes = collector.env, collector.shapes
        self.states, self.limits = collector.states, collector.limits
        self.crew, self.warmup_steps = crew, warmup_steps
        self._parameters, self._updates = parameters, updates
        self.env_steps = self.episodes = self.successes = 0
        self.finished: Trajectory | None = None
        self._made: deque[Made] = deque()
        self._forget()

    def act(self, _actor: Any) -> np.ndarray:
        """Return nothing: what is executed was chosen in the actor, with parameters of its order."""
        return np.zeros(0)

    def step(self, *_asked: np.ndarray) -> list[Transition]:
        """Return the transitions of the next step that some actor made; waits for it."""
        if not self._made:
            self._take_in()
        made = self._made.popleft()
        self.env_steps += made.env_steps
        self.episodes += made.episodes
        self.successes += made.successes
        self.finished = made.finished
        return list(made.transitions)

    def _take_in(self) -> None:
        began = time.monotonic()
        order, segment = self.crew.next(self._order)
        self._waited_s += time.monotonic() - began
        self._ages.append(self._updates() - order.updates)
        self._made.extend(segment)

    def _order(self) -> Order:
        settled = self.env_steps + self.crew.steps_under_way
        steps, left = self.crew.config.segment_steps, self.warmup_steps - settled
        explores = left > 0
        return Order(min(steps, left) if explores else steps, explores, self._parameters(), self._updates())

    def _forget(self) -> None:
        """Begin anew with what is told since the last time."""
        self._since, self._steps_then, self._waited_s = time.monotonic(), self.env_steps, 0.0
        self._ages: list[int] = []

    def metrics(self) -> dict[str, float]:
        """Return counts so far, and since the last time: throughput, age of the parameters acted by, and waiting."""
        elapsed_s = max(time.monotonic() - self._since, 1e-9)
        found = {f"collection/{name}": float(getattr(self, name)) for name in ("env_steps", "episodes", "successes")}
        found |= {
            "actors/lost": float(self.crew.lost),
            "actors/env_steps_per_s": (self.env_steps - self._steps_then) / elapsed_s,
            "actors/waited_for_share": self._waited_s / elapsed_s,
        }
        if self._ages:
            found["actors/updates_behind"] = float(np.mean(self._ages))
            found["actors/updates_behind_max"] = float(max(self._ages))
        self._forget()
        return found

    def state(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in ("env_steps", "episodes", "successes")}
        return counts | {"starts": self.crew.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on counting; every actor begins an episode of its own, as one that was lost does."""
        for name in ("env_steps", "episodes", "successes"):
            setattr(self, name, state[name])
        self.crew.restore(state["starts"])
        self._forget()


def updates_made(optimizer: torch.optim.Optimizer) -> int:
    """Return how often an optimiser has stepped; a restored one goes on counting."""
    return max((int(state["step"]) for state in optimizer.state.values()), default=0)
