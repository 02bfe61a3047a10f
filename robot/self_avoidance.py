"""The filter of an arm that must not touch itself: no setpoint that brings two of its links too near is sent."""

import numpy as np

from robot.kinematics.clearance import PairClearance, largest_share, self_clearance
from robot.motion import Filter, Kinematics, make_filter, make_kinematics
from robot.record import Clip
from robot.safety import FilterState
from robot.specs import StationSpec
from robot.types import Array

NO_NEARER_M = 1e-9


class SelfAvoidingFilter:
    """The contract of `robot.safety.SafetyFilter` around another filter. Not thread safe.

    A step that would come nearer than the margin is shortened until it does not, standing still at last. An arm that is
    too near already may go anywhere that is no nearer.
    """

    def __init__(self, inner: Filter, clearance: PairClearance, kinematics: Kinematics) -> None:
        self._inner, self._clearance, self._kinematics = inner, clearance, kinematics
        self.lower, self.upper = inner.lower, inner.upper

    def start(self, measured: Array) -> FilterState:
        return self._inner.start(measured)

    def hold(self, state: FilterState) -> FilterState:
        return self._apart(state, self._inner.hold(state), Clip.NONE)[0]

    def step(self, state: FilterState, target: Array) -> tuple[FilterState, Clip]:
        """Return the next setpoint's state and what was done to `target`, shape (n_joints,)."""
        return self._apart(state, *self._inner.step(state, target))

    def rejection(self, state: FilterState, target: Array) -> Clip:
        return self._inner.rejection(state, target)

    def track(self, state: FilterState, measured: Array, time_ns: int) -> tuple[FilterState, bool]:
        return self._inner.track(state, measured, time_ns)

    def _apart(self, state: FilterState, moved: FilterState, clips: Clip) -> tuple[FilterState, Clip]:
        if self._clearance.clearance(moved.position) >= 0.0:
            return moved, clips
        needed = min(0.0, self._clearance.clearance(state.position) - NO_NEARER_M)
        whole = moved.position - state.position
        share = largest_share(self._clearance.clearance, state.position, whole, needed)
        if share == 1.0:
            return moved, clips  # too near already, and on the way out
        position = state.position + share * whole
        tcp = self._kinematics.tcp_position(position) if share else np.array(state.tcp)
        return FilterState(position, share * whole, tcp, state.straying_since_ns), clips | Clip.SELF_COLLISION


def make_last_filter(station: StationSpec, period_s: float, bend_s: float) -> Filter | SelfAvoidingFilter:
    """Return the filter right before a station's arm; it looks for self-collision where `safety:` asks for that."""
    kinematics = make_kinematics(station)
    inner = make_filter(station, period_s, kinematics, bend_s=bend_s)
    if all(side.safety.self_clearance_m <= 0.0 for side in station.sides):
        return inner
    return SelfAvoidingFilter(inner, self_clearance(station), kinematics)
