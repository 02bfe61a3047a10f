"""The suite `example`: the tasks of this package on its own arm."""

from typing import Any

from robot.env import TandemEnv
from robot.worlds import Expert
from sim.suites import tandem

TASKS = {"touch": "example-touch"}
STATION = "example_arm"


def names() -> list[str]:
    return sorted(TASKS)


def make_env(name: str, **options: Any) -> TandemEnv:
    """Build one task on the example's arm; options as in `sim.suites.tandem`."""
    return tandem.make_env(TASKS[name], **{"station": STATION, **options})


def make_expert(name: str, **knobs: Any) -> Expert:
    """Build the scripted expert of a task."""
    return tandem.make_expert(TASKS[name], **{"station": STATION, **knobs})
