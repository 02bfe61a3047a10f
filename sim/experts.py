"""Scripted experts of the tasks: one closed-loop action from one observation; only the knobs have a memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robot.errors import ConfigError, unknown_name
from robot.specs import StationSpec
from robot.types import Array
from sim.task import make_task
from sim.tasks.lift import Lift
from sim.tasks.peg_insert import PegInsert

DROP_STEPS = 6  # the hand stays open so long after a dropped grasp
STEP_M = 0.012  # an expert asks for at most so much per step


@dataclass(frozen=True, slots=True)
class Knobs:
    """How an expert is made worse.

    `noise` is the standard deviation of the tcp target [m]; `bias` is added to the action; `slowness` divides the
    speed; `drop_probability` is the chance that an episode's grasp is opened once on the way.
    """

    noise: float = 0.0
    bias: tuple[float, ...] | None = None
    slowness: float = 1.0
    drop_probability: float = 0.0

    def __post_init__(self) -> None:
        if self.noise < 0 or not self.slowness >= 1 or not 0 <= self.drop_probability <= 1:
            raise ConfigError(f"{self}: noise must be >= 0, slowness >= 1 and drop_probability in 0..1")


@dataclass(frozen=True, slots=True)
class View:
    """What a plan looks at: tcp and object [m], finger travel [m]."""

    tcp: Array
    thing: Array
    gripper: float


Plan = Callable[[View], tuple[Array, float]]  # the tcp goal [m] and the finger travel [m]


class ScriptedExpert:
    """Goes towards its plan's goal, at most one step away from where the tcp is."""

    def __init__(self, plan: Plan, station: StationSpec, knobs: Knobs, step_m: float = STEP_M) -> None:
        self._plan, self._knobs, self._step_m = plan, knobs, step_m
        self._low, self._high = station.action_low, station.action_high
        self._bias = np.zeros(4) if knobs.bias is None else np.asarray(knobs.bias, float)
        if self._bias.shape != (4,):
            raise ConfigError(f"bias has {self._bias.size} values, this action has 4: x, y, z, gripper")
        self.reset(0)

    def reset(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._drop_left = DROP_STEPS if self._rng.random() < self._knobs.drop_probability else 0

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        view = View(
            observation["tcp_position"], observation["object_state"][:3], float(observation["joint_position"][-1])
        )
        goal, gripper = self._plan(view)
        if self._drops(view, gripper):
            gripper = float(self._high[3])
        action = np.append(self._step_towards(view.tcp, goal), gripper) + self._bias
        action[:3] += self._knobs.noise * self._rng.standard_normal(3)
        return np.clip(action, self._low, self._high)

    def _step_towards(self, tcp: Array, goal: Array) -> Array:
        step = goal - tcp
        reach = self._step_m / self._knobs.slowness
        return tcp + step * min(1.0, reach / max(float(np.linalg.norm(step)), 1e-9))

    def _drops(self, view: View, gripper: float) -> bool:
        """Open the hand once the carried thing is off the table."""
        carrying = gripper < 0.5 * self._high[3] and view.thing[2] > 0.05
        if self._drop_left == 0 or not (carrying or self._drop_left < DROP_STEPS):
            return False
        self._drop_left -= 1
        return True


def plan_reach(view: View) -> tuple[Array, float]:
    return view.thing, 0.04


def plan_lift(view: View, task: Lift) -> tuple[Array, float]:
    """Above the cube, down, close, up: which one follows from where hand and cube are."""
    offset = view.thing - view.tcp
    closed_on_cube = view.gripper < task.cube_half_m + 0.003
    if np.linalg.norm(offset) < 0.012:
        if closed_on_cube:
            return view.tcp + np.array([0.0, 0.0, STEP_M]), 0.0
        return view.thing, 0.0
    if np.linalg.norm(offset[:2]) < 0.008 and view.gripper > task.cube_half_m + 0.008:
        return view.thing, 0.04
    above = max(view.thing[2] + 0.06, min(view.tcp[2], view.thing[2] + 0.08))
    return np.array([*view.thing[:2], above]), 0.04


def plan_peg_insert(view: View, task: PegInsert) -> tuple[Array, float]:
    """Follow the hole just above its surface; go down only while the peg is over it."""
    tip_height = view.tcp[2] - task.peg_below_tcp_m - view.thing[2]
    distance = float(np.abs(view.tcp[:2] - view.thing[:2]).max())
    inside = tip_height < -0.003
    if inside or distance < HOVER_TOLERANCE_M + 2.0 * max(tip_height - HOVER_M, 0.0):
        goal_z = view.tcp[2] - DESCENT_M
    else:
        goal_z = view.thing[2] + task.peg_below_tcp_m + HOVER_M
    return np.array([*view.thing[:2], goal_z]), task.peg_half_m


HOVER_M = 0.006
HOVER_TOLERANCE_M = 0.003
DESCENT_M = 0.006
PEG_STEP_M = 0.008


def make_scripted_expert(task: str, station: StationSpec, knobs: Knobs) -> ScriptedExpert:
    """Return the expert of a task by the task's name."""
    plans: dict[str, Plan] = {
        "reach": plan_reach,
        "lift": lambda view: plan_lift(view, LIFT),
        "peg-insert": lambda view: plan_peg_insert(view, PEG),
    }
    if task not in plans:
        theirs: Any = make_task(task)  # another package's brings its own plan
        if not hasattr(theirs, "plan"):
            raise unknown_name("task with an expert", task, plans)
        return ScriptedExpert(theirs.plan, station, knobs, theirs.expert_step_m)
    return ScriptedExpert(plans[task], station, knobs, PEG_STEP_M if task == "peg-insert" else STEP_M)


LIFT, PEG = Lift(), PegInsert()
