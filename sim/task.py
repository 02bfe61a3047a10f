"""What a task adds to the arm: bodies, a start, a disturbance, what is seen of it and when it is solved."""

from dataclasses import dataclass, fields
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol

import mujoco
import numpy as np

from robot.errors import unknown_name
from robot.specs import StationSpec
from robot.types import Array

GROUP = "tandem.tasks"
TASKS = {
    "reach": "sim.tasks.reach:Reach",
    "lift": "sim.tasks.lift:Lift",
    "peg-insert": "sim.tasks.peg_insert:PegInsert",
}


@dataclass(frozen=True, slots=True)
class StartRange:
    """Where an episode starts: the tcp uniformly in a box [m], tool down, and the gripper's travel [m]."""

    tcp_low_m: tuple[float, float, float]
    tcp_high_m: tuple[float, float, float]
    gripper_m: float

    def sample(self, rng: np.random.Generator) -> tuple[Array, float]:
        return rng.uniform(self.tcp_low_m, self.tcp_high_m), self.gripper_m


class Task(Protocol):
    """One task. Its configuration is a frozen dataclass; `bind` finds its bodies in the compiled model."""

    name: str
    max_steps: int
    object_state_size: int
    start: StartRange

    def build(self, spec: mujoco.MjSpec, station: StationSpec) -> None:
        """Add bodies to the scene before it is compiled."""
        ...

    def bind(self, model: mujoco.MjModel) -> None:
        """Remember the indices of the task's bodies."""
        ...

    def reset(self, data: mujoco.MjData, rng: np.random.Generator) -> None:
        """Place the objects of a new episode."""
        ...

    def advance(self, data: mujoco.MjData, duration_s: float) -> None:
        """Move what moves by itself (the declared disturbance)."""
        ...

    def object_state(self, data: mujoco.MjData) -> Array:
        """Return what an observation may know of the objects, shape (object_state_size,)."""
        ...

    def success(self, data: mujoco.MjData) -> bool: ...


def _tasks() -> dict[str, str]:
    """Return where each task is by name: our own, and those that packages register in `tandem.tasks`."""
    return {entry.name: entry.value for entry in entry_points(group=GROUP)} | TASKS


def task_names() -> list[str]:
    return sorted(_tasks())


def make_task(name: str, **options: Any) -> Task:
    """Return a task with its declared configuration, or with some values of it replaced."""
    tasks = _tasks()
    if name not in tasks:
        raise unknown_name("task", name, tasks)
    module, _, kind = tasks[name].partition(":")
    task = getattr(import_module(module), kind)
    known = [field.name for field in fields(task)]
    for option in options:
        if option not in known:
            raise unknown_name(f"option of task {name}", option, known)
    return task(**options)
