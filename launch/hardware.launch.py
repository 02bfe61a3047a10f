"""A real robot: the drivers of its station, a policy where given, and a person at the operator page.

The arm starts latched and moves only after a person has reset it (page, or `ros2 service call /safety/reset`).

ros2 launch launch/hardware.launch.py station:=so101 policy:=runs/peg record:=runs/episodes
"""

from launch import LaunchDescription  # pyright: ignore[reportAttributeAccessIssue]
from robot.ros.launch_front_end import POLICY, graph_launch


def generate_launch_description() -> LaunchDescription:
    """Ask for the station: which arm moves is never a default."""
    return graph_launch(*POLICY, required=("station",))
