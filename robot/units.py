"""The units of a station's fields, one word per number: what a checkpoint declares, and a station is held against."""

from collections.abc import Mapping

from robot.specs import StationSpec


def field_units(station: StationSpec) -> Mapping[str, str]:
    """Return the units of the fields that every station has, and of `action`; tasks' own fields are left undeclared."""
    gripper = "m" if hasattr(station.gripper, "lower_m") else "rad"  # a finger slides, a jaw turns
    joints = [gripper if name == station.gripper.joint else "rad" for name in station.joint_names]
    velocity = " ".join(f"{unit}/s" for unit in joints)
    in_joints = station.action.space == "joint_position"
    units = {"joint_position": " ".join(joints), "joint_velocity": velocity, "tcp_position": "m m m"}
    known = {name: unit for name, unit in units.items() if name in station.observation}
    return known | {"action": units["joint_position"] if in_joints else f"m m m {gripper}"}
