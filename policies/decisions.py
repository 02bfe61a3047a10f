"""Decisions: what an off-policy learner without a residual chooses, one action or several in a row.

A decision is `steps` executed actions in normalised units, flattened to (steps * action,). With one step it is the
ordinary per-step action; with as many as a chunk executes it is the whole chunk (Q-chunking, Li et al. 2025), and the
bootstrap is gamma^steps away. Rewards are scaled and shifted here and nowhere else.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from policies.data.demonstrations import Env
from policies.data.trajectories import Trajectory
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import Shapes, flatten, image_shapes
from policies.replay import NStep, Replay, Step, Transition
from policies.starts import start_seed
from robot.errors import CheckpointMismatch, ConfigError

log = logging.getLogger(__name__)
NOTHING = np.zeros(1)  # in the place of a base action


@dataclass(frozen=True)
class Decisions:
    """The unit of choice, and how its reward counts."""

    steps: int = 1
    n_step: int = 1  # decisions in a window of returns
    discount: float = 0.99  # per control step
    timeout_is_terminal: bool = True
    reward_scale: float = 1.0
    reward_bias: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.n_step < 1 or not 0.0 < self.discount <= 1.0:
            raise ConfigError(f"decision steps and n_step must be >= 1, discount in (0, 1]: {self}")

    def window(self) -> NStep:
        return NStep(self.n_step, self.discount**self.steps, self.timeout_is_terminal)

    def reward(self, rewards: Sequence[float] | np.ndarray) -> float:
        """Return the discounted sum of what the steps of one decision were rewarded with, scaled and shifted."""
        return sum(self.discount**i * (self.reward_scale * r + self.reward_bias) for i, r in enumerate(rewards))

    def returns(self, trajectory: Trajectory) -> np.ndarray:
        """Return the discounted reward from each step to the end, scaled and shifted, shape (T,).

        Where the episode goes on beyond its last step it is not known: -inf, which bounds nothing from below.
        """
        if not trajectory.terminated and not (trajectory.truncated and self.timeout_is_terminal):
            return np.full(len(trajectory), -np.inf)
        out, ahead = np.zeros(len(trajectory)), 0.0
        for t in range(len(trajectory) - 1, -1, -1):
            ahead = self.reward(trajectory.rewards[t : t + 1]) + self.discount * ahead
            out[t] = ahead
        return out

    def cut(
        self, trajectory: Trajectory, states: StateNormalizer, limits: ActionLimits
    ) -> list[tuple[Transition, float]]:
        """Cut an episode into transitions and their returns, from every step on; past its end the last action repeats.

        Decisions that begin at 0, steps, 2 * steps, ... are one stream, those at 1, steps + 1, ... the next.
        """
        state = states.normalize(trajectory.states)
        action = limits.normalize(trajectory.actions).clip(-1.0, 1.0)
        length, returns = len(trajectory), self.returns(trajectory)
        out: list[tuple[Transition, float]] = []
        for first in range(min(self.steps, length)):
            window, found = self.window(), []
            for t in range(first, length, self.steps):
                due = np.minimum(np.arange(t, t + self.steps), length - 1)
                after = min(t + self.steps, length)
                step = Step(state[t], NOTHING, action[due].ravel(), self.reward(trajectory.rewards[t:after]))
                is_last = after == length
                ends = {"terminated": is_last and trajectory.terminated, "truncated": is_last and trajectory.truncated}
                found += window.push(step, state[after], NOTHING, **ends)
            out += zip(found + window.cut(), returns[first :: self.steps], strict=True)
        return out


def decision_layout(state: int, action: int) -> dict[str, int]:
    """Return the fields of a replay of decisions."""
    return {"state": state, "action": action, "reward": 0, "discount": 0, "next_state": state, "returns": 0, "key": 0}


def store(
    replay: Replay,
    transitions: Iterable[tuple[Transition, float]],
    first_key: int = 0,
    beside: Mapping[str, np.ndarray | float] | None = None,
) -> list[int]:
    """Append transitions with their returns, and `beside` with each; return the keys of the rows.

    The key of a row is its place in the ring, counted from `first_key`.
    """
    keys = []
    for transition, returns in transitions:
        keys.append(first_key + replay.added % len(replay.rows))
        replay.add(**vars(transition), returns=returns, key=keys[-1], **(beside or {}))
    return keys


def refuse_images(shapes: Shapes, recipe: str) -> None:
    """Raise where a learner of vectors is given images."""
    if image_shapes(shapes):
        raise CheckpointMismatch(
            f"{recipe} learns from vectors, and these observations hold {list(image_shapes(shapes))}: leave out "
            "--images, or take resfit, which needs the base alone to see"
        )


class DecisionCollector:
    """Steps one world decision by decision. `env_steps`, `episodes` and `successes` count from the beginning.

    Each episode starts from its own seed; the commands since then are kept, so a resumed run replays them and
    continues in the middle of the episode. `finished` is the last whole episode, in station units.
    """

    def __init__(
        self, env: Env, shapes: Shapes, states: StateNormalizer, limits: ActionLimits, decisions: Decisions, seed: int
    ) -> None:
        self.env, self.shapes, self.states, self.limits, self.decisions = env, shapes, states, limits, decisions
        self.seed, self.window = seed, decisions.window()
        self.env_steps = self.episodes = self.successes = 0
        self.finished: Trajectory | None = None
        self._begin()

    def _begin(self) -> None:
        observation, _ = self.env.reset(seed=start_seed("training", self.seed, self.episodes))
        self._seen, self._commands, self._executed = [flatten(observation, self.shapes)], [], []
        self._rewards: list[float] = []

    @property
    def state_now(self) -> np.ndarray:
        """The normalised state of the present moment, shape (state,), float32."""
        return self.states.normalize(self._seen[-1])

    def step(self, action: np.ndarray) -> list[Transition]:
        """Execute a decision, shape (steps * action,) in [-1, 1], until an end; return what is complete now.

        The stored action is the executed one, whatever was asked; what an end kept from being executed is stored as
        it was asked.
        """
        asked = np.asarray(action, np.float64).reshape(self.decisions.steps, -1).clip(-1.0, 1.0)
        first, stored = len(self._rewards), asked.copy()
        state, terminated, truncated = self.state_now, False, False
        for index, command in enumerate(self.limits.denormalize(asked)):
            terminated, truncated, info = self._command(command)
            stored[index] = self.limits.normalize(self._executed[-1]).clip(-1.0, 1.0)
            self.env_steps += 1
            if terminated or truncated:
                self.successes += bool(info["success"])
                break
        step = Step(state, NOTHING, stored.ravel(), self.decisions.reward(self._rewards[first:]))
        found = self.window.push(step, self.state_now, NOTHING, terminated=terminated, truncated=truncated)
        self.finished = None
        if terminated or truncated:
            self.finished = self._trajectory(terminated, truncated)
            self.episodes += 1
            self._begin()
        return found

    def _command(self, command: np.ndarray) -> tuple[bool, bool, Mapping[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(command)
        self._commands.append(command)
        self._executed.append(np.array(info["executed_action"], np.float64))
        self._rewards.append(float(reward))
        self._seen.append(flatten(observation, self.shapes))
        return bool(terminated), bool(truncated), info

    def _trajectory(self, terminated: bool, truncated: bool) -> Trajectory:
        rows = np.array(self._seen), np.array(self._executed), np.array(self._rewards)
        return Trajectory(*rows, terminated, truncated, start_seed("training", self.seed, self.episodes))

    def _counters(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ("env_steps", "episodes", "successes")}

    def metrics(self) -> dict[str, float]:
        return {f"collection/{name}": float(value) for name, value in self._counters().items()}

    def state(self) -> dict[str, Any]:
        commands = [command.copy() for command in self._commands]
        return self._counters() | {"commands": commands, "window": self.window.state(), "state_now": self.state_now}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name in self._counters():
            setattr(self, name, state[name])
        self._begin()
        for command in state["commands"]:
            self._command(command)
        self.window.restore(state["window"])
        if not np.array_equal(self.state_now, state["state_now"]):
            log.warning("the world did not repeat its episode: the run goes on with a new episode")
            self.window.cut()
            self._begin()
