"""The action space of several arms: each side's own (`robot.action_space`), one after the other."""

from collections.abc import Iterator

import numpy as np

from robot.action_space import ActionSpace
from robot.kinematics.multi_arm import MultiArmKinematics
from robot.record import Clip
from robot.safety import REJECTING
from robot.specs import StationSpec
from robot.types import Array


class MultiArmActionSpace:
    """The contract of `ActionSpace` for a whole station; what one side cannot do holds all of them."""

    def __init__(self, station: StationSpec, kinematics: MultiArmKinematics) -> None:
        self._spaces = [ActionSpace(side, arm) for side, arm in zip(station.sides, kinematics.sides, strict=True)]
        self._names, self._actions, self._joints = station.side_names, station.action_slices, station.joint_slices
        self.low, self.high = station.action_low, station.action_high
        self.grippers = [part.stop - 1 for part in self._actions]

    def from_joints(self, q: Array) -> Array:
        """Return the action that stands for a joint vector, shape (action_dim,)."""
        return np.concatenate([space.from_joints(q[joints]) for space, _, joints in self._sides()])

    def bounded(self, action: Array, current: Array) -> tuple[Array, Clip]:
        """Return the action that may be asked for next, given the commanded one, and what was changed."""
        parts, clips = [], Clip.NONE
        for space, part, _ in self._sides():
            inside, clipped = space.bounded(action[part], current[part])
            parts.append(inside)
            clips |= clipped
        return (current if clips & REJECTING else np.concatenate(parts)), clips

    def to_joints(self, action: Array, q: Array) -> Array | None:
        """Return the joint vector that executes an action, found from `q` on; None where a side finds none."""
        found = []
        for space, part, joints in self._sides():
            of_side = space.to_joints(action[part], q[joints])
            if of_side is None:
                return None
            found.append(of_side)
        return np.concatenate(found)

    def jog(self, action: Array, twist: Array, q: Array, duration_s: float, side: str = "") -> Array:
        """Return the action after moving one side's tcp with a twist (cell's frame) for a while; the others stand.

        A side that is not there, "" among them, moves nothing.
        """
        moved = action.copy()
        for name, (space, part, joints) in zip(self._names, self._sides(), strict=True):
            if name == side:
                moved[part] = space.jog(action[part], twist, q[joints], duration_s)
        return moved

    def gripper(self, side: str) -> int | None:
        """Return where the gripper of a side is in an action; None for a side that is not there."""
        return self.grippers[self._names.index(side)] if side in self._names else None

    def _sides(self) -> Iterator[tuple[ActionSpace, slice, slice]]:
        return zip(self._spaces, self._actions, self._joints, strict=True)
