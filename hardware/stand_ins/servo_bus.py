"""A bus of emulated servos behind a pseudo terminal, as a process, with faults on request.

    python -m hardware.stand_ins.feetech_bus --station so101

prints one JSON line, `{"port": ...}`, and then answers JSON lines on its standard input, one line each, until that
closes. A request is an object with one key:

    {"fault": KIND, "id": ID, "times": N, "s": SECONDS}   break the next N answers of a servo (times 0: from now on)
    {"clear": true}                                       no more faults; plugged in, powered, unblocked
    {"set": {"id": ID, "address": A, "size": N, "value": V}}    write a register as if it had always been so
    {"overload": ID}                                      trip a servo
    {"power": false}                                      the emergency stop: no servo has supply
    {"plugged": false}                                    pull the cable
    {"frozen": true}                                      all servos repeat what they said last
    {"blocked": ID}                                       something holds that joint
    {"state": true}                                       shafts, goals and torques as they really are

Kinds of faults: silent, late, short, corrupt, duplicate.
"""

import argparse
import json
import os
import pty
import select
import sys
import termios
import time
import tty
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from hardware.arm_drivers import arm_options
from hardware.servo_options import ServoBusOptions, TickMap
from hardware.stand_ins.emulated_servo import EmulatedServo
from robot.errors import ConfigError, unknown_name
from robot.specs import StationSpec, load_station

FAULTS = ("silent", "late", "short", "corrupt", "duplicate")
IDLE_S = 0.02
BROADCAST = 0xFE


@dataclass(slots=True)
class Fault:
    """One way in which a servo's answers are wrong, `left` times or for ever (-1)."""

    kind: str
    servo: int
    left: int
    seconds: float


class Emulator(ABC):
    """Servos of one bus. A family frames packets and knows its registers."""

    def __init__(self, servos: Sequence[EmulatedServo]) -> None:
        self.servos = {servo.id: servo for servo in servos}
        self.faults: list[Fault] = []
        self.requests = 0
        self._advanced_s = time.monotonic()

    @abstractmethod
    def take(self, buffer: bytearray) -> tuple[int, int, bytes] | None:
        """Take one whole request off the buffer: id, instruction, parameters."""

    @abstractmethod
    def status(self, servo: EmulatedServo, data: bytes, error: int = 0) -> bytes:
        """Return a status packet."""

    @abstractmethod
    def execute(self, servo_id: int, instruction: int, parameters: bytes) -> list[tuple[int, bytes]]:
        """Carry out a request and return the answers with their servos, in order."""

    @abstractmethod
    def overload(self, servo: EmulatedServo) -> None:
        """Trip a servo as too much load for too long does."""

    @abstractmethod
    def elapse(self, servo: EmulatedServo, duration_s: float) -> None:
        """Let time pass for what is not the shaft."""

    def advance(self) -> None:
        """Bring every servo up to now."""
        now_s = time.monotonic()
        for servo in self.servos.values():
            self.elapse(servo, now_s - self._advanced_s)
            servo.advance(now_s - self._advanced_s)
        self._advanced_s = now_s

    def answer(self, buffer: bytearray) -> Iterator[tuple[float, bytes]]:
        """Yield what goes onto the wire for all requests in the buffer, each with how late it is [s]."""
        while request := self.take(buffer):
            self.advance()
            self.requests += 1
            for servo_id, packet in self.execute(*request):
                yield from self._spoilt(servo_id, packet)

    def _spoilt(self, servo_id: int, packet: bytes) -> list[tuple[float, bytes]]:
        if not self.servos[servo_id].is_powered:
            return []
        fault = next((fault for fault in self.faults if fault.servo == servo_id and fault.left), None)
        if fault is None:
            return [(0.0, packet)]
        fault.left -= fault.left > 0
        return {
            "silent": [],
            "late": [(fault.seconds, packet)],
            "short": [(0.0, packet[:-3])],
            "corrupt": [(0.0, packet[:-1] + bytes([packet[-1] ^ 0x5A]))],
            "duplicate": [(0.0, packet), (0.0, packet)],
        }[fault.kind]

    def obey(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out a request on the control channel and return the answer."""
        self.advance()
        for key, value in request.items():
            if key == "fault":
                if value not in FAULTS:
                    raise unknown_name("fault", str(value), FAULTS)
                times = int(request.get("times", 0))
                self.faults.append(Fault(value, request["id"], times or -1, float(request.get("s", 0.12))))
            elif key == "set":
                self.servos[value["id"]].put((value["address"], value["size"]), value["value"])
            elif key == "overload":
                self.overload(self.servos[value])
            elif key == "blocked":
                self.servos[value].is_blocked = True
            elif key in ("power", "frozen", "clear"):
                self._switch(key, is_on=bool(value))
        return self.state()

    def _switch(self, key: str, *, is_on: bool) -> None:
        if key == "clear":
            self.faults.clear()
        for servo in self.servos.values():
            if key == "frozen":
                servo.is_frozen = is_on
            elif key == "clear":
                servo.is_blocked = servo.is_frozen = False
                servo.is_powered = True
            else:
                servo.is_powered = is_on
                servo.put(servo.layout.torque, 0)

    def state(self) -> dict[str, Any]:
        """Return what a measuring device beside the arm would see."""
        shafts = self.servos.values()
        return {
            "position": [servo.position for servo in shafts],
            "goal": [servo.get(servo.layout.goal) for servo in shafts],
            "torque": [servo.has_torque for servo in shafts],
            "requests": self.requests,
        }


class Line:
    """The pseudo terminal, under a name that stays the same when the cable is pulled and put back."""

    def __init__(self, link: Path) -> None:
        self._link = link
        self.master = -1
        self.plug()

    def plug(self) -> None:
        if self.master >= 0:
            return
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(os.ttyname(slave))
        os.set_blocking(self.master, False)
        self._slave = slave  # kept open: without a reader the master would only give errors

    def unplug(self) -> None:
        if self.master >= 0:
            self._link.unlink(missing_ok=True)
            os.close(self._slave)
            os.close(self.master)
            self.master = -1

    def receive(self) -> bytes:
        try:
            return os.read(self.master, 4096)
        except (BlockingIOError, OSError):
            return b""

    def send(self, data: bytes) -> None:
        if self.master < 0:
            return
        try:
            os.write(self.master, data)
        except BlockingIOError:
            termios.tcflush(self.master, termios.TCOFLUSH)


def serve(emulator: Emulator, line: Line, requests: TextIO, answers: TextIO) -> None:
    """Run the bus until the control channel closes. What comes after a late answer waits for it, as on a wire."""
    buffer = bytearray()
    waiting: deque[tuple[float, bytes]] = deque()  # when due, and the packet
    while True:
        watched = [requests, *([line.master] if line.master >= 0 else [])]
        idle_s = min(IDLE_S, max(0.0, waiting[0][0] - time.monotonic())) if waiting else IDLE_S
        ready = select.select(watched, [], [], idle_s)[0]
        if line.master in ready:
            buffer += line.receive()
            for late_s, packet in emulator.answer(buffer):
                waiting.append((max(time.monotonic(), waiting[-1][0] if waiting else 0.0) + late_s, packet))
        while waiting and waiting[0][0] <= time.monotonic():
            line.send(waiting.popleft()[1])
        if requests in ready:
            text = requests.readline()
            if not text:
                line.unplug()
                return
            print(json.dumps(_obey(emulator, line, text)), file=answers, flush=True)


def _obey(emulator: Emulator, line: Line, text: str) -> dict[str, Any]:
    try:
        request = json.loads(text)
        if "plugged" in request:
            (line.plug if request["plugged"] else line.unplug)()
        if "clear" in request:
            line.plug()
        return emulator.obey(request)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {"error": f"{text.strip()!r} cannot be done: {error!r}"}


def run(family: Any, driver: str) -> int:
    """Run a stand-in from the command line; `family(station, options)` makes its emulator."""
    parser = argparse.ArgumentParser(description=f"A bus of {driver} servos behind a pseudo terminal.")
    parser.add_argument("--station", required=True, help="whose servos: a station's name or file")
    parser.add_argument("--link", type=Path, required=True, help="the port's name: a symbolic link made here")
    given = parser.parse_args()
    station = load_station(given.station)
    if station.arm.driver != driver:
        raise ConfigError(f"{station.name} has an arm of driver {station.arm.driver}; this stands in for {driver}")
    line = Line(given.link)
    print(json.dumps({"port": str(given.link)}), flush=True)
    serve(family(station, arm_options(station, ServoBusOptions)), line, sys.stdin, sys.stdout)
    return 0


def tick_limits(station: StationSpec, options: ServoBusOptions) -> list[tuple[int, int]]:
    """Return the lowest and highest tick of every servo that the station's joint limits are."""
    ticks = TickMap(options.servos)
    ends = [ticks.to_ticks(station.position_lower), ticks.to_ticks(station.position_upper)]
    return [(int(min(a, b)), int(max(a, b))) for a, b in zip(*ends, strict=True)]


def home_ticks(station: StationSpec, options: ServoBusOptions) -> list[float]:
    """Return where the servos stand when the arm is at home."""
    return TickMap(options.servos).to_ticks(station.home).tolist()
