"""From tick commands to the setpoint stream of one arm: interpolation, and what happens when commands stop.

Runs inside the arm process, so nothing faster than the control rate depends on a message hop. Times are monotonic.
"""

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np

from robot.types import Array


class ServoState(Enum):
    """What the arm process is doing; `safety/state` carries the value."""

    LATCHED = "latched"  # e-stop, or never reset since the process started
    HOLDING = "holding"  # reset, no command followed
    OK = "ok"
    STARVED = "starved"  # commands late: ramping to hold
    STOPPED = "stopped"  # commands gone: a reset is needed


@dataclass(frozen=True, slots=True)
class ServoLimits:
    """Timing of DESIGN section 4."""

    command_hold_s: float = 0.2
    command_stop_s: float = 1.0
    ramp_s: float = 0.2


def interpolate(start: Array, end: Array, steps: int) -> Array:
    """Return `steps` setpoints from after `start` up to `end`, shape (steps, n_joints); the last is `end` itself."""
    points = start + _shares(steps) * (end - start)
    points[-1] = end
    return points


@lru_cache
def _shares(steps: int) -> Array:
    return np.linspace(0.0, 1.0, steps + 1)[1:, None]


class Servo:
    """Evaluate the setpoint at any time from the commands that have arrived.

    A command is approached linearly over one control period from the setpoint held when it arrived. When commands
    stop, the setpoint stands at the last one: `state` goes STARVED, then STOPPED, which only `reset` leaves.
    """

    def __init__(self, period_s: float, limits: ServoLimits = ServoLimits()) -> None:
        self._period_s = period_s
        self._limits = limits
        self.state = ServoState.LATCHED
        self._start = self._end = np.zeros(0)
        self._since_s = self._heard_s = 0.0

    def latch(self, measured: Array) -> None:
        """Stop following at once; the setpoint becomes where the arm is. Only `reset` leaves this."""
        self.state = ServoState.LATCHED
        self._start = self._end = measured.copy()

    def rebase(self, measured: Array) -> None:
        """Make where the arm is the setpoint, in whatever state."""
        self._start = self._end = measured.copy()

    def reset(self, measured: Array, now_s: float) -> None:
        """Allow commands again, from where the arm is now."""
        self._start = self._end = measured.copy()
        self._since_s = self._heard_s = now_s
        self.state = ServoState.HOLDING

    def follow(self, position: Array, now_s: float) -> bool:
        """Take a new command; False when it may not be followed (latched or stopped)."""
        if self.state in (ServoState.LATCHED, ServoState.STOPPED):
            return False
        self._start, self._end = self.setpoint(now_s), position
        self._since_s = self._heard_s = now_s
        self.state = ServoState.OK
        return True

    def setpoint(self, now_s: float) -> Array:
        """Return the joints to be at now, and notice silence."""
        self._watch(now_s)
        share = min(max((now_s - self._since_s) / self._period_s, 0.0), 1.0)
        return self._end.copy() if share >= 1.0 else self._start + share * (self._end - self._start)

    def _watch(self, now_s: float) -> None:
        silent_s = now_s - self._heard_s
        if self.state in (ServoState.OK, ServoState.STARVED):
            if silent_s > self._limits.command_stop_s:
                self.state = ServoState.STOPPED
            elif silent_s > self._limits.command_hold_s:
                self.state = ServoState.STARVED
