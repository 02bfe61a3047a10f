"""A recorded episode drives in the policy's place; it begins when an episode is started (page or `episode/start`).

ros2 launch launch/replay.launch.py station:=fr3_sim replay:=runs/episodes/<episode>.zarr
"""

from launch import LaunchDescription  # pyright: ignore[reportAttributeAccessIssue]
from robot.ros.launch_front_end import graph_launch


def generate_launch_description() -> LaunchDescription:
    """Ask for the station and the episode."""
    return graph_launch("replay", required=("station", "replay"))
