"""Transitions out of a world that policy and person share: every executed tick, labelled late, never across a hold."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from policies.data.demonstrations import Env
from policies.decisions import NOTHING, DecisionCollector, Decisions, log
from policies.normalization import ActionLimits, StateNormalizer
from policies.observations import Shapes, flatten
from policies.replay import Step, Transition
from policies.starts import start_seed
from policies.takeovers.labels import goes_to_replay
from policies.takeovers.rewards import Reward, TaskReward
from policies.takeovers.shared_control import SharedControl, make_control, person_of
from policies.takeovers.ticks import Ticks
from robot.errors import ConfigError
from robot.record import TickRecord
from robot.types import Owner, Segment


class TakeoverCollector(DecisionCollector):
    """A `DecisionCollector` whose steps are ticks that a person may take over.

    A tick becomes a transition when the ticks its `reward` depends on are known, at the latest with the episode's end.
    `is_demonstrated` says of each transition of the last step whether it begins with a tick that HIL-SERL copies.
    `finished` has the rewards that were learned from, 0 in ticks that were not kept, whoever drove them. The world is
    seen and acted in `through` a control around its own, where one is given.
    """

    def __init__(
        self,
        env: Env,
        shapes: Shapes,
        states: StateNormalizer,
        limits: ActionLimits,
        decisions: Decisions,
        seed: int,
        *,
        through: Callable[[SharedControl], SharedControl] | None = None,
    ) -> None:
        if decisions.steps != 1:
            raise ConfigError(f"a person may take over at every tick: decision_steps is {decisions.steps}, allowed: 1")
        control = make_control(env)
        self.control, self.person = control if through is None else through(control), person_of(env)
        self.reward: Reward = TaskReward()
        self.keeps: Callable[[Ticks], np.ndarray] = goes_to_replay
        self.takeovers = 0
        self.is_demonstrated: list[bool] = []
        super().__init__(env, shapes, states, limits, decisions, seed)

    def _begin(self) -> None:
        self._session_ticks = self.person.session_ticks
        observation = self.control.reset(start_seed("training", self.seed, self.episodes))
        self._seen, self._commands, self._executed = [flatten(observation, self.shapes)], [], []
        self._records: list[TickRecord] = []
        self._rewards: list[float] = []
        self._valued = 0  # ticks of this episode that are transitions already
        self._drivers: deque[bool] = deque()

    def step(self, action: np.ndarray) -> list[Transition]:
        """Ask for one action in [-1, 1], shape (action,); whoever drives, return the transitions complete now."""
        command = self.limits.denormalize(np.asarray(action, np.float64).clip(-1.0, 1.0))
        found = self._tick(command)
        record = self._records[-1]
        self.env_steps += 1
        self.person.driven_ticks += record.owner is Owner.HUMAN
        self.takeovers += bool(Ticks.of(self._records[-2:]).begins_intervention[-1])
        self.is_demonstrated = [self._drivers.popleft() for _ in found]
        self.finished = None
        if record.terminated or record.truncated:
            self.finished = self._trajectory(record.terminated, record.truncated)
            self.episodes += 1
            self.successes += bool(record.reward_task > 0)
            self._begin()
        return found

    def _tick(self, command: np.ndarray) -> list[Transition]:
        observation, record = self.control.step(command)
        self._commands.append(command)
        self._executed.append(record.executed_action)
        self._records.append(record)
        self._seen.append(flatten(observation, self.shapes))
        is_over = record.terminated or record.truncated
        known = len(self._records) - (0 if is_over else self.reward.ticks_around)
        found: list[Transition] = []
        while self._valued < known:
            found += self._push(self._valued)
            self._valued += 1
        return found

    def _push(self, index: int) -> list[Transition]:
        """Value one tick and return the transitions that it completes."""
        record = self._records[index]
        if not self.keeps(Ticks.of([record]))[0]:
            self._rewards.append(0.0)
            return self.window.cut()
        first = max(index - self.reward.ticks_around, 0)
        around = Ticks.of(self._records[first : index + self.reward.ticks_around + 1])
        self._rewards.append(self.reward(record, around, index - first))
        value = self.decisions.reward(self._rewards[-1:])
        action = self.limits.normalize(self.stored_action(record)).clip(-1.0, 1.0)
        step = Step(self.states.normalize(self._seen[index]), NOTHING, action, value)
        self._drivers.append(record.owner is Owner.HUMAN and record.segment is not Segment.RECOVERY)
        after = self.states.normalize(self._seen[index + 1])
        ends = {"terminated": record.terminated, "truncated": record.truncated}
        return self.window.push(step, after, NOTHING, **ends)

    def stored_action(self, record: TickRecord) -> np.ndarray:
        """Return what the replay keeps as the action: what was executed, whoever wanted it."""
        return record.executed_action

    def _counters(self) -> dict[str, int]:
        names = ("env_steps", "episodes", "successes", "takeovers")
        return {name: getattr(self, name) for name in names}

    def metrics(self) -> dict[str, float]:
        return super().metrics() | {"collection/human_ticks": float(self.person.driven_ticks)}

    def state(self) -> dict[str, Any]:
        commands = [command.copy() for command in self._commands]
        more = {"commands": commands, "state_now": self.state_now, "session_ticks": self._session_ticks}
        more["driven_ticks"] = self.person.driven_ticks
        return self._counters() | more

    def restore(self, state: Mapping[str, Any]) -> None:
        for name in self._counters():
            setattr(self, name, state[name])
        self.person.session_ticks, self.person.driven_ticks = state["session_ticks"], state["driven_ticks"]
        self._begin()
        for command in state["commands"]:
            for _ in self._tick(command):
                self._drivers.popleft()
        if not np.array_equal(self.state_now, state["state_now"]):
            log.warning("the world did not repeat its episode: the run goes on with a new episode")
            self.window.cut()
            self._begin()
