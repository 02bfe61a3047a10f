"""What a task adds to the arm: bodies, a start, a disturbance, what is seen of it, when it is solved, and how."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

import mujoco
import numpy as np

from robot.errors import ConfigError, unknown_name
from robot.specs import StationSpec
from robot.types import Array

GROUP, ARMS = "tandem.tasks", "tandem.arms"
STATIONS = {1: "fr3_sim", 2: "fr3_pair_sim"}  # what a task runs on when nothing else is said, by its number of arms
STEP_M = 0.012  # an expert asks for at most so much per step


@dataclass(frozen=True, slots=True)
class StartRange:
    """Where an episode starts: the tcp uniformly in a box [m], tool down, and the gripper's travel [m]."""

    tcp_low_m: tuple[float, float, float]
    tcp_high_m: tuple[float, float, float]
    gripper_m: float

    def sample(self, rng: np.random.Generator) -> tuple[Array, float]:
        return rng.uniform(self.tcp_low_m, self.tcp_high_m), self.gripper_m


@dataclass(frozen=True, slots=True)
class View:
    """What an expert's plan looks at: tcp [m], object state as the task gives it, travel of a finger [m].

    Of several arms each is asked for by itself: `side` says for which, and `others` has the others' views, in order.
    """

    tcp: Array
    objects: Array
    gripper: float
    side: int = 0
    others: "tuple[View, ...]" = ()

    @property
    def thing(self) -> Array:
        """Return the first three numbers of the object state: what the task is about [m]."""
        return self.objects[:3]


class Task(Protocol):
    """One task. Its configuration is a dataclass; `bind` finds its bodies in the compiled model.

    A task of several arms has a tuple of starts, one per side.
    """

    name: str
    max_steps: int
    object_state_size: int
    expert_step_m: float

    @property
    def start(self) -> "StartRange | tuple[StartRange, ...]": ...

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

    def plan(self, view: View) -> tuple[Array, float]:
        """Return where the expert wants tcp [m] and fingers [m] now, from what is seen alone: it has no memory."""
        ...


def starts_of(task: Task) -> tuple[StartRange, ...]:
    """Return where each arm starts, as many as the task is for."""
    return (task.start,) if isinstance(task.start, StartRange) else task.start


def check_arms(task: Task, station: StationSpec) -> None:
    """Raise ConfigError where a task is for another number of arms than the station has."""
    wanted, found = len(starts_of(task)), len(station.sides)
    if wanted != found:
        raise ConfigError(
            f"task {task.name} needs a station of {wanted} arm{'s'[: wanted > 1]}, {station.name} has {found}; take "
            f"another task, or a station such as {STATIONS.get(wanted, 'one with more sides')}"
        )


@cache
def _tasks() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def task_names() -> list[str]:
    return sorted(_tasks())


@cache
def _layouts(robot: str) -> Mapping[str, Mapping[str, Any]] | None:
    """Return how tasks are laid out for a robot other than the one they were made for, by the task's name."""
    for entry in entry_points(group=ARMS):
        if entry.name == robot:
            return entry.load().LAYOUTS
    return None


def make_task(name: str, robot: str = "", **options: Any) -> Task:
    """Return a task with its declared configuration, or with some values of it replaced.

    Args:
        name: of the task.
        robot: `station.robot`; for some (entry points `tandem.arms`) tasks are laid out anew, and there are no others.
        options: values to replace.
    """
    if name not in _tasks():
        raise unknown_name("task", name, _tasks())
    layouts = _layouts(robot)
    if layouts is not None:
        if name not in layouts:
            raise unknown_name(f"task within reach of {robot}", name, layouts)
        options = {**layouts[name], **options}
    task = _tasks()[name].load()
    known = [field.name for field in fields(task)]
    for option in options:
        if option not in known:
            raise unknown_name(f"option of task {name}", option, known)
    return task(**options)
