"""Camera drivers by name, as station files write them: ours and those of packages installed beside Tandem."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TypeVar

from robot.devices import Camera
from robot.errors import ConfigError, unknown_name
from robot.from_yaml import build
from robot.specs import CameraSpec

GROUP = "tandem.camera_drivers"
T = TypeVar("T")


def camera_driver_names() -> list[str]:
    return sorted(entry.name for entry in entry_points(group=GROUP))


def make_camera(spec: CameraSpec) -> Camera:
    """Return the camera that a station describes, not yet connected; no SDK is imported for it.

    Raises:
        ConfigError: no such driver, or options that it does not have.
    """
    if spec.driver == "simulated":
        raise ConfigError(f"camera {spec.name} is simulated: sim.camera_node draws it, no driver is needed")
    for entry in entry_points(group=GROUP):
        if entry.name == spec.driver:
            make: Callable[[CameraSpec], Camera] = entry.load()
            return make(spec)
    raise unknown_name(f"driver of camera {spec.name}", spec.driver, [*camera_driver_names(), "simulated"])


def options_of(spec: CameraSpec, kind: type[T]) -> T:
    """Return a camera's options as its driver's dataclass; ConfigError names an unknown, missing or wrong one."""
    return build(kind, spec.options, f"camera {spec.name}: options of driver {spec.driver}")
