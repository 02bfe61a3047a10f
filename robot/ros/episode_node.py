"""The episode machine: idle -> reset -> running -> ended, and again. Owns the episode's id.

A start asks the world for a reset and waits until it is ready; the first record that ends, or a stop, ends it.
"""

import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from robot.errors import ConfigError, unknown_name
from robot.record import TickRecord
from robot.ros import topics
from robot.ros.episode_state import EpisodeState
from robot.ros.messages import from_json, to_json
from robot.ros.node import Diagnosis, Level, NodeParameters, RobotNode, run_node
from robot.ros.record_message import from_record
from robot.types import EndReason

READY_TIMEOUT_S = 10.0
COMMANDS = ("start", "stop", "discard")


@dataclass(frozen=True)
class EpisodeParameters(NodeParameters):
    """`world_resets`: a simulated world answers a reset; on hardware a person has done it before the start."""

    world_resets: bool = True


class EpisodeMachine:
    """The machine without its topics. Every method returns the new state, or raises ConfigError with the reason."""

    def __init__(self, task: str, *, world_resets: bool) -> None:
        self.state = EpisodeState(task=task)
        self.started = 0
        self._task, self._world_resets = task, world_resets

    def start(self, request: Mapping[str, Any], now_ns: int) -> EpisodeState:
        if self.state.phase in ("reset", "running"):
            raise ConfigError(f"episode {self.state.id} is {self.state.phase}: stop or discard it first")
        seed, metadata = request.get("seed"), request.get("metadata") or {}
        if seed is not None and not isinstance(seed, int):
            raise ConfigError(f"seed is {seed!r}; allowed: a whole number, or null to draw one")
        if not isinstance(metadata, Mapping):
            raise ConfigError(f"metadata is {metadata!r}; allowed: a JSON object")
        self.started += 1
        self.state = EpisodeState(
            id=f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}",
            phase="reset" if self._world_resets else "running",
            task=self._task,
            seed=secrets.randbelow(2**31) if seed is None else seed,
            autonomous=request.get("autonomous", True) is not False,
            start_ns=0 if self._world_resets else now_ns,
            metadata=metadata,
        )
        return self.state

    def ready(self, episode_id: str, start_ns: int, facts: Mapping[str, Any] | None = None) -> EpisodeState | None:
        """Note that the world was reset, and what it says of the episode; None where nobody waits for it."""
        if self.state.phase != "reset" or episode_id != self.state.id:
            return None
        self.state = replace(
            self.state, phase="running", start_ns=start_ns, metadata={**self.state.metadata, **(facts or {})}
        )
        return self.state

    def record(self, record: TickRecord) -> EpisodeState | None:
        """Take note of a tick; the state where it ended the episode."""
        if not self.state.is_running(record.tick_time_ns):
            return None
        self.state = replace(self.state, step=record.step)
        return self.end(record.end_reason) if record.terminated or record.truncated else None

    def end(self, reason: EndReason) -> EpisodeState:
        if self.state.phase not in ("reset", "running"):
            raise ConfigError("no episode is running: start one first")
        self.state = replace(self.state, phase="ended", end_reason=reason.name.lower())
        return self.state


class EpisodeNode(RobotNode[EpisodeParameters]):
    """Topics and services around the machine."""

    def __init__(self) -> None:
        super().__init__("episode", EpisodeParameters)
        self._machine = EpisodeMachine(self.parameters.task, world_resets=self.parameters.world_resets)
        self._reset_at = 0.0
        self._states = self.publisher(topics.EPISODE_STATE)
        self.subscribe(topics.EPISODE_COMMAND, self._on_command)
        self.subscribe(topics.WORLD_READY, self._on_ready)
        self.subscribe(topics.TICK_RECORD, self._on_record)
        for service in (topics.EPISODE_START, topics.EPISODE_STOP, topics.EPISODE_DISCARD):
            command = service.partition("/")[2]
            self.provide(service, lambda command=command: self._obey({"command": command}))
        self.create_timer(0.5, self._watch_reset)
        self._publish(self._machine.state)

    def _on_command(self, message: Any) -> None:
        self._obey(from_json(message))

    def _obey(self, request: Mapping[str, Any]) -> tuple[bool, str]:
        """Carry out a command; what is wrong with it goes to the caller and to the log."""
        try:
            command = request.get("command")
            if command not in COMMANDS:
                raise unknown_name("episode command", str(command), COMMANDS)
            if command == "start":
                state = self._machine.start(request, self.now_ns())
                self._reset_at = time.monotonic()
            else:
                state = self._machine.end(EndReason.OPERATOR_ABORT if command == "stop" else EndReason.DISCARD)
        except ConfigError as error:
            self.get_logger().warning(str(error))
            return False, str(error)
        self._publish(state)
        return True, state.id

    def _on_ready(self, message: Any) -> None:
        ready = from_json(message)
        facts = ready.get("facts") or {}
        self._publish(self._machine.ready(str(ready.get("id")), int(ready.get("time_ns", 0)), facts))

    def _on_record(self, message: Any) -> None:
        self._publish(self._machine.record(from_record(message)))

    def _watch_reset(self) -> None:
        waiting = self._machine.state.phase == "reset"
        if waiting and time.monotonic() - self._reset_at > READY_TIMEOUT_S:
            self.get_logger().error(f"the world was not ready within {READY_TIMEOUT_S:g} s of its reset: giving up")
            self._publish(self._machine.end(EndReason.CRASH))

    def _publish(self, state: EpisodeState | None) -> None:
        if state is not None:
            self._states.publish(to_json(state.to_dict()))

    def diagnose(self) -> Diagnosis:
        state = self._machine.state
        values = {"episode": state.id, "phase": state.phase, "step": state.step, "episodes": self._machine.started}
        lost = state.end_reason == EndReason.CRASH.name.lower()
        return Diagnosis(Level.WARN if lost else Level.OK, state.phase, values)


def main(args: Iterable[str] | None = None) -> int:
    return run_node(EpisodeNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
