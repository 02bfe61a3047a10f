"""Contracts of arm, camera and operator device, each with its fake beside it.

Every device is connected, read, commanded and closed; its features can be read before that, and it is a context
manager that stops safely on leaving. One thread owns a device. Whether it still lives is told by its own progress
(`counter`), never by the fact that a call returned (hardware spec, section 0). Times are the machine's monotonic
clock [ns]: when the device measured, not when it was asked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, Self

import numpy as np

from robot.clock import Clock, MonotonicClock
from robot.errors import ActionRejected, DeviceDisconnected
from robot.specs import CameraSpec, StationSpec
from robot.types import NS_PER_S, Array, OperatorInput, RobotState

FIRST_COMMAND_TOLERANCE = 0.05  # [rad, m] from the measured position: the jump check of the first command
LIMIT_SLACK = 1e-6
FAKE_LAG_S = 0.03
FAKE_STOP_S = 0.1


class DeviceState(Enum):
    """Where a device stands; a fault is left only by `recover`."""

    DISCONNECTED = "disconnected"
    CONNECTED = "connected"  # reading, nothing moves
    ACTIVE = "active"  # following commands
    HOLDING = "holding"  # commands stopped, powered and standing
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Features:
    """What a device offers, known before it is connected."""

    kind: str  # arm, camera, operator
    names: tuple[str, ...]  # joints in their order; a camera's streams; an operator's axes
    rate_hz: float
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class JointReading:
    """One measurement of all joints. The same `counter` twice is the same measurement twice."""

    time_ns: int
    counter: int
    position: Array
    velocity: Array


@dataclass(frozen=True, slots=True)
class Frame:
    """One image, uint8 (height, width, 3) RGB, and when it was taken; the same `counter` is the same image.

    `depth`, where the camera has it, is uint16 (height, width) [mm] as the colour camera sees it, 0 where unknown.
    """

    time_ns: int
    counter: int
    image: np.ndarray
    depth: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """A pinhole [pixels]; `distortion` is k1 k2 p1 p2 k3 of the plumb-bob model."""

    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)


class Device(Protocol):
    """What every device has."""

    features: Features

    @property
    def state(self) -> DeviceState: ...

    def connect(self) -> None:
        """Open the device; nothing moves. Raises DeviceNotFound where it is not there."""
        ...

    def close(self) -> None:
        """Stop safely and let go; may be called twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Arm(Device, Protocol):
    """An arm with its gripper, commanded in joints of the station, in their order, [rad] and [m].

    A driver is registered in the entry-point group `tandem.arm_drivers` as a function of a `StationSpec`, which names
    it as `arm: driver` and has what it needs beside `address` in `arm: options`. It imports its SDK in `connect`. One
    thread reads and commands; `recover`, `hold` and `close` may come from another one, never at the same time.

    `connect` compares the arm with the station: model, firmware, joint order, units, limits. What differs is in
    `mismatches`, and while there is any, `command` raises: such an arm is read and never moved. A FAULT holds the arm
    where it stands, powered wherever the arm still lets it be; only `recover` leaves it, and that moves nothing.
    """

    @property
    def mismatches(self) -> tuple[str, ...]:
        """Return in what the connected arm is not the one of the station file, a line each; empty where it is."""
        ...

    @property
    def fault(self) -> str:
        """Return why the arm is in FAULT and what to do; empty where it is not."""
        ...

    def health(self) -> Mapping[str, object]:
        """Return what diagnostics show: identity, firmware, voltages, temperatures, errors counted; never blocks."""
        ...

    def read(self) -> JointReading:
        """Return the newest measurement, the old one again where a read failed once or twice.

        Raises DeviceDisconnected when there is none to be had.
        """
        ...

    def command(self, position: Array, velocity: Array) -> None:
        """Go to joints [rad, m], moving at `velocity` there; the first command must be the measured position.

        The first is the one that puts the arm under power: after `connect`, and after `recover`. When commands stop
        coming the arm comes to a stand and holds by itself. Raises ActionRejected, and nothing moves, for one that is
        not finite, not complete, out of limits, a first one elsewhere, or for an arm with mismatches.
        """
        ...

    def hold(self) -> None:
        """Come to a stand and stay there, powered."""
        ...

    def recover(self) -> None:
        """Leave a fault, once its cause is gone; nothing moves. Raises DeviceDisconnected where it is not gone."""
        ...


class Camera(Device, Protocol):
    """A camera; `features.names` are its streams, `color` and perhaps `depth`.

    A driver is registered in the entry-point group `tandem.camera_drivers` as a function of a `CameraSpec`, see
    `hardware.camera_drivers`. It owns its SDK, finds out by itself that its stream has stopped (state FAULT) and brings
    it back by itself (state CONNECTED again): nothing moves because of a camera.
    """

    def read(self) -> Frame:
        """Return the newest frame, the same one again if there is none newer; nobody changes its arrays.

        Raises DeviceDisconnected while the stream stands still, with what is being tried.
        """
        ...

    @property
    def intrinsics(self) -> Intrinsics | None:
        """Return what the device says of its optics; None where it says nothing, and before connecting."""
        ...

    def health(self) -> Mapping[str, object]:
        """Return what diagnostics show: identity, firmware, link, drops, recoveries and the last complaint."""
        ...


class OperatorDevice(Device, Protocol):
    """Something in a person's hand.

    A driver is registered in the entry-point group `tandem.operator_devices` as a function of the `StationSpec` whose
    arm it moves and a mapping of its options (`robot.operator_devices`). What its bytes mean is told by a pure adapter.
    """

    def read(self) -> OperatorInput | None:
        """Return the newest packet, None before the first; its `seq` is the counter. Never blocks for long.

        Raises DeviceDisconnected once it is gone: then nothing is published, and the arm holds by the silence.
        """
        ...

    def feel(self, robot: RobotState) -> None:
        """Take note of where the arm is, for what answers to it: a gripper's toggle, a leader with motors."""
        ...


def check_command(station: StationSpec, position: Array, measured: Array, *, is_first: bool) -> None:
    """Raise ActionRejected for a command that no arm may follow, whatever came before it.

    Args:
        position: the command, [rad, m] in the order of the station's joints.
        measured: where the arm is; from beyond a limit the way back is allowed.
        is_first: that it puts the arm under power.
    """
    names, given = station.joint_names, np.asarray(position, float)
    if given.shape != measured.shape or not np.isfinite(given).all():
        raise ActionRejected(f"a command is {given}; allowed: {len(names)} finite joints, {', '.join(names)}")
    low, high = np.minimum(station.position_lower, measured), np.maximum(station.position_upper, measured)
    for i in np.flatnonzero((given < low - LIMIT_SLACK) | (given > high + LIMIT_SLACK)):
        raise ActionRejected(f"{names[i]}: a command of {given[i]:.4f} is outside [{low[i]:.4f}, {high[i]:.4f}]")
    for i in np.flatnonzero(np.abs(given - measured) > FIRST_COMMAND_TOLERANCE) if is_first else ():
        raise ActionRejected(
            f"{names[i]}: the first command is {given[i]:.4f} and the arm is at {measured[i]:.4f}; allowed: "
            f"{FIRST_COMMAND_TOLERANCE} apart. Begin where the arm is"
        )


class DeviceLife:
    """The life of a device: connect and close once, and the context manager that does both."""

    mismatches: tuple[str, ...] = ()  # of an arm: see `Arm`
    fault: str = ""

    def __init__(self) -> None:
        self._state = DeviceState.DISCONNECTED

    @property
    def state(self) -> DeviceState:
        return self._state

    def connect(self) -> None:
        if self._state is DeviceState.DISCONNECTED:
            self._state = DeviceState.CONNECTED

    def close(self) -> None:
        self._state = DeviceState.DISCONNECTED

    def health(self) -> Mapping[str, object]:
        """Return what diagnostics show; nothing for a device that has nothing to tell."""
        return {}

    def require(self, *allowed: DeviceState) -> None:
        """Raise DeviceDisconnected unless the device is in one of these states (any connected one by default)."""
        if self._state is DeviceState.DISCONNECTED or (allowed and self._state not in allowed):
            names = ", ".join(state.value for state in allowed) or "connected"
            raise DeviceDisconnected(f"{type(self).__name__} is {self._state.value}; it must be {names}")

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FakeArm(DeviceLife):
    """An arm without dynamics: joints follow the command with a first-order lag, and stop when commands do.

    `frozen` keeps the counter where it is, as a dead bus does; `fault` makes it refuse commands until `recover`.
    """

    def __init__(self, station: StationSpec, clock: Clock | None = None) -> None:
        super().__init__()
        self.features = Features("arm", station.joint_names, station.state_rate_hz, (len(station.joint_names),))
        self.frozen = False
        self._station = station
        self._clock = clock or MonotonicClock()
        self._position = station.home.copy()
        self._target = station.home.copy()
        self._velocity = np.zeros_like(self._target)
        self._time_ns = self._commanded_ns = self._clock.now_ns()
        self._counter = 0

    def connect(self) -> None:
        super().connect()
        self._time_ns = self._clock.now_ns()

    def read(self) -> JointReading:
        self.require()
        if not self.frozen:
            self._advance(self._clock.now_ns())
        return JointReading(self._time_ns, self._counter, self._position.copy(), self._velocity.copy())

    def command(self, position: Array, velocity: Array) -> None:
        self.require(DeviceState.CONNECTED, DeviceState.ACTIVE, DeviceState.HOLDING)
        check_command(self._station, position, self._position, is_first=self._state is DeviceState.CONNECTED)
        self._target, self._commanded_ns = position.copy(), self._clock.now_ns()
        self._state = DeviceState.ACTIVE

    def hold(self) -> None:
        self._target = self._position.copy()
        if self._state is DeviceState.ACTIVE:
            self._state = DeviceState.HOLDING

    def fail(self, reason: str = "a protective stop") -> None:
        """Fail as a protective stop does."""
        self.hold()
        self.fault, self._state = reason, DeviceState.FAULT

    def recover(self) -> None:
        if self._state is DeviceState.FAULT:
            self.fault, self._state = "", DeviceState.CONNECTED

    def _advance(self, now_ns: int) -> None:
        if self._state is DeviceState.ACTIVE and now_ns - self._commanded_ns > FAKE_STOP_S * NS_PER_S:
            self.hold()
        elapsed_s = (now_ns - self._time_ns) / NS_PER_S
        if elapsed_s <= 0.0:
            return
        step = (self._target - self._position) * (1.0 - np.exp(-elapsed_s / FAKE_LAG_S))
        self._position, self._velocity = self._position + step, step / elapsed_s
        self._time_ns, self._counter = now_ns, self._counter + 1


class FakeCamera(DeviceLife):
    """A camera that draws its frame counter as a moving bar; `frozen` repeats the last frame, as some webcams do.

    `background` is the colour behind the bar; `ended` is a stream that has come to its end.
    """

    intrinsics = None

    def __init__(
        self, spec: CameraSpec, clock: Clock | None = None, background: tuple[int, int, int] = (0, 0, 0)
    ) -> None:
        super().__init__()
        self.features = Features("camera", ("color",), spec.rate_hz, (spec.height, spec.width, 3))
        self.frozen = self.ended = False
        self._clock = clock or MonotonicClock()
        self._period_ns = round(NS_PER_S / spec.rate_hz)
        self._counter = 0
        self._background = np.array(background, np.uint8)

    @property
    def state(self) -> DeviceState:
        return DeviceState.FAULT if self.ended and self._state is DeviceState.CONNECTED else self._state

    def read(self) -> Frame:
        self.require()
        if self.ended:
            raise DeviceDisconnected("the fake camera's stream has ended; make another one")
        if not self.frozen:
            self._counter = self._clock.now_ns() // self._period_ns
        image = np.empty(self.features.shape, np.uint8)
        image[:] = self._background
        image[:, self._counter % image.shape[1]] = 255
        return Frame(self._counter * self._period_ns, self._counter, image)


class FakeOperator(DeviceLife):
    """Plays back packets, one per read; None once they are used up."""

    def __init__(self, packets: Sequence[OperatorInput], rate_hz: float = 50.0) -> None:
        super().__init__()
        self.features = Features("operator", ("x", "y", "z", "roll", "pitch", "yaw", "gripper"), rate_hz, (7,))
        self.felt: RobotState | None = None
        self._packets: Iterator[OperatorInput] = iter(packets)

    def read(self) -> OperatorInput | None:
        self.require()
        return next(self._packets, None)

    def feel(self, robot: RobotState) -> None:
        self.felt = robot
