"""What an action means: from an action in station units to joints and back.

`tcp_position` is an absolute target of the tcp [m], approached on a straight line at no more than the station's tcp
speed, with the home orientation; `joint_position` is the joints themselves. The gripper [m] comes last in both.
"""

import math

import numpy as np

from robot.kinematics.arm import ArmKinematics
from robot.record import Clip
from robot.specs import StationSpec
from robot.types import Array

JUMP_M = 0.35  # a tcp target further than this from the commanded tcp is a broken command, not a wish
IK_ERROR = 1e-3  # [m] and [rad]


class ActionSpace:
    """Both action spaces of a station, by `station.action.space`."""

    def __init__(self, station: StationSpec, kinematics: ArmKinematics) -> None:
        self._kinematics = kinematics
        self._cartesian = station.action.space == "tcp_position"
        self.low, self.high = station.action_low, station.action_high
        self.grippers = slice(-1, None)  # where grippers are in an action
        self._reach_m = station.safety.tcp_speed_m_s * station.period_s * (1.0 - 1e-6)

    def from_joints(self, q: Array) -> Array:
        """Return the action that stands for a joint vector, shape (action_dim,)."""
        if not self._cartesian:
            return q.copy()
        return np.array([*self._kinematics.tcp_position(q), q[-1]])

    def bounded(self, action: Array, current: Array) -> tuple[Array, Clip]:
        """Return the action that may be asked for next, given the commanded one, and what was changed.

        An action within bounds and reach comes back as it is, the same numbers.
        """
        clips = Clip.NONE
        inside = np.minimum(np.maximum(action, self.low), self.high)
        if inside.tolist() != action.tolist():
            if not np.isfinite(action).all():
                return current, Clip.NOT_FINITE
            if self._cartesian and np.linalg.norm(action[:3] - current[:3]) > JUMP_M:
                return current, Clip.JUMP  # what lies far outside is broken, not a wish for the edge
            action, clips = inside, Clip.POSITION
        if not self._cartesian:
            return action, clips
        step = action[:3] - current[:3]
        distance = math.sqrt(step.dot(step))
        if distance > JUMP_M:
            return current, clips | Clip.JUMP
        if distance > self._reach_m:
            action = action.copy()
            action[:3] = current[:3] + step * (self._reach_m / distance)
            clips |= Clip.TCP_SPEED
        return action, clips

    def to_joints(self, action: Array, q: Array) -> Array | None:
        """Return the joint vector (n_joints,) that executes an action, found from `q` on; None where none is found."""
        if not self._cartesian:
            return action.copy()
        found, off = self._kinematics.solve(action[:3], q)
        if not off < IK_ERROR:  # nan too
            return None
        joints = np.empty(len(found) + 1)
        joints[:-1], joints[-1] = found, action[3]
        return joints

    def jog(self, action: Array, twist: Array, q: Array, duration_s: float, side: str = "") -> Array:
        """Return the action after moving the tcp with a twist (cell's frame) for a while; there is one side only."""
        moved = action.copy()
        if self._cartesian:
            moved[:3] += twist[:3] * duration_s  # the orientation is not part of this action space
        else:
            moved[:-1] += self._kinematics.twist_to_velocity(twist, q) * duration_s
        return np.clip(moved, self.low, self.high)

    def gripper(self, side: str) -> int | None:
        """Return where the gripper is in an action; there is one side only."""
        return len(self.low) - 1
