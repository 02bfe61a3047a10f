"""Values that cross module borders: robot state, observation, operator input, command.

Arrays are float64, SI units (m, rad, s), in the order of the station's joints; times are integer
nanoseconds on the clock of the world (ROS time in the graph, simulated time in lock-step).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar, dataclass_transform

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Vector3 = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]  # w x y z
NS_PER_S = 1_000_000_000
T = TypeVar("T")


def largest(values: Array) -> float:
    """Return the largest magnitude in a short vector of finite numbers; numpy's own takes twice as long."""
    return max(map(abs, values.tolist()))


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def facts(cls: type[T]) -> type[T]:
    """Make a dataclass with slots whose fields the type checker lets nobody assign.

    For what is made in every tick: to hold it frozen at run time as well costs 0.1 us per field, a tenth of a step.
    """
    made: Any = dataclass(slots=True)(cls)
    return made


class Owner(IntEnum):
    """Who decided the executed action of a tick."""

    POLICY = 0
    HUMAN = 1
    SHARED = 2
    SAFETY = 3
    HOLD = 4
    RESET = 5


class Segment(IntEnum):
    """What a tick is for a learner (interventions spec, section 7)."""

    DEMO = 0
    ROLLOUT = 1
    RECOVERY = 2
    CORRECTION = 3
    PAUSE = 4
    RESET = 5


class EndReason(IntEnum):
    """Why an episode ended; OPEN while it has not."""

    OPEN = 0
    SUCCESS = 1
    FAILURE = 2
    TIMEOUT = 3
    OPERATOR_ABORT = 4
    DISCARD = 5
    SAFETY = 6
    CRASH = 7


@facts
class RobotState:
    """Measured joints at one time; of each side the gripper is the last joint (finger travel [m])."""

    time_ns: int
    position: Array
    velocity: Array


@facts
class Observation:
    """What a policy may see at one reference time.

    `values` has one array per field the station declares (`joint_position`, `tcp_position`, ...), and
    `image/<camera>` as uint8 HWC RGB. `times_ns` has the capture time of each stream.
    """

    time_ns: int
    robot: RobotState
    values: Mapping[str, np.ndarray]
    times_ns: Mapping[str, int] = field(default_factory=dict)


class OwnerRequest(IntEnum):
    """What the operator asks of the ownership machine."""

    NONE = 0
    TAKE_OVER = 1
    HAND_BACK = 2
    FREEZE = 3


class Mark(IntEnum):
    """A label the operator gives; one key each."""

    NONE = 0
    SUCCESS = 1
    FAILURE = 2
    DISCARD = 3
    CORRECTION = 4


@dataclass(frozen=True, slots=True)
class OperatorInput:
    """One packet of any operator device; every device speaks this one schema.

    `twist` is linear [m/s] then angular [rad/s] velocity of the tcp in the cell's frame; `gripper` is the
    wanted finger travel [m] or None to leave it. `engaged` is the dead-man: without it nothing moves.
    `side` is the arm that is meant, of a station of several; there "" means none, and nothing moves.
    """

    seq: int
    time_ns: int
    device: str = "none"
    engaged: bool = False
    request: OwnerRequest = OwnerRequest.NONE
    mark: Mark = Mark.NONE
    twist: tuple[float, float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    gripper: float | None = None
    side: str = ""


@facts
class Command:
    """One tick's joint setpoint, already filtered; to be reached one control period after `time_ns`."""

    seq: int
    time_ns: int
    position: Array
    owner: Owner
