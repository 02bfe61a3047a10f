"""What an actor is asked and what it answers; what starts and stops actors.

An actor is a process with one world. It is asked for a segment at a time and given the parameters to act by, so what is
under way is bounded: one segment for each actor. It builds the transitions itself, with the recipe's own collector; an
episode goes on from one segment to the next.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from policies.data.trajectories import Trajectory
from policies.replay import Transition
from robot.errors import ConfigError, RobotError

BACK_ENDS = ("processes", "ray")
Parameters = Mapping[str, np.ndarray]


class ActorLost(RobotError, ConnectionError):
    """An actor died, raised or fell silent: its order and its episode are gone."""


@dataclass(frozen=True)
class ActorsConfig:
    """How many actors there are, and how they are asked."""

    count: int = 4
    back_end: str = "processes"  # of this machine; or ray
    segment_steps: int = 25  # control steps with the same parameters
    in_turn: bool = True  # a run can be repeated; False: whoever is ready first, for worlds of unequal pace
    patience_s: float = 300.0  # an actor that is silent for so long is lost; its start included
    losses_in_a_row: int = 3  # of one actor, after which the run ends

    def __post_init__(self) -> None:
        if min(self.count, self.segment_steps, self.losses_in_a_row) < 1 or self.patience_s <= 0:
            raise ConfigError(f"count, segment_steps and losses_in_a_row must be >= 1, patience_s > 0: {self}")
        if self.back_end not in BACK_ENDS:
            raise ConfigError(f"back_end is '{self.back_end}', allowed: {', '.join(BACK_ENDS)}")


@dataclass(frozen=True)
class Order:
    """Make at least `steps` control steps, as the recipe explores in its warm-up or by these parameters."""

    steps: int
    explores: bool
    parameters: Parameters
    updates: int  # that the parameters had behind them


@dataclass(frozen=True)
class Made:
    """What one step of a recipe's collector made: transitions that are complete now, and by how much it counted on."""

    transitions: tuple[Transition, ...]
    env_steps: int
    episodes: int
    successes: int
    finished: Trajectory | None = None


Segment = tuple[Made, ...]


class Collector(Protocol):
    """What all collectors count."""

    env_steps: int
    episodes: int
    successes: int


class Explorer(Protocol):
    """The part of a recipe that acts: it lives in an actor and steps its collector."""

    @property
    def collector(self) -> Collector: ...

    def load(self, parameters: Parameters) -> None:
        """Act by these from now on."""
        ...

    def step(self, *, explores: bool) -> list[Transition]:
        """Let the collector make one step."""
        ...


MakeExplorer = Callable[[int], Explorer]  # by seed, in the actor's process: it can be pickled


class Worker(Protocol):
    """One running actor, as its learner sees it."""

    def ask(self, order: Order) -> None:
        """Hand over an order; the answer to the one before has been taken."""
        ...

    def answer(self, timeout_s: float) -> Segment:
        """Wait for the segment that was asked for; ActorLost where there will be none."""
        ...

    def close(self) -> None:
        """End the actor whatever it does."""
        ...


class BackEnd(Protocol):
    """Where actors run."""

    def start(self, make: MakeExplorer, seed: int) -> Worker:
        """Start one actor; does not wait until its world is there."""
        ...

    def first_ready(self, workers: Sequence[Worker], timeout_s: float) -> int | None:
        """Return the place of a worker that has something to say, or None."""
        ...

    def close(self) -> None: ...


def follow(explorer: Explorer, order: Order) -> Segment:
    """Make a segment; its last step may take it beyond what was ordered."""
    explorer.load(order.parameters)
    made: list[Made] = []
    while sum(item.env_steps for item in made) < order.steps:
        before = _counts(explorer.collector)
        transitions = explorer.step(explores=order.explores)
        steps, episodes, successes = (now - then for now, then in zip(_counts(explorer.collector), before, strict=True))
        finished = getattr(explorer.collector, "finished", None)  # some keep the episode that just ended
        made.append(Made(tuple(transitions), steps, episodes, successes, finished))
    return tuple(made)


def _counts(collector: Collector) -> tuple[int, int, int]:
    return collector.env_steps, collector.episodes, collector.successes
