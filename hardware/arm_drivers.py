"""Arm drivers by name, as station files write them: ours and those of packages installed beside Tandem."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import entry_points
from typing import Protocol, TypeVar

from robot.devices import Arm
from robot.errors import ConfigError, unknown_name
from robot.from_yaml import build
from robot.multi_arm.devices import ArmGroup
from robot.multi_arm.station import MultiArmStation
from robot.specs import SIMULATED, StationSpec
from robot.types import Array

GROUP = "tandem.arm_drivers"
STAND_INS = "tandem.arm_stand_ins"
T = TypeVar("T")


def arm_driver_names() -> list[str]:
    return sorted(entry.name for entry in entry_points(group=GROUP))


def make_arm(station: StationSpec) -> Arm:
    """Return the arm that a station describes, of several all as one; not yet connected, no SDK is imported for it.

    Raises:
        ConfigError: no such driver, or options that it does not have.
    """
    if isinstance(station, MultiArmStation):
        return ArmGroup(station, [make_arm(own) for own in station.own_stations])
    driver = station.arm.driver
    if driver == SIMULATED:
        raise ConfigError(f"the arm of {station.name} is simulated: sim.arm_node moves it, no driver is needed")
    for entry in entry_points(group=GROUP):
        if entry.name == driver:
            make: Callable[[StationSpec], Arm] = entry.load()
            return make(station)
    raise unknown_name(f"driver of the arm of {station.name}", driver, [*arm_driver_names(), SIMULATED])


def arm_options(station: StationSpec, kind: type[T]) -> T:
    """Return the arm's options as its driver's dataclass; ConfigError names an unknown, missing or wrong one."""
    return build(kind, station.arm.options, f"{station.name}: arm: options of driver {station.arm.driver}")


class ArmStandIn(Protocol):
    """Something that answers a driver as its arm would, in a process of its own, and can be broken.

    Registered in the entry-point group `tandem.arm_stand_ins` under the driver's name, as a function without arguments
    that returns a context manager of one. `tests/conformance` holds the driver to its contract on it.
    """

    station: StationSpec  # of the driver, its address leading here
    sdk: tuple[str, ...]  # top modules that the driver imports in `connect`

    def joints(self) -> Array:
        """Return where the arm really is, [rad, m] in the order of the station, whatever it tells its driver."""
        ...

    def fail(self) -> None:
        """Bring about a fault of the arm that leaves it powered."""
        ...

    def mute(self) -> None:
        """Let the arm answer nothing any more."""
        ...

    def mend(self) -> None:
        """Take the causes of all that away again."""
        ...


def stand_in_names() -> list[str]:
    return sorted(entry.name for entry in entry_points(group=STAND_INS))


def open_stand_in(driver: str) -> AbstractContextManager[ArmStandIn]:
    """Return the stand-in of a driver, by name."""
    for entry in entry_points(group=STAND_INS):
        if entry.name == driver:
            start: Callable[[], AbstractContextManager[ArmStandIn]] = entry.load()
            return start()
    raise unknown_name("stand-in of an arm driver", driver, stand_in_names())
