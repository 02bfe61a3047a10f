"""Gather transitions for a residual learner: from demonstrations and from one world, step by step."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from policies.data.demonstrations import Env
from policies.data.trajectories import Trajectory
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import Shapes, flatten, unflatten
from policies.replay import NStep, Replay, Step, Transition
from policies.residual_policy import BaseQueue, ResidualActor, compose, executed, normalized_base
from policies.starts import start_seed
from robot.policy import Policy

log = logging.getLogger(__name__)


def replay_layout(state: int, action: int) -> dict[str, int]:
    """Return the fields of a transition, in the order of `Transition`."""
    return {
        "state": state,
        "base": action,
        "action": action,
        "reward": 0,
        "discount": 0,
        "next_state": state,
        "next_base": action,
    }


def store(replay: Replay, transitions: Iterable[Transition]) -> None:
    for transition in transitions:
        replay.add(**vars(transition))


def relabel(queue: BaseQueue, trajectory: Trajectory, shapes: Shapes) -> np.ndarray:
    """Return the base action due at each of the T + 1 states, the base reset at the episode's start."""
    queue.reset()
    images = [{name: seen[t] for name, seen in trajectory.images.items()} for t in range(len(trajectory.states))]
    observations = (unflatten(state, shapes) | seen for state, seen in zip(trajectory.states, images, strict=True))
    return np.array([queue.pop(observation)[0] for observation in observations])


def trajectory_transitions(
    trajectory: Trajectory, base_actions: np.ndarray, states: StateNormalizer, limits: ActionLimits, window: NStep
) -> list[Transition]:
    """Cut one recorded episode into n-step transitions; the action is the executed one, clipped like every other."""
    state = states.normalize(trajectory.states)
    base = normalized_base(limits, base_actions)
    action = limits.normalize(trajectory.actions).clip(-1.0, 1.0)
    out: list[Transition] = []
    last = len(trajectory) - 1
    for t in range(len(trajectory)):
        out += window.push(
            Step(state[t], base[t], action[t], float(trajectory.rewards[t])),
            state[t + 1],
            base[t + 1],
            terminated=trajectory.terminated and t == last,
            truncated=trajectory.truncated and t == last,
        )
    return out + window.cut()


class ResidualCollector:
    """Steps one world with base + residual. `env_steps`, `episodes` and `successes` count from the beginning.

    Each episode starts from its own seed; the commands since then are kept, so a resumed run replays them and
    continues in the middle of the episode.
    """

    def __init__(
        self,
        env: Env,
        base: Policy,
        states: StateNormalizer,
        limits: ActionLimits,
        window: NStep,
        *,
        scale: float,
        seed: int,
    ) -> None:
        self.env, self.states, self.limits, self.window = env, states, limits, window
        self.scale, self.seed = scale, seed
        self.shapes: Mapping[str, tuple[int, ...]] = base.spec.observation_shapes
        self.queue = BaseQueue(base)
        self.env_steps = self.episodes = self.successes = 0
        self._commands: list[np.ndarray] = []
        self._begin()

    def _begin(self) -> None:
        observation, _ = self.env.reset(seed=start_seed("training", self.seed, self.episodes))
        self._commands.clear()
        self.queue.reset()
        self._look(observation)

    def _look(self, observation: Mapping[str, np.ndarray]) -> None:
        self.state_now = self.states.normalize(flatten(observation, self.shapes))
        self._point = self.queue.pop(observation)[0]
        self.base_now = normalized_base(self.limits, self._point)

    def step(self, residual: np.ndarray, noise: np.ndarray) -> list[Transition]:
        """Execute clip(base + scale * residual + noise) and return the transitions that are complete."""
        asked = compose(self.base_now, residual, self.scale, noise)
        command = executed(self.limits, self._point, self.base_now, asked)
        observation, reward, terminated, truncated, info = self.env.step(command)
        self._commands.append(command)
        action = self.limits.normalize(info["executed_action"]).clip(-1.0, 1.0)  # whatever was asked
        step = Step(self.state_now, self.base_now, action, float(reward))
        self._look(observation)
        self.env_steps += 1
        transitions = self.window.push(
            step, self.state_now, self.base_now, terminated=bool(terminated), truncated=bool(truncated)
        )
        if terminated or truncated:
            self.episodes += 1
            self.successes += bool(info["success"])
            self._begin()
        return transitions

    def act(self, actor: ResidualActor) -> np.ndarray:
        """Return the actor's residual in [-1, 1] for the present state and base action."""
        return actor.act(self.state_now, self.base_now)

    def _counters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("env_steps", "episodes", "successes")}

    def state(self) -> dict[str, Any]:
        return self._counters() | {
            "commands": [command.copy() for command in self._commands],
            "window": self.window.state(),
            "queue": self.queue.state(),
            "state_now": self.state_now,
            "point": self._point,
        }

    def restore(self, state: dict[str, Any]) -> None:
        for name in self._counters():
            setattr(self, name, state[name])
        self._begin()
        for command in state["commands"]:
            observation, *_ = self.env.step(command)
            self._commands.append(command)
            self._look(observation)
        self.window.restore(state["window"])
        if not np.array_equal(self.state_now, state["state_now"]):
            log.warning("the world did not repeat its episode: the run goes on with a new episode")
            self.window.cut()
            self._begin()
            return
        self.queue.restore(state["queue"])
        self._point = state["point"]
        self.base_now = normalized_base(self.limits, self._point)
