"""The lock-step loop: one world, one tick at a time, no clock.

`env.py` puts the gymnasium face on it; the arbiter process runs the same `tick` in real time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from robot import ownership
from robot.chunk_runner import ChunkRunner
from robot.ownership import Mode, OwnershipRules
from robot.policy import ActionChunk
from robot.record import TickRecord
from robot.specs import StationSpec
from robot.tick import Cell, TickInputs, TickState, new_mark, start, tick
from robot.types import Command, EndReason, Mark, Observation, OperatorInput


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the world says about the task after a tick."""

    reward: float
    is_success: bool
    is_failure: bool = False


class World(Protocol):
    """A world that moves only when told to; time is its own and never runs backwards, over resets either."""

    station: StationSpec
    observation_shapes: Mapping[str, tuple[int, ...]]
    max_steps: int

    def reset(self, seed: int | None) -> Observation:
        """Begin an episode: the same seed gives the same episode exactly; None goes on with its own generator."""
        ...

    def advance(self, command: Command) -> Observation:
        """Follow one command for one control period and return what is seen at its end."""
        ...

    def outcome(self) -> Outcome: ...


class Operator(Protocol):
    """Whoever may take over: an operator device, or a scripted one."""

    def reset(self, seed: int) -> None: ...

    def read(self, observation: Observation) -> OperatorInput | None:
        """Return the newest packet, or None when there is nobody."""
        ...


class ControlLoop:
    """Step a world by `tick`. State is in `state`; nothing else remembers anything."""

    def __init__(self, world: World, rules: OwnershipRules = OwnershipRules()) -> None:  # noqa: B008
        self.world = world
        self.cell = Cell(world.station, rules)
        self.state: TickState | None = None
        self.observation: Observation | None = None

    def reset(self, seed: int | None = None, *, autonomous: bool = True) -> Observation:
        self.observation = self.world.reset(seed)
        self.state = begin_episode(self.cell, self.state, self.observation, autonomous=autonomous)
        return self.observation

    def step(self, chunk: ActionChunk | None, operator: OperatorInput | None = None) -> tuple[Observation, TickRecord]:
        """Run one tick and let the world follow it; returns what is seen after and the tick's complete record."""
        if self.state is None or self.observation is None:
            raise RuntimeError("step before reset: call reset(seed) first")
        inputs = TickInputs(self.observation.time_ns, self.observation, chunk, operator)
        mark = new_mark(self.state, operator)
        self.state, command, record = tick(self.cell, self.state, inputs)
        assert record is not None  # lock-step always observes
        self.observation = self.world.advance(command)
        record = with_outcome(record, self.world.outcome(), self.world.max_steps, mark)
        if record.terminated or record.truncated:
            self.state = end_episode(self.state, record.tick_time_ns)
        return self.observation, record

    def run_episode(
        self, runner: ChunkRunner | None, seed: int | None = None, operator: Operator | None = None
    ) -> Iterator[tuple[Observation, TickRecord]]:
        """Yield one episode tick by tick: what was seen before the tick, and its complete record.

        Args:
            runner: the policy's, or None: the arm holds until the operator takes over.
            seed: of the world's start and of the operator.
            operator: who may take over; None when nobody looks on.
        """
        observation = self.reset(seed, autonomous=runner is not None)
        if runner is not None:
            runner.reset()
        if operator is not None:
            operator.reset(seed or 0)
        while True:
            assert self.state is not None
            generation = self.state.ownership.generation
            chunk = runner.step(observation.values, observation.time_ns, generation) if runner is not None else None
            packet = operator.read(observation) if operator is not None else None
            after, record = self.step(chunk, packet)
            yield observation, record
            observation = after
            if record.terminated or record.truncated:
                return


def begin_episode(
    cell: Cell, state: TickState | None, observation: Observation, *, autonomous: bool = True
) -> TickState:
    """Return the state in which an episode starts: no plan, the filter where the arm is, ownership carried on."""
    fresh = start(cell, observation.robot.position, observation.time_ns, seq=state.seq if state else 0, state=state)
    owner = ownership.begin(fresh.ownership, observation.time_ns, autonomous=autonomous)
    return replace(fresh, ownership=owner)


def end_episode(state: TickState, time_ns: int) -> TickState:
    """Return the state after an episode's last tick: nobody drives; a stop for safety stays one."""
    if state.ownership.mode is Mode.SAFETY:
        return state
    return replace(state, ownership=ownership.end(state.ownership, time_ns))


_MARKED = {
    Mark.SUCCESS: EndReason.SUCCESS,
    Mark.FAILURE: EndReason.FAILURE,
    Mark.DISCARD: EndReason.DISCARD,
    Mark.RERECORD: EndReason.DISCARD,
}


def with_outcome(record: TickRecord, outcome: Outcome, max_steps: int, mark: Mark = Mark.NONE) -> TickRecord:
    """Complete a record with what came of it: rewards by source, terminated and truncated apart, end reason.

    Success and failure terminate; the time limit, and a discard, truncate.
    """
    reason = EndReason.OPEN if mark is Mark.NONE else _MARKED.get(mark, EndReason.OPEN)
    if reason is EndReason.OPEN and (outcome.is_success or outcome.is_failure):
        reason = EndReason.SUCCESS if outcome.is_success else EndReason.FAILURE
    terminated = reason in (EndReason.SUCCESS, EndReason.FAILURE)
    truncated = not terminated and (reason is EndReason.DISCARD or record.step + 1 >= max_steps)
    if truncated and reason is EndReason.OPEN:
        reason = EndReason.TIMEOUT
    if outcome.reward == 0.0 and reason is EndReason.OPEN:
        return record
    return replace(record, reward_task=outcome.reward, terminated=terminated, truncated=truncated, end_reason=reason)
