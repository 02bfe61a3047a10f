"""A policy drives, a person corrects, and a learner beside them makes new weights that the policy takes over.

ros2 launch launch/train.launch.py station:=fr3_sim policy:=runs/residual record:=runs/episodes
"""

from launch import LaunchDescription  # pyright: ignore[reportAttributeAccessIssue]
from robot.ros.launch_front_end import POLICY, graph_launch


def generate_launch_description() -> LaunchDescription:
    """Ask for the station and the residual policy to go on from."""
    return graph_launch(*POLICY, "learn", "learn_preset", required=("station", "policy"), learn="runs/learner")
