"""Transitions out of the ticks of a running robot, for a residual learner beside the graph.

A transition needs two ticks in a row that executed an action and for which the base was asked; nothing is built across
a hold, a stop or a gap, where the window is closed and starts anew.
"""

from dataclasses import dataclass

import numpy as np
import torch

from policies.collection import replay_layout, store
from policies.learners.residual import Batch
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import Shapes, flatten, state_size
from policies.replay import NStep, Replay, Step, sample_mixed
from policies.residual_policy import normalized_base
from robot.record import TickRecord
from robot.types import Owner

DRIVEN = (Owner.POLICY, Owner.HUMAN, Owner.SHARED)


@dataclass(frozen=True)
class _Tick:
    """One usable tick in normalised units."""

    number: int
    step: Step
    ended: tuple[bool, bool]  # terminated, truncated


class TickSource:
    """Feeds an online replay from tick records, in the order of the ticks; `batch` mixes it with demonstrations."""

    def __init__(
        self,
        shapes: Shapes,
        states: StateNormalizer,
        limits: ActionLimits,
        window: NStep,
        *,
        capacity: int,
        demos: Replay | None = None,
        seed: int = 0,
    ) -> None:
        self._shapes, self._states, self._limits, self._window = shapes, states, limits, window
        self.online = Replay(replay_layout(state_size(shapes), len(limits.half)), capacity)
        self.demos = demos
        self._generator = torch.Generator().manual_seed(seed)
        self._last: _Tick | None = None
        self.ticks = self.human_ticks = self.episodes = self.cuts = 0

    def add(self, record: TickRecord) -> None:
        """Take one tick; its transition is complete when the next one is there."""
        is_usable = record.owner in DRIVEN and np.isfinite(record.base_action).all()
        if self._last is not None and not (is_usable and record.step == self._last.number + 1):
            self._cut()
        if not is_usable:
            return
        tick = self._read(record)
        if self._last is not None:
            self._push(self._last, tick.step.state, tick.step.base)
        self._last = tick
        self.ticks += 1
        self.human_ticks += record.owner is Owner.HUMAN
        if any(tick.ended):
            self._push(tick, tick.step.state, tick.step.base)  # what comes after an end is not bootstrapped from
            self._last = None
            self.episodes += 1

    def batch(self, size: int, demo_share: float, *, update_actor: bool) -> Batch:
        """Draw a batch; without demonstrations all of it is of the robot's own ticks."""
        if self.demos is None or not len(self.demos):
            rows = self.online.sample(size, self._generator)
        else:
            rows = sample_mixed(self.demos, self.online, size, demo_share, self._generator)
        return Batch(**self.online.split(rows), update_actor=update_actor)

    def _read(self, record: TickRecord) -> _Tick:
        step = Step(
            self._states.normalize(flatten(record.observation, self._shapes)),
            normalized_base(self._limits, record.base_action),
            self._limits.normalize(record.executed_action).clip(-1.0, 1.0),
            max(record.reward_task, record.reward_operator),
        )
        return _Tick(record.step, step, (record.terminated, record.truncated))

    def _push(self, tick: _Tick, next_state: np.ndarray, next_base: np.ndarray) -> None:
        terminated, truncated = tick.ended
        found = self._window.push(tick.step, next_state, next_base, terminated=terminated, truncated=truncated)
        store(self.online, found)

    def _cut(self) -> None:
        """End the stretch: its last tick has no successor, so what is complete up to the one before counts."""
        store(self.online, self._window.cut())
        self._last = None
        self.cuts += 1
