"""A simulated robot: its arm, cameras, policy and operator, the same processes as `tandem up` starts.

ros2 launch launch/sim.launch.py task:=peg-insert policy:=runs/peg operator:=page record:=runs/episodes
"""

from launch import LaunchDescription  # pyright: ignore[reportAttributeAccessIssue]
from robot.ros.launch_front_end import POLICY, graph_launch


def generate_launch_description() -> LaunchDescription:
    """Take the station's simulated cell and, where given, a policy."""
    return graph_launch(*POLICY, "randomize")
