"""Everything that who is in control depends on, as it happened, one line of JSON each; and the replay of such a log.

Packets of operator devices are logged as they come, what the device itself sent (`raw`) included, and every tick with
what else it was told. Replayed through the same inbox and the same ownership machine they give every edge again, bit
for bit: at which tick, with which generation and intervention. Times are as they were; nothing is measured anew.
"""

import json
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self, TextIO

from robot import ownership
from robot.errors import StoreError
from robot.hand import admitted
from robot.operator_inbox import OperatorInbox
from robot.ownership import Mode, Ownership, OwnershipRules, advance
from robot.record import Clip, TickRecord
from robot.tick import Cell, TickInputs, TickState
from robot.types import Mark, OperatorInput, Owner, OwnerRequest

FLUSH_S = 0.5
PACKET, TAKE, TICK, EDGE = "packet", "take", "tick", "edge"
_DEFAULTS = {field.name: field.default for field in fields(OperatorInput)}


class OperatorLog:
    """Appends to a file; called from several threads. A process that is killed loses half a second of it."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._lock = file, threading.Lock()
        self._flushed_s = time.monotonic()
        self._known: Ownership | None = None  # after the last tick

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Begin a new log in a folder, named by the time."""
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(2)}.jsonl"
        return cls((folder / name).open("x", encoding="utf-8"))

    def packet(self, packet: OperatorInput, now_s: float) -> None:
        """Note a packet when it comes, whatever becomes of it."""
        said = {name: value for name, value in asdict(packet).items() if value != _DEFAULTS[name]}
        self._write(PACKET, now_s=now_s, said=said)

    def take(self, now_s: float, *, is_human: bool) -> None:
        """Note that a tick asks for what was said."""
        self._write(TAKE, now_s=now_s, is_human=is_human)

    def ticked(
        self, cell: Cell, before: TickState, inputs: TickInputs, after: TickState, record: TickRecord | None
    ) -> None:
        """Note a tick by what went into it and what came of it; first the edge since the last one, if there was any.

        Args:
            cell: whose rules it went by.
            before: the state that the tick was given.
            inputs: what it was told; the operator's packet as it came out of the inbox.
            after: the state that it gave.
            record: of the tick.
        """
        if before.ownership is not self._known:
            self.edge(before.ownership)
        self._known = after.ownership
        operator = inputs.operator
        strayed = record is not None and bool(record.safety_clips & Clip.TRACKING)
        self.tick(
            inputs.time_ns,
            cell.rules,
            fault=inputs.fault or strayed,
            refused=operator is not None and admitted(cell, before, operator) is not operator,
            drove=record is not None and record.owner is Owner.POLICY,
        )

    def tick(self, time_ns: int, rules: OwnershipRules, *, fault: bool, refused: bool, drove: bool) -> None:
        """Note a tick.

        Args:
            time_ns: its time.
            rules: those of the device that it heard.
            fault: that it was told of one, or saw the arm stray.
            refused: that the takeover of a leader that is not aligned was not passed on.
            drove: that the policy's action was executed.
        """
        told = {name: value.value if isinstance(value, Mode) else value for name, value in asdict(rules).items()}
        self._write(TICK, time_ns=time_ns, rules=told, fault=fault, refused=refused, drove=drove)

    def edge(self, state: Ownership) -> None:
        """Note the state after an edge that no tick brought about: an episode's beginning or end, a reset."""
        self._write(EDGE, state={**asdict(state), "mode": state.mode.value})

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def _write(self, kind: str, **facts: Any) -> None:
        line = json.dumps({"kind": kind, **facts}, separators=(",", ":"))
        with self._lock:
            if self._file.closed:
                return
            self._file.write(line + "\n")
            if time.monotonic() - self._flushed_s > FLUSH_S:
                self._file.flush()
                self._flushed_s = time.monotonic()


@dataclass(frozen=True, slots=True)
class ReplayedTick:
    """Who was in control after a tick."""

    time_ns: int
    state: Ownership


def replay_log(lines: Iterable[str]) -> Iterator[ReplayedTick]:
    """Yield the ownership after each tick of a log; StoreError names a line that cannot be read."""
    inbox, state = OperatorInbox(), Ownership()
    operator: OperatorInput | None = None
    age_s = 0.0
    for number, line in enumerate(lines, 1):
        try:
            event = json.loads(line)
            kind = event["kind"]
            if kind == PACKET:
                inbox.put(_packet(event["said"]), event["now_s"])
            elif kind == TAKE:
                operator, age_s = inbox.take(event["now_s"], is_human=event["is_human"])
            elif kind == EDGE:
                state = Ownership(**{**event["state"], "mode": Mode(event["state"]["mode"])})
            else:
                state = _tick(state, event, operator, age_s)
                yield ReplayedTick(event["time_ns"], state)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"line {number} of the operator log cannot be replayed ({error!r}): {line[:80]}") from None


def _tick(state: Ownership, event: dict[str, Any], operator: OperatorInput | None, age_s: float) -> Ownership:
    told = event["rules"]
    rules = OwnershipRules(**{**told, "first_segment": Mode(told["first_segment"])})
    if operator is not None and event["refused"]:
        operator = replace(operator, request=OwnerRequest.NONE)
    state = advance(
        rules, state, time_ns=event["time_ns"], operator=operator, operator_age_s=age_s, fault=event["fault"]
    )
    return ownership.count_policy_tick(state) if event["drove"] else state


def _packet(said: dict[str, Any]) -> OperatorInput:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
    values["request"] = OwnerRequest(values.get("request", 0))
    values["mark"] = Mark(values.get("mark", 0))
    return OperatorInput(**values)
