"""A person drives and everything is recorded: no policy, the operator page, an episode store.

ros2 launch launch/teleop.launch.py station:=so101 record:=runs/demonstrations
"""

from launch import LaunchDescription  # pyright: ignore[reportAttributeAccessIssue]
from robot.ros.launch_front_end import graph_launch


def generate_launch_description() -> LaunchDescription:
    """Ask for the station; record by default."""
    return graph_launch(required=("station",), record="runs/episodes")
