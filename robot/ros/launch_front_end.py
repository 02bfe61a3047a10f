"""`tandem up` for `ros2 launch`: a graph's arguments and processes as actions of ROS 2's own launch package.

Only launch files import this. What a graph consists of is `robot.ros.description`'s; nothing is decided here.
"""

import os
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration

# `launch` is ROS's own package here, which installations without a full ROS do not have.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
from launch import LaunchContext, LaunchDescription
from robot.ros.description import (
    RESPAWN_DELAY_S,
    GraphOptions,
    NodeSpec,
    added_environment,
    describe,
    environment,
    node_environment,
)
from robot.ros.processes import STOP_S

ALL, NONE = "all", "none"
DESCRIPTIONS = {
    "station": "name of a station, or path of its YAML",
    "task": "scene of a simulated station, peg-insert by default; on hardware the name of its episodes",
    "policy": "checkpoint file or run folder; empty for none",
    "execution": "how the policy's chunks are executed; empty for its own way",
    "operator": "page, none, or in simulation scripted",
    "record": "folder of the episode store; empty not to record",
    "bag": "folder for bags (MCAP) of every topic; empty for none",
    "randomize": "all, or aspects that every episode draws anew with commas between; empty for none",
    "cameras": "names with commas between; all of the station, or none",
    "control_rate_hz": "0.0 takes the station's",
    "namespace": "of the robot; empty for none",
    "page_port": "port of the operator page",
    "replay": "folder of a sealed episode whose actions drive in the policy's place",
    "learn": "folder of the weights that a learner makes of what it hears",
    "learn_preset": "the learner's preset",
    "parameters": "ROS parameter file with a section per node; empty for none",
}
ALWAYS = ("station", "task", "operator", "record", "bag", "cameras", "control_rate_hz", "namespace", "page_port")
ALWAYS += ("parameters",)
POLICY = ("policy", "execution")
CONVERTED = ("cameras", "control_rate_hz", "page_port")  # everything else stays text


def graph_launch(*more: str, required: tuple[str, ...] = (), **defaults: str) -> LaunchDescription:
    """Declare the arguments of a kind of graph and start it.

    Args:
        more: arguments beside those that every graph takes, of `DESCRIPTIONS`.
        required: arguments without which launch refuses to start.
        defaults: that differ from those of `tandem up`.
    """
    usual = {option.name: _text(option.default) for option in fields(GraphOptions) if option.default is not MISSING}
    given = usual | {"operator": "page"} | defaults
    names = [name for name in DESCRIPTIONS if name in (*ALWAYS, *more)]
    declared = [
        DeclareLaunchArgument(
            name, default_value=None if name in required else given[name], description=DESCRIPTIONS[name]
        )
        for name in names
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_start, args=[names])])


def _text(value: object) -> str:
    return ALL if value is None else str(value)


def _start(context: LaunchContext, names: list[str]) -> list[SetEnvironmentVariable | ExecuteProcess]:
    given = {name: LaunchConfiguration(name).perform(context) for name in names}
    variables = [SetEnvironmentVariable(name, value) for name, value in added_environment().items()]
    return [*variables, *(_process(spec) for spec in describe(read_options(given)))]


def read_options(given: Mapping[str, str]) -> GraphOptions:
    """Return the options that launch arguments, which are all text, stand for."""
    texts: dict[str, Any] = {name: text for name, text in given.items() if name not in CONVERTED}
    cameras = [name.strip() for name in given["cameras"].split(",") if name.strip() not in ("", NONE)]
    return GraphOptions(
        **texts,
        cameras=None if given["cameras"] == ALL else tuple(cameras),
        control_rate_hz=float(given["control_rate_hz"]),
        page_port=int(given["page_port"]),
    )


def _process(spec: NodeSpec) -> ExecuteProcess:
    """Return the action that runs one node; without a required one everything shuts down."""
    return ExecuteProcess(
        cmd=spec.argv(),
        name=spec.name,
        output="screen",
        additional_env=node_environment(spec, environment(os.environ)),
        sigterm_timeout=str(STOP_S),
        sigkill_timeout=str(STOP_S),
        respawn=spec.respawn,
        respawn_delay=RESPAWN_DELAY_S,
        on_exit=Shutdown(reason=f"{spec.name} has ended") if spec.required else None,
    )
