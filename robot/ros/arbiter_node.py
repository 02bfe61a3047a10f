"""The arbiter: the one who decides. It runs `robot.tick` at the control rate over what has arrived by then.

Newest observation, newest chunk, newest operator packet in; one command out, and the record of what was done. Whatever
is missing, old or broken ends in a command to hold, never in no command: only a fault of the arm itself stops them.
"""

import copy
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robot import ownership
from robot.clock import RateKeeper
from robot.control_loop import Outcome, begin_episode, with_outcome
from robot.errors import StaleObservation, unknown_name
from robot.operator_inbox import OperatorInbox
from robot.operator_log import OperatorLog
from robot.ownership import PAGE_RULES, Mode, OwnershipRules
from robot.plan import FUTURE_S, refusal
from robot.policy import ActionChunk
from robot.record import Clip, TickRecord
from robot.ros import topics
from robot.ros.messages import (
    MessageRefused,
    check_operator,
    from_chunk,
    from_json,
    from_stamp,
    operator_from_dict,
    to_command,
    to_json,
)
from robot.ros.node import Diagnosis, Level, NodeParameters, RobotNode, run_node
from robot.ros.record_message import to_record
from robot.ros.streams import Streams
from robot.tick import Cell, TickInputs, TickState, new_mark, start, tick
from robot.types import NS_PER_S, Mark, Observation, OperatorInput

BLOCKED = ("", "latched", "stopped")  # states of the arm in which no command is followed
SEGMENTS = {mode.value: mode for mode in ownership.HUMAN}
TIMING_KEPT = 2000
INFOS_KEPT = 4
PAGE = "page"


@dataclass(frozen=True)
class ArbiterParameters(NodeParameters):
    """`policy` and `operator` are `none` where there is none; in barrier mode every tick waits for the others.

    `max_steps` > 0 limits episodes of worlds that set no limit themselves. `first_segment` is what a takeover begins
    with, `human_recovery` for RaC; `hand_back` whether a person may give the arm back. `vital_nodes`: how many
    others must be there before anything moves; 0 learns it from those that come. `operator_log` is a folder.
    """

    policy: str = "any"
    operator: str = "any"
    max_steps: int = 0
    first_segment: str = Mode.HUMAN_CORRECTION.value
    hand_back: bool = True
    barrier_timeout_s: float = 20.0
    operator_log: str = ""
    vital_nodes: int = 0


class ArbiterNode(RobotNode[ArbiterParameters]):
    """Callbacks keep the newest of everything; one thread ticks."""

    def __init__(self) -> None:
        super().__init__("arbiter", ArbiterParameters)
        self._cell, self._page_cell = self._make_cells()
        self._state: TickState | None = None
        self._pending: tuple[TickRecord, Mark] | None = None  # the last tick's record, whose outcome is not yet known
        self._episode = ""  # id of the episode that was begun
        self._is_recording = self._was_blocked = False
        folder = self.parameters.operator_log
        self._log = OperatorLog.open(Path(folder)) if folder and not self.is_barrier else None
        self._inbox = OperatorInbox(self._log)
        self._answers: dict[str, tuple[int, Any]] = {}  # barrier mode: the newest answer of each, with its tick
        self._chunk: Any = None
        self._infos: dict[tuple[Any, Any], Mapping[str, Any]] = {}
        self._outcome: tuple[int, Outcome, int] = (-1, Outcome(0.0, False), 0)
        self._alive_s = -float("inf")
        self._arm_state, self._estop = "", False
        self._lost_nodes, self._losses = self.parameters.vital_nodes, 0
        self._said: dict[str, Any] = {}
        self._clips: Counter[str] = Counter()
        self._chunk_ms = float("nan")
        self._keeper = RateKeeper(self.station.control_rate_hz, kept=TIMING_KEPT)
        self._changed = threading.Event()
        self._commands = self.publisher(topics.COMMAND)
        self._author = self.publisher(topics.AUTHOR)
        self._records = self.publisher(topics.TICK_RECORD)
        self._streams = Streams(self)
        self._listen()
        self.start_thread("tick", self._run_barrier if self.is_barrier else self._run)

    def _make_cells(self) -> tuple[Cell, Cell]:
        """Return the cell with the rules of local devices, and the same with those of a page."""
        given = self.parameters
        if given.first_segment not in SEGMENTS:
            raise unknown_name("first_segment", given.first_segment, SEGMENTS)
        rules = OwnershipRules(hand_back=given.hand_back, first_segment=SEGMENTS[given.first_segment])
        cell = Cell(self.station, rules)
        page = copy.copy(cell)
        page.rules = replace(rules, silence_hold_s=PAGE_RULES.silence_hold_s)
        return cell, page

    def _listen(self) -> None:
        self.subscribe(topics.CHUNK_INFO, self._on_info)  # before the chunk: it is taken first
        self.subscribe(topics.ACTION_CHUNK, self._on_chunk)
        self.subscribe(topics.POLICY_ALIVE, self._on_alive)
        self.subscribe(topics.TELEOP_INPUT, self._on_operator)
        self.subscribe(topics.TASK_OUTCOME, self._on_outcome)
        self.subscribe(topics.SAFETY_STATE, lambda message: setattr(self, "_arm_state", message.data))
        self.subscribe(topics.ESTOP, lambda message: setattr(self, "_estop", message.data))
        self.watch_nodes(self.parameters.vital_nodes, self._on_lost_nodes)

    # What arrives.

    def _on_lost_nodes(self, lost: int) -> None:
        self._losses += max(0, lost - self._lost_nodes)
        self._lost_nodes = lost

    def _on_info(self, message: Any) -> None:
        info = from_json(message)
        self._infos[info.get("stamp_ns"), info.get("chunk")] = info
        while len(self._infos) > INFOS_KEPT:
            self._infos.pop(next(iter(self._infos)))

    def _on_chunk(self, message: Any) -> None:
        self._chunk = message
        self._answer("policy", from_stamp(message.header.stamp), message)

    def _on_alive(self, message: Any) -> None:
        self._alive_s = time.monotonic()
        if self.is_barrier:
            self._answer("policy", int(message.data), None)

    def _on_operator(self, message: Any) -> None:
        value = from_json(message)
        if self.is_barrier:
            packet = None if value.get("none") else self._checked(operator_from_dict(value))
            self._answer("operator", int(value.get("time_ns", -1)), packet)
            return
        packet = self._checked(operator_from_dict(value))
        check_stamp(packet.time_ns, self.now_ns(), "an operator packet")
        if not self._inbox.put(packet, time.monotonic()):
            raise MessageRefused("out_of_order", f"packet {packet.seq} of {packet.device} is not newer than its last")

    def _checked(self, packet: OperatorInput) -> OperatorInput:
        check_operator(packet, self.station)
        return packet

    def _on_outcome(self, message: Any) -> None:
        value = from_json(message)
        outcome = Outcome(
            float(value["reward"]), value.get("is_success") is True, is_failure=value.get("is_failure") is True
        )
        self._outcome = int(value["time_ns"]), outcome, int(value.get("max_steps", 0))
        self._streams.changed.set()

    def _answer(self, who: str, time_ns: int, answer: Any) -> None:
        self._answers[who] = time_ns, answer
        self._changed.set()

    # Ticking.

    def _run(self) -> None:
        """Tick with the wall clock."""
        while not self.stopping.is_set():
            skipped = self._keeper.wait()
            now_ns = self.now_ns()
            observation = None if self._lost_nodes else self._streams.observe(now_ns)
            if self._state is None and observation is not None:
                self._state = start(self._cell, observation.robot.position, now_ns)
            if self._state is None:
                continue
            self._finish_record()
            self._follow_episode(observation, now_ns)
            operator, age_s = self._inbox.take(time.monotonic(), is_human=self._state.ownership.is_human)
            message, self._chunk = self._chunk, None
            self._tick(
                TickInputs(
                    now_ns,
                    observation,
                    self._to_chunk(message),
                    operator,
                    age_s,
                    time.monotonic() - self._alive_s,
                    self._is_blocked,
                ),
                deadline_miss=skipped > 0,
            )

    def _run_barrier(self) -> None:
        """Tick once for every observation of a running episode, when everybody has answered it."""
        self._arm_state = "holding"  # until it says otherwise
        for observation in self._streams.observations(0.0, lambda time_ns: self._outcome[0] >= time_ns):
            assert observation is not None
            time_ns = observation.time_ns
            if self._streams.episode.id != self._episode:
                self._begin(observation)
            self._finish_record()
            if not self._is_recording or self._state is None:
                continue
            self._publish_author(self._state.ownership.owner.name.lower(), time_ns, force=True)
            message = self._await_answer("policy", time_ns, self.parameters.policy)
            operator: OperatorInput | None = self._await_answer("operator", time_ns, self.parameters.operator)
            chunk = self._to_chunk(message)
            self._tick(TickInputs(time_ns, observation, chunk, operator, fault=self._is_blocked))

    def _await_answer(self, who: str, time_ns: int, expected: str) -> Any:
        """Return the answer to one tick; StaleObservation, which ends the node, when it does not come."""
        if expected == "none":
            return None
        deadline_s = time.monotonic() + self.parameters.barrier_timeout_s
        while not self.stopping.is_set():
            answered_ns, answer = self._answers.get(who, (-1, None))
            if answered_ns == time_ns:
                return answer
            if time.monotonic() > deadline_s:
                raise StaleObservation(f"no answer of the {who} to tick {time_ns} ns: is its node alive?")
            self._changed.wait(0.05)
            self._changed.clear()
        return None

    def _to_chunk(self, message: Any) -> ActionChunk | None:
        """Return the chunk of a message, joined with its info; None, and counted, where it cannot be used."""
        if message is None:
            return None
        try:
            chunk = from_chunk(message, self.station.action_names)
            info = self._infos.get((chunk.observation_time_ns, chunk.chunk_id))
            return from_chunk(message, self.station.action_names, info) if info else chunk
        except MessageRefused as refused:
            self.refuse(topics.ACTION_CHUNK.name, refused)
            return None

    def _tick(self, inputs: TickInputs, *, deadline_miss: bool = False) -> None:
        assert self._state is not None
        state = self._unblocked(self._state, inputs)
        operator = inputs.operator
        cell = self._page_cell if operator is not None and operator.device == PAGE else self._cell
        mark = new_mark(state, operator)
        self._state, command, record = tick(cell, state, inputs)
        if self._log is not None:
            self._log.ticked(cell, state, inputs, self._state, record)
        if not inputs.fault:
            names = self.station.joint_names
            self._commands.publish(to_command(command, names, self.station.period_ns, self._episode))
        if not self.is_barrier:
            self._publish_author(command.owner.name.lower(), inputs.time_ns)
        self._note(self._state, inputs, record)
        if record is not None and self._is_recording:
            self._pending = replace(record, deadline_miss=deadline_miss), mark

    @property
    def _is_blocked(self) -> bool:
        return self._estop or self._arm_state in BLOCKED or self._arm_state.startswith("fault")

    def _unblocked(self, state: TickState, inputs: TickInputs) -> TickState:
        """After a stop and its reset, go on from where the arm is, holding."""
        was_blocked, self._was_blocked = (
            self._was_blocked,
            inputs.fault or (self._was_blocked and inputs.observation is None),
        )
        if inputs.fault or not was_blocked or inputs.observation is None:
            return state
        measured = inputs.observation.robot.position
        fresh = start(self._cell, measured, inputs.time_ns, seq=state.seq, state=state)
        return replace(fresh, step=state.step, ownership=ownership.clear_safety(state.ownership, inputs.time_ns))

    # Episodes and records.

    def _follow_episode(self, observation: Observation | None, now_ns: int) -> None:
        """Begin and end with `episode/state`, and hold in between."""
        episode = self._streams.episode
        if episode.phase == "running":
            if episode.id != self._episode and observation is not None and episode.is_running(observation.time_ns):
                self._begin(observation)
        elif episode.phase == "reset":
            self._rest(Mode.RESET, ownership.reset, now_ns)
        elif episode.id == self._episode and episode.id:
            self._rest(Mode.ENDED, ownership.end, now_ns)

    def _begin(self, observation: Observation) -> None:
        episode = self._streams.episode
        self._episode, self._is_recording, self._pending, self._chunk = episode.id, True, None, None
        self._state = begin_episode(self._cell, self._state, observation, autonomous=episode.autonomous)

    def _rest(self, mode: Mode, enter: Callable[[ownership.Ownership, int], ownership.Ownership], now_ns: int) -> None:
        assert self._state is not None
        self._is_recording = False
        if self._state.ownership.mode not in (mode, Mode.SAFETY):
            self._state = replace(self._state, ownership=enter(self._state.ownership, now_ns))

    def _finish_record(self) -> None:
        """Publish the last tick's record with what has come of it since; an ending ends the episode here."""
        if self._pending is None or self._state is None:
            return
        (record, mark), self._pending = self._pending, None
        time_ns, outcome, max_steps = self._outcome
        if time_ns < self._streams.episode.start_ns:
            outcome = Outcome(0.0, False)  # of the scene before
        limit = self.parameters.max_steps or max_steps or sys.maxsize
        finished = with_outcome(record, outcome, limit, mark)
        self._records.publish(to_record(finished))
        if finished.terminated or finished.truncated:
            self._rest(Mode.ENDED, ownership.end, record.tick_time_ns)

    # What it says.

    def _publish_author(self, owner: str, time_ns: int, *, force: bool = False) -> None:
        assert self._state is not None
        owned = self._state.ownership
        author = {
            "owner": owner,
            "mode": owned.mode.value,
            "generation": owned.generation,
            "since_ns": owned.since_ns,
            "intervention_id": owned.intervention_id,
        }
        if force or author != self._said:
            self._said = author
            self._author.publish(to_json({**author, "time_ns": time_ns}))

    def _note(self, state: TickState, inputs: TickInputs, record: TickRecord | None) -> None:
        """Count what was refused and changed."""
        chunk = inputs.chunk
        if chunk is not None and state.plan.chunk is not chunk:
            kind = refusal_kind(chunk, inputs.time_ns, state.ownership.generation)
            self.refuse(topics.ACTION_CHUNK.name, MessageRefused(kind, f"chunk {chunk.chunk_id} is not followed"))
        elif chunk is not None:
            self._chunk_ms = (inputs.time_ns - chunk.observation_time_ns) / 1e6
        if record is not None and record.safety_clips:
            self._clips.update(flag.name or "" for flag in Clip if flag & record.safety_clips)

    def close(self) -> None:
        super().close()
        if self._log is not None:
            self._log.close()

    def diagnose(self) -> Diagnosis:
        timing, silent_s = self._keeper.timing(), time.monotonic() - self._alive_s
        values: dict[str, object] = {
            **{key: self._said.get(key, "") for key in ("owner", "mode", "generation")},
            "episode": self._episode,
            "arm": self._arm_state,
            "ticks": timing.count,
            "overruns": timing.overruns,
            "late_p50_ms": timing.late_p50_ms,
            "late_p99_ms": timing.late_p99_ms,
            "policy_silence_s": silent_s,
            "chunk_age_ms": self._chunk_ms,
            "lost_nodes": self._lost_nodes,
            "losses": self._losses,
            **{f"clip_{kind.lower()}": count for kind, count in self._clips.copy().items()},
            **{f"stream_{name}": count for name, count in self._streams.builder.refused.items()},
        }
        if self._lost_nodes:
            return Diagnosis(
                Level.WARN, f"holding: {self._lost_nodes} vital node(s) frozen, dead or not there yet", values
            )
        if self._streams.complaint:
            return Diagnosis(Level.WARN, f"holding: {self._streams.complaint}", values)
        if self._is_blocked:
            return Diagnosis(Level.WARN, f"the arm is {self._arm_state or 'not heard yet'}", values)
        return Diagnosis(values=values)


def check_stamp(time_ns: int, now_ns: int, what: str) -> None:
    """Refuse what is stamped more than half a second away from now."""
    age_s = (now_ns - time_ns) / NS_PER_S
    if abs(age_s) > FUTURE_S:
        raise MessageRefused("old_stamp" if age_s > 0 else "future_stamp", f"{what} is {age_s:.2f} s old")


def refusal_kind(chunk: ActionChunk, now_ns: int, generation: int) -> str:
    """Name why a chunk was not accepted into the plan."""
    clip = refusal(chunk, now_ns=now_ns, generation=generation, not_before_ns=-1)
    if clip & Clip.NOT_FINITE:
        return "not_finite"
    if clip & Clip.INCOMPLETE:
        return "incomplete"
    if chunk.observation_time_ns > now_ns:
        return "future_stamp"
    return "stale_generation" if chunk.generation != generation else "old_stamp"


def main(args: Iterable[str] | None = None) -> int:
    return run_node(ArbiterNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
