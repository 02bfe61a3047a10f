"""From sticks and buttons to packets of the one event schema: dead zone, response, clutch, hysteresis, gripper, marks.

Pure: what a device's bytes meant is told by `move`, `hold` and `press` with its time, and `packet` says what that is at
a time. A device without a clutch is motion-triggered: deflected for `on_s` it takes over, at rest for `off_s` it lets
go, so that a single zero, or a single spike, is neither.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from robot.errors import ConfigError, unknown_name
from robot.specs import StationSpec
from robot.types import CELL_FRAME, NS_PER_S, TOOL_FRAME, Mark, OperatorInput, OwnerRequest, RobotState

REQUEST_S = 0.3  # for how long a takeover is asked for: the tick may owe the policy one action first
STILL = (0.0,) * 6
REQUESTS = {"hand_back": OwnerRequest.HAND_BACK, "freeze": OwnerRequest.FREEZE, "stop": OwnerRequest.STOP}
MARKS = {
    "success": Mark.SUCCESS,
    "failure": Mark.FAILURE,
    "discard": Mark.DISCARD,
    "rerecord": Mark.RERECORD,
    "correction": Mark.CORRECTION,
    "recovery": Mark.RECOVERY,
    "went_wrong": Mark.WENT_WRONG,
    "undo": Mark.UNDO,
}
ACTIONS = (*REQUESTS, *MARKS, "take_over", "gripper", "open", "close", "fine", "frame", "side")


@dataclass(frozen=True, slots=True)
class ControlOptions:
    """What a person may set of any device with sticks or keys; the speeds are the station's.

    `response` is the power of the deflection beyond the dead zone. `hand_back_s`: so long after letting go the arm is
    given back by itself; 0 is never. `back_s`: how long ago "went wrong" means.
    """

    trigger: Literal["clutch", "motion"] = "clutch"
    dead_zone: float = 0.05
    response: float = 3.0
    on_s: float = 0.1
    off_s: float = 0.25
    hand_back_s: float = 0.0
    back_s: float = 2.0
    frame: str = CELL_FRAME
    is_fine: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.dead_zone < 1.0:
            raise ConfigError(f"dead_zone is {self.dead_zone}, allowed: from 0 to below 1")
        if min(self.on_s, self.off_s, self.hand_back_s, self.response - 1.0) < 0.0:
            raise ConfigError("on_s, off_s and hand_back_s must be 0 or more, response 1 or more")


class Controls:
    """The controls of one device; times are nanoseconds of one monotonic clock."""

    def __init__(self, station: StationSpec, device: str, options: ControlOptions) -> None:
        self._device, self._options, self._sides = device, options, station.side_names
        self._limits = (station.operator.linear_speed_m_s,) * 3 + (station.operator.angular_speed_rad_s,) * 3
        self._grippers = [side.gripper.joint_limits for side in station.sides]
        self._gripper_joints = [joints.stop - 1 for joints in station.joint_slices]
        self._measured: list[float | None] = [None] * len(self._sides)
        self._gripper: float | None = None
        self._side, self._seq, self._clutch = 0, 0, 0
        self._frame, self._is_fine = options.frame, options.is_fine
        self._axes: tuple[float, ...] = STILL
        self._deflected_ns: int | None = None  # since when
        self._moved_ns: int | None = None  # when it was last deflected
        self._is_held = self._is_engaged = False
        self._taken_ns: int | None = None
        self._released_ns: int | None = None
        self._request, self._mark, self._raw = OwnerRequest.NONE, Mark.NONE, b""

    @property
    def is_engaged(self) -> bool:
        return self._is_engaged

    def move(self, axes: Sequence[float], time_ns: int, raw: bytes = b"") -> None:
        """Note the deflection (6,), -1 to 1: forward, left, up, and about these; `raw` is the report that said so."""
        self._raw = raw or self._raw
        self._axes = tuple(map(self._shaped, axes))
        if not any(self._axes):
            self._deflected_ns = None
        else:
            self._deflected_ns = time_ns if self._deflected_ns is None else self._deflected_ns
            self._moved_ns = time_ns
        self._trigger(time_ns)

    def hold(self, is_held: bool, time_ns: int, raw: bytes = b"") -> None:
        """Note the clutch; without one in use it only counts that it is pressed."""
        self._raw = raw or self._raw
        self._is_held = is_held
        self._trigger(time_ns)

    def press(self, action: str, time_ns: int, raw: bytes = b"") -> None:
        """Note that the button of one of `ACTIONS` went down."""
        self._raw = raw or self._raw
        if action in REQUESTS:
            self._request = max(self._request, REQUESTS[action])
            self._taken_ns = None
        elif action in MARKS:
            self._mark = MARKS[action]
        elif action == "take_over":
            self._taken_ns, self._released_ns = time_ns, None
        elif action in ("gripper", "open", "close"):
            self._grip(action)
        elif action == "fine":
            self._is_fine = not self._is_fine
        elif action == "frame":
            self._frame = TOOL_FRAME if self._frame == CELL_FRAME else CELL_FRAME
        elif action == "side":
            self._side, self._gripper = (self._side + 1) % len(self._sides), None
        else:
            raise unknown_name("action of an operator device", action, ACTIONS)

    def feel(self, robot: RobotState) -> None:
        """Note where the grippers are, so that a toggle knows what it turns round."""
        self._measured = [float(robot.position[joint]) for joint in self._gripper_joints]

    def packet(self, time_ns: int) -> OperatorInput:
        """Return the next packet; requests and marks are in one only, a takeover for `REQUEST_S`."""
        self._trigger(time_ns)
        self._seq += 1
        request, mark, self._request, self._mark = self._request, self._mark, OwnerRequest.NONE, Mark.NONE
        if request is OwnerRequest.NONE:
            request = self._due(time_ns)
        shares = self._axes if self._is_engaged else STILL
        return OperatorInput(
            seq=self._seq,
            time_ns=time_ns,
            device=self._device,
            engaged=self._is_engaged,
            request=request,
            mark=mark,
            twist=tuple(share * limit for share, limit in zip(shares, self._limits)),  # type: ignore[arg-type]
            gripper=self._gripper if self._is_engaged else None,
            side=self._sides[self._side],
            frame=self._frame,
            is_fine=self._is_fine,
            clutch=self._clutch,
            mark_back_s=self._options.back_s if mark is Mark.WENT_WRONG else 0.0,
            device_time_ns=time_ns,
            raw=self._raw.hex(),
        )

    def _shaped(self, deflection: float) -> float:
        """Take the dead zone out of an axis, so that the response begins at its edge with zero."""
        zone = self._options.dead_zone
        beyond = (min(abs(deflection), 1.0) - zone) / (1.0 - zone)
        return math.copysign(beyond**self._options.response, deflection) if beyond > 0.0 else 0.0

    def _trigger(self, time_ns: int) -> None:
        """Engage and let go; the origin of the clutch is counted at each engagement."""
        wanted = self._is_held if self._options.trigger == "clutch" else self._is_moved(time_ns)
        if wanted and not self._is_engaged:
            self._clutch += 1
            self._gripper, self._taken_ns, self._released_ns = None, time_ns, None
        elif self._is_engaged and not wanted:
            self._taken_ns, self._released_ns = None, time_ns
        self._is_engaged = wanted

    def _is_moved(self, time_ns: int) -> bool:
        if self._is_held:
            return True
        if self._is_engaged:
            return self._moved_ns is not None and time_ns - self._moved_ns <= self._options.off_s * NS_PER_S
        return self._deflected_ns is not None and time_ns - self._deflected_ns >= self._options.on_s * NS_PER_S

    def _due(self, time_ns: int) -> OwnerRequest:
        if self._taken_ns is not None and time_ns - self._taken_ns <= REQUEST_S * NS_PER_S:
            return OwnerRequest.TAKE_OVER if self._is_engaged else OwnerRequest.NONE
        released, wait_s = self._released_ns, self._options.hand_back_s
        if released is not None and wait_s > 0.0 and time_ns - released >= wait_s * NS_PER_S:
            self._released_ns = None
            return OwnerRequest.HAND_BACK
        return OwnerRequest.NONE

    def _grip(self, action: str) -> None:
        lower, upper = self._grippers[self._side]
        travel = self._gripper if self._gripper is not None else self._measured[self._side]
        is_open = travel is None or travel > 0.5 * (lower + upper)
        closes = action == "close" or (action == "gripper" and is_open)
        self._gripper = lower if closes else upper
