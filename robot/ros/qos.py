"""QoS profiles of the topic table, and its message types, as rclpy wants them."""

from importlib import import_module
from typing import Any

from robot.ros.missing import missing_ros
from robot.ros.topics import Qos

try:
    from rclpy.duration import Duration
    from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy
except ImportError as error:
    raise missing_ros(error) from None


def profile(qos: Qos) -> QoSProfile:
    """Return rclpy's profile for one end of a topic."""
    made = QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=qos.depth,
        reliability=ReliabilityPolicy.RELIABLE if qos.reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if qos.latched else DurabilityPolicy.VOLATILE,
    )
    if qos.deadline_s is not None:
        made.deadline = Duration(seconds=qos.deadline_s)
    if qos.lease_s is not None:
        made.liveliness = LivelinessPolicy.AUTOMATIC
        made.liveliness_lease_duration = Duration(seconds=qos.lease_s)
    return made


def message_type(name: str) -> Any:
    """Return the class of `package/msg/Type` or `package/srv/Type`."""
    package, _, kind = name.rpartition("/")
    return getattr(import_module(package.replace("/", ".")), kind)
