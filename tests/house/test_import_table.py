"""The import table and the layout, held over every file and shown to catch what they forbid."""

import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.house.import_table import Import, imports_of, misplaced, violations
from tests.house.sources import PACKAGES, ROOT, python_files

VERBS = {
    value.partition(":")[0]
    for value in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][
        "tandem.verbs"
    ].values()
}


def test_every_file_imports_only_what_its_folder_may() -> None:
    files = python_files(*PACKAGES, "launch")
    assert len(files) > 20
    found = [str(v) for path in files for v in violations(path, (ROOT / path).read_text(), VERBS)]
    assert not found, "\n".join(found)


def test_every_tracked_file_has_its_place() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [Path(line) for line in listed.stdout.splitlines()]
    assert Path("pyproject.toml") in paths
    found = [str(v) for v in misplaced(paths)]
    assert not found, "\n".join(found)


BAD = {
    "robot never imports torch": ("robot/plan.py", "import torch"),
    "not even inside a function": ("robot/plan.py", "def f():\n    from torch import nn"),
    "not even by name": ("robot/plan.py", "import importlib\nimportlib.import_module('torch.nn')"),
    "not even for types": ("robot/plan.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
    "robot is the ground": ("robot/env.py", "from sim.scene import Scene"),
    "mujoco is for kinematics": ("robot/safety.py", "import mujoco"),
    "rclpy is for robot/ros": ("robot/tick.py", "import rclpy.node"),
    "messages too": ("robot/tick.py", "from sensor_msgs.msg import Image"),
    "web is for the operator": ("robot/ros/bridge.py", "import starlette"),
    "hardware has no torch": ("hardware/arms/fr3.py", "def f():\n    import torch"),
    "hardware does not know sim": ("hardware/arms/fr3.py", "import sim"),
    "a vendor's package only inside a function": ("hardware/cameras/realsense.py", "import pyrealsense2"),
    "and only in a driver": ("hardware/servo.py", "def f():\n    import pyrealsense2"),
    "sim has no torch": ("sim/renderer.py", "import torch.nn as nn"),
    "sim does not know policies": ("sim/tasks/reach.py", "from policies import training"),
    "sim does not know hardware": ("sim/tasks/reach.py", "import hardware.arms"),
    "a suite's package only in suites": ("sim/tasks/reach.py", "import metaworld"),
    "policies do not know sim": ("policies/training.py", "import sim.scene"),
    "policies do not know hardware": ("policies/training.py", "import hardware"),
    "policies do not know world_models": ("policies/training.py", "import world_models"),
    "lerobot has its place": ("policies/training.py", "import lerobot"),
    "rclpy in policies only in a node": ("policies/base/act.py", "import rclpy"),
    "world_models do not know sim": ("world_models/model.py", "import sim"),
    "launch files stay light": ("launch/robot.launch.py", "import cv2"),
    "unknown packages are named in the table first": ("policies/training.py", "import pandas"),
}
BAD_MEETINGS = {
    "a node imports no node": ("robot/ros/arbiter_node.py", "import policies.policy_node"),
    "nor does anything else": ("sim/scene.py", "from sim import camera_node"),
    "relative is no way around": ("sim/tasks/reach.py", "from .. import camera_node"),
    "a verb is imported by nobody": ("policies/training.py", "from policies.eval_verb import run"),
    "nor by name at run time": ("robot/cli.py", "import importlib\nimportlib.import_module('robot.doctor')"),
}


@pytest.mark.parametrize(("path", "source"), BAD.values(), ids=BAD.keys())
def test_the_table_catches(path: str, source: str) -> None:
    assert {v.rule for v in violations(Path(path), source, VERBS)} == {"table"}


@pytest.mark.parametrize(("path", "source"), BAD_MEETINGS.values(), ids=BAD_MEETINGS.keys())
def test_meetings_go_through_names(path: str, source: str) -> None:
    assert "names, not imports" in {v.rule for v in violations(Path(path), source, VERBS)}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("robot/kinematics/arm.py", "import mujoco, mink\nimport numpy as np\nfrom robot.specs import StationSpec"),
        ("robot/ros/node.py", "import rclpy\nfrom std_msgs.msg import String\nfrom robot.ros.qos import CONTROL"),
        ("sim/camera_node.py", "import rclpy\nfrom sensor_msgs.msg import Image\nfrom sim.renderer import Renderer"),
        ("policies/policy_node.py", "import rclpy, torch"),
        ("hardware/cameras/realsense.py", "def connect():\n    import pyrealsense2 as rs\n    return rs"),
        ("sim/camera_node.py", "from robot.ros.node import run_node"),
        ("sim/suites/metaworld.py", "import metaworld"),
        ("policies/base/lerobot.py", "from lerobot.policies import factory"),
        ("world_models/imagined_env.py", "from policies.replay import Replay\nimport torch"),
        ("launch/robot.launch.py", "from launch import LaunchDescription\nfrom robot.ros.description import graph"),
        ("policies/recipes/resfit.py", "from .. import replay\nfrom ..learners import residual"),
    ],
)
def test_the_table_allows(path: str, source: str) -> None:
    assert violations(Path(path), source, VERBS) == []


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("scripts/run.py", "top level"),
        ("notes.txt", "top level"),
        ("robot/utils.py", "names"),
        ("policies/train_helpers.py", "names"),
        ("sim/common/__init__.py", "names"),
        ("robot/ros/device_manager.py", "names"),
        ("policies/replay_v2.py", "names"),
        ("launch/__init__.py", "launch"),
        ("launch/nodes.py", "launch"),
    ],
)
def test_the_layout_catches(path: str, rule: str) -> None:
    assert [v.rule for v in misplaced([Path(path)])] == [rule]


def test_the_layout_allows() -> None:
    good = ["robot/ros/arbiter_node.py", "launch/robot.launch.py", "docs/graph.svg", "sim/tasks/peg_insert.py"]
    assert misplaced([Path(path) for path in good]) == []


def test_imports_are_read_where_they_stand() -> None:
    source = "import os.path\ndef f():\n    import numpy\n"
    source += "class C:\n    from .a import b\n    def g(self):\n        import d\n"
    assert imports_of(source, "robot.ros") == [
        Import("os.path", 1, False),
        Import("numpy", 3, True),
        Import("robot.ros.a", 5, False),
        Import("robot.ros.a.b", 5, False),
        Import("d", 7, True),
    ]
