"""The source of the off-policy learners that people help: a shared world, its replay, and prior data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from policies.data.demonstrations import Demonstrations, Env
from policies.decisions import refuse_images, store
from policies.normalization import ActionLimits, StateNormalizer
from policies.online import NO_RETURN, OnlineConfig, OnlineSource
from policies.replay import Replay
from policies.takeovers.collector import TakeoverCollector
from policies.takeovers.labels import goes_to_replay
from policies.takeovers.rewards import Reward
from policies.takeovers.shared_control import SharedControl
from policies.takeovers.ticks import Ticks


@dataclass(frozen=True)
class Uses:
    """What a method makes of the ticks it is given."""

    reward: Reward
    prior: Literal["beside", "replay", "nowhere"] = "beside"  # the replay; in it, without rewards (RLIF); left out
    keeps: Callable[[Ticks], np.ndarray] = goes_to_replay  # which ticks become transitions
    demonstrates: bool = False  # a person's ticks are copied to the demonstrations (HIL-SERL)
    human_budget: int = 0  # ticks of a person after which learning ends; 0: no limit
    through: Callable[[SharedControl], SharedControl] | None = None  # how the learner sees the world, and acts in it


class TakeoverSource(OnlineSource):
    """An `OnlineSource` whose world is shared with a person.

    Args:
        env: the world, watched by who may take over.
        demonstrations: prior data.
        config: how the world is stepped, and the share of demonstrations in each batch.
        uses: what becomes of the ticks.
        rows: of a batch.
        seed: of the starts and of what is drawn.
    """

    collector: TakeoverCollector

    def __init__(
        self,
        env: Env,
        demonstrations: Demonstrations,
        config: OnlineConfig,
        uses: Uses,
        *,
        rows: int,
        seed: int,
    ) -> None:
        shapes = demonstrations.observation_shapes
        refuse_images(shapes, "a learner of takeovers")
        states = StateNormalizer.fit(demonstrations.states, config.state_std_floor)
        floor = demonstrations.half_range_floor(config.half_range_floor)
        limits = ActionLimits.fit(demonstrations.actions, floor, widen=config.action_margin)
        beside = demonstrations if uses.prior == "beside" else None
        super().__init__(env, shapes, states, limits, config=config, rows=rows, seed=seed, demonstrations=beside)
        decisions = config.decisions()
        self.collector = TakeoverCollector(env, shapes, states, limits, decisions, seed, through=uses.through)
        self.collector.reward, self.collector.keeps = uses.reward, uses.keeps
        self._demonstrates, self._human_budget = uses.demonstrates, uses.human_budget
        if uses.demonstrates:
            self.demos = _widened(self.demos, config.replay_capacity)
        if uses.prior == "replay":
            for trajectory in demonstrations.trajectories:
                silent = replace(trajectory, rewards=np.zeros(len(trajectory)))
                store(self.online, decisions.cut(silent, states, limits))

    def next(self) -> Any | None:
        batch = super().next()
        if 0 < self._human_budget <= self.collector.person.driven_ticks:
            self.progress = self.config.env_steps
        return batch

    def step(self) -> int:
        """Make one tick: `explore` in the warm-up, `act` after it, or whatever the person does."""
        transitions = self.collector.step(self.explore() if self.is_warming_up else self.act())
        rows = [(transition, NO_RETURN) for transition in transitions]
        store(self.online, rows, len(self.demos.rows))
        if self._demonstrates:
            store(self.demos, [row for row, is_his in zip(rows, self.collector.is_demonstrated, strict=True) if is_his])
        return 1

    def state(self) -> dict[str, Any]:
        return super().state() | ({"demos": self.demos.state()} if self._demonstrates else {})

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        if self._demonstrates:
            self.demos.restore(state["demos"])


def _widened(replay: Replay, capacity: int) -> Replay:
    """Return a replay with the same rows and room for `capacity` more."""
    wider = Replay(replay.layout, len(replay.rows) + capacity)
    wider.restore(replay.state())
    return wider
