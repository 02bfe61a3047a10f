"""The safety filter: the last word on every joint setpoint, in every world.

Order as in robot_graph spec, section 10: finite, complete, position, jump, velocity, acceleration, workspace, tcp
speed, tracking error. Whatever comes in, what goes out keeps the soft position limits, the velocity limits, the
workspace box and the tcp speed; the acceleration limit yields to those. Not a safety function in the sense of a
standard: keep a hardware emergency stop in reach.
"""

from dataclasses import replace

import numpy as np

from robot.kinematics.arm import ArmKinematics
from robot.record import Clip
from robot.specs import StationSpec
from robot.types import NS_PER_S, Array, facts, largest

REJECTING = Clip.NOT_FINITE | Clip.INCOMPLETE | Clip.JUMP
LIMIT_SLACK = 1.0 - 1e-9  # rounding must not carry a scaled step over its limit


@facts
class FilterState:
    """The last setpoint, its step since the one before, and since when tracking has been bad (-1: it is not)."""

    position: Array
    step: Array
    tcp: Array
    straying_since_ns: int = -1

    @property
    def is_straying(self) -> bool:
        return self.straying_since_ns >= 0


class SafetyFilter:
    """Limits for one control period. One filter serves one stream of setpoints with one period.

    A stream that was interpolated linearly from commands of a longer period bends at those commands only, and there
    by as much as the longer period allows: that period is then `bend_s`.
    """

    def __init__(
        self, station: StationSpec, kinematics: ArmKinematics, period_s: float, *, bend_s: float | None = None
    ) -> None:
        safety = station.safety
        self._kinematics = kinematics
        self._n = len(station.arm.joints)
        self._size = self._n + 1
        margin = np.array([safety.position_margin_rad] * self._n + [0.0])
        self.lower, self.upper = station.position_lower + margin, station.position_upper - margin
        self.step_limit = station.velocity_limit * period_s
        self.step_limit[: self._n] *= safety.velocity_scale
        self.bend_limit = station.acceleration_limit * safety.acceleration_scale * period_s * (bend_s or period_s)
        self.tcp_low, self.tcp_high = np.array(safety.tcp_low_m), np.array(safety.tcp_high_m)
        self._box = (safety.tcp_low_m, safety.tcp_high_m)
        self.tcp_reach = safety.tcp_speed_m_s * period_s
        self._jump_rad = safety.jump_rad
        self._jump_share = safety.jump_rad / float(self.step_limit[: self._n].max())  # below it no joint has jumped
        self._tracking_rad = safety.tracking_error_rad
        self._tracking_ns = round(safety.tracking_error_s * NS_PER_S)

    def start(self, measured: Array) -> FilterState:
        """Return the state that holds where the arm is; the first command must start from it."""
        return FilterState(measured.copy(), np.zeros(self._size), self._kinematics.tcp_position(measured))

    def hold(self, state: FilterState) -> FilterState:
        """Return the state one period later when nothing was asked for: decelerate, then stand."""
        return self._move(state, state.position, np.zeros(self._size), 0.0, Clip.NONE)[0]

    def step(self, state: FilterState, target: Array) -> tuple[FilterState, Clip]:
        """Return the next setpoint's state and what was done to `target`, shape (n_joints,).

        A target that is not finite, not complete or a jump is rejected whole and held instead.
        """
        if target.shape != (self._size,):
            return self.hold(state), Clip.INCOMPLETE
        clipped = np.minimum(np.maximum(target, self.lower), self.upper)
        clips = Clip.NONE
        if clipped.tolist() != target.tolist():
            if not np.isfinite(target).all():
                return self.hold(state), Clip.NOT_FINITE
            clips = Clip.POSITION
        step = target - state.position
        share = largest(step / self.step_limit)
        if share > self._jump_share and largest(step[: self._n]) > self._jump_rad:
            return self.hold(state), Clip.JUMP
        if clips:
            step = clipped - state.position
            share = largest(step / self.step_limit)
        return self._move(state, clipped, step, share, clips)

    def rejection(self, state: FilterState, target: Array) -> Clip:
        """Return why `step` would reject a target whole, or Clip.NONE."""
        return self.step(state, target)[1] & REJECTING

    def track(self, state: FilterState, measured: Array, time_ns: int) -> tuple[FilterState, bool]:
        """Watch the tracking error; True once it has been over its limit for its time."""
        error = largest((measured - state.position)[: self._n])
        if not error > self._tracking_rad:
            return (replace(state, straying_since_ns=-1) if state.is_straying else state), False
        if not state.is_straying:
            return replace(state, straying_since_ns=time_ns), False
        return state, time_ns - state.straying_since_ns >= self._tracking_ns

    def _move(
        self, state: FilterState, target: Array, step: Array, share: float, clips: Clip
    ) -> tuple[FilterState, Clip]:
        """Bound the step to a target; `share` is its largest part of the velocity limit."""
        n = self._n
        if share > 1.0:
            step = self._slowed(step)
            clips |= Clip.VELOCITY
        bend = (step - state.step)[:n]
        excess = largest(bend / self.bend_limit)
        if excess > 1.0:
            step[:n] = state.step[:n] + bend * (LIMIT_SLACK / excess)
            clips |= Clip.ACCELERATION
        position = state.position + step if clips else target
        if clips:  # from beyond a soft limit the way back is allowed, at no more than its speed
            low, high = np.minimum(self.lower, state.position), np.maximum(self.upper, state.position)
            position = np.minimum(np.maximum(position, low), high)
        return self._confine(state, position, clips)

    def _slowed(self, step: Array) -> Array:
        """Shorten the arm's part on its line, and the gripper's by itself."""
        n, slowed = self._n, step.copy()
        excess = largest(step[:n] / self.step_limit[:n])
        if excess > 1.0:
            slowed[:n] *= LIMIT_SLACK / excess
        if abs(step[n]) > self.step_limit[n]:
            slowed[n] = np.copysign(self.step_limit[n] * LIMIT_SLACK, step[n])
        return slowed

    def _confine(self, state: FilterState, position: Array, clips: Clip) -> tuple[FilterState, Clip]:
        """Shorten the step until the tcp keeps its box and its speed; the last resort is to stand still."""
        tcp = self._kinematics.tcp_position(position)
        broken = self._broken(state.tcp, tcp)
        if broken:
            clips |= broken
            whole, share = position - state.position, self._speed_share(state.tcp, tcp)
            while broken and share > 0.05:
                position = state.position + share * whole
                tcp = self._kinematics.tcp_position(position)
                broken, share = self._broken(state.tcp, tcp), 0.6 * share
            if broken:
                position, tcp = state.position, state.tcp
        return FilterState(position, position - state.position, tcp, state.straying_since_ns), clips

    def _broken(self, before: Array, after: Array) -> Clip:
        """Say which tcp limit a step would break; leaving a place outside the box is allowed."""
        broken = Clip.NONE
        x, y, z = after.tolist()
        (x0, y0, z0), (x1, y1, z1) = self._box
        if not (x0 <= x <= x1 and y0 <= y <= y1 and z0 <= z <= z1):
            further = np.maximum(self.tcp_low - after, after - self.tcp_high)
            if (further > np.maximum(np.maximum(self.tcp_low - before, before - self.tcp_high), 0.0)).any():
                broken = Clip.WORKSPACE
        step = after - before
        return broken | Clip.TCP_SPEED if step.dot(step) > self.tcp_reach**2 else broken

    def _speed_share(self, before: Array, after: Array) -> float:
        distance = float(np.linalg.norm(after - before))
        return min(1.0, 0.999 * self.tcp_reach / distance) if distance > self.tcp_reach else 0.6
