"""The launch files against a stub of ROS's launch: the arguments they declare, the processes they start."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from robot.ros.description import GraphOptions, NodeSpec, describe, environment
from robot.ros.processes import STOP_S
from tests.launch.stub import Recorded, stub_modules

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "launch").glob("*.launch.py"))
FRONT_END = "robot.ros.launch_front_end"


def named(actions: list[Any], kind: str) -> list[Any]:
    return [action for action in actions if type(action).__name__ == kind]


class Loaded:
    """A launch file read with the stub in launch's place."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.values: dict[str, str] = {}
        for module, stub in stub_modules(self.values).items():
            monkeypatch.setitem(sys.modules, module, stub)
        monkeypatch.delitem(sys.modules, FRONT_END, raising=False)
        path = ROOT / "launch" / f"{name}.launch.py"
        self.actions = runpy.run_path(str(path))["generate_launch_description"]()
        monkeypatch.delitem(sys.modules, FRONT_END, raising=False)
        self.arguments: dict[str, Recorded] = {a.given[0]: a for a in named(self.actions, "DeclareLaunchArgument")}

    @property
    def required(self) -> set[str]:
        return {name for name, argument in self.arguments.items() if argument.default_value is None}

    def start(self, **given: str) -> list[Any]:
        assert given.keys() <= self.arguments.keys()
        self.values.update({name: argument.default_value for name, argument in self.arguments.items()} | given)
        starter = self.actions[-1]
        return starter.function(None, *starter.args)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda name: Loaded(name, monkeypatch)


def same_processes(actions: list[Any], specs: list[NodeSpec]) -> None:
    processes = named(actions, "ExecuteProcess")
    assert [process.cmd for process in processes] == [spec.argv() for spec in specs]
    assert [process.on_exit is not None for process in processes] == [spec.required for spec in specs]
    assert [process.respawn for process in processes] == [spec.respawn for spec in specs]
    assert {(process.sigterm_timeout, process.sigkill_timeout) for process in processes} == {(str(STOP_S), str(STOP_S))}


@pytest.mark.parametrize("namespace", ["", "left"])
def test_sim_starts_the_same_processes_as_up(load: Any, namespace: str) -> None:
    given = {"policy": "runs/peg", "operator": "page", "record": "runs/episodes", "namespace": namespace}
    actions = load("sim").start(**given)
    same_processes(actions, describe(GraphOptions(**given)))
    variables = {action.given[0] for action in named(actions, "SetEnvironmentVariable")}
    assert variables <= set(environment({}))


def test_replay_train_and_teleop_start_the_same_processes_as_up(load: Any) -> None:
    replay = {"station": "fr3_sim", "replay": "runs/episodes/episodes/one.zarr", "cameras": "none"}
    same_processes(
        load("replay").start(**replay), describe(GraphOptions(**{**replay, "operator": "page", "cameras": ()}))
    )
    train = {"station": "fr3_sim", "policy": "runs/residual", "cameras": "scene"}
    options = {**train, "operator": "page", "cameras": ("scene",), "learn": "runs/learner"}
    same_processes(load("train").start(**train), describe(GraphOptions(**options)))
    teleop = load("teleop").start(station="so101_sim", control_rate_hz="10.0", page_port="9000")
    wanted = GraphOptions("so101_sim", operator="page", record="runs/episodes", control_rate_hz=10.0, page_port=9000)
    same_processes(teleop, describe(wanted))


@pytest.mark.parametrize(
    ("name", "required"),
    [
        ("sim", set()),
        ("hardware", {"station"}),
        ("teleop", {"station"}),
        ("replay", {"station", "replay"}),
        ("train", {"station", "policy"}),
    ],
)
def test_what_has_no_sensible_default_is_required(load: Any, name: str, required: set[str]) -> None:
    assert load(name).required == required


def test_every_argument_is_an_option_of_the_graph(load: Any) -> None:
    options = set(GraphOptions.__dataclass_fields__)
    for path in FILES:
        loaded = load(path.name.partition(".")[0])
        assert set(loaded.arguments) <= options
        assert all(argument.description for argument in loaded.arguments.values())
    assert len(FILES) == 5


def test_a_launch_file_needs_neither_a_simulator_nor_learning() -> None:
    code = (
        "import sys; from tests.launch.stub import stub_modules; sys.modules.update(stub_modules({})); import runpy;"
        f"[runpy.run_path(path)['generate_launch_description']() for path in {[str(path) for path in FILES]}];"
        "print([m for m in ('torch', 'mujoco', 'rclpy', 'cv2', 'zarr') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stdout.strip() == "[]"
