"""What a station file says of its gripper: two fingers that slide, or one jaw that turns. SI units."""

import math
from dataclasses import dataclass

from robot.types import Quaternion, Vector3


@dataclass(frozen=True, slots=True)
class GripperSpec:
    """A parallel gripper: one finger's travel is the joint, the other finger mirrors it."""

    joint: str
    mount_quat_wxyz: Quaternion
    tcp_m: Vector3
    lower_m: float
    upper_m: float
    home_m: float
    velocity_m_s: float
    effort_n: float
    mass_kg: float

    @property
    def joint_limits(self) -> tuple[float, float]:
        return self.lower_m, self.upper_m

    @property
    def joint_home(self) -> float:
        return self.home_m

    @property
    def joint_velocity(self) -> float:
        return self.velocity_m_s

    def travel_m(self, joint: float) -> float:
        """Return half the gap between the fingers [m]."""
        return joint

    def joint_at(self, travel_m: float) -> float:
        """Return the joint at which half the gap is so much, within the limits."""
        return min(max(travel_m, self.lower_m), self.upper_m)


@dataclass(frozen=True, slots=True)
class JawSpec:
    """A gripper of one fixed finger and one jaw that turns about the z of its own frame; closed at `lower_rad`."""

    joint: str
    mount_quat_wxyz: Quaternion
    tcp_m: Vector3
    pivot_m: Vector3
    pivot_quat_wxyz: Quaternion
    length_m: float  # from the pivot to the tip
    lower_rad: float
    upper_rad: float
    home_rad: float
    velocity_rad_s: float
    effort_nm: float
    stiffness: float
    mass_kg: float
    jaw_mass_kg: float

    @property
    def joint_limits(self) -> tuple[float, float]:
        return self.lower_rad, self.upper_rad

    @property
    def joint_home(self) -> float:
        return self.home_rad

    @property
    def joint_velocity(self) -> float:
        return self.velocity_rad_s

    def travel_m(self, joint: float) -> float:
        """Return half the gap between finger and jaw [m]."""
        return self.length_m / 2 * math.sin(min(joint - self.lower_rad, math.pi / 2))

    def joint_at(self, travel_m: float) -> float:
        """Return the joint at which half the gap is so much, within the limits."""
        share = min(max(2 * travel_m / self.length_m, 0.0), 1.0)
        return min(self.lower_rad + math.asin(share), self.upper_rad)
