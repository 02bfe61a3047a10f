"""What a station says of an arm of bus servos: which servo moves which joint, and how its ticks become radians."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from robot.errors import ConfigError
from robot.specs import StationSpec
from robot.types import Array

TICKS_PER_TURN = 4096
RAD_PER_TICK = 2 * math.pi / TICKS_PER_TURN


@dataclass(frozen=True, slots=True)
class ServoSpec:
    """One servo of the bus and the joint it moves.

    joint = sign * (tick - zero_tick) * 2 pi / 4096 * travel. `travel` is 1 for a joint in rad and [m/rad] for a finger.
    A `shadow` is a second servo on the same joint, which follows the first by itself (Dynamixel's secondary id).
    `is_reversed` says that its drive mode turns it round, as the maker of the arm has set it: its ticks then rise the
    other way, which `sign` goes by.
    """

    joint: str
    id: int
    model: int
    zero_tick: int = TICKS_PER_TURN // 2
    sign: Literal[1, -1] = 1
    travel: float = 1.0
    shadow: int = 0
    is_reversed: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.id <= 252 or not 0 <= self.shadow <= 252:
            raise ConfigError(
                f"servo of {self.joint}: ids are {self.id} and {self.shadow}; allowed: 1 to 252, 0 for no shadow"
            )
        if self.travel <= 0.0:
            raise ConfigError(f"servo of {self.joint}: travel is {self.travel}; it must be above 0, see sign")


@dataclass(frozen=True, slots=True)
class ServoBusOptions:
    """The `options` of an arm of bus servos.

    `servos` are in the order of the station's joints, the gripper's last. `voltage_v` is what this arm's supply gives:
    a leader at 5 V is told from its follower at 12 V by it. Reading waits `patience_ms` for an answer.
    """

    servos: tuple[ServoSpec, ...]
    voltage_v: tuple[float, float]
    baud: int = 1_000_000
    temperature_limit_c: float = 65.0
    limit_tolerance_rad: float = 0.05
    patience_ms: float = 20.0
    rest_rad: tuple[float, ...] = ()  # where the arm lies by itself: only there is the power taken away

    def __post_init__(self) -> None:
        ids = [number for servo in self.servos for number in (servo.id, servo.shadow) if number]
        if len(set(ids)) != len(ids):
            raise ConfigError(f"servo ids {ids}: each may be there once")
        if not 0.0 < self.voltage_v[0] < self.voltage_v[1]:
            raise ConfigError(f"voltage_v is {self.voltage_v}; allowed: lowest, highest")

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(servo.id for servo in self.servos)

    def check(self, station: StationSpec) -> None:
        """Raise ConfigError unless there is one servo for each of the station's joints, in their order."""
        joints = tuple(servo.joint for servo in self.servos)
        if joints != station.joint_names:
            raise ConfigError(f"{station.name}: servos move {joints}; the station's joints are {station.joint_names}")
        if self.rest_rad and len(self.rest_rad) != len(joints):
            raise ConfigError(f"{station.name}: rest_rad has {len(self.rest_rad)} values for {len(joints)} joints")


class TickMap:
    """Between ticks of the servos and joints of the station, each a vector in the order of the servos."""

    def __init__(self, servos: Sequence[ServoSpec]) -> None:
        self.scale = np.array([servo.sign * servo.travel * RAD_PER_TICK for servo in servos])
        self._zero = np.array([servo.zero_tick for servo in servos], float)

    def to_joints(self, ticks: Array) -> Array:
        """Return joints [rad, m] of positions [ticks]."""
        return (ticks - self._zero) * self.scale

    def to_ticks(self, joints: Array) -> Array:
        """Return positions [ticks], whole numbers, of joints [rad, m]."""
        return np.rint(joints / self.scale + self._zero)

    def limits(self, low: int, high: int, i: int) -> tuple[float, float]:
        """Return the joint limits of servo `i` that its limits [ticks] are, the lower one first."""
        ends = sorted((tick - self._zero[i]) * self.scale[i] for tick in (low, high))
        return float(ends[0]), float(ends[1])
