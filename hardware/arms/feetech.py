"""Arms of Feetech STS servos (SO-100, SO-101): feetech-servo-sdk, protocol 0.

Registers are those of the vendor's STS3215 memory table. A reading takes 56 to 70 of every servo in one packet each:
position, velocity, load, voltage, temperature, status, current. The servos have no clock of their own in the table, so
that progress is a whole, checked answer to a request that was sent into a silent line; and an answer in which not one
byte changes while the goal moves away is none.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hardware.arm_drivers import arm_options
from hardware.servo_arm import ServoArm, ServoCare, ServoFacts, ServoReadings
from hardware.servo_bus import Sdk, ServoBus
from hardware.servo_options import ServoBusOptions
from robot.errors import ConfigError, MissingDependency
from robot.specs import StationSpec
from robot.types import Array

FIRMWARE, MODEL, LOW, HIGH, RETURN_DELAY, PHASE, MODE = 0, 3, 9, 11, 7, 18, 33
TORQUE, ACCELERATION, GOAL = 40, 41, 42
POSITION, VELOCITY, VOLTAGE, TEMPERATURE, STATUS, READ_END = 56, 58, 62, 63, 65, 71
FROZEN_TICKS = 20  # the goal has moved so far, and the servo's answer has not changed in a single bit
FASTEST = 254  # of register 41: the last filter bounds the acceleration
ERROR_BITS = {1: "voltage", 2: "position sensor", 4: "overheated", 8: "over-current", 32: "overload"}
OLDEST_FIRMWARE = (3, 10)  # lerobot 0.4 refuses 3.9 for its broken status packets


class FeetechDialect:
    """Protocol 0 through `scservo_sdk`: FF FF id length error data checksum."""

    model_address = MODEL

    def load(self) -> Sdk:
        try:
            from scservo_sdk import PacketHandler, PortHandler  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingDependency(
                f"Feetech servos need feetech-servo-sdk and pyserial ({error}): pip install '.[feetech]'; on the "
                "system no package but the right to use the port: add yourself to the group dialout"
            ) from error
        return Sdk(PortHandler, PacketHandler(0))

    def request_all(self, sdk: Sdk, port: Any, address: int, size: int, ids: Sequence[int]) -> int:
        return sdk.packets.syncReadTx(port, address, size, list(ids), len(ids))

    def receive(self, sdk: Sdk, port: Any) -> tuple[int, int, int, bytes]:
        packet, code = sdk.packets.rxPacket(port)
        return (code, packet[2], packet[4], bytes(packet[5:-1])) if code == 0 else (code, 0, 0, b"")

    def alert(self, error: int) -> tuple[int, bool]:
        return error, False


class FeetechServos:
    """The family behind `ServoArm`."""

    def __init__(self, address: str, options: ServoBusOptions) -> None:
        self.bus = ServoBus(FeetechDialect(), address, options.baud, options.patience_ms)
        self._ids = options.ids
        self._last: dict[int, bytes] = {}
        self._goal = np.full(len(self._ids), np.nan)
        self._goal_at_change = self._goal.copy()  # of each servo, when its answer last changed

    def facts(self, servo: int) -> ServoFacts:
        head, body = self.bus.read(servo, 0, 13), self.bus.read(servo, PHASE, MODE + 1 - PHASE)
        version, setup = (head[FIRMWARE], head[FIRMWARE + 1]), []
        if version < OLDEST_FIRMWARE:
            oldest = ".".join(map(str, OLDEST_FIRMWARE))
            setup.append(f"firmware {version[0]}.{version[1]}, {oldest} or newer is needed: update it")
        if body[MODE - PHASE] != 0:
            setup.append(f"operating mode {body[MODE - PHASE]}, 0 (position) is needed: set register {MODE}")
        if body[0] & 0x10:
            setup.append(f"phase bit 4 is set, so that positions leave 0 to 4095: clear it in register {PHASE}")
        return ServoFacts(
            model=_word(head, MODEL), firmware=f"{version[0]}.{version[1]}", low=_word(head, LOW),
            high=_word(head, HIGH), voltage_v=self.bus.read_number(servo, VOLTAGE, 1) / 10, setup=tuple(setup),
        )  # fmt: skip

    def prepare(self) -> None:
        self.bus.write_all(self._ids, ACCELERATION, 1, [FASTEST] * len(self._ids))

    def readings(self) -> ServoReadings:
        answers = self.bus.read_all(self._ids, POSITION, READ_END - POSITION)
        for i, (servo, answer) in enumerate(zip(self._ids, answers, strict=True)):
            if self._last.get(servo) != answer or np.isnan(self._goal_at_change[i]):
                self._goal_at_change[i] = self._goal[i]
        self._last = dict(zip(self._ids, answers, strict=True))
        return ServoReadings(
            ticks=np.array([_signed(_word(data, 0), 15) for data in answers], float),
            ticks_per_s=np.array([_signed(_word(data, VELOCITY - POSITION), 15) for data in answers], float),
            is_new=not (np.abs(self._goal - self._goal_at_change) > FROZEN_TICKS).any(),
            faults=tuple(f"servo {servo}: {text}" for servo, data in self._last.items() if (text := _fault(data))),
        )

    def care(self, servo: int) -> ServoCare:
        data = self._last.get(servo) or self.bus.read(servo, POSITION, READ_END - POSITION)
        has_torque = self.bus.read_number(servo, TORQUE, 1) == 1
        voltage, temperature = data[VOLTAGE - POSITION] / 10, float(data[TEMPERATURE - POSITION])
        return ServoCare(has_torque, voltage, temperature, _fault(data))

    def aim(self, ticks: Array) -> None:
        self.bus.write_all(self._ids, GOAL, 2, [int(tick) for tick in ticks])
        self._goal = ticks.copy()

    def power(self, servo: int, *, is_on: bool) -> None:
        self.bus.write(servo, TORQUE, 1, int(is_on))

    def clear(self, servo: int) -> None:
        """Take the torque of a tripped servo, which clears its status; what it held has fallen already."""
        self.power(servo, is_on=False)

    def rest(self) -> None:
        """Nothing was set that must be undone."""


def make_arm(station: StationSpec) -> ServoArm:
    """Return the station's arm of Feetech servos; `arm: address` is the port, best from /dev/serial/by-id."""
    if not station.arm.address:
        raise ConfigError(f"{station.name}: arm: address is missing; give the port, from /dev/serial/by-id")
    options = arm_options(station, ServoBusOptions)
    return ServoArm(station, options, FeetechServos(station.arm.address, options))


def _word(data: Sequence[int], at: int) -> int:
    return data[at] | data[at + 1] << 8


def _signed(value: int, sign_bit: int) -> int:
    """Return a number in sign and magnitude, as these servos write velocity and position."""
    return -(value & ~(1 << sign_bit)) if value >> sign_bit & 1 else value


def _fault(data: bytes) -> str:
    bits = data[STATUS - POSITION]
    names = [name for bit, name in ERROR_BITS.items() if bits & bit]
    return f"{', '.join(names) or f'status {bits}'}; take the cause away, then recover" if bits else ""
