"""SpaceMouse and its relatives of 3Dconnexion, read from /dev/hidraw: no package and no daemon needed.

Its reports, by their first byte: 1 is the translation, three int16 x y z (little endian), and in one report of 13 bytes
also the rotation; 2 is the rotation of those models that send it apart; 3 is one bit per button. Full deflection is
about 350. x points right, y towards the person, z down. A report comes when something changes, with zeros on release.
"""

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

VENDORS = (0x256F, 0x046D)  # 3Dconnexion, and Logitech for the older ones
MULTI_AXIS = b"\x05\x01\x09\x08"  # usage page 1, usage 8: how the descriptor of the interface with the data begins
FULL = 350.0
TRANSLATION, ROTATION, BUTTONS = 1, 2, 3
HIDRAW = Path("/sys/class/hidraw")
RULE = 'KERNEL=="hidraw*", ATTRS{idVendor}=="256f", MODE="0660", TAG+="uaccess"'


@dataclass(frozen=True, slots=True)
class SpaceMouseOptions:
    """`path` chooses one of several (/dev/hidraw3). The first button is the gripper, the second hands back."""

    controls: ControlOptions = field(default_factory=lambda: ControlOptions(trigger="motion"))
    path: str = ""
    buttons: tuple[str, ...] = ("gripper", "hand_back")


class SpaceMouseReports:
    """The adapter: HID reports to packets; each `feed` is one report, as hidraw gives them."""

    def __init__(self, station: StationSpec, options: SpaceMouseOptions) -> None:
        self._controls, self._actions = Controls(station, "spacemouse", options.controls), options.buttons
        self._axes = [0.0] * 6  # as the device has them
        self._buttons = 0

    def feed(self, data: bytes, time_ns: int) -> None:
        kind, body = data[0] if data else 0, data[1:]
        if kind in (TRANSLATION, ROTATION) and len(body) >= 6:
            first = 3 if kind == ROTATION else 0
            count = 6 if kind == TRANSLATION and len(body) >= 12 else 3
            self._axes[first : first + count] = (value / FULL for value in struct.unpack_from(f"<{count}h", body))
            x, y, z, rx, ry, rz = self._axes
            self._controls.move((-y, -x, -z, -ry, -rx, -rz), time_ns, data)
        elif kind == BUTTONS and body:
            self._press(int.from_bytes(body, "little"), time_ns, data)

    def _press(self, buttons: int, time_ns: int, raw: bytes) -> None:
        went_down, self._buttons = buttons & ~self._buttons, buttons
        for i, action in enumerate(self._actions):
            if action == "clutch":
                self._controls.hold(bool(buttons >> i & 1), time_ns, raw)
            elif went_down >> i & 1:
                self._controls.press(action, time_ns, raw)

    def feel(self, robot: RobotState) -> None:
        self._controls.feel(robot)

    def packet(self, time_ns: int) -> OperatorInput:
        return self._controls.packet(time_ns)


class SpaceMouse(ByteDevice):
    """The device behind the first hidraw node that is one, or the one that was named."""

    def __init__(
        self, adapter: SpaceMouseReports, path: str = "", clock: Clock | None = None, folder: Path = HIDRAW
    ) -> None:
        super().__init__("the SpaceMouse", adapter, rate_hz=100.0, clock=clock)
        self._path, self._folder = path, folder

    def open(self) -> int:
        path = self._path or find_spacemouse(self._folder)
        try:
            return os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise DeviceNotFound(
                f"the SpaceMouse at {path} cannot be opened ({error}): without the right to, put this line into "
                f"/etc/udev/rules.d/70-spacemouse.rules and plug it in again: {RULE}; stop spacenavd, which takes it"
            ) from error


def find_spacemouse(folder: Path = HIDRAW) -> str:
    """Return the path of the interface that sends the motion; a wireless receiver has several interfaces."""
    for node in sorted(folder.glob("hidraw*")):
        if _vendor(node / "device" / "uevent") not in VENDORS:
            continue
        if (node / "device" / "report_descriptor").read_bytes().startswith(MULTI_AXIS):
            return f"/dev/{node.name}"
    raise DeviceNotFound(
        f"no SpaceMouse: none of {folder}/hidraw* is a multi-axis controller of vendor 256f or 046d; is it plugged in, "
        "its receiver paired?"
    )


def _vendor(uevent: Path) -> int:
    """Return the USB vendor from a line as HID_ID=0003:0000256F:0000C635; 0 where there is none."""
    lines = uevent.read_text().splitlines() if uevent.exists() else []
    ids = [line.partition("=")[2].split(":") for line in lines if line.startswith("HID_ID=")]
    return int(ids[0][1], 16) if ids and len(ids[0]) == 3 else 0


def make_device(station: StationSpec, options: Mapping[str, object]) -> SpaceMouse:
    """Return the SpaceMouse; `options` as in `SpaceMouseOptions`."""
    chosen: SpaceMouseOptions = build(SpaceMouseOptions, dict(options), "options of spacemouse")
    return SpaceMouse(SpaceMouseReports(station, chosen), chosen.path)
