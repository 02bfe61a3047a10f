"""A leader arm: any arm with a driver here, read and never commanded, so that it has no torque and a hand can lead it.

Relative by default: the follower moves as the leader has since it was taken in hand. In absolute mode it goes where the
leader is, and the tick refuses a takeover that is not aligned within three degrees.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hardware.arm_drivers import make_arm
from robot.clock import Clock, MonotonicClock
from robot.devices import Arm, DeviceLife, Features
from robot.errors import ConfigError
from robot.from_yaml import build
from robot.specs import StationSpec, load_station
from robot.types import NS_PER_S, Array, OperatorInput, OwnerRequest, RobotState

REQUEST_S = 0.3
SLOW_S = 0.1  # over which the leader's speed is taken


@dataclass(frozen=True, slots=True)
class LeaderOptions:
    """`station` is the leader's own file, with its driver, address and servos; `signs` turn joints that are mirrored.

    `trigger`: `motion` takes over where a joint moves faster than `on_rad_s` and lets go after `off_s` of rest; `keys`
    leaves both to the device beside it (`leader+keyboard`).
    """

    station: str
    mode: Literal["relative", "absolute"] = "relative"
    trigger: Literal["motion", "keys"] = "motion"
    on_rad_s: float = 0.15
    off_s: float = 1.5
    signs: tuple[float, ...] = ()
    side: str = ""

    def __post_init__(self) -> None:
        if self.on_rad_s <= 0.0 or self.off_s < 0.0 or any(abs(sign) != 1.0 for sign in self.signs):
            raise ConfigError("on_rad_s must be above 0, off_s 0 or more, signs each 1 or -1")


class LeaderJoints:
    """The adapter: joints of the leader to packets. Pure."""

    def __init__(self, follower: StationSpec, leader: StationSpec, options: LeaderOptions) -> None:
        names = follower.side_names
        if options.side not in names:
            raise ConfigError(f"side is {options.side!r}, the station {follower.name} has: {', '.join(names)}")
        side = follower.sides[names.index(options.side)]
        self._n = len(side.joint_names) - 1
        of_leader = len(leader.joint_names) - 1
        if of_leader != self._n or len(options.signs) not in (0, self._n):
            raise ConfigError(
                f"leader {leader.name} has {of_leader} joints and {len(options.signs)} signs; "
                f"the arm of {follower.name} has {self._n}, without the grippers"
            )
        self._signs = np.array(options.signs or [1.0] * self._n)
        self._from, self._to = leader.gripper.joint_limits, side.gripper.joint_limits
        self._options, self._seq, self._clutch = options, 0, 0
        self._joints: Array | None = None
        self._gripper = 0.0
        self._before: tuple[int, Array] | None = None
        self._moved_ns: int | None = None
        self._taken_ns: int | None = None
        self._is_engaged = False

    def feed(self, position: Array, time_ns: int) -> None:
        """Take in where the leader is, [rad, m] in the order of its station."""
        self._joints = position[: self._n] * self._signs
        low, high = self._from
        share = float(np.clip((position[self._n] - low) / (high - low), 0.0, 1.0))
        self._gripper = self._to[0] + share * (self._to[1] - self._to[0])
        if self._before is None:
            self._before = time_ns, self._joints
        elif time_ns - self._before[0] >= SLOW_S * NS_PER_S:
            speed = np.abs(self._joints - self._before[1]).max() * NS_PER_S / (time_ns - self._before[0])
            self._before = time_ns, self._joints
            if speed > self._options.on_rad_s:
                self._moved_ns = time_ns

    def packet(self, time_ns: int) -> OperatorInput:
        wanted = self._joints is not None and self._is_moved(time_ns)
        if wanted and not self._is_engaged:
            self._clutch, self._taken_ns = self._clutch + 1, time_ns
        self._is_engaged, self._seq = wanted, self._seq + 1
        asks = wanted and self._taken_ns is not None and time_ns - self._taken_ns <= REQUEST_S * NS_PER_S
        return OperatorInput(
            seq=self._seq,
            time_ns=time_ns,
            device="leader",
            engaged=wanted,
            request=OwnerRequest.TAKE_OVER if asks else OwnerRequest.NONE,
            gripper=self._gripper,
            side=self._options.side,
            joints=None if self._joints is None else tuple(self._joints.tolist()),
            is_absolute=self._options.mode == "absolute",
            clutch=self._clutch,
            device_time_ns=time_ns,
        )

    def _is_moved(self, time_ns: int) -> bool:
        if self._options.trigger == "keys" or self._moved_ns is None:
            return False
        return time_ns - self._moved_ns <= self._options.off_s * NS_PER_S


class LeaderArm(DeviceLife):
    """The device: the leader's driver, and the adapter on what it reads."""

    def __init__(self, arm: Arm, adapter: LeaderJoints, clock: Clock | None = None) -> None:
        super().__init__()
        self.features = Features("operator", arm.features.names, arm.features.rate_hz, arm.features.shape)
        self._arm, self._adapter, self._clock = arm, adapter, clock or MonotonicClock()
        self._counter = -1

    def connect(self) -> None:
        self._arm.connect()
        super().connect()

    def close(self) -> None:
        super().close()
        self._arm.close()

    def read(self) -> OperatorInput:
        self.require()
        reading = self._arm.read()
        if reading.counter != self._counter:
            self._counter = reading.counter
            self._adapter.feed(reading.position, reading.time_ns)
        return self._adapter.packet(self._clock.now_ns())

    def feel(self, robot: RobotState) -> None:
        """A passive leader gives nothing back to the hand."""


def make_device(station: StationSpec, options: Mapping[str, object]) -> LeaderArm:
    """Return the leader arm; `options` as in `LeaderOptions`."""
    chosen: LeaderOptions = build(LeaderOptions, dict(options), "options of leader")
    leader = load_station(chosen.station)
    return LeaderArm(make_arm(leader), LeaderJoints(station, leader, chosen))
