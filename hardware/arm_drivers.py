"""Arm drivers by name, as station files write them: ours and those of packages installed beside Tandem."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TypeVar

from robot.devices import Arm
from robot.errors import ConfigError, unknown_name
from robot.from_yaml import build
from robot.specs import StationSpec

GROUP = "tandem.arm_drivers"
T = TypeVar("T")


def arm_driver_names() -> list[str]:
    return sorted(entry.name for entry in entry_points(group=GROUP))


def make_arm(station: StationSpec) -> Arm:
    """Return the arm that a station describes, not yet connected; no SDK is imported for it.

    Raises:
        ConfigError: no such driver, or options that it does not have.
    """
    driver = station.arm.driver
    if driver == "simulated":
        raise ConfigError(f"the arm of {station.name} is simulated: sim.arm_node moves it, no driver is needed")
    for entry in entry_points(group=GROUP):
        if entry.name == driver:
            make: Callable[[StationSpec], Arm] = entry.load()
            return make(station)
    raise unknown_name(f"driver of the arm of {station.name}", driver, [*arm_driver_names(), "simulated"])


def arm_options(station: StationSpec, kind: type[T]) -> T:
    """Return the arm's options as its driver's dataclass; ConfigError names an unknown, missing or wrong one."""
    return build(kind, station.arm.options, f"{station.name}: arm: options of driver {station.arm.driver}")
