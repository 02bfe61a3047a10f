"""The arm's node: its servo behind topics and services.

The last filter, the watchdogs and the e-stop latch live with the servo, in this process or in one of its own that ends
with it: no other process's death or restart clears a latch, and a node starts latched. What moves the arm is
`robot.arm_control`.

It is a managed node. Configured, it reads and publishes where the arm is, latched; only while it is active may
`safety/reset` release it. Deactivating latches again, so that activating alone moves nothing.
"""

import contextlib
import queue
import sys
import time
from collections.abc import Callable
from typing import Any

from robot.arm_control import ArmStatus
from robot.arm_servo import ArmServo
from robot.errors import DeviceDisconnected
from robot.plan import FUTURE_S
from robot.ros import topics
from robot.ros.managed import ManagedNode
from robot.ros.messages import (
    MessageRefused,
    frame_id,
    from_command,
    read_frame_id,
    to_joint_state,
    to_string,
)
from robot.ros.node import Diagnosis, Level, P
from robot.servo import ServoLimits
from robot.specs import StationSpec
from robot.types import NS_PER_S

APPLIED_RATE_HZ = 100.0
STATE_REPEAT_S = 0.5
UNSENT_KEPT = 256  # half a second of messages
DEACTIVATED = "the arm's node was deactivated"
NOT_ACTIVE = "the arm's node is not active yet, or no more: it has to be brought up first, see /diagnostics of health"
GIL_SWITCH_S = 0.0005  # Python's own 5 ms is a whole servo period


class ArmNode(ManagedNode[P]):
    """One arm behind its topics. `make_servo` gives the servo of the station's arm, not yet connected."""

    def __init__(self, parameters: type[P], make_servo: Callable[[StationSpec, P], ArmServo]) -> None:
        super().__init__("arm", parameters)
        sys.setswitchinterval(GIL_SWITCH_S)
        self.servo = make_servo(self.station, self.parameters)
        self._estop = False
        self.episode: str | None = None  # of the last scene reset: commands of any other are not followed
        self._stamp_ns = 0  # of the newest command taken
        self._unsent: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._dropped = 0
        self._joints = self.publisher(topics.JOINT_STATES)
        self._applied = self.publisher(topics.APPLIED_COMMAND)
        self._safety = self.publisher(topics.SAFETY_STATE)
        self._said, self._said_at = "", 0.0
        self._last: ArmStatus | None = None
        self._applied_every = max(1, round(self.station.state_rate_hz / APPLIED_RATE_HZ))
        self.subscribe(topics.COMMAND, self._on_command)
        self.subscribe(topics.ESTOP, lambda message: self._set_estop(message.data))
        self.provide(topics.SAFETY_STOP, self._stop)
        self.provide(topics.SAFETY_RESET, self._reset)
        self.start_thread("send", self._send_all)

    def configure(self) -> None:
        """Open the arm, learn what it is, and read it from now on; nothing moves."""
        self.run_apart(self.servo.connect)
        self.servo.set_estop(self._estop)
        for line in self.servo.mismatches:
            self.get_logger().error(f"the arm will not move: {line}")
        self.start_loop("servo", self.servo_loop)

    def activate(self) -> None:
        """Let `safety/reset` release the arm, and be counted as there."""
        self.announce()

    def deactivate(self) -> None:
        """Come to a controlled stop, latched."""
        is_met, text = self.servo.stop(DEACTIVATED)
        if not is_met:
            raise DeviceDisconnected(text)

    def cleanup(self) -> None:
        self.end_loop()
        self.servo.close()

    def servo_loop(self) -> None:
        """Step the arm at its rate until the node stops or lets go of it."""
        n = 0
        while self.is_running:
            if not self.servo.wait():
                continue
            self.before_step()
            status = self.servo.step()
            self._publish(status, n)
            self.after_step(status, n)
            n += 1

    def emit(self, publisher: Any, message: Any) -> None:
        """Leave a message to the sending thread: publishing blocks for up to a second after a reader was killed."""
        while self._unsent.qsize() >= UNSENT_KEPT:
            with contextlib.suppress(queue.Empty):
                self._unsent.get_nowait()
                self._dropped += 1
        self._unsent.put((publisher, message))

    def _send_all(self) -> None:
        while not self.stopping.is_set():
            with contextlib.suppress(queue.Empty):
                publisher, message = self._unsent.get(timeout=0.1)
                publisher.publish(message)

    def before_step(self) -> None:
        """Do what must happen in the servo thread before a period; for subclasses."""

    def after_step(self, status: ArmStatus, n: int) -> None:
        """Publish more after servo period `n`; for subclasses."""

    def stamp_of(self, time_ns: int) -> int:
        """Return a time of the monotonic clock as ROS time."""
        return time_ns + time.time_ns() - time.monotonic_ns()

    def diagnose_device(self) -> Diagnosis:
        report, state = self.servo.report(), self._said
        timing = report.timing
        values: dict[str, object] = {
            "state": state,
            "reason": report.reason,
            **({"mismatches": "; ".join(report.mismatches)} if report.mismatches else {}),
            **report.health,
            **report.notes,
            "periods": timing.count,
            "overruns": timing.overruns,
            "late_p50_ms": timing.late_p50_ms,
            "late_p99_ms": timing.late_p99_ms,
            "late_max_ms": timing.late_max_ms,
            "unsent_dropped": self._dropped,
            **{f"clip_{kind.lower()}": count for kind, count in report.clips.items()},
        }
        if report.is_stale:  # no reset helps here; of any other fault the arm is stopped, and one does
            return Diagnosis(Level.ERROR, f"{state}: {report.reason}", values)
        level = Level.OK if state in ("ok", "holding") else Level.WARN
        return Diagnosis(level, f"{state}: {report.reason}" if report.reason else state, values)

    def _set_estop(self, pressed: bool) -> None:
        self._estop = pressed
        if self.is_configured:
            self.servo.set_estop(pressed)

    def _on_command(self, message: Any) -> None:
        if not self.is_active:
            return
        command = from_command(message, self.station.joint_names)
        if self.episode is not None and read_frame_id(message.header.frame_id).get("episode") != self.episode:
            return  # of before a scene reset, or of an arbiter that has not seen it yet
        age_s = (self.now_ns() - command.time_ns) / NS_PER_S
        if age_s < -FUTURE_S:
            raise MessageRefused("future_stamp", f"a command is stamped {-age_s:.2f} s ahead")
        if age_s > ServoLimits().command_hold_s or command.time_ns <= self._stamp_ns:
            raise MessageRefused("old_stamp", f"a command is {age_s:.2f} s old, or not newer than the last")
        self._stamp_ns = command.time_ns
        self.servo.follow(command)

    def _stop(self) -> tuple[bool, str]:
        if not self.is_configured:
            return False, f"{NOT_ACTIVE}; nothing moves"
        return self.servo.stop("safety/stop was called")

    def _reset(self) -> tuple[bool, str]:
        is_met, text = self.servo.reset() if self.is_active else (False, NOT_ACTIVE)
        self.get_logger().info(f"safety/reset: {text}")
        return is_met, text

    def _publish(self, status: ArmStatus, n: int) -> None:
        names, reading = self.station.joint_names, status.reading
        stamp_ns = self.stamp_of(reading.time_ns)
        self.emit(self._joints, to_joint_state(names, stamp_ns, reading.position, reading.velocity))
        if self._last is not None and status.seq != self._last.seq:
            self._publish_applied(self._last)  # where the command before had come to
        if n % self._applied_every == 0:
            self._publish_applied(status)
        self._last = status
        self.say(status.state)

    def _publish_applied(self, status: ArmStatus) -> None:
        tag = frame_id(seq=status.seq, behind_urad=round(1e6 * status.behind_rad))
        message = to_joint_state(self.station.joint_names, self.now_ns(), status.setpoint, frame_id=tag)
        self.emit(self._applied, message)

    def say(self, state: str) -> None:
        """Publish the safety state when it changed, and twice a second."""
        now_s = time.monotonic()
        if state != self._said or now_s - self._said_at >= STATE_REPEAT_S:
            self._said, self._said_at = state, now_s
            self.emit(self._safety, to_string(state))
