"""The arms of bus servos that can be had without hardware: a station, its emulated bus, and ways to break it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hardware.arm_drivers import arm_options
from hardware.servo_options import ServoBusOptions, TickMap
from hardware.stand_ins.process import BusProcess
from robot.specs import StationSpec, load_station
from robot.types import Array

HOT_C, COOL_C = 90, 32
TEMPERATURE = {"feetech": 63, "dynamixel": 146}  # registers


class ServoStandIn:
    """A `hardware.arm_drivers.ArmStandIn` over an emulated bus.

    Args:
        bus: the running emulator.
        station: whose arm it is.
        sdk: what the driver imports.
    """

    def __init__(self, bus: BusProcess, station: StationSpec, sdk: tuple[str, ...]) -> None:
        self.bus, self.sdk = bus, sdk
        self.station = replace(station, arm=replace(station.arm, address=bus.port))
        self.options = arm_options(station, ServoBusOptions)
        self._map = TickMap(self.options.servos)
        shafts = [number for servo in self.options.servos for number in (servo.id, servo.shadow) if number]
        self._driven = [shafts.index(servo.id) for servo in self.options.servos]

    def joints(self) -> Array:
        return self.powered_joints()[0]

    def powered_joints(self) -> tuple[Array, NDArray[np.bool_]]:
        """Return where the joints really are, and which of them have torque."""
        state = self.bus.state()
        joints = self._map.to_joints(np.array(state["position"])[self._driven])
        return joints, np.array(state["torque"], bool)[self._driven]

    def fail(self) -> None:
        self._set_temperature(HOT_C, self.options.ids[0])

    def mute(self) -> None:
        for servo in self.options.ids:
            self.bus.tell(fault="silent", id=servo)

    def mend(self) -> None:
        self.bus.tell(clear=True)
        for servo in self.options.ids:
            self._set_temperature(COOL_C, servo)

    def _set_temperature(self, value: int, servo: int) -> None:
        register = {"address": TEMPERATURE[self.station.arm.driver], "size": 1, "value": value}
        self.bus.tell(set={"id": servo, **register})


@contextmanager
def feetech(station: str = "so101") -> Iterator[ServoStandIn]:
    """Yield an arm of Feetech servos."""
    with BusProcess("hardware.stand_ins.feetech_bus", station) as bus:
        yield ServoStandIn(bus, load_station(station), ("scservo_sdk",))


@contextmanager
def dynamixel(station: str = "viperx") -> Iterator[ServoStandIn]:
    """Yield an arm of Dynamixel servos."""
    with BusProcess("hardware.stand_ins.dynamixel_bus", station) as bus:
        yield ServoStandIn(bus, load_station(station), ("dynamixel_sdk",))
