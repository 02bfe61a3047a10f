"""The servo of one arm as its node sees it: paced, stepped, commanded, stopped, and asked how it goes.

`LocalServo` runs in the node's own process and is what a simulation needs. A real arm's runs in a process where no
other thread of Python can keep it waiting (`hardware.remote_servo`); the node does not tell them apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from robot.arm_control import ArmControl, ArmStatus
from robot.clock import LoopTiming, RateKeeper
from robot.devices import Arm
from robot.specs import StationSpec
from robot.types import Command

TIMING_KEPT = 2000


@dataclass(frozen=True, slots=True)
class ServoReport:
    """What diagnostics tell of a servo."""

    reason: str  # of the latch, stop or fault; empty where there is none
    is_stale: bool  # the device sends nothing new: no reset helps
    timing: LoopTiming
    clips: Mapping[str, int]  # changes to setpoints, by kind
    health: Mapping[str, object]  # of the device
    mismatches: tuple[str, ...]  # in what the arm is not the one of the station file
    notes: Mapping[str, object] = field(default_factory=dict)  # of the loop itself, such as its scheduling


class ArmServo(Protocol):
    """Steps one arm at its rate. `wait` and `step` belong to one thread; the rest may be called from another."""

    @property
    def mismatches(self) -> tuple[str, ...]:
        """Return in what the connected arm is not the one of the station file; see `robot.devices.Arm`."""
        ...

    def connect(self) -> None:
        """Open the arm; nothing moves. Raises what its driver raises."""
        ...

    def wait(self) -> bool:
        """Block until the next servo period, at most 0.1 s; False where none has come. RobotError: none ever will."""
        ...

    def step(self) -> ArmStatus:
        """Return what this period does; called once after every `wait` that was True."""
        ...

    def follow(self, command: Command) -> None:
        """Offer the newest command."""
        ...

    def set_estop(self, pressed: bool) -> None:
        """Note the software emergency stop: pressing latches, releasing alone frees nothing."""
        ...

    def stop(self, reason: str) -> tuple[bool, str]:
        """Latch; return whether that was done, and what to do next."""
        ...

    def reset(self) -> tuple[bool, str]:
        """Allow commands again from where the arm is; or say why not."""
        ...

    def report(self) -> ServoReport:
        """Return how it goes; never waits for the device."""
        ...

    def close(self) -> None:
        """Stop safely and let go of the arm; may be called twice."""
        ...


class LocalServo:
    """The servo in the thread that calls `wait` and `step`."""

    control: ArmControl  # from `connect` on

    def __init__(self, arm: Arm, station: StationSpec) -> None:
        self.arm = arm
        self._station = station
        self._keeper = RateKeeper(station.state_rate_hz, kept=TIMING_KEPT)

    @property
    def mismatches(self) -> tuple[str, ...]:
        return self.arm.mismatches

    def connect(self) -> None:
        self.arm.connect()
        self.control = ArmControl(self.arm, self._station)

    def wait(self) -> bool:
        self._keeper.wait()
        return True

    def step(self) -> ArmStatus:
        return self.control.step()

    def follow(self, command: Command, offered_ns: int | None = None) -> None:
        """Offer the newest command, which was offered to this process at `offered_ns` of the monotonic clock."""
        self.control.follow(command, offered_ns)

    def set_estop(self, pressed: bool) -> None:
        self.control.set_estop(pressed)

    def stop(self, reason: str) -> tuple[bool, str]:
        self.control.latch(reason)
        return True, "latched: call safety/reset to go on"

    def reset(self) -> tuple[bool, str]:
        return self.control.reset()

    def report(self) -> ServoReport:
        control = self.control
        return ServoReport(
            control.reason, control.is_stale, self._keeper.timing(), control.clips.copy(), self.arm.health(),
            self.arm.mismatches,
        )  # fmt: skip

    def close(self) -> None:
        self.arm.close()
