"""The station's own tasks, through the tick and its safety filter."""

from collections.abc import Collection, Sequence
from typing import Any

from robot.env import TandemEnv
from robot.record import TickRecord
from robot.specs import load_station
from robot.types import EndReason
from sim.experts import Knobs, ScriptedExpert, make_scripted_expert
from sim.scripted_operator import OperatorScript, ScriptedOperator
from sim.task import STATIONS, make_task, starts_of, task_names
from sim.world import SimWorld


class StationTaskEnv(TandemEnv):
    """The environment for learners: `info` belongs to the caller, and is without the tick's record, whose times differ
    between two runs of one seed and which a vectorised environment would send between processes at every step."""

    def _info(self, record: TickRecord) -> dict[str, Any]:
        is_success = record.end_reason is EndReason.SUCCESS
        return {"success": is_success, "executed_action": record.executed_action.copy()}


def names() -> list[str]:
    return task_names()


def make_env(
    name: str,
    *,
    station: str = "",
    images: Sequence[str] = (),
    image_size: int = 84,
    randomize: bool | Collection[str] = False,
    render_mode: str | None = None,
    **task_options: Any,
) -> StationTaskEnv:
    """Build one task on a simulated station.

    Args:
        name: of the task.
        station: name or path of the station file; one with as many arms as the task is for by default.
        images: cameras to see through, as square `image/<camera>`.
        image_size: side of those images [pixels].
        randomize: draw every episode's domain anew; True, or some of light, colour, camera, dynamics, latency.
        render_mode: `rgb_array` or None.
        task_options: values that replace the task's own, such as `max_steps`.
    """
    cell = load_station(station or default_station(name))
    task = make_task(name, cell.robot, **task_options)
    world = SimWorld(cell, task, images=images, image_size=image_size, randomize=randomize)
    return StationTaskEnv(world, render_mode)


def default_station(task: str) -> str:
    """Return the name of the station that a task runs on when nothing else is said."""
    return STATIONS[len(starts_of(make_task(task)))]


def make_expert(name: str, *, station: str = "", **knobs: Any) -> ScriptedExpert:
    """Build the scripted expert of a task."""
    return make_scripted_expert(name, load_station(station or default_station(name)), Knobs(**knobs))


def make_operator(name: str, *, station: str = "", **script: Any) -> ScriptedOperator:
    """Build the scripted person of a task, who drives like its expert; `script` are the fields of OperatorScript."""
    cell = load_station(station or default_station(name))
    return ScriptedOperator(cell, make_expert(name, station=station), OperatorScript(**script))
