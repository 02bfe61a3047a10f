"""Policy and person in one world, tick by tick: the same ownership machine and the same record everywhere.

`PlainControl` is for worlds without a tick (toys, Meta-World): the person's action takes the place of the policy's.
`TickControl` is for station tasks: the person's wish becomes a packet of an operator device, and the tick decides.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import gymnasium
import numpy as np

from policies.data.demonstrations import Env, interface_of
from robot import ownership
from robot.env import TandemEnv
from robot.errors import ConfigError
from robot.operator.person import HANDS_OFF, Person, Wish
from robot.ownership import Mode, Ownership, OwnershipRules
from robot.policy import ActionChunk
from robot.record import TickRecord, tick_from_outside
from robot.types import NS_PER_S, Array, EndReason, Mark, OperatorInput, Owner, OwnerRequest

Seen = Mapping[str, np.ndarray]
DEVICE = "person"
AT_WILL = OwnershipRules(disengage_ticks=1)
RECOVER_FIRST = OwnershipRules(disengage_ticks=1, hand_back=False, first_segment=Mode.HUMAN_RECOVERY)  # RaC


class SharedControl(Protocol):
    """A world in which a policy's commands are executed until a person takes over."""

    def reset(self, seed: int) -> Seen: ...

    def step(self, command: Array) -> tuple[Seen, TickRecord]:
        """Make one tick with what the policy wants; return what is seen after it, and its record."""
        ...


class Watched(gymnasium.Wrapper[dict[str, np.ndarray], np.ndarray, dict[str, np.ndarray], np.ndarray]):
    """A world with a person who looks on; what a recipe that learns from takeovers is given."""

    def __init__(self, env: Env, person: Person) -> None:
        super().__init__(env)
        self.person = person


class Onlooker:
    """A person whose hands stay off, whatever they see; what they would have done can be asked for."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.session_ticks = self.driven_ticks = 0

    def reset(self, seed: int) -> None:
        self.person.reset(seed)

    def look(self, observation: Seen, executed: Array | None, proposed: Array) -> Wish:
        return HANDS_OFF

    def advise(self, observation: Seen) -> Array:
        return self.person.advise(observation)


def person_of(env: Env) -> Person:
    """Return who looks on; ConfigError where nobody does."""
    if not isinstance(env, Watched):
        raise ConfigError("this recipe learns from takeovers and nobody looks on: give it `Watched(env, person)`")
    return env.person


def make_control(env: Env, rules: OwnershipRules = AT_WILL) -> SharedControl:
    """Return the control that fits a watched world."""
    person, world = person_of(env), env.unwrapped
    return TickControl(world, person, rules) if isinstance(world, TandemEnv) else PlainControl(env, person, rules)


def packet_of(wish: Wish, seq: int, time_ns: int, state: Ownership) -> OperatorInput:
    """Return a person's wish as a packet of an operator device; the clutch is held while they drive."""
    packet = OperatorInput(seq, time_ns, DEVICE)
    if wish.action is not None:
        moves_on = state.mode is Mode.HUMAN_RECOVERY and not wish.is_recovery
        mark = Mark.CORRECTION if moves_on else Mark.NONE
        return replace(packet, engaged=True, request=OwnerRequest.TAKE_OVER, mark=mark)
    let_go = state.is_human or state.mode is Mode.HOLD
    return replace(packet, request=OwnerRequest.HAND_BACK) if let_go else packet


def closed_by_person(record: TickRecord, wish: Wish) -> TickRecord:
    """Return the record of a tick with which the person ended the episode, where the world did not."""
    if not wish.ends_episode or record.terminated or record.truncated:
        return record
    return replace(record, truncated=True, end_reason=EndReason.OPERATOR_ABORT)


class PlainControl:
    """Ownership over a gymnasium world; times are counted from its rate."""

    def __init__(self, env: Env, person: Person, rules: OwnershipRules = AT_WILL) -> None:
        self.env, self.person, self.rules = env, person, rules
        self._period_ns = round(NS_PER_S / interface_of(env).rate_hz)

    def reset(self, seed: int) -> Seen:
        self._seen, _ = self.env.reset(seed=seed)
        self.person.reset(seed)
        self._executed: Array | None = None
        self._step, self._owner = 0, ownership.begin(Ownership(), 0)
        return self._seen

    def step(self, command: Array) -> tuple[Seen, TickRecord]:
        command = np.asarray(command, np.float64)
        time_ns, before = self._step * self._period_ns, self._seen
        wish = self.person.look(before, self._executed, command)
        packet = packet_of(wish, self._step, time_ns, self._owner)
        self._owner = ownership.advance(
            self.rules, self._owner, time_ns=time_ns, operator=packet, operator_age_s=0.0, fault=False
        )
        if self._owner.mode is Mode.HOLD:
            raise ConfigError("nobody drives, and this world cannot wait: under these rules a person ends the episode")
        is_human = self._owner.is_human
        human = np.full(len(command), np.nan) if wish.action is None else np.asarray(wish.action, np.float64)
        self._seen, reward, terminated, truncated, info = self.env.step(human if is_human else command)
        self._executed = np.array(info["executed_action"], np.float64)
        record = tick_from_outside(
            self._step,
            before,
            self._executed,
            tick_time_ns=time_ns,
            policy_action=command,
            human_action=human if is_human else np.full(len(command), np.nan),
            owner=Owner.HUMAN if is_human else Owner.POLICY,
            segment=self._owner.segment,
            intervention_id=self._owner.intervention_id,
            generation=self._owner.generation,
            reward_task=float(reward),
            terminated=bool(terminated),
            truncated=bool(truncated),
            end_reason=_reason(bool(terminated), bool(truncated), bool(info["success"])),
        )
        if not is_human:
            self._owner = ownership.count_policy_tick(self._owner)
        self._step += 1
        return self._seen, closed_by_person(record, wish)


def _reason(terminated: bool, truncated: bool, success: bool) -> EndReason:
    if terminated:
        return EndReason.SUCCESS if success else EndReason.FAILURE
    return EndReason.TIMEOUT if truncated else EndReason.OPEN


class TickControl:
    """A station task: the person's action becomes the twist that goes there within one period."""

    def __init__(self, env: TandemEnv, person: Person, rules: OwnershipRules = AT_WILL) -> None:
        station = env.loop.world.station
        if len(station.sides) != 1 or station.sides[0].action.space != "tcp_position":
            raise ConfigError(
                f"a person drives one tcp in lock-step; station {station.name} has {len(station.sides)} arms that act "
                f"in {station.sides[0].action.space}: take a station of one arm in tcp_position"
            )
        self.env, self.person = env, person
        self._loop, self._period_s = env.loop, station.period_s
        self._loop.cell.rules = rules
        self._seq = 0

    def reset(self, seed: int) -> Seen:
        self.person.reset(seed)
        self._executed: Array | None = None
        observation, _ = self.env.reset(seed=seed)
        return observation

    def step(self, command: Array) -> tuple[Seen, TickRecord]:
        before, state = self._loop.observation, self._loop.state
        assert before is not None and state is not None, "step before reset"
        wish = self.person.look(before.values, self._executed, command)
        packet = packet_of(wish, self._seq, before.time_ns, state.ownership)
        if wish.action is not None:
            packet = self._towards(packet, wish.action, state.commanded)
        self._seq += 1
        chunk = ActionChunk(np.asarray(command)[None], self._period_s, before.time_ns, state.ownership.generation)
        after, record = self._loop.step(chunk, packet)
        self._executed = record.executed_action
        return dict(after.values), closed_by_person(record, wish)

    def _towards(self, packet: OperatorInput, action: Array, commanded: Array) -> OperatorInput:
        x, y, z = ((action[:3] - commanded[:3]) / self._period_s).tolist()
        return replace(packet, twist=(x, y, z, 0.0, 0.0, 0.0), gripper=float(action[3]))
