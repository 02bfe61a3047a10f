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
    STOP = 4  # the software e-stop: obeyed however late it comes


class Mark(IntEnum):
    """A label the operator gives; one key each."""

    NONE = 0
    SUCCESS = 1
    FAILURE = 2
    DISCARD = 3
    CORRECTION = 4  # recovery is over, what follows is correction
    RECOVERY = 5  # what follows is recovery again
    RERECORD = 6  # discard, and begin anew from the same start
    WENT_WRONG = 7  # it went wrong `mark_back_s` ago
    UNDO = 8  # of the last label, within `UNDO_S`; an outcome has ended the episode by then, and is mended in the store


UNDO_S = 5.0
CELL_FRAME, TOOL_FRAME = "cell", "tool"
Twist = tuple[float, float, float, float, float, float]
HandPose = tuple[float, float, float, float, float, float, float]  # x y z [m], then w x y z


@dataclass(frozen=True, slots=True)
class OperatorInput:
    """One packet of any operator device; every device speaks this one schema.

    A device moves the arm in one of three ways, `joints` before `pose` before `twist`:

    - `twist`: linear [m/s] then angular [rad/s] velocity of the tcp;
    - `pose`: of the hand, in axes of its own; the tcp moves and turns as the hand has since the clutch was pressed;
    - `joints`: of a leader arm [rad], without its gripper; the arm's move as they have since the clutch was pressed,
      or, where they are `is_absolute`, go where they are.

    `clutch` counts the presses of the clutch: where it changes, the tick latches hand and arm anew, and a new side,
    frame or speed does so too. `frame` tells the axes of twist and pose: `cell`, `tool`, or the name of a camera
    (right, up, towards the viewer). `is_fine` slows all but absolute joints. `gripper` is the wanted finger travel [m],
    None leaves it. `engaged` is the dead-man: without it nothing moves. `side` is the arm that is meant, of a station
    of several; there "" means none, and nothing moves. `raw` is the device's own report in hexadecimal,
    `device_time_ns` its own clock.
    """

    seq: int
    time_ns: int
    device: str = "none"
    engaged: bool = False
    request: OwnerRequest = OwnerRequest.NONE
    mark: Mark = Mark.NONE
    twist: Twist = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    gripper: float | None = None
    side: str = ""
    frame: str = CELL_FRAME
    is_fine: bool = False
    pose: HandPose | None = None
    joints: tuple[float, ...] | None = None
    is_absolute: bool = False
    clutch: int = 0
    mark_back_s: float = 0.0
    device_time_ns: int = 0
    raw: str = ""


@facts
class Command:
    """One tick's joint setpoint, already filtered; to be reached one control period after `time_ns`."""

    seq: int
    time_ns: int
    position: Array
    owner: Owner
