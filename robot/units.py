"""The units of a station's fields, one word per number: what a checkpoint declares, and a station is held against."""

from collections.abc import Mapping

from robot.specs import StationSpec


def field_units(station: StationSpec) -> Mapping[str, str]:
    """Return the units of the fields that every station has, and of `action`; tasks' own fields are left undeclared."""
    joints = [unit for side in station.sides for unit in _joint_units(side)]
    tcps = ["m"] * 3 * len(station.sides)
    units = {"joint_position": joints, "joint_velocity": [f"{unit}/s" for unit in joints], "tcp_position": tcps}
    known = {name: unit for name, unit in units.items() if name in station.observation}
    known["action"] = [unit for side in station.sides for unit in _action_units(side)]
    return {name: " ".join(unit) for name, unit in known.items()}


def _joint_units(side: StationSpec) -> list[str]:
    gripper = "m" if hasattr(side.gripper, "lower_m") else "rad"  # a finger slides, a jaw turns
    return [gripper if name == side.gripper.joint else "rad" for name in side.joint_names]


def _action_units(side: StationSpec) -> list[str]:
    joints = _joint_units(side)
    return joints if side.action.space == "joint_position" else ["m", "m", "m", joints[-1]]
