"""The units of a station's fields, one word per number: what a checkpoint declares, and a station is held against."""

from collections.abc import Mapping

from robot.specs import StationSpec


def field_units(station: StationSpec) -> Mapping[str, str]:
    """Return the units of the fields that every station has, and of `action`; tasks' own fields are left undeclared."""
    is_finger = [name == station.gripper.joint for name in station.joint_names]
    position = " ".join("m" if finger else "rad" for finger in is_finger)
    velocity = " ".join("m/s" if finger else "rad/s" for finger in is_finger)
    in_joints = station.action.space == "joint_position"
    units = {"joint_position": position, "joint_velocity": velocity, "tcp_position": "m m m"}
    known = {name: unit for name, unit in units.items() if name in station.observation}
    return known | {"action": position if in_joints else " ".join("m" for _ in station.action_names)}
