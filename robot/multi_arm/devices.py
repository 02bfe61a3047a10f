"""Several arms as one device: the contract of `robot.devices.Arm` over each side's own driver."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self

import numpy as np

from robot.devices import Arm, DeviceState, Features, JointReading
from robot.errors import ActionRejected, RobotError
from robot.specs import StationSpec
from robot.types import Array

# the group is in the first of these states that one of its arms is in
OUTRANKING = (DeviceState.FAULT, DeviceState.DISCONNECTED, DeviceState.ACTIVE, DeviceState.HOLDING)


class ArmGroup:
    """The arms of one station, read and commanded together in the order of its joints.

    A measurement is new once every arm has sent one, and as old as the oldest. What one arm refuses stops the others:
    they hold where they are. A mismatch, a fault or a silence of one is that of all.
    """

    def __init__(self, station: StationSpec, arms: Sequence[Arm]) -> None:
        self.arms = dict(zip(station.side_names, arms, strict=True))
        self.features = Features("arm", station.joint_names, station.state_rate_hz, (len(station.joint_names),))
        self._joints = station.joint_slices
        self._counters: tuple[int, ...] = ()
        self._reading: JointReading | None = None

    @property
    def state(self) -> DeviceState:
        states = [arm.state for arm in self.arms.values()]
        return next((state for state in OUTRANKING if state in states), DeviceState.CONNECTED)

    @property
    def mismatches(self) -> tuple[str, ...]:
        return tuple(f"{name}: {line}" for name, arm in self.arms.items() for line in arm.mismatches)

    @property
    def fault(self) -> str:
        return "; ".join(f"{name}: {arm.fault}" for name, arm in self.arms.items() if arm.fault)

    def health(self) -> Mapping[str, object]:
        """Return what every arm's diagnostics show, under its side's name."""
        return {f"{name}_{key}": value for name, arm in self.arms.items() for key, value in arm.health().items()}

    def connect(self) -> None:
        """Open all arms; where one is not there the others are closed again."""
        with contextlib.ExitStack() as opened:
            for arm in self.arms.values():
                opened.callback(arm.close)
                arm.connect()
            opened.pop_all()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop every arm safely and let go, also where one of them fails to."""
        with contextlib.ExitStack() as all_of_them:
            for arm in self.arms.values():
                all_of_them.callback(arm.close)

    def read(self) -> JointReading:
        """Return the newest measurement of all; the one before it as long as an arm has sent nothing newer."""
        readings = [arm.read() for arm in self.arms.values()]
        counters = tuple(reading.counter for reading in readings)
        if self._reading is None or all(new != old for new, old in zip(counters, self._counters, strict=True)):
            self._counters = counters
            self._reading = JointReading(
                min(reading.time_ns for reading in readings),
                0 if self._reading is None else self._reading.counter + 1,
                np.concatenate([reading.position for reading in readings]),
                np.concatenate([reading.velocity for reading in readings]),
            )
        return self._reading

    def command(self, position: Array, velocity: Array) -> None:
        """Command every arm its joints; what one of them refuses is raised, and the others hold."""
        if position.shape != self.features.shape:
            raise ActionRejected(f"a command has {position.shape} joints; allowed: {self.features.shape}, all arms'")
        for arm, part in self._parts():
            try:
                arm.command(position[part], velocity[part])
            except RobotError:
                self._hold(other for other in self.arms.values() if other is not arm)
                raise

    def hold(self) -> None:
        self._hold(self.arms.values())

    def recover(self) -> None:
        """Leave the fault of every arm that has one; raises what the first that cannot raises."""
        for arm in self.arms.values():
            if arm.state is DeviceState.FAULT:
                arm.recover()

    def _hold(self, arms: Iterable[Arm]) -> None:
        """Hold all of them, also where one of them fails to."""
        with contextlib.ExitStack() as all_of_them:
            for arm in arms:
                all_of_them.callback(arm.hold)

    def _parts(self) -> Iterator[tuple[Arm, slice]]:
        return zip(self.arms.values(), self._joints, strict=True)
