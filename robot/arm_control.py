"""One arm's servo: commands in, setpoints out at the arm's own rate, with the last filter, watchdogs and the latch.

Runs inside the arm process, above the device contract and below any message. It starts latched, and nothing but
`reset` in this very process clears a latch, a stop or a fault.
"""

import threading
from collections import Counter
from dataclasses import dataclass

import numpy as np

from robot.clock import Clock, MonotonicClock
from robot.devices import Arm, DeviceState, JointReading
from robot.errors import RobotError
from robot.record import Clip
from robot.self_avoidance import make_last_filter
from robot.servo import Servo, ServoLimits, ServoState
from robot.specs import StationSpec
from robot.types import NS_PER_S, Array, Command

STALE_PERIODS = 3
NEVER_RESET = "not reset since the arm process started"
LIMITED_S = 0.5  # `limited` is reported for so long after the last change to a setpoint


@dataclass(frozen=True, slots=True)
class ArmStatus:
    """What one servo period did."""

    reading: JointReading
    setpoint: Array  # sent after the last filter
    seq: int  # of the command being followed, -1 before the first
    state: str  # as on safety/state
    behind_rad: float = 0.0  # how far the last filter keeps the setpoint from what was commanded


class ArmControl:
    """Steps one arm. Any thread may give commands, latch and reset; `step` belongs to the servo thread."""

    def __init__(self, arm: Arm, station: StationSpec, clock: Clock | None = None) -> None:
        self.arm = arm
        self.clips: Counter[str] = Counter()  # changes to setpoints, by kind
        self.reason = NEVER_RESET
        self._period_s = 1.0 / station.state_rate_hz
        self._clock = clock or MonotonicClock()
        self._limits = ServoLimits()
        self._servo = Servo(station.period_s, self._limits)
        self._filter = make_last_filter(station, self._period_s, station.period_s)
        self._lock = threading.RLock()
        self._fault = ""
        self._estop = False
        self._offered: tuple[int, Command] | None = None  # when it came, and the command
        self._seq = -1
        self._behind = 0.0
        self._stepped_ns = self._clock.now_ns()
        self._still = 0  # reads without progress of the device
        self._is_engaged = False  # the arm is sent nothing, not even to stay, before it was released for the first time
        self._stood_by = -1  # the reading that it last stood by at
        self._limited_ns = -NS_PER_S
        self._reading = arm.read()
        self._filtered = self._filter.start(self._reading.position)
        self._servo.latch(self._reading.position)

    def follow(self, command: Command, offered_ns: int | None = None) -> None:
        """Offer the newest command; the next `step` takes it, or not while latched, stopped or faulted.

        It waits from `offered_ns` on, now where nothing is said; what has waited too long is not followed.
        """
        self._offered = self._clock.now_ns() if offered_ns is None else offered_ns, command

    def set_estop(self, pressed: bool) -> None:
        """Note the software emergency stop; pressing latches, releasing alone frees nothing."""
        self._estop = pressed
        if pressed and self._servo.state is not ServoState.LATCHED:
            self.latch("emergency stop")

    def latch(self, reason: str) -> None:
        """Stop following at once; only `reset` leaves this."""
        with self._lock:
            self.reason = reason
            self._servo.latch(self._filtered.position)
            self._offered = None

    def reset(self) -> tuple[bool, str]:
        """Allow commands again from where the arm is; or say why not."""
        with self._lock:
            if self._estop:
                return False, "the emergency stop is pressed: release it first"
            if self.is_stale and self.arm.state is not DeviceState.FAULT:  # a lost connection is opened anew, below
                return False, "the arm's state is stale: is it powered and connected?"
            if self.arm.mismatches:
                return False, "this arm is not the one of the station file: " + "; ".join(self.arm.mismatches)
            if self.arm.state is DeviceState.FAULT and (reason := self._recover()):
                return False, reason
            self._is_engaged = True
            self._fault, self.reason = "", ""
            self._rebase()
            self._servo.reset(self._reading.position, self._clock.now_ns() / NS_PER_S)
            return True, "commands are followed again, from where the arm is"

    def _recover(self) -> str:
        """Let the arm leave its fault; return why it cannot."""
        try:
            self.arm.recover()
            self._reading, self._still = self.arm.read(), 0
        except RobotError as error:
            return f"the arm does not recover: {error}"
        return ""

    def restart(self, reading: JointReading) -> None:
        """Go on from joints that were placed anew (a scene reset); a latch, a stop or a fault stays.

        That took its time, and the periods after it follow each other at once: they do not count as silence.
        """
        with self._lock:
            self._reading, self._still = reading, -STALE_PERIODS
            self._rebase()
            if self.is_released:
                self._servo.reset(reading.position, self._clock.now_ns() / NS_PER_S)
            else:
                self._servo.rebase(reading.position)

    def step(self) -> ArmStatus:
        """Run one servo period."""
        with self._lock:
            now_ns = self._clock.now_ns()
            if now_ns - self._stepped_ns > self._limits.command_hold_s * NS_PER_S:
                self._stand()
            self._stepped_ns = now_ns
            if self._read(now_ns):
                self._servo.setpoint(now_ns / NS_PER_S)  # silence counts before what came after it
                self._take(now_ns)
                self._move(now_ns)
            return ArmStatus(self._reading, self._filtered.position, self._seq, self._state(now_ns), self._behind)

    @property
    def state(self) -> str:
        """Return the servo's state, or the fault that stopped it."""
        return f"fault:{self._fault}" if self._fault else self._servo.state.value

    @property
    def is_stale(self) -> bool:
        """Say whether the device sends nothing new."""
        return self._still >= STALE_PERIODS

    @property
    def is_released(self) -> bool:
        """Say whether commands would be followed."""
        return not self._fault and self._servo.state not in (ServoState.LATCHED, ServoState.STOPPED)

    def _read(self, now_ns: int) -> bool:
        """Read the device; False, and stopped, where it made no progress for three periods or strays."""
        try:
            reading = self.arm.read()
        except RobotError as error:
            return self._fail("device", str(error))
        returns = self.is_stale and reading.counter != self._reading.counter
        self._still = self._still + 1 if reading.counter == self._reading.counter else 0
        self._reading = reading
        if returns:  # from silence: hold where the arm is now
            self._rebase()
            self._servo.rebase(reading.position)
        if self.is_stale:
            return self._fail("stale", f"the arm sent nothing new for {self._still} periods")
        if self.arm.state is DeviceState.FAULT:
            return self._fail("device", self.arm.fault or "the arm reports a fault")
        self._filtered, straying = self._filter.track(self._filtered, reading.position, now_ns)
        if straying:
            self._fail("tracking", "the arm does not follow its setpoint: is it blocked?")
        return True

    def _fail(self, code: str, reason: str) -> bool:
        if not self._fault:
            self._fault, self.reason = code, reason
            self._servo.latch(self._reading.position)
        self._filtered = self._filter.start(self._reading.position)
        return False

    def _take(self, now_ns: int) -> None:
        """Follow the command on offer, unless it is broken or has waited too long."""
        if self._offered is None:
            return
        (came_ns, command), self._offered = self._offered, None
        refused = self._filter.rejection(self._filtered, command.position)
        if now_ns - came_ns > self._limits.command_hold_s * NS_PER_S:
            refused |= Clip.STALE
        if refused:
            self._count(refused, now_ns)
        elif self._servo.follow(command.position, now_ns / NS_PER_S):
            self._seq = command.seq

    def _move(self, now_ns: int) -> None:
        if not self._is_engaged:
            self._stand_by()
            return
        target = self._servo.setpoint(now_ns / NS_PER_S)
        self._filtered, clips = self._filter.step(self._filtered, target)
        self._count(clips, now_ns)
        self._behind = float(np.abs(target - self._filtered.position).max())
        try:
            self.arm.command(self._filtered.position, self._filtered.step / self._period_s)
        except RobotError as error:
            self._fail("device", str(error))

    def _stand_by(self) -> None:
        """Stay where the arm is, wherever a person moves it."""
        if self._reading.counter != self._stood_by:
            self._stood_by = self._reading.counter
            self._filtered = self._filter.start(self._reading.position)
            self._servo.rebase(self._reading.position)

    def _count(self, clips: Clip, now_ns: int) -> None:
        if clips:
            self.clips.update(flag.name or "" for flag in Clip if flag & clips)
            self._limited_ns = now_ns

    def _stand(self) -> None:
        """After this process was frozen: what was left of the last command is as old as the freeze."""
        self._filtered = self._filter.start(self._filtered.position)
        self._servo.rebase(self._filtered.position)

    def _rebase(self) -> None:
        self._filtered = self._filter.start(self._reading.position)
        self._offered = None

    def _state(self, now_ns: int) -> str:
        is_limited = now_ns - self._limited_ns < LIMITED_S * NS_PER_S
        return "limited" if self.state == ServoState.OK.value and is_limited else self.state
