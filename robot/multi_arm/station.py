"""The station of several arms: single-arm stations, each with a name and a place in one cell.

No joint and no limit is written a second time. A side is its own station file with the side's name before its joints,
its base placed in the cell and its action and safety boxes carried along: all positions are in the cell's frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from robot import geometry
from robot.errors import ConfigError
from robot.from_yaml import build
from robot.specs import (
    SIMULATED,
    ActionSpec,
    ArmSpec,
    GripperSpec,
    JawSpec,
    MountSpec,
    Quaternion,
    SafetySpec,
    StationSpec,
    Vector3,
    load_station,
)
from robot.types import Array

OF_ONE_ARM = ("arm", "gripper", "action", "safety")


@dataclass(frozen=True, slots=True)
class SideSpec:
    """One arm of the cell: its name, its own station file, and where its base stands in the cell's frame.

    The base may be turned by quarter turns only, so that the boxes of its station stay boxes.
    """

    name: str
    station: str
    translation_m: Vector3
    quat_wxyz: Quaternion

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or "_" in self.name:
            raise ConfigError(f"side name {self.name!r}: take a plain word such as left, it goes before joint names")
        turned = np.abs(geometry.matrix(self.quat_wxyz))
        if np.abs(turned - np.rint(turned)).max() > 1e-6:
            raise ConfigError(f"side {self.name}: quat_wxyz {self.quat_wxyz} must turn its base by quarter turns")


@dataclass(frozen=True, slots=True)
class SpacingSpec:
    """How near the arms may come to each other; hands may come nearer, so that one can take what the other holds."""

    link_margin_m: float
    hand_margin_m: float

    def __post_init__(self) -> None:
        if min(self.link_margin_m, self.hand_margin_m) <= 0:
            raise ConfigError(f"{self}: both margins must be positive")


@dataclass(frozen=True, kw_only=True)
class MultiArmStation(StationSpec):
    """A cell of several arms under one observation, one action, one tick; see `sides`.

    Joints and actions are those of the sides one after the other, each with its gripper last.
    """

    arm: ArmSpec = field(init=False, repr=False, compare=False)
    gripper: GripperSpec | JawSpec = field(init=False, repr=False, compare=False)
    action: ActionSpec = field(init=False, repr=False, compare=False)
    safety: SafetySpec = field(init=False, repr=False, compare=False)
    placed: tuple[SideSpec, ...]
    spacing: SpacingSpec

    def __post_init__(self) -> None:
        names = [side.name for side in self.placed]
        if len(names) < 2 or len(set(names)) != len(names):
            raise ConfigError(f"sides {names}: two at least, each with a name of its own")
        rates = {side.state_rate_hz for side in self.sides}
        if len(rates) > 1:
            raise ConfigError(f"sides {names} have the state rates {sorted(rates)} Hz: one servo drives all, take one")
        drivers = [side.arm.driver for side in self.sides]
        if SIMULATED in drivers and not self.is_simulated:
            raise ConfigError(f"sides {names} have the drivers {drivers}: simulate all of them, or none")
        self._check_cameras()

    def __getattr__(self, name: str) -> Any:
        """Refuse what only one arm has; called for names that are not there alone."""
        if name in OF_ONE_ARM:
            raise ConfigError(
                f"station {self.name} has {len(self.placed)} arms ({', '.join(s.name for s in self.placed)}), and what "
                f"was asked for ('{name}') is of one: give a station of one arm"
            )
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    @cached_property
    def sides(self) -> tuple[StationSpec, ...]:
        return tuple(_placed(side, self) for side in self.placed)

    @cached_property
    def own_stations(self) -> tuple[StationSpec, ...]:
        """Return each side's station as its file has it, in its own names and frame: what its driver is made of."""
        return tuple(load_station(side.station) for side in self.placed)

    @property
    def state_rate_hz(self) -> float:
        return self.sides[0].state_rate_hz

    @cached_property
    def joint_names(self) -> tuple[str, ...]:
        """Each side's arm joints, then its gripper's; `left_...`."""
        return tuple(name for side in self.sides for name in side.joint_names)

    @cached_property
    def action_names(self) -> tuple[str, ...]:
        return tuple(name for side in self.sides for name in side.action_names)

    @cached_property
    def position_lower(self) -> Array:
        return np.concatenate([side.position_lower for side in self.sides])

    @cached_property
    def position_upper(self) -> Array:
        return np.concatenate([side.position_upper for side in self.sides])

    @cached_property
    def velocity_limit(self) -> Array:
        return np.concatenate([side.velocity_limit for side in self.sides])

    @cached_property
    def acceleration_limit(self) -> Array:
        """Of the arms' joints only, [rad/s^2]."""
        return np.concatenate([side.acceleration_limit for side in self.sides])

    @cached_property
    def home(self) -> Array:
        return np.concatenate([side.home for side in self.sides])

    @cached_property
    def action_low(self) -> Array:
        return np.concatenate([side.action_low for side in self.sides])

    @cached_property
    def action_high(self) -> Array:
        return np.concatenate([side.action_high for side in self.sides])


def read_multi_arm_station(tree: dict[str, Any], where: str) -> MultiArmStation:
    """Return the station of a YAML tree with `sides`; ConfigError says what is wrong in it."""
    if "placed" in tree:
        raise ConfigError(f"{where}: unknown key 'placed': the arms are listed under 'sides'")
    given = {("placed" if key == "sides" else key): value for key, value in tree.items()}
    return build(MultiArmStation, given, where)


def _placed(side: SideSpec, cell: StationSpec) -> StationSpec:
    """Return a side's station with the side's names, in the cell's frame and at its rate."""
    own, prefix = load_station(side.station), f"{side.name}_"
    joints = tuple(replace(joint, name=prefix + joint.name) for joint in own.arm.joints)
    low, high = own.action.low, own.action.high
    if own.action.space == "tcp_position":
        box_low, box_high = _box(side, low[:3], high[:3])
        low, high = (*box_low, *low[3:]), (*box_high, *high[3:])
    tcp_low, tcp_high = _box(side, own.safety.tcp_low_m, own.safety.tcp_high_m)
    return replace(
        own,
        name=f"{cell.name} {side.name}",
        control_rate_hz=cell.control_rate_hz,
        arm=replace(own.arm, joints=joints),
        gripper=replace(own.gripper, joint=prefix + own.gripper.joint),
        action=replace(own.action, low=low, high=high),
        observation=cell.observation,
        cameras=(),
        safety=replace(own.safety, tcp_low_m=tcp_low, tcp_high_m=tcp_high),
        operator=cell.operator,
        images=cell.images,
        mount=MountSpec(side.translation_m, side.quat_wxyz, side.name),
    )


def _box(side: SideSpec, low: Sequence[float], high: Sequence[float]) -> tuple[Vector3, Vector3]:
    """Return the corners in the cell's frame of a box in the frame of a side's base [m]."""
    turn = np.rint(geometry.matrix(side.quat_wxyz))
    corners = np.array([low, high]) @ turn.T + side.translation_m
    (x0, y0, z0), (x1, y1, z1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return (x0, y0, z0), (x1, y1, z1)
