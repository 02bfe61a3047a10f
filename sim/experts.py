"""Scripted experts: a task's plan, one closed-loop action from one observation; only the knobs have a memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from robot.errors import ConfigError
from robot.specs import StationSpec
from robot.types import Array
from sim.grasping import OPEN_M
from sim.task import Task, View, check_arms, make_task

DROP_STEPS = 6  # the hand stays open so long after a dropped grasp


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

    def bias_of(self, names: Sequence[str]) -> Array:
        """Return the bias of an action with these dimensions; zero where none is set."""
        bias = np.zeros(len(names)) if self.bias is None else np.asarray(self.bias, float)
        if bias.shape != (len(names),):
            raise ConfigError(f"bias has {bias.size} values, this action has {len(names)}: {', '.join(names)}")
        return bias


class ScriptedExpert:
    """Goes, with every arm, towards what the task's plan wants, at most one step away from where the tcp is."""

    def __init__(self, task: Task, station: StationSpec, knobs: Knobs) -> None:
        check_arms(task, station)
        self._plan, self._knobs, self._step_m = task.plan, knobs, task.expert_step_m
        self._low, self._high = station.action_low, station.action_high
        self._grippers = [side.gripper for side in station.sides]
        self._gripper_joints = [joints.stop - 1 for joints in station.joint_slices]
        self._bias = knobs.bias_of(station.action_names)
        self.reset(0)

    def reset(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._drop_left = DROP_STEPS if self._rng.random() < self._knobs.drop_probability else 0

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        parts = [self._act_with(view) for view in self._views(observation)]
        return np.clip(np.concatenate(parts) + self._bias, self._low, self._high)

    def _views(self, observation: Mapping[str, np.ndarray]) -> list[View]:
        """Return what each side's plan looks at."""
        tcps, joints = observation["tcp_position"].reshape(-1, 3), observation["joint_position"]
        views = [
            View(tcp, observation["object_state"], gripper.travel_m(float(joints[joint])), side)
            for side, (tcp, gripper, joint) in enumerate(zip(tcps, self._grippers, self._gripper_joints, strict=True))
        ]
        return [replace(view, others=tuple(other for other in views if other is not view)) for view in views]

    def _act_with(self, view: View) -> Array:
        """Return one side's part of the action."""
        goal, travel_m = self._plan(view)
        if self._drops(view, travel_m):
            travel_m = OPEN_M
        action = np.append(self._step_towards(view.tcp, goal), self._grippers[view.side].joint_at(travel_m))
        action[:3] += self._knobs.noise * self._rng.standard_normal(3)
        return action

    def _step_towards(self, tcp: Array, goal: Array) -> Array:
        step = goal - tcp
        reach = self._step_m / self._knobs.slowness
        return tcp + step * min(1.0, reach / max(float(np.linalg.norm(step)), 1e-9))

    def _drops(self, view: View, travel_m: float) -> bool:
        """Open the hand once the carried thing is off the table."""
        carrying = travel_m < 0.5 * OPEN_M and view.thing[2] > 0.05
        if self._drop_left == 0 or not (carrying or self._drop_left < DROP_STEPS):
            return False
        self._drop_left -= 1
        return True


def make_scripted_expert(task: str, station: StationSpec, knobs: Knobs) -> ScriptedExpert:
    """Return the expert of a task by the task's name."""
    return ScriptedExpert(make_task(task, station.robot), station, knobs)
