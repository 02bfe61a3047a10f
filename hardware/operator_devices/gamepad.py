"""A gamepad through Linux's event device: no package needed. Codes are those of the kernel's gamepad specification.

Left stick: forward and sideways. Right stick: up and about the vertical. Directional pad: about the other axes.
Right bumper: held to own the arm. Left bumper: fine. Triggers: close (right) and open (left) the gripper.
"""

import fcntl
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hardware.operator_devices.byte_device import ByteDevice
from hardware.operator_devices.controls import ControlOptions, Controls
from robot.clock import Clock
from robot.errors import DeviceNotFound
from robot.from_yaml import build
from robot.specs import StationSpec
from robot.types import OperatorInput, RobotState

EVENT = struct.Struct("@qqHHi")  # seconds, microseconds, type, code, value
KEY, ABSOLUTE = 1, 3
LEFT_X, LEFT_Y, LEFT_TRIGGER, RIGHT_X, RIGHT_Y, RIGHT_TRIGGER, PAD_X, PAD_Y = 0, 1, 2, 3, 4, 5, 16, 17
SOUTH, EAST, NORTH, WEST, LEFT_BUMPER, RIGHT_BUMPER = 0x130, 0x131, 0x133, 0x134, 0x136, 0x137
SELECT, START, MODE, LEFT_THUMB, RIGHT_THUMB = 0x13A, 0x13B, 0x13C, 0x13D, 0x13E
STICKS = (LEFT_X, LEFT_Y, RIGHT_X, RIGHT_Y)
BUTTONS = {
    NORTH: "success",
    SOUTH: "failure",
    EAST: "rerecord",
    WEST: "correction",
    SELECT: "undo",
    START: "hand_back",
    MODE: "stop",
    LEFT_BUMPER: "fine",
    LEFT_THUMB: "freeze",
    RIGHT_THUMB: "frame",
}
TRIGGERS = {RIGHT_TRIGGER: "close", LEFT_TRIGGER: "open"}
PULLED = 0.5  # of a trigger's way
INPUT = Path("/sys/class/input")


@dataclass(frozen=True, slots=True)
class GamepadOptions:
    """`path` chooses one of several (/dev/input/by-id/...-event-joystick)."""

    controls: ControlOptions = field(default_factory=lambda: ControlOptions(dead_zone=0.1, response=2.0))
    path: str = ""


class GamepadEvents:
    """The adapter: kernel events to packets. `ranges` are (least, most) of each axis, as the kernel tells them."""

    def __init__(
        self, station: StationSpec, options: GamepadOptions, ranges: Mapping[int, tuple[int, int]] | None = None
    ) -> None:
        self._controls = Controls(station, "gamepad", options.controls)
        self.ranges: Mapping[int, tuple[int, int]] = ranges or {}
        self._values: dict[int, float] = {}
        self._pulled: set[int] = set()
        self._left = b""  # of an event cut in two

    def feed(self, data: bytes, time_ns: int) -> None:
        data = self._left + data
        whole = len(data) - len(data) % EVENT.size
        self._left = data[whole:]
        for at in range(0, whole, EVENT.size):
            _, _, kind, code, value = EVENT.unpack_from(data, at)
            raw = data[at + 16 : at + EVENT.size]
            if kind == KEY:
                self._key(code, value, time_ns, raw)
            elif kind == ABSOLUTE:
                self._axis(code, value, time_ns, raw)

    def _key(self, code: int, value: int, time_ns: int, raw: bytes) -> None:
        if code == RIGHT_BUMPER:
            self._controls.hold(value != 0, time_ns, raw)
        elif value == 1 and code in BUTTONS:
            self._controls.press(BUTTONS[code], time_ns, raw)

    def _axis(self, code: int, value: int, time_ns: int, raw: bytes) -> None:
        if code in TRIGGERS:
            least, most = self.ranges.get(code, (0, 255))
            is_pulled = (value - least) / max(most - least, 1) > PULLED
            if is_pulled and code not in self._pulled:
                self._controls.press(TRIGGERS[code], time_ns, raw)
            (self._pulled.add if is_pulled else self._pulled.discard)(code)
            return
        least, most = self.ranges.get(code, (-32768, 32767) if code in STICKS else (-1, 1))
        self._values[code] = (2.0 * value - least - most) / max(most - least, 1)
        at = self._values.get
        axes = (
            -at(LEFT_Y, 0.0),
            -at(LEFT_X, 0.0),
            -at(RIGHT_Y, 0.0),
            at(PAD_X, 0.0),
            -at(PAD_Y, 0.0),
            -at(RIGHT_X, 0.0),
        )
        self._controls.move(axes, time_ns, raw)

    def feel(self, robot: RobotState) -> None:
        self._controls.feel(robot)

    def packet(self, time_ns: int) -> OperatorInput:
        return self._controls.packet(time_ns)


class Gamepad(ByteDevice):
    """The first event device with a gamepad's buttons, or the one that was named."""

    def __init__(
        self, adapter: GamepadEvents, path: str = "", clock: Clock | None = None, folder: Path = INPUT
    ) -> None:
        super().__init__("the gamepad", adapter, rate_hz=100.0, clock=clock)
        self._events, self._path, self._folder = adapter, path, folder

    def open(self) -> int:
        path = self._path or find_gamepad(self._folder)
        try:
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise DeviceNotFound(
                f"the gamepad at {path} cannot be opened ({error}): are you in the group input?"
            ) from error
        self._events.ranges = {code: found for code in range(PAD_Y + 1) if (found := axis_range(file, code))}
        return file


def axis_range(file: int, axis: int) -> tuple[int, int] | None:
    """Ask the kernel for the least and most of an axis (EVIOCGABS); None where it has no such axis."""
    info = struct.Struct("@6i")  # value, minimum, maximum, fuzz, flat, resolution
    request = 2 << 30 | info.size << 16 | ord("E") << 8 | 0x40 + axis
    try:
        _, least, most, *_ = info.unpack(fcntl.ioctl(file, request, bytes(info.size)))
    except OSError:
        return None
    return (least, most) if least < most else None


def find_gamepad(folder: Path = INPUT) -> str:
    """Return the path of the first event device that has the button every gamepad has."""
    for node in sorted(folder.glob("event*")):
        capabilities = node / "device" / "capabilities" / "key"
        words = [int(word, 16) for word in capabilities.read_text().split()] if capabilities.exists() else []
        at, bit = divmod(SOUTH, 64)
        if len(words) > at and words[-1 - at] >> bit & 1:  # the highest word comes first
            return f"/dev/input/{node.name}"
    raise DeviceNotFound(f"no gamepad: nothing in {folder} has its buttons; is it plugged in, paired, switched on?")


def make_device(station: StationSpec, options: Mapping[str, object]) -> Gamepad:
    """Return the gamepad; `options` as in `GamepadOptions`."""
    chosen: GamepadOptions = build(GamepadOptions, dict(options), "options of gamepad")
    return Gamepad(GamepadEvents(station, chosen), chosen.path)
