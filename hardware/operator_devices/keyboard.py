"""The keys of a terminal, over SSH too. A terminal says nothing of a key's release: a key counts as down for `key_s`
after its last byte, which bridges its repetition, and the arm is owned for `off_s` after any moving key.

Never the only dead-man near a real arm: the first repetition comes a quarter to half a second after the press.
"""

import os
import sys
import termios
import tty
from collections.abc import Mapping
from dataclasses import dataclass, field

from hardware.operator_devices.byte_device import ByteDevice
from hardware.operator_devices.controls import ControlOptions, Controls
from robot.clock import Clock
from robot.errors import ConfigError, DeviceNotFound
from robot.from_yaml import build
from robot.specs import StationSpec
from robot.types import NS_PER_S, OperatorInput, RobotState

MOVES = {
    "w": (0, 1.0), "s": (0, -1.0), "a": (1, 1.0), "d": (1, -1.0), "r": (2, 1.0), "f": (2, -1.0),
    "u": (3, 1.0), "o": (3, -1.0), "i": (4, 1.0), "k": (4, -1.0), "j": (5, 1.0), "l": (5, -1.0),
}  # fmt: skip
ARROWS = {"A": "w", "B": "s", "C": "d", "D": "a"}  # the last byte of ESC [ A
ACTIONS = {
    "t": "take_over", "h": "hand_back", "p": "freeze", "x": "stop", "g": "gripper", "m": "fine", "q": "frame",
    "\t": "side", "y": "success", "n": "failure", "z": "discard", "v": "rerecord", "c": "correction", "b": "recovery",
    "e": "went_wrong", "\x7f": "undo",
}  # fmt: skip
HELP = (
    "w s a d r f or arrows: move; u o i k j l: turn; g: gripper; m: fine; q: frame; tab: other arm\n"
    "t: own the arm without moving; h: hand back; p: freeze; x: STOP\n"
    "y: success; n: failure; z: discard; v: record anew; c: correction begins; b: recovery again; e: went wrong\n"
    "backspace: recovery goes on after all (5 s); an outcome is mended in the store: tandem data flag"
)


@dataclass(frozen=True, slots=True)
class KeyboardOptions:
    """`key_s`: for how long a key counts as down after its last byte. `path`: of another terminal than one's own."""

    controls: ControlOptions = field(
        default_factory=lambda: ControlOptions(trigger="motion", dead_zone=0.0, response=1.0, on_s=0.0, off_s=0.7)
    )
    key_s: float = 0.15
    path: str = ""

    def __post_init__(self) -> None:
        if not 0.03 <= self.key_s <= 0.5:
            raise ConfigError(f"key_s is {self.key_s}, allowed: 0.03 (repetition at 33 Hz) to 0.5")


class KeyboardBytes:
    """The adapter: a terminal's bytes to packets. A stop (`x`) counts whatever comes before it."""

    def __init__(self, station: StationSpec, options: KeyboardOptions) -> None:
        self._controls, self._key_ns = Controls(station, "keyboard", options.controls), round(options.key_s * NS_PER_S)
        self._down: dict[str, int] = {}  # moving keys and when they were last heard
        self._hold_ns = round(options.controls.off_s * NS_PER_S)
        self._held_until_ns = -1
        self._escape = ""

    def feed(self, data: bytes, time_ns: int) -> None:
        for character in data.decode("latin-1"):
            if key := self._whole_key(character):
                self._key(key, time_ns, data)
        self._move(time_ns, data)

    def _whole_key(self, character: str) -> str:
        """Return the key that a character completes, "" within an escape sequence, which may come in pieces."""
        if not self._escape and character != "\x1b":
            return character.lower()
        self._escape += character
        if self._escape in ("\x1b", "\x1b[", "\x1bO"):
            return ""
        final, self._escape = self._escape[2:], ""
        return ARROWS.get(final, "")

    def _key(self, key: str, time_ns: int, raw: bytes) -> None:
        if key in MOVES:
            self._down[key] = time_ns
        elif key in ACTIONS:
            if key == "t":
                self._held_until_ns = time_ns + self._hold_ns
                self._controls.hold(True, time_ns, raw)
            self._controls.press(ACTIONS[key], time_ns, raw)

    def _move(self, time_ns: int, raw: bytes = b"") -> None:
        """Let go of keys that were not repeated, and deflect as those that are down say."""
        self._down = {key: at for key, at in self._down.items() if time_ns - at <= self._key_ns}
        axes = [0.0] * 6
        for key in self._down:
            axis, way = MOVES[key]
            axes[axis] += way
        if time_ns > self._held_until_ns:
            self._controls.hold(False, time_ns)
        self._controls.move(axes, time_ns, raw)

    def feel(self, robot: RobotState) -> None:
        self._controls.feel(robot)

    def packet(self, time_ns: int) -> OperatorInput:
        self._move(time_ns)
        return self._controls.packet(time_ns)


class Keyboard(ByteDevice):
    """A terminal whose keys come one by one while it is connected; Ctrl-C still ends the program.

    Args:
        adapter: what the keys mean.
        path: of the terminal; standard input by default.
        clock: for tests.
    """

    def __init__(self, adapter: KeyboardBytes, path: str = "", clock: Clock | None = None) -> None:
        super().__init__("the terminal", adapter, rate_hz=50.0, clock=clock)
        self._path, self._before = path, None

    def open(self) -> int:
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_NOCTTY) if self._path else os.dup(sys.stdin.fileno())
        except (OSError, ValueError) as error:
            raise DeviceNotFound(f"no terminal to read keys from ({error}): start this in one") from error
        if not os.isatty(file):
            os.close(file)
            raise DeviceNotFound("keys are read from a terminal, and standard input is none: start this in one")
        self._before = termios.tcgetattr(file)
        tty.setcbreak(file, termios.TCSANOW)
        return file

    def close(self) -> None:
        if self._file >= 0 and self._before is not None:
            termios.tcsetattr(self._file, termios.TCSANOW, self._before)
            self._before = None
        super().close()


def make_device(station: StationSpec, options: Mapping[str, object]) -> Keyboard:
    """Return the terminal's keyboard; `options` as in `KeyboardOptions`."""
    chosen: KeyboardOptions = build(KeyboardOptions, dict(options), "options of keyboard")
    return Keyboard(KeyboardBytes(station, chosen), chosen.path)
