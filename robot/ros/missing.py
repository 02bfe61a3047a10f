"""The one error of everything that needs ROS 2 where there is none."""

from robot.errors import MissingDependency


def missing_ros(error: ImportError) -> MissingDependency:
    """Return the error that names the extra, for an import of rclpy or of a message package that failed."""
    return MissingDependency(
        f"the graph needs ROS 2 Jazzy's rclpy and message packages ({error}): pip install '.[ros]' "
        "(ros-jazzy-rclpy, ros-rclpy, ros-jazzy-rmw-fastrtps-cpp, ros-jazzy-*-msgs), or source a full ROS 2 Jazzy"
    )
