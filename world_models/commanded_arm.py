"""An arm that is where it was told to be: proprioception in imagination, integrated from the commands.

Every action goes through the same tick and safety filter as elsewhere, so what a policy may do here it may do on the
robot. What the filter lets through is where the joints are one period later: there is no servo lag, and fingers close
all the way on what they hold. A policy that reads the width of its grip sees the commanded one.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from robot.control_loop import begin_episode
from robot.errors import CheckpointMismatch
from robot.policy import ActionChunk
from robot.safety import FilterState
from robot.tick import Cell, TickInputs, tick
from robot.types import Array, Observation, RobotState

FIELDS = ("joint_position", "joint_velocity", "tcp_position")  # what commands and kinematics tell
_STATE = ("position", "step", "tcp", "commanded", "velocity")


class CommandedArm:
    """One member's arm. `cell` may be shared by members of one thread."""

    def __init__(self, cell: Cell, joints: Array) -> None:
        """Begin an episode with commanded joints (n_joints,) [rad, m], standing still."""
        self.cell, self.time_ns = cell, 0
        self.velocity = np.zeros(len(joints))
        self.tick_state = begin_episode(cell, None, Observation(0, RobotState(0, joints, self.velocity), {}))

    @property
    def joints(self) -> Array:
        """Return the commanded joints, shape (n_joints,)."""
        return self.tick_state.filter.position

    def follow(self, action: Array) -> Array:
        """Execute one action in station units for one control period; return what the filter let through."""
        before = self.joints
        robot = RobotState(self.time_ns, before, self.velocity)
        generation = self.tick_state.ownership.generation
        chunk = ActionChunk(np.asarray(action, np.float64)[None], self.cell.station.period_s, self.time_ns, generation)
        seen = Observation(self.time_ns, robot, {})
        self.tick_state, command, record = tick(self.cell, self.tick_state, TickInputs(self.time_ns, seen, chunk))
        assert record is not None
        self.velocity = (command.position - before) / self.cell.station.period_s
        self.time_ns += self.cell.station.period_ns
        return record.executed_action

    def values(self) -> dict[str, Array]:
        """Return the fields of FIELDS that the station observes."""
        known = {
            "joint_position": self.joints,
            "joint_velocity": self.velocity,
            "tcp_position": self.cell.kinematics.tcp_position(self.joints),
        }
        return {name: known[name].copy() for name in self.cell.station.observation if name in known}

    def state(self) -> dict[str, Any]:
        """Return everything that the next ticks depend on, as arrays."""
        filtered = self.tick_state.filter
        values = (filtered.position, filtered.step, filtered.tcp, self.tick_state.commanded, self.velocity)
        return dict(zip(_STATE, (value.copy() for value in values), strict=True)) | {"time_ns": self.time_ns}

    @classmethod
    def from_state(cls, cell: Cell, state: Mapping[str, Any]) -> "CommandedArm":
        """Return the arm that `state` was taken of; CheckpointMismatch where it is another cell's."""
        if state.keys() != {*_STATE, "time_ns"} or len(state["position"]) != len(cell.station.joint_names):
            raise CheckpointMismatch(
                f"an arm's state: expected {', '.join(_STATE)} of {len(cell.station.joint_names)} joints and time_ns, "
                f"found {sorted(state)}"
            )
        arm = cls(cell, np.array(state["position"]))
        position, step, tcp, commanded, velocity = (np.array(state[name]) for name in _STATE)
        arm.time_ns, arm.velocity = int(state["time_ns"]), velocity
        arm.tick_state = replace(
            arm.tick_state, filter=FilterState(position, step, tcp), commanded=commanded, blend_from=commanded
        )
        return arm
