"""A simulated robot's graph for `ros2 launch`: the same processes with the same arguments as `tandem up` starts.

ros2 launch launch/sim.launch.py task:=peg-insert policy:=runs/peg operator:=page record:=runs/episodes
"""

import os
from dataclasses import fields

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch.substitutions import LaunchConfiguration

# `launch` is here ROS's own package, which installations without a full ROS do not have.
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

ARGUMENTS = {
    "station": "name of a station, or path of its YAML",
    "task": "task of the simulated cell",
    "policy": "checkpoint file or run folder; empty for none",
    "execution": "how the policy's chunks are executed; empty for its own way",
    "operator": "scripted, page or none",
    "record": "folder of the episode store; empty not to record",
    "bag": "folder for bags (MCAP) of every topic; empty for none",
    "randomize": "all, or aspects that every episode draws anew with commas between; empty for none",
    "control_rate_hz": "0.0 takes the station's",
    "namespace": "of the robot; empty for none",
    "page_port": "port of the operator page",
}
DEFAULTS = {option.name: str(option.default) for option in fields(GraphOptions)} | {"operator": "page"}


def _process(spec: NodeSpec) -> ExecuteProcess:
    """Return the action that runs one node; without a required one everything shuts down."""
    return ExecuteProcess(
        cmd=spec.argv(),
        name=spec.name,
        output="screen",
        additional_env=node_environment(spec, environment(os.environ)),
        sigterm_timeout="5",
        sigkill_timeout="5",
        respawn=spec.respawn,
        respawn_delay=RESPAWN_DELAY_S,
        on_exit=Shutdown(reason=f"{spec.name} has ended") if spec.required else None,
    )


def _start(context: LaunchContext) -> list[SetEnvironmentVariable | ExecuteProcess]:
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    options = GraphOptions(
        **{
            name: given[name]
            for name in (
                "station",
                "task",
                "policy",
                "execution",
                "operator",
                "record",
                "bag",
                "randomize",
                "namespace",
            )
        },
        control_rate_hz=float(given["control_rate_hz"]),
        page_port=int(given["page_port"]),
    )
    variables = [SetEnvironmentVariable(name, value) for name, value in added_environment().items()]
    return [*variables, *(_process(spec) for spec in describe(options))]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the graph."""
    declared = [
        DeclareLaunchArgument(name, default_value=DEFAULTS[name], description=text) for name, text in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_start)])
