"""The Franka arm that can be had without hardware: franky-sim, a station that leads to it, and ways to break it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.stand_ins.process import StandInProcess
from robot.specs import StationSpec, load_station
from robot.types import Array


class FrankyProcess(StandInProcess):
    """One robot of `hardware.stand_ins.franky`; `words` are its command line."""

    def __init__(self, *words: str) -> None:
        super().__init__("hardware.stand_ins.franky", words)

    def station(self, name: str = "fr3", **options: Any) -> StationSpec:
        """Return a station whose arm is this robot; no real-time kernel is asked for."""
        station = load_station(name)
        options = {**station.arm.options, "realtime": "ignore", **options}
        return replace(station, arm=replace(station.arm, address=self.greeting["address"], options=options))

    def unplug(self) -> None:
        """End it without a word, as a pulled cable does."""
        self._process.kill()
        self._process.wait()


class FrankyStandIn:
    """A `hardware.arm_drivers.ArmStandIn` over franky-sim."""

    sdk = ("franky",)

    def __init__(self, robot: FrankyProcess) -> None:
        self.robot, self.station = robot, robot.station()

    def joints(self) -> Array:
        truth = self.robot.state()
        return np.array([*truth["position"], truth["width_m"] / 2])

    def powered_joints(self) -> tuple[Array, NDArray[np.bool_]]:
        """Return where the joints really are, and that all of them are held, as a robot with brakes always is."""
        joints = self.joints()
        return joints, np.ones(len(joints), bool)

    def fail(self) -> None:
        self.robot.tell(user_stop=True)

    def mute(self) -> None:
        self.robot.tell(silent=True)

    def mend(self) -> None:
        self.robot.tell(user_stop=False)
        self.robot.tell(silent=False)
        self.robot.tell(frozen=False)
        self.robot.tell(slow=0.0)


@contextmanager
def franka() -> Iterator[FrankyStandIn]:
    """Yield a Franka arm with its hand."""
    with FrankyProcess() as robot:
        yield FrankyStandIn(robot)
