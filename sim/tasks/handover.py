"""Two arms pass a bar in the air.

The station's first side, left, gives: it picks the bar up from where only it can reach, and holds it out over the
middle. Its second side, right, takes: it grips the bar's free end, and once the other hand has let go lays the bar down
at the goal, where only it can reach. Positions are in the cell's frame, for arms that stand face to face along x.
"""

# pyright: reportAttributeAccessIssue=false

from dataclasses import dataclass, field

import mujoco
import numpy as np

from robot.specs import StationSpec
from robot.types import Array
from sim.grasping import OPEN_M, UP, carry, grasp, is_held
from sim.objects import Bar, Target
from sim.task import STEP_M, StartRange, View

GIVER, TAKER = 0, 1

# of the expert [m]
LIFTED = 0.08  # the bar is carried at least so high over the table
OUT_OF_THE_WAY = 0.06  # the giver's tcp is so far from its end of the bar before the taker moves on
AT_MEETING = 0.015
ABOVE_GOAL = 0.12  # of the tcp, over the table


@dataclass
class Handover:
    """Succeeds when the bar lies still at the goal and both hands have let go.

    `object_state` is the giver's and the taker's end of the bar, where they are to grip it, then the goal of its
    middle [m].
    """

    name: str = "handover"
    max_steps: int = 400
    object_state_size: int = 9
    start: tuple[StartRange, StartRange] = field(
        default_factory=lambda: (
            StartRange((0.35, -0.05, 0.18), (0.45, 0.05, 0.25), OPEN_M),
            StartRange((0.85, -0.05, 0.28), (0.95, 0.05, 0.35), OPEN_M),
        )
    )
    bar: Bar = field(default_factory=Bar)
    goal: Target = field(default_factory=Target)
    bar_low_m: tuple[float, float] = (0.42, -0.12)
    bar_high_m: tuple[float, float] = (0.47, 0.12)
    bar_yaw_rad: float = 0.1
    goal_low_m: tuple[float, float] = (0.88, -0.12)
    goal_high_m: tuple[float, float] = (0.93, 0.12)
    tolerance_m: float = 0.02
    still_m_s: float = 0.02
    meeting_m: tuple[float, float, float] = (0.675, 0.0, 0.25)  # of the bar's middle
    rest_m: tuple[tuple[float, float, float], ...] = ((0.40, 0.0, 0.35), (0.95, 0.0, 0.35))
    givers_reach_m: float = 0.74  # along x
    expert_step_m: float = STEP_M

    def build(self, spec: mujoco.MjSpec, station: StationSpec) -> None:
        self.bar.build(spec)
        self.goal.build(spec)
        self._joints = [side.gripper.joint for side in station.sides]

    def bind(self, model: mujoco.MjModel) -> None:
        self.bar.bind(model)
        self.goal.bind(model)
        self._fingers = [int(model.joint(name).qposadr[0]) for name in self._joints]

    def reset(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        yaw = rng.uniform(-self.bar_yaw_rad, self.bar_yaw_rad)
        self.bar.place(data, rng.uniform(self.bar_low_m, self.bar_high_m), yaw)
        self.goal.place(data, rng.uniform(self.goal_low_m, self.goal_high_m))

    def advance(self, data: mujoco.MjData, duration_s: float) -> None:
        """Nothing moves by itself."""

    def object_state(self, data: mujoco.MjData) -> Array:
        givers, takers = self.bar.ends(data)
        return np.concatenate([givers, takers, self.goal.position(data)])

    def success(self, data: mujoco.MjData) -> bool:
        is_free = data.qpos[self._fingers].min() > self.bar.half_m[1] + 0.004
        return bool(is_free and self.bar.speed(data) < self.still_m_s and self._is_there(self.object_state(data)))

    def _is_there(self, objects: Array) -> bool:
        """Say whether the bar lies at the goal."""
        x, y, z = ((objects[:3] + objects[3:6]) / 2 - objects[6:9]).tolist()
        return max(abs(x), abs(y)) < self.tolerance_m and z < self.bar.half_m[2] + 0.008

    def plan(self, view: View) -> tuple[Array, float]:
        return self._give(view) if view.side == GIVER else self._take(view)

    def _give(self, view: View) -> tuple[Array, float]:
        """Pick up, hold out over the middle, let go once the other hand has the bar, and leave."""
        end, takers_end, half = view.objects[:3], view.objects[3:6], self.bar.half_m[1]
        if is_held(view.others[0], takers_end, half):
            is_open = view.gripper > half + 0.008
            return (np.array(self.rest_m[GIVER]) if is_open else view.tcp), OPEN_M
        if self._is_there(view.objects) or end[0] > self.givers_reach_m:
            return np.array(self.rest_m[GIVER]), OPEN_M
        if is_held(view, end, half):
            return self._hold_out(view, end), 0.0
        return grasp(view, end, half)

    def _hold_out(self, view: View, end: Array) -> Array:
        """Return where the tcp goes with the bar: up from the table, then to the meeting."""
        if end[2] < LIFTED and abs(end[0] - self._meeting(GIVER)[0]) > AT_MEETING:
            return view.tcp + UP
        return view.tcp + self._meeting(GIVER) - end

    def _meeting(self, side: int) -> Array:
        """Return where a side's end of the bar is while it changes hands."""
        x, y, z = self.meeting_m
        return np.array([x + (-1.0, 1.0)[side] * self.bar.grip_m, y, z])

    def _take(self, view: View) -> tuple[Array, float]:
        """Wait, grip the free end, wait for the other hand to leave, lay the bar down at the goal and let go."""
        giver, end, half = view.others[0], view.objects[3:6], self.bar.half_m[1]
        if self._is_there(view.objects):
            is_open = view.gripper > half + 0.008
            return (np.array(self.rest_m[TAKER]) if is_open else view.tcp), OPEN_M
        if is_held(view, end, half):
            if np.linalg.norm(giver.tcp - view.objects[:3]) < OUT_OF_THE_WAY:
                return view.tcp, 0.0
            goal = view.objects[6:9] + np.array([0.0, 0.0, self.bar.half_m[2]])
            return carry(view, (view.objects[:3] + end) / 2, goal, hover_m=ABOVE_GOAL)
        is_at_meeting = np.linalg.norm(view.objects[:3] - self._meeting(GIVER)) < AT_MEETING
        if (is_at_meeting and is_held(giver, view.objects[:3], half)) or view.objects[0] > self.givers_reach_m:
            return grasp(view, end, half)
        return np.array(self.rest_m[TAKER]), OPEN_M
