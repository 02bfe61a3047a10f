"""Watch everybody's diagnostics and own the software e-stop topic.

An ERROR of a required node, or its silence, raises the e-stop; the latch it sets lives in the arm process and only
`safety/reset` clears it. It also brings up the nodes that own a device (`robot.ros.bring_up`); in simulation it may do
that reset by itself, once, after them. Not a safety function in the sense of a standard: keep a hardware emergency stop
in reach.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from robot.arm_control import NEVER_RESET
from robot.errors import RobotError
from robot.ros import topics
from robot.ros.bring_up import BringUp
from robot.ros.messages import to_bool
from robot.ros.node import Diagnosis, Level, NodeParameters, RobotNode, run_node

SILENCE_S = 5.0
PERIOD_S = 0.1
ADVANCE_S = 0.02


@dataclass(frozen=True)
class HealthParameters(NodeParameters):
    """`required` names the nodes, with commas between, without which nothing may move; `managed` those with a device,
    in the order in which they are brought up.

    `auto_reset`: in simulation only, reset the arm once when all of them are there for the first time.
    """

    required: str = "arm,arbiter"
    managed: str = "arm"
    auto_reset: bool = False


@dataclass
class Watch:
    """What the required nodes last said, on a monotonic clock [s]."""

    required: tuple[str, ...]
    heard: dict[str, tuple[float, int, str]] = field(default_factory=dict)

    def hear(self, name: str, level: int, message: str, now_s: float) -> None:
        self.heard[name] = (now_s, level, message)

    def excuse(self, name: str, now_s: float) -> None:
        """Do not count this moment as silence: the node is busy with its device."""
        if name in self.heard:
            self.heard[name] = (now_s, *self.heard[name][1:])

    @property
    def missing(self) -> list[str]:
        """Return the required nodes that never said anything."""
        return [name for name in self.required if name not in self.heard]

    def complaints(self, now_s: float) -> list[str]:
        """Return why nothing may move: errors and silences of required nodes that had been there."""
        found = []
        for name in self.required:
            heard_s, level, message = self.heard.get(name, (now_s, Level.OK, ""))
            if level == Level.ERROR:
                found.append(f"{name}: {message}")
            elif now_s - heard_s > SILENCE_S:
                found.append(f"{name}: silent for {now_s - heard_s:.0f} s")
        return found


class HealthNode(RobotNode[HealthParameters]):
    """Small on purpose: it reads diagnostics and publishes one bit."""

    def __init__(self) -> None:
        super().__init__("health", HealthParameters)
        space = self._space = self.get_namespace().rstrip("/")
        required, managed = _names(self.parameters.required), _names(self.parameters.managed)
        self._watch = Watch(tuple(f"{space}/{name}" for name in required))
        self._bring_up = BringUp(self, managed, required)
        self._arm, self._arm_state = f"{space}/arm", ""
        self._arm_reason: str | None = None
        self._was_reset = not self.parameters.auto_reset
        self._complaints: list[str] = []
        self._resetting: Any = None
        self._estop = self.publisher(topics.ESTOP)
        self._reset = self.client(topics.SAFETY_RESET)
        self.subscribe(topics.DIAGNOSTICS, self._on_diagnostics)
        self.subscribe(topics.SAFETY_STATE, self._on_safety)
        self.create_timer(PERIOD_S, self._step)
        self._advancing = self.create_timer(ADVANCE_S, self._advance)

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            level = int.from_bytes(status.level, "little")
            self._watch.hear(status.name, level, status.message, time.monotonic())
            values = {item.key: item.value for item in status.values}
            if "lifecycle" in values and status.name.startswith(f"{self._space}/"):
                error = status.message if level == Level.ERROR else ""
                self._bring_up.hear(status.name.removeprefix(f"{self._space}/"), values["pid"], error)
                if not self._bring_up.is_complete and self._advancing.is_canceled():
                    self._advancing.reset()
            if status.name == self._arm:
                self._arm_reason = values.get("reason")

    def _on_safety(self, message: Any) -> None:
        self._arm_state = message.data

    def _step(self) -> None:
        for name in self._bring_up.busy:
            self._watch.excuse(f"{self._space}/{name}", time.monotonic())
        complaints = self._watch.complaints(time.monotonic())
        for news in set(complaints) - set(self._complaints):
            self.get_logger().error(f"e-stop: {news}", throttle_duration_sec=1.0)
        self._complaints = complaints
        self._estop.publish(to_bool(bool(complaints)))
        if self._bring_up.is_complete and not (self._was_reset or self._watch.missing or complaints):
            self._reset_once()

    def _advance(self) -> None:
        """Go on bringing up devices; a required one that cannot be opened ends the graph."""
        try:
            self._bring_up.step()
        except RobotError as error:
            self.failure = error
            self.stopping.set()
        if self._bring_up.is_complete:
            self._advancing.cancel()

    def _reset_once(self) -> None:
        """Ask for the reset of bring-up until the arm has done it.

        An arm that was ever reset, or stopped since, is left to a person, also where this node was started again.
        """
        if self._arm_reason != NEVER_RESET:
            self._was_reset = self._arm_reason is not None
        elif self._resetting is not None and self._resetting.done():
            self._was_reset = bool(self._resetting.result().success)
            self._resetting = None
        elif self._resetting is None and self._arm_state == "latched" and self._reset.service_is_ready():
            self._resetting = self._reset.call_async(self.trigger_request())

    def diagnose(self) -> Diagnosis:
        bring_up = self._bring_up
        values = {"safety": self._arm_state, "missing": ", ".join(self._watch.missing)}
        values |= {"not_up": ", ".join(bring_up.waiting), "not_up_reason": bring_up.complaint}
        if self._complaints:
            return Diagnosis(Level.ERROR, "; ".join(self._complaints), values)
        if bring_up.complaint:
            return Diagnosis(Level.WARN, f"waiting for {bring_up.complaint}", values)
        if self._watch.missing:
            return Diagnosis(Level.WARN, f"not there yet: {values['missing']}", values)
        if not bring_up.is_complete:
            return Diagnosis(Level.WARN, f"not up yet: {values['not_up']}", values)
        return Diagnosis(values=values)


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]


def main(args: Iterable[str] | None = None) -> int:
    return run_node(HealthNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
