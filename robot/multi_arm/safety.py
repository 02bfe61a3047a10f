"""The safety filter of several arms: each side's own (`robot.safety`), then the space between them."""

from collections.abc import Sequence

import numpy as np

from robot.kinematics.clearance import largest_share
from robot.kinematics.multi_arm import ArmClearance, MultiArmKinematics
from robot.multi_arm.station import MultiArmStation
from robot.record import Clip
from robot.safety import REJECTING, FilterState, SafetyFilter
from robot.types import Array

NO_NEARER_M = 1e-9


class MultiArmSafetyFilter:
    """The contract of `SafetyFilter` for a whole station. Not thread safe.

    A step that would bring arms nearer than their margin is shortened, side by side, until it does not; who leaves, or
    moves elsewhere, is not held up. Arms that are too near already may go anywhere that is no nearer. Checked are the
    setpoints, once per control period and again in the arm process at the servo's rate, not what the hands carry.
    """

    def __init__(
        self,
        station: MultiArmStation,
        kinematics: MultiArmKinematics,
        period_s: float,
        *,
        bend_s: float | None = None,
    ) -> None:
        self._filters = [
            SafetyFilter(side, arm, period_s, bend_s=bend_s)
            for side, arm in zip(station.sides, kinematics.sides, strict=True)
        ]
        self._kinematics, self._joints = kinematics, station.joint_slices
        self._clearance = ArmClearance(station, station.spacing.link_margin_m, station.spacing.hand_margin_m)
        self.lower = np.concatenate([one.lower for one in self._filters])
        self.upper = np.concatenate([one.upper for one in self._filters])

    def start(self, measured: Array) -> FilterState:
        """Return the state that holds where the arms are."""
        return self._joined([one.start(measured[part]) for one, part in zip(self._filters, self._joints, strict=True)])

    def hold(self, state: FilterState) -> FilterState:
        """Return the state one period later when nothing was asked for: decelerate, then stand."""
        held = [one.hold(part) for one, part in zip(self._filters, self._parts(state), strict=True)]
        return self._apart(state, self._joined(held), Clip.NONE)[0]

    def step(self, state: FilterState, target: Array) -> tuple[FilterState, Clip]:
        """Return the next setpoint's state and what was done to `target`, shape (n_joints,).

        What one side's filter rejects holds all of them.
        """
        if target.shape != state.position.shape:
            return self.hold(state), Clip.INCOMPLETE
        moved, clips = [], Clip.NONE
        for one, part, joints in zip(self._filters, self._parts(state), self._joints, strict=True):
            side, clipped = one.step(part, target[joints])
            moved.append(side)
            clips |= clipped
        if clips & REJECTING:
            return self.hold(state), clips
        return self._apart(state, self._joined(moved), clips)

    def rejection(self, state: FilterState, target: Array) -> Clip:
        """Return why `step` would reject a target whole, or Clip.NONE."""
        return self.step(state, target)[1] & REJECTING

    def track(self, state: FilterState, measured: Array, time_ns: int) -> tuple[FilterState, bool]:
        """Watch the tracking error of all sides with one clock; True once one has been over its limit for its time."""
        tracked = [
            one.track(part, measured[joints], time_ns)
            for one, part, joints in zip(self._filters, self._parts(state), self._joints, strict=True)
        ]
        since_ns = [part.straying_since_ns for part, _ in tracked if part.is_straying]
        after = FilterState(state.position, state.step, state.tcp, min(since_ns, default=-1))
        return after, any(is_over for _, is_over in tracked)

    def _parts(self, state: FilterState) -> list[FilterState]:
        return [
            FilterState(state.position[part], state.step[part], state.tcp[3 * i : 3 * i + 3], state.straying_since_ns)
            for i, part in enumerate(self._joints)
        ]

    def _joined(self, parts: Sequence[FilterState]) -> FilterState:
        return FilterState(
            np.concatenate([part.position for part in parts]),
            np.concatenate([part.step for part in parts]),
            np.concatenate([part.tcp for part in parts]),
            parts[0].straying_since_ns,
        )

    def _apart(self, state: FilterState, moved: FilterState, clips: Clip) -> tuple[FilterState, Clip]:
        """Shorten the sides' steps until the arms keep their margin; the last resort is to stand still."""
        if self._clearance.clearance(moved.position) >= 0.0:
            return moved, clips
        needed = min(0.0, self._clearance.clearance(state.position) - NO_NEARER_M)
        whole = moved.position - state.position
        step = np.zeros_like(whole)
        for part in self._joints:
            alone = np.zeros_like(whole)
            alone[part] = whole[part]
            step[part] = self._share(state.position, alone, needed) * whole[part]
        step *= self._share(state.position, step, needed)
        if np.array_equal(step, whole):
            return moved, clips  # too near already, and on the way out
        position = state.position + step
        tcp = self._kinematics.tcp_position(position)
        return FilterState(position, step, tcp, state.straying_since_ns), clips | Clip.ARMS_NEAR

    def _share(self, start: Array, step: Array, needed_m: float) -> float:
        """Return the largest share of a step that leaves at least that clearance; 0 where none does."""
        return largest_share(self._clearance.clearance, start, step, needed_m)
