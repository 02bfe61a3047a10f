"""Bring up the managed nodes of a robot in order: cameras, then the arm; the arbiter waits until all are there.

Every device is opened before any of them begins, so that where one is missing nothing is activated. A required node
that cannot be opened ends the graph with its reason; any other one is asked again. A process that is new, such as a
camera that was started again, is brought up like the first. What was already brought up, by whomever, is left alone:
who has deactivated a node has to activate it.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from robot.errors import DeviceNotFound
from robot.ros.managed import UNCONFIGURED
from robot.ros.missing import missing_ros
from robot.ros.node import RobotNode
from robot.ros.qos import message_type

try:
    from lifecycle_msgs.msg import Transition
except ImportError as error:
    raise missing_ros(error) from None

CHANGE_STATE = "lifecycle_msgs/srv/ChangeState"
GET_STATE = "lifecycle_msgs/srv/GetState"
ANSWER_S = 2.0  # for a state; a transition may take as long as its device does
REASON_S = 1.5  # for the reason of a failure, which comes with the diagnostics
AGAIN_S = 2.0
Steps = Generator[None, None, None]


class Stage(IntEnum):
    """How far a node has come."""

    UNHEARD = 0
    FOUND = 1
    OPEN = 2
    UP = 3


@dataclass(frozen=True, slots=True)
class Heard:
    """What a managed node last said in /diagnostics, and when [monotonic s]."""

    pid: str
    error: str  # "" where it reports none
    at_s: float


class Member:
    """One managed node as seen by who brings it up."""

    def __init__(self, node: RobotNode[Any], name: str, *, is_required: bool) -> None:
        self.name, self.is_required = name, is_required
        self.stage = Stage.UNHEARD
        self.complaint = ""
        self.is_asked = False  # to change its state, and has not answered yet
        self.heard: Heard | None = None
        self.routine: Iterator[None] = iter(())
        self._change: Any = node.create_client(message_type(CHANGE_STATE), f"{name}/change_state")
        self._state: Any = node.create_client(message_type(GET_STATE), f"{name}/get_state")

    def ask_state(self) -> Generator[None, None, str]:
        """Return the label of its state."""
        while True:
            if self._state.service_is_ready():
                asked_s, future = time.monotonic(), self._state.call_async(self._state.srv_type.Request())
                while time.monotonic() - asked_s < ANSWER_S:
                    if future.done():
                        return str(future.result().current_state.label)
                    yield
            yield

    def change(self, transition: int, goal: str) -> Generator[None, None, bool]:
        """Ask for a transition and say whether it has led to a state."""
        while not self._change.service_is_ready():
            yield
        request = self._change.srv_type.Request(transition=Transition(id=transition))
        future = self._change.call_async(request)
        self.is_asked = True
        while not future.done():
            yield
        self.is_asked = False
        return (yield from self.ask_state()) == goal

    def reason(self, asked_s: float) -> Generator[None, None, str]:
        """Return why a transition failed that was asked for then."""
        deadline_s = time.monotonic() + REASON_S
        while time.monotonic() < deadline_s:
            if self.heard is not None and self.heard.error and self.heard.at_s > asked_s:
                return self.heard.error
            yield
        return "it does not say why"


class BringUp:
    """The managed nodes of one robot. `step` is called again and again until all are up, and never waits."""

    def __init__(self, node: RobotNode[Any], names: Sequence[str], required: Sequence[str]) -> None:
        self._log = node.get_logger()
        self._members = [Member(node, name, is_required=name in required) for name in names]

    @property
    def is_complete(self) -> bool:
        return all(member.stage is Stage.UP for member in self._members)

    @property
    def waiting(self) -> list[str]:
        """Return the nodes that are not up."""
        return [member.name for member in self._members if member.stage is not Stage.UP]

    @property
    def busy(self) -> list[str]:
        """Return the nodes that are changing their state, and say nothing meanwhile."""
        return [member.name for member in self._members if member.is_asked]

    @property
    def complaint(self) -> str:
        """Return why a node that is waited for could not be opened."""
        return "; ".join(f"{member.name} {member.complaint}" for member in self._members if member.complaint)

    def hear(self, name: str, pid: str, error: str) -> None:
        """Note what a managed node says in /diagnostics; a new process is to be brought up."""
        for member in self._members:
            if member.name == name:
                is_new = member.heard is None or member.heard.pid != pid
                member.heard = Heard(pid, error, time.monotonic())
                if is_new:
                    member.stage, member.complaint, member.is_asked = Stage.FOUND, "", False
                    member.routine = self._bring_up(member)

    def step(self) -> None:
        """Go on where answers have come; DeviceNotFound where a required node cannot be opened."""
        for member in self._members:
            with suppress(StopIteration):
                next(member.routine)

    def _bring_up(self, member: Member) -> Steps:
        if (yield from member.ask_state()) != UNCONFIGURED:
            member.stage = Stage.UP
            return
        while not self._may_open(member):
            yield
        yield from self._configure(member)
        while not self._may_begin(member):
            yield
        asked_s = time.monotonic()
        if not (yield from member.change(Transition.TRANSITION_ACTIVATE, "active")):
            reason = yield from member.reason(asked_s)
            raise DeviceNotFound(f"{member.name} {reason}")
        member.stage = Stage.UP
        self._log.info(f"{member.name} is active")

    def _configure(self, member: Member) -> Steps:
        while True:
            asked_s = time.monotonic()
            if (yield from member.change(Transition.TRANSITION_CONFIGURE, "inactive")):
                break
            member.complaint = yield from member.reason(asked_s)
            if member.is_required:
                raise DeviceNotFound(f"{member.name} {member.complaint}; nothing was activated")
            self._log.warning(f"{member.name} {member.complaint}; it is asked again", throttle_duration_sec=10.0)
            again_s = time.monotonic() + AGAIN_S
            while time.monotonic() < again_s:
                yield
        member.stage, member.complaint = Stage.OPEN, ""
        self._log.info(f"{member.name} is open")

    def _may_open(self, member: Member) -> bool:
        """Say whether all before it are open."""
        return all(other.stage >= Stage.OPEN for other in self._before(member))

    def _may_begin(self, member: Member) -> bool:
        """Say whether all are open, and those before it active."""
        is_open = all(other.stage >= Stage.OPEN for other in self._members)
        return is_open and all(other.stage is Stage.UP for other in self._before(member))

    def _before(self, member: Member) -> list[Member]:
        return self._members[: self._members.index(member)]
