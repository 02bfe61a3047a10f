"""An operator device that is a stream of bytes: a file descriptor, and an adapter that knows what the bytes mean."""

import os
import select
from abc import ABC, abstractmethod
from typing import Protocol

from robot.clock import Clock, MonotonicClock
from robot.devices import DeviceLife, Features
from robot.errors import DeviceDisconnected
from robot.types import OperatorInput, RobotState

AXES = ("x", "y", "z", "roll", "pitch", "yaw")
READ_BYTES = 4096
ROUNDS = 64  # of reading, until nothing is left: what is stale is never acted on later


class Adapter(Protocol):
    """What the bytes of one device mean. Pure: no clock, no file."""

    def feed(self, data: bytes, time_ns: int) -> None:
        """Take in what the device sent; pieces may be cut anywhere unless the device's own reports are whole."""
        ...

    def feel(self, robot: RobotState) -> None: ...

    def packet(self, time_ns: int) -> OperatorInput: ...


class ByteDevice(DeviceLife, ABC):
    """An operator device over an adapter; `read` never blocks. A device says how its descriptor is opened."""

    def __init__(self, name: str, adapter: Adapter, rate_hz: float, clock: Clock | None = None) -> None:
        super().__init__()
        self.features = Features("operator", AXES, rate_hz, (len(AXES),))
        self._name, self._adapter, self._clock = name, adapter, clock or MonotonicClock()
        self._file = -1

    @abstractmethod
    def open(self) -> int:
        """Return the open descriptor; raises DeviceNotFound."""

    def connect(self) -> None:
        if self._file < 0:
            self._file = self.open()
        super().connect()

    def close(self) -> None:
        super().close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def read(self) -> OperatorInput:
        self.require()
        try:
            for _ in range(ROUNDS):
                if not select.select([self._file], [], [], 0.0)[0]:
                    break
                data = os.read(self._file, READ_BYTES)
                if not data:
                    raise OSError("end of its stream")
                self._adapter.feed(data, self._clock.now_ns())
        except OSError as error:
            self.close()
            raise DeviceDisconnected(f"{self._name} is gone ({error}): plug it in again") from error
        return self._adapter.packet(self._clock.now_ns())

    def feel(self, robot: RobotState) -> None:
        self._adapter.feel(robot)
