"""A scripted person who follows RaC's rules: recover, correct, end (interventions spec, section 10)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from robot.env import TandemEnv
from robot.operator.person import HANDS_OFF, Wish
from robot.types import Array
from robot.worlds import make_env
from sim.people import scripted
from sim.people.judges import Judge
from sim.people.scripted import Acts, Env

Seen = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Way:
    """What a person knows of a task: how to get back, how to go on, and when each is done."""

    retreat: Acts
    advance: Acts
    is_home: Callable[[Seen], bool]  # where the policy knows its way again
    is_finished: Callable[[Seen, Seen], bool]  # the sub-task that was wrong at the takeover is done now


class Backtrack:
    """Undoes what was executed, the last of it first: goes back to places, or the ways in reverse."""

    def __init__(self, is_absolute: bool, has_gripper: bool) -> None:
        self.is_absolute, self.has_gripper = is_absolute, has_gripper
        self.reset(0)

    def reset(self, seed: int) -> None:
        self._executed: list[Array] = []

    def remember(self, executed: Array) -> None:
        """Take what was executed in the last tick."""
        self._executed.append(np.array(executed))

    def act(self, observation: Seen) -> Array:
        """Return the action that goes one tick back; at the beginning it stays."""
        last = (
            self._executed.pop() if len(self._executed) > 1 else self._executed[0] * (1.0 if self.is_absolute else 0.0)
        )
        if self.is_absolute:
            return last
        back = -last
        if self.has_gripper:
            back[-1] = last[-1]
        return back


class RecoveringPerson:
    """Takes over where the judge says so, drives back until home (R1), finishes the sub-task, ends the episode (R2).

    `recovers` False leaves out the way back; `patience` bounds a recovery in ticks, `longest_correction` a correction.
    """

    def __init__(
        self,
        way: Way,
        judge: Judge,
        *,
        recovers: bool = True,
        patience: int = 20,
        longest_correction: int = 1000,
    ) -> None:
        self.way, self.judge, self.recovers, self.patience = way, judge, recovers, patience
        self.longest_correction = longest_correction
        self.session_ticks = self.driven_ticks = self.recovery_ticks = 0
        self.reset(0)

    def reset(self, seed: int) -> None:
        self.judge.reset(np.random.default_rng([seed, 22]))
        self.way.retreat.reset(seed)
        self.way.advance.reset(seed)
        self._before: Seen | None = None
        self._taken_at: Seen | None = None
        self._recovery_left = 0

    def look(self, observation: Seen, executed: Array | None, proposed: Array) -> Wish:
        before, self._before = self._before, observation
        if isinstance(self.way.retreat, Backtrack) and executed is not None and self._taken_at is None:
            self.way.retreat.remember(executed)
        if self._taken_at is None:
            if before is None or executed is None:
                return HANDS_OFF
            self.session_ticks += 1
            if not self.judge.looks_wrong(before, executed, observation):
                return HANDS_OFF
            self._taken_at = observation
            self._recovery_left = self.patience if self.recovers else 0
            self._correction_left = self.longest_correction
        if self._recovery_left and not self.way.is_home(observation):
            self._recovery_left -= 1
            self.recovery_ticks += 1
            return Wish(self.way.retreat.act(observation), is_recovery=True)
        self._recovery_left = 0
        self._correction_left -= 1
        is_finished = self._correction_left <= 0 or self.way.is_finished(self._taken_at, observation)
        return Wish(self.way.advance.act(observation), ends_episode=is_finished)

    def advise(self, observation: Seen) -> Array:
        return self.way.advance.act(observation)


def make_person(env_id: str, *, back: int = 5, correction: int = 15) -> RecoveringPerson:
    """Return a person of any world who goes back the way the policy came, then drives on like the expert.

    Args:
        env_id: the world.
        back: ticks of recovery.
        correction: ticks of correction; then they end the episode.
    """
    looker = scripted.make_person(env_id)
    env = make_env(env_id)
    is_absolute = isinstance(env.unwrapped, TandemEnv)  # station tasks name places, other worlds ways
    has_gripper = interface_names(env)[-1:] == ("gripper",)
    env.close()
    way = Way(Backtrack(is_absolute, has_gripper), looker.hand, lambda _: False, lambda *_: False)
    return RecoveringPerson(way, looker.judge, patience=back, longest_correction=correction)


def interface_names(env: Env) -> tuple[str, ...]:
    """Return the names of a world's action."""
    return tuple(env.unwrapped.interface.action_names)  # type: ignore[attr-defined]
