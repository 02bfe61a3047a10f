"""A tracked hand or phone (WebXR, AR): poses as the browser sends them, to packets of the one event schema. Pure.

The pose goes on as it is: the tick takes how it has moved since the clutch was pressed, so hand and arm need not be
aligned. Where tracking is lost and found again the pose leaps; such a leap is a new press of the clutch, no motion.
"""

from dataclasses import dataclass

import numpy as np

from robot import geometry
from robot.errors import ConfigError
from robot.types import CELL_FRAME, NS_PER_S, HandPose, OperatorInput, OwnerRequest

REQUEST_S = 0.3
# WebXR's axes are right, up and backwards of where the session began; a cell's are forward, left and up.
CELL_FROM_XR = np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True, slots=True)
class TrackingOptions:
    """`leap_m` and `leap_deg`: more than this from one sample to the next is no motion of a hand.

    `yaw_deg` turns the person's forward to the cell's, about the vertical.
    """

    leap_m: float = 0.05
    leap_deg: float = 10.0
    yaw_deg: float = 0.0

    def __post_init__(self) -> None:
        if min(self.leap_m, self.leap_deg) <= 0.0:
            raise ConfigError(f"leap_m {self.leap_m} and leap_deg {self.leap_deg} must be above 0")


class HandTracking:
    """What one tracked hand asks for; times are nanoseconds of one monotonic clock."""

    def __init__(self, device: str, options: TrackingOptions = TrackingOptions(), side: str = "") -> None:
        self.leaps = 0
        self._device, self._options, self._side = device, options, side
        yaw = np.deg2rad(options.yaw_deg)
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0.0], [np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
        self._axes = turn @ CELL_FROM_XR
        self._turn = geometry.quaternion(self._axes)
        self._pose: HandPose | None = None
        self._seq = self._clutch = 0
        self._is_held = False
        self._pressed_ns = 0

    def feed(self, position: tuple[float, ...], quat_xyzw: tuple[float, ...], is_held: bool, time_ns: int) -> None:
        """Take in a sample of WebXR: position [m], orientation x y z w, and whether the clutch is held."""
        turned = geometry.multiply(
            geometry.multiply(self._turn, geometry.to_wxyz(quat_xyzw)), geometry.conjugate(self._turn)
        )
        place = self._axes @ np.array(position)
        pose: HandPose = (*place.tolist(), *turned.tolist())  # type: ignore[assignment]
        if self._pose is not None and self._has_leapt(self._pose, pose):
            self.leaps += 1
            self._clutch += 1
        if is_held and not self._is_held:
            self._clutch, self._pressed_ns = self._clutch + 1, time_ns
        self._is_held, self._pose = is_held, pose

    def lose(self) -> None:
        """Note that the hand is not seen: nothing moves, and the clutch has to be pressed anew."""
        self._is_held, self._pose = False, None

    def packet(self, time_ns: int) -> OperatorInput:
        self._seq += 1
        is_held = self._is_held and self._pose is not None
        asks = is_held and time_ns - self._pressed_ns <= REQUEST_S * NS_PER_S
        return OperatorInput(
            seq=self._seq,
            time_ns=time_ns,
            device=self._device,
            engaged=is_held,
            request=OwnerRequest.TAKE_OVER if asks else OwnerRequest.NONE,
            side=self._side,
            frame=CELL_FRAME,
            pose=self._pose,
            clutch=self._clutch,
            device_time_ns=time_ns,
        )

    def _has_leapt(self, before: HandPose, pose: HandPose) -> bool:
        far = float(np.linalg.norm(np.subtract(pose[:3], before[:3]))) > self._options.leap_m
        turned = float(geometry.angle_between(before[3:], pose[3:])) > np.deg2rad(self._options.leap_deg)
        return far or turned
