"""Station specifications: the YAML of one physical or simulated cell, as frozen dataclasses.

A station is the single source of joints, limits, frames, rates and cameras. The MuJoCo model, the safety
filter, the drivers and the gymnasium spaces are all built from it. SI units; quaternions are w x y z.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import entry_points
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from robot.errors import ConfigError, unknown_name
from robot.from_yaml import build
from robot.gripper_specs import GripperSpec, JawSpec
from robot.station_file import read_tree
from robot.types import Array, Quaternion, Vector3

STATIONS = Path(__file__).parent / "stations"
GROUP = "tandem.stations"
SIMULATED = "simulated"  # the driver of a device that `sim` answers for; every other one is `hardware`'s


@dataclass(frozen=True, slots=True)
class CapsuleSpec:
    """A capsule in its link's frame."""

    from_m: Vector3
    to_m: Vector3
    radius_m: float


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """The fixed base of the arm."""

    mass_kg: float
    geoms: tuple[CapsuleSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class JointSpec:
    """One revolute joint and the link it moves; the joint turns about the z of its own frame."""

    name: str
    translation_m: Vector3
    quat_wxyz: Quaternion
    lower_rad: float
    upper_rad: float
    velocity_rad_s: float
    acceleration_rad_s2: float
    effort_nm: float
    stiffness: float
    mass_kg: float
    geoms: tuple[CapsuleSpec, ...] = ()

    def __post_init__(self) -> None:
        if not self.lower_rad < self.upper_rad:
            raise ConfigError(f"joint {self.name}: lower_rad {self.lower_rad} must be below upper_rad {self.upper_rad}")
        if min(self.velocity_rad_s, self.acceleration_rad_s2, self.effort_nm) <= 0:
            raise ConfigError(f"joint {self.name}: velocity, acceleration and effort limits must be positive")


@dataclass(frozen=True, slots=True)
class ArmSpec:
    """The arm's chain from `base_link` to `tool0`, its driver and its state rate.

    `driver` is `simulated` or a name of the entry-point group `tandem.arm_drivers`; `address` is where that driver
    finds the arm (a port, a host), and what else it needs is in `options`, which it checks by itself.
    """

    driver: str
    state_rate_hz: float
    base: LinkSpec
    joints: tuple[JointSpec, ...]
    damping_ratio: float
    armature: float
    joint_damping: float
    home_rad: tuple[float, ...]
    flange_m: Vector3
    is_gravity_compensated: bool = True
    address: str | None = None
    options: dict = field(default_factory=dict, hash=False)  # pyright: ignore[reportMissingTypeArgument] - the driver's

    def __post_init__(self) -> None:
        if len(self.home_rad) != len(self.joints):
            raise ConfigError(f"home_rad has {len(self.home_rad)} values for {len(self.joints)} joints")
        for joint, home in zip(self.joints, self.home_rad, strict=True):
            if not joint.lower_rad <= home <= joint.upper_rad:
                raise ConfigError(f"home of {joint.name} is {home}, outside [{joint.lower_rad}, {joint.upper_rad}]")


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """What a policy commands. `tcp_position`: x y z and gripper; `joint_position`: every joint and gripper.

    The orientation of the tcp is kept as at home. That is five constraints where home points the tool along gravity, so
    an arm of five joints can keep them, and only such a home will do for it.
    """

    space: Literal["tcp_position", "joint_position"]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or any(a >= b for a, b in zip(self.low, self.high, strict=False)):
            raise ConfigError(f"action low {self.low} must lie below high {self.high} in every dimension")


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """One camera; `mount` is `world`, `hand` or, of several arms, `<side>/hand`; the pose is in that frame."""

    name: str
    mount: str
    translation_m: Vector3
    look_at_m: Vector3
    fovy_deg: float
    width: int
    height: int
    rate_hz: float
    driver: str = "simulated"  # or a name of the entry-point group tandem.camera_drivers
    options: dict = field(default_factory=dict, hash=False)  # pyright: ignore[reportMissingTypeArgument] - the driver's
    has_depth: bool = False  # aligned to the colour image
    serial: str | None = None

    @property
    def side(self) -> str:
        """Return whose hand it is on; "" for the only arm's, or the world."""
        return self.mount.rpartition("/")[0]

    @property
    def up_m(self) -> Vector3:
        """Return what is upwards in the image, in the frame it is mounted in."""
        return (0.0, 0.0, 1.0) if self.mount == "world" else (1.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class MountSpec:
    """Where an arm's base stands in the cell's frame, and what its side is called among several arms."""

    translation_m: Vector3 = (0.0, 0.0, 0.0)
    quat_wxyz: Quaternion = (1.0, 0.0, 0.0, 0.0)
    side: str = ""

    @property
    def prefix(self) -> str:
        """Return what the names of its joints, bodies and actions begin with."""
        return f"{self.side}_" if self.side else ""


@dataclass(frozen=True, slots=True)
class SafetySpec:
    """Limits of the safety filter that are not joint limits (robot_graph section 10)."""

    position_margin_rad: float
    jump_rad: float
    velocity_scale: float
    acceleration_scale: float
    tcp_low_m: Vector3
    tcp_high_m: Vector3
    tcp_speed_m_s: float
    tracking_error_rad: float
    tracking_error_s: float
    self_clearance_m: float = 0.0  # an arm's process keeps its links so far apart; 0: it does not look


@dataclass(frozen=True, slots=True)
class OperatorSpec:
    """How fast a person may move the tcp, and the blend at takeover and hand-back."""

    linear_speed_m_s: float
    angular_speed_rad_s: float
    blend_s: float


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """How colour images are stored; the quality of a codec, 1 to 100, counts wherever that codec is used.

    `auto` keeps detailed images as JPEG and smooth ones as WebP, which then takes two fifths of JPEG's bytes at equal
    fidelity. WebP takes six to ten times as long to encode: choose `jpeg` where the recording computer is short of
    processor time, `webp` where it is short of disk.
    """

    codec: Literal["auto", "webp", "jpeg"] = "auto"
    webp_quality: int = 80
    jpeg_quality: int = 90


@dataclass(frozen=True)
class StationSpec:
    """One cell: an arm, a gripper, cameras and their limits.

    Code that works with any number of arms goes through `sides`, here the station itself: the `arm`, `gripper`,
    `action` and `safety` of a station of several arms (`robot.multi_arm`) are refused in one line.
    """

    name: str
    robot: str
    control_rate_hz: float
    arm: ArmSpec
    gripper: GripperSpec | JawSpec
    action: ActionSpec
    observation: tuple[str, ...]
    cameras: tuple[CameraSpec, ...]
    safety: SafetySpec
    operator: OperatorSpec
    images: ImageSpec = field(default_factory=ImageSpec)
    mount: MountSpec = field(default_factory=MountSpec)

    def __post_init__(self) -> None:
        if len(self.action.low) != len(self.action_names):
            raise ConfigError(f"action has {len(self.action.low)} limits for the dimensions {self.action_names}")
        self._check_cameras()

    def _check_cameras(self) -> None:
        allowed = ("world", *(f"{name}/hand".lstrip("/") for name in self.side_names))
        for camera in self.cameras:
            if camera.mount not in allowed:
                raise ConfigError(f"camera {camera.name}: mount: got {camera.mount!r}, allowed: {', '.join(allowed)}")

    @cached_property
    def sides(self) -> "tuple[StationSpec, ...]":
        """Return the station of each arm, in the order of joints and actions."""
        return (self,)

    @cached_property
    def side_names(self) -> tuple[str, ...]:
        return tuple(side.mount.side for side in self.sides)

    @cached_property
    def joint_slices(self) -> tuple[slice, ...]:
        """Return where each side's joints are in a joint vector."""
        return _slices(len(side.joint_names) for side in self.sides)

    @cached_property
    def action_slices(self) -> tuple[slice, ...]:
        """Return where each side's part is in an action."""
        return _slices(len(side.action_names) for side in self.sides)

    @property
    def state_rate_hz(self) -> float:
        return self.arm.state_rate_hz

    @property
    def is_simulated(self) -> bool:
        """Say whether the arms are those of a simulation; of several all are, or none."""
        return all(side.arm.driver == SIMULATED for side in self.sides)

    @property
    def period_s(self) -> float:
        return 1.0 / self.control_rate_hz

    @property
    def period_ns(self) -> int:
        return round(1e9 / self.control_rate_hz)

    @cached_property
    def joint_names(self) -> tuple[str, ...]:
        """Arm joints, then the gripper's."""
        return (*(joint.name for joint in self.arm.joints), self.gripper.joint)

    @cached_property
    def action_names(self) -> tuple[str, ...]:
        if self.action.space == "joint_position":
            return self.joint_names
        return (*(f"{self.mount.prefix}tcp_{axis}" for axis in "xyz"), self.gripper.joint)

    @cached_property
    def position_lower(self) -> Array:
        return np.array([*(joint.lower_rad for joint in self.arm.joints), self.gripper.joint_limits[0]])

    @cached_property
    def position_upper(self) -> Array:
        return np.array([*(joint.upper_rad for joint in self.arm.joints), self.gripper.joint_limits[1]])

    @cached_property
    def velocity_limit(self) -> Array:
        return np.array([*(joint.velocity_rad_s for joint in self.arm.joints), self.gripper.joint_velocity])

    @cached_property
    def acceleration_limit(self) -> Array:
        """Of the arm joints only, [rad/s^2]."""
        return np.array([joint.acceleration_rad_s2 for joint in self.arm.joints])

    @cached_property
    def home(self) -> Array:
        return np.array([*self.arm.home_rad, self.gripper.joint_home])

    @cached_property
    def action_low(self) -> Array:
        return np.array(self.action.low)

    @cached_property
    def action_high(self) -> Array:
        return np.array(self.action.high)

    def camera(self, name: str) -> CameraSpec:
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise unknown_name("camera", name, [camera.name for camera in self.cameras])

    def with_rate(self, control_rate_hz: float) -> "StationSpec":
        return replace(self, control_rate_hz=control_rate_hz)


def _slices(sizes: Iterable[int]) -> tuple[slice, ...]:
    ends = [0, *accumulate(sizes)]
    return tuple(slice(start, end) for start, end in pairwise(ends))


def _station_paths() -> dict[str, Path]:
    """Return the station files by name: our own, and those that packages register in `tandem.stations`."""
    found = {entry.name: Path(entry.load()) for entry in entry_points(group=GROUP)}
    return found | {path.stem: path for path in STATIONS.glob("*.yaml")}


def station_names() -> list[str]:
    return sorted(_station_paths())


def station_path(name_or_path: str | Path) -> Path:
    """Return the file of a station by its name (`fr3_sim`) or its own path; ConfigError where there is none."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = STATIONS / f"{name_or_path}.yaml"
        if not path.exists():
            path = _station_paths().get(str(name_or_path), path)
        if not path.exists():
            raise unknown_name("station", str(name_or_path), station_names())
    if not path.exists():
        raise ConfigError(f"station file {path} does not exist; known stations: {', '.join(station_names())}")
    return path


def load_station(name_or_path: str | Path) -> StationSpec:
    """Load a station by name (`fr3_sim`) or by the path of a YAML file; ConfigError says what is wrong in it.

    A file that begins with `like: fr3_sim` holds only what is different there (`robot.station_file`).
    """
    path = station_path(name_or_path)
    tree = read_tree(path, station_path)
    if isinstance(tree, dict) and "sides" in tree:
        from robot.multi_arm.station import read_multi_arm_station  # which is made of the stations that are loaded here

        return read_multi_arm_station(tree, path.name)
    return build(StationSpec, tree, path.name)
