"""Arms for the conformance suite: every registered stand-in through its driver, the fake and the simulated arm."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from hardware.arm_drivers import ArmStandIn, make_arm, open_stand_in, stand_in_names
from hardware.stand_ins.servo_arms import dynamixel
from robot.devices import Arm, FakeArm
from robot.specs import StationSpec, load_station
from robot.types import Array
from sim.devices import SimulatedArm
from sim.task import make_task
from sim.world import SimWorld

INSIDE = ("fake", "simulated")  # this process: no SDK, nothing to unplug
MORE = {"koch": lambda: dynamixel("koch")}  # other arms of a driver that has a stand-in


def arm_names() -> list[str]:
    return [*stand_in_names(), *MORE, *INSIDE]


@dataclass
class Rig:
    """One arm under test, by its driver, and what makes it fail. `make(station)` gives another one of the same arm."""

    name: str
    station: StationSpec
    arm: Arm
    stand_in: Any

    def make(self, station: StationSpec) -> Arm:
        if self.name in INSIDE:
            pytest.skip(f"a {self.name} arm is built from its station and cannot differ from it")
        return make_arm(station)


class FakeStandIn:
    """The fake breaks by itself."""

    sdk: tuple[str, ...] = ()

    def __init__(self, arm: FakeArm) -> None:
        self.arm = arm

    def joints(self) -> Array:
        return self.arm._position.copy()

    def fail(self) -> None:
        self.arm.fail()

    def mute(self) -> None:
        self.arm.frozen = True

    def mend(self) -> None:
        self.arm.frozen = False


class SimulatedStandIn:
    """Physics never breaks."""

    sdk: tuple[str, ...] = ()

    def __init__(self, arm: SimulatedArm) -> None:
        self.arm = arm

    def joints(self) -> Array:
        return self.arm.world.robot_state().position

    def fail(self) -> None:
        pytest.skip("a simulated arm has no faults of its own")

    mute = mend = fail


@contextmanager
def open_rig(name: str) -> Iterator[Rig]:
    if name == "fake":
        station = load_station("fr3_sim")
        fake = FakeArm(station)
        yield Rig(name, station, fake, FakeStandIn(fake))
    elif name == "simulated":
        station = load_station("fr3_sim")
        world = SimWorld(station, make_task("reach"))
        world.reset(0)
        simulated = SimulatedArm(world)
        yield Rig(name, station, simulated, SimulatedStandIn(simulated))
    else:
        with MORE[name]() if name in MORE else open_stand_in(name) as stand_in:
            found: ArmStandIn = stand_in
            yield Rig(found.station.arm.driver, found.station, make_arm(found.station), found)


def still(position: Array) -> Array:
    """Return the velocity of standing."""
    return np.zeros_like(position)
