"""The source of the learners that act by decisions: one world, its replay, and demonstrations beside it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies.data.demonstrations import Demonstrations, Env, interface_of
from policies.decisions import DecisionCollector, Decisions, decision_layout, refuse_images, store
from policies.learners.sac import Transitions
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import Shapes, state_size
from policies.replay import Replay, sample_mixed
from policies.training import LoopConfig
from robot.errors import ConfigError

NO_RETURN = -np.inf  # of a decision whose episode goes on


@dataclass(frozen=True)
class OnlineConfig:
    """How a world is stepped and mixed with demonstrations: what every recipe here is set by beside its learner."""

    env_steps: int = 250_000  # warm-up included
    warmup_steps: int = 5_000
    warmup_updates: int = 0  # environment steps' worth of updates between the warm-up and the first action of its own
    batch_size: int = 256  # rows per update of the critics
    demo_fraction: float = 0.5
    replay_capacity: int = 1_000_000
    discount: float = 0.99  # per control step
    n_step: int = 1
    decision_steps: int = 1  # actions of one decision: 1, or the points of a chunk
    timeout_is_terminal: bool = False
    reward_scale: float = 1.0
    reward_bias: float = 0.0
    action_margin: float = 0.2  # the box of actions is the demonstrated range, wider by this share
    state_std_floor: float = 0.01  # in the units of the state
    half_range_floor: float = 0.05  # share of the world's action box
    evaluate_every: int = 10_000
    checkpoint_every: int = 10_000
    log_every: int = 500

    def __post_init__(self) -> None:
        if (
            min(self.warmup_steps, self.batch_size) < 1
            or self.warmup_updates < 0
            or not 0.0 <= self.demo_fraction < 1.0
        ):
            raise ConfigError(
                f"warmup_steps {self.warmup_steps} (they fill the replay) and batch_size {self.batch_size} must be "
                f">= 1, warmup_updates {self.warmup_updates} >= 0, demo_fraction {self.demo_fraction} in [0, 1)"
            )
        if self.env_steps < self.warmup_steps:
            raise ConfigError(f"env_steps {self.env_steps} must not be below warmup_steps {self.warmup_steps}")

    def decisions(self) -> Decisions:
        return Decisions(
            self.decision_steps,
            self.n_step,
            self.discount,
            self.timeout_is_terminal,
            self.reward_scale,
            self.reward_bias,
        )

    def loop(self) -> LoopConfig:
        return LoopConfig(self.env_steps, self.log_every, self.checkpoint_every, self.evaluate_every)


class OnlineSource:
    """Makes one decision in the world, then hands out one batch per control step of it. `progress` counts those steps.

    A batch holds `rows` rows, demonstrations interleaved, for the learner to slice. `beside` names further fields of
    the replay and their widths, 0 in demonstrations.
    """

    beside: Mapping[str, int] = MappingProxyType({})

    def __init__(
        self,
        env: Env,
        shapes: Shapes,
        states: StateNormalizer,
        limits: ActionLimits,
        *,
        config: OnlineConfig,
        rows: int,
        seed: int,
        demonstrations: Demonstrations | None = None,
    ) -> None:
        decisions = config.decisions()
        layout = decision_layout(state_size(shapes), len(limits.half) * decisions.steps) | dict(self.beside)
        self.config, self.rows, self.progress, self._owed = config, rows, 0, 0
        self._early_left = config.warmup_updates
        trajectories = [] if demonstrations is None else demonstrations.trajectories
        cut = [pair for trajectory in trajectories for pair in decisions.cut(trajectory, states, limits)]
        self.demos = Replay(layout, max(len(cut), 1))
        store(self.demos, cut, beside=dict.fromkeys(self.beside, 0.0))
        self.online = Replay(layout, config.replay_capacity)
        self.collector = DecisionCollector(env, shapes, states, limits, decisions, seed)
        self.rng = np.random.default_rng([seed, 1])
        self.generator = torch.Generator().manual_seed(seed + 1)
        self.forget: Callable[[int], None] = _keep_nothing  # told the key of every row that is written
        self.explore: Callable[[], np.ndarray] = self.uniform
        self.act: Callable[[], np.ndarray] = self.uniform

    @property
    def sizes(self) -> tuple[int, int]:
        """Widths of a state and of a decision."""
        return self.online.layout["state"], self.online.layout["action"]

    @property
    def is_warming_up(self) -> bool:
        return self.collector.env_steps < self.config.warmup_steps or len(self.online) == 0

    def uniform(self) -> np.ndarray:
        """Return a decision drawn uniformly from the box."""
        return self.rng.uniform(-1.0, 1.0, self.sizes[1])

    def next(self) -> Any | None:
        if self._owed == 0 and self._early_left and not self.is_warming_up:
            self._early_left -= 1
            return self.batch()
        if self._owed == 0:
            self._owed = self.step()
        self._owed -= 1
        self.progress += 1
        return None if self.progress <= self.config.warmup_steps or len(self.online) == 0 else self.batch()

    def step(self) -> int:
        """Make one decision: `explore` in the warm-up, `act` after it; return how many control steps it took."""
        before = self.collector.env_steps
        decision = self.explore() if self.is_warming_up else self.act()
        found = [(transition, NO_RETURN) for transition in self.collector.step(decision)]
        for key in store(self.online, found, len(self.demos.rows)):
            self.forget(key)
        return self.collector.env_steps - before

    @property
    def rows_kept(self) -> int:
        """How many rows both replays can hold: the range of their keys."""
        return len(self.demos.rows) + len(self.online.rows)

    def batch(self) -> Any:
        """Return what the learner is updated with after a control step."""
        return self.sample(self.rows, self.config.demo_fraction)

    def sample(self, rows: int, demo_fraction: float) -> Transitions:
        """Draw rows, demonstrations and online interleaved evenly."""
        return Transitions.of(
            self.online.split(sample_mixed(self.demos, self.online, rows, demo_fraction, self.generator))
        )

    def state_now(self) -> Tensor:
        """Return the present state, shape (1, state)."""
        return torch.from_numpy(self.collector.state_now)[None]

    def metrics(self) -> dict[str, float]:
        return self.collector.metrics()

    def state(self) -> dict[str, Any]:
        return {
            "collector": self.collector.state(),
            "online": self.online.state(),
            "rng": self.rng.bit_generator.state,
            "generator": self.generator.get_state(),
            "progress": self.progress,
            "owed": self._owed,
            "early_left": self._early_left,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.collector.restore(state["collector"])
        self.online.restore(state["online"])
        self.rng.bit_generator.state = state["rng"]
        self.generator.set_state(state["generator"])
        self.progress, self._owed, self._early_left = state["progress"], state["owed"], state["early_left"]


def demonstrated_source(
    env: Env, demonstrations: Demonstrations, config: OnlineConfig, recipe: str, rows: int, seed: int
) -> OnlineSource:
    """Return the source of a learner without a base: states and the box of actions are as demonstrated."""
    shapes = demonstrations.observation_shapes
    refuse_images(shapes, recipe)
    states = StateNormalizer.fit(demonstrations.states, config.state_std_floor)
    floor = demonstrations.half_range_floor(config.half_range_floor)
    limits = ActionLimits.fit(demonstrations.actions, floor, widen=config.action_margin)
    return OnlineSource(env, shapes, states, limits, config=config, rows=rows, seed=seed, demonstrations=demonstrations)


def _keep_nothing(key: int) -> None:
    """Nothing is kept beside the rows."""


def world_limits(env: Env) -> ActionLimits:
    """Return the world's action box as limits: [-1, 1] is all that it takes."""
    box: Any = env.action_space
    low, high = box.low.astype(np.float64), box.high.astype(np.float64)
    if not np.isfinite(high - low).all():
        raise ConfigError(f"the action box of {interface_of(env)} must be finite: {low} to {high}")
    return ActionLimits((low + high) / 2, (high - low) / 2)


def world_states(env: Env) -> StateNormalizer:
    """Return the normaliser that changes nothing, for a world of which no data is at hand."""
    size = state_size(interface_of(env).observation_shapes)
    return StateNormalizer(np.zeros(size), np.ones(size))
