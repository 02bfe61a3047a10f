"""What a process really loads: no torch where a robot is driven, nothing heavy where help is asked, ROS by name."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.domains import some_domain
from tests.house.sources import PACKAGES, ROOT, module_name, python_files

NODES = [module_name(path) for path in python_files(*PACKAGES) if path.stem.endswith("_node")]
MAY_LOAD_TORCH = ("policies.", "world_models.")
# Have environments of their own, `launch` a full ROS; files that need one are named after it.
ELSEWHERE = ("lerobot", "robosuite", "launch")
HEAVY = {"torch", "mujoco", "rclpy", "cv2", "zarr", "gymnasium", "lerobot", "diffusers", "matplotlib"}
NO_ROS = """
import sys
for name in ("rclpy", "std_msgs", "sensor_msgs", "trajectory_msgs", "diagnostic_msgs", "builtin_interfaces"):
    sys.modules[name] = None
import {module}
"""
LOADED = "import importlib, json, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
LOADED += "print(json.dumps(sorted(sys.modules)))"


def top_packages(modules: list[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def loaded_by(*modules: str) -> set[str]:
    """Import the modules in a process of their own and return every module and package that came with them."""
    answer = subprocess.run([sys.executable, "-c", LOADED, *modules], capture_output=True, text=True, timeout=120)
    if answer.returncode and (absent := re.search(r"No module named '(rclpy|metaworld|mink|starlette)", answer.stderr)):
        pytest.skip(f"{absent[1]} is not installed here")
    assert answer.returncode == 0, answer.stderr
    names = json.loads(answer.stdout.splitlines()[-1])
    return {*names, *top_packages(names)}


def test_help_loads_nothing_heavy() -> None:
    words = [sys.executable, "-X", "importtime", "-m", "robot.cli", "--help"]
    answer = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    loaded = imported(answer.stderr)
    assert "robot" in loaded
    assert not loaded & (HEAVY | {"numpy", "tyro", "rich"})


def test_the_probe_sees_what_a_module_drags_in() -> None:
    assert "numpy" in loaded_by("robot.types")
    assert "gymnasium" in loaded_by("robot.worlds")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Start every node as a process, all at once, and return what each had loaded some seconds later."""
    folder = tmp_path_factory.mktemp("nodes")
    env = {**os.environ, "ROS_DOMAIN_ID": str(some_domain()), "PYTHONPROFILEIMPORTTIME": "1"}
    running = {}
    for node in NODES:
        with (folder / node).open("w") as log:
            words = [sys.executable, "-m", node]
            running[node] = subprocess.Popen(words, env=env, cwd=folder, stdout=subprocess.DEVNULL, stderr=log)
    try:
        wait_until_quiet([folder / node for node in NODES], timeout_s=60.0)
    finally:
        for process in running.values():
            process.send_signal(signal.SIGINT)
        for process in running.values():
            try:
                process.wait(timeout=10.0)
            except subprocess.TimeoutExpired:
                process.kill()
    return {node: imported((folder / node).read_text()) for node in NODES}


def wait_until_quiet(logs: list[Path], timeout_s: float, quiet_s: float = 2.0) -> None:
    """Return once no process has imported anything for a while."""
    deadline, size, since = time.monotonic() + timeout_s, -1, time.monotonic()
    while time.monotonic() < min(deadline, since + quiet_s):
        now = sum(log.stat().st_size for log in logs)
        if now != size:
            size, since = now, time.monotonic()
        time.sleep(0.1)


def imported(report: str) -> set[str]:
    """Read the packages out of the report of `-X importtime`."""
    return top_packages([line.rpartition("|")[2].strip() for line in report.splitlines() if "|" in line])


@pytest.mark.ros
@pytest.mark.parametrize("node", NODES)
def test_a_started_node_has_loaded_no_torch(node: str, started: dict[str, set[str]]) -> None:
    assert {"robot", "rclpy"} <= started[node]
    assert node.startswith(MAY_LOAD_TORCH) or not started[node] & {"torch", "diffusers", "lerobot"}


@pytest.mark.parametrize("node", NODES)
def test_a_node_that_drives_a_robot_loads_no_torch(node: str) -> None:
    loaded = loaded_by(node)
    assert "rclpy" in loaded, "a node that does not load rclpy is not one"
    assert node.startswith(MAY_LOAD_TORCH) or not loaded & {"torch", "diffusers", "lerobot"}
    others = {other for other in NODES if other != node}
    assert not loaded & others


def test_what_starts_the_graph_loads_neither_ros_nor_a_simulator() -> None:
    assert not loaded_by("robot.ros.up") & {"rclpy", "mujoco"}


@pytest.mark.parametrize("node", [node for node in NODES if not node.startswith(MAY_LOAD_TORCH)])
def test_without_ros_a_node_says_what_to_install(node: str) -> None:
    words = [sys.executable, "-W", "error", "-c", NO_ROS.format(module=node)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert ended.returncode != 0
    assert ended.stderr.count("Traceback") == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("robot.errors.MissingDependency: ")
    for words in ("pip install '.[ros]'", "ros-jazzy-rclpy", "ROS 2 Jazzy"):
        assert words in last


@pytest.mark.parametrize(
    ("folder", "never"),
    [
        ("robot", {"torch", "sim", "policies", "hardware", "world_models"}),
        ("hardware", {"torch", "sim", "policies", "world_models"}),
        ("hardware/arms", {"mujoco", "rclpy"}),  # mujoco comes with the arm process, for the last filter's kinematics
        ("sim", {"torch", "policies", "hardware", "world_models"}),
        ("policies", {"sim", "hardware", "world_models"}),
        ("world_models", {"sim", "hardware"}),
    ],
)
def test_a_whole_folder_loads_only_what_lies_below(folder: str, never: set[str]) -> None:
    absent = [name for name in ELSEWHERE if not is_installed(name)]
    paths = [path for path in python_files(folder) if not any(name in path.stem for name in absent)]
    assert paths, f"{folder} holds no files"
    assert not loaded_by(*map(module_name, paths)) & never


def is_installed(name: str) -> bool:
    """Our plain folder `launch` is found too, as a namespace without a file."""
    spec = find_spec(name)
    return spec is not None and spec.origin is not None


def test_our_robot_package_is_found_from_anywhere(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for package in PACKAGES:
        probe = f"import {package}; print({package}.__file__)"
        words = [sys.executable, "-c", probe]
        answer = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=True)
        assert Path(answer.stdout.strip()) == ROOT / package / "__init__.py"


def test_a_plain_folder_of_launch_files_hides_no_package() -> None:
    assert not (ROOT / "launch" / "__init__.py").exists()
    probe = "import importlib.util as u; s = u.find_spec('launch'); print(s is None or s.origin)"
    answer = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert str(ROOT) not in answer.stdout
