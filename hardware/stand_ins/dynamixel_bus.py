"""Dynamixel X servos behind a pseudo terminal: protocol 2.0 and the control table of ROBOTIS's documents.

See `hardware.stand_ins.servo_bus` for how it is run and what can be broken.
"""

from functools import cache

from hardware.servo_options import ServoBusOptions
from hardware.stand_ins.emulated_servo import EmulatedServo, Layout
from hardware.stand_ins.servo_bus import BROADCAST, Emulator, home_ticks, run, tick_limits
from robot.specs import StationSpec

LAYOUT = Layout(
    torque=(64, 1), goal=(116, 4), position=(132, 4), velocity=(128, 4), low=(52, 4), high=(48, 4),
    velocity_per_tick_s=60 / (0.229 * 4096), sign_bit=None,
)  # fmt: skip
PING, READ, WRITE, REBOOT, SYNC_READ, SYNC_WRITE = 1, 2, 3, 8, 0x82, 0x83
MODEL, FIRMWARE, SECONDARY, ERROR, WATCHDOG, CLOCK, VOLTAGE = (
    (0, 2),
    (6, 1),
    (12, 1),
    (70, 1),
    (98, 1),
    (120, 2),
    (144, 2),
)
EEPROM_END, RAM_START, CLOCK_TURN_MS = 64, 64, 32768
OVERLOAD, TRIPPED = 32, 255
NO_RESULT, LIMIT, ACCESS, ALERT = 1, 6, 7, 0x80  # error numbers of a status packet, and its alert bit
HEADER = b"\xff\xff\xfd"
DRIVE_MODE = (10, 1)
INITIAL = {FIRMWARE: 46, (11, 1): 3, SECONDARY: 255, (146, 1): 32, (68, 1): 2}


class DynamixelBus(Emulator):
    """FF FF FD 00 id length instruction parameters crc, FF FF FD inside written FF FF FD FD."""

    def take(self, buffer: bytearray) -> tuple[int, int, bytes] | None:
        while (start := buffer.find(HEADER)) >= 0:
            del buffer[:start]
            if len(buffer) < 7 or len(buffer) < 7 + int.from_bytes(buffer[5:7], "little"):
                return None
            packet = bytes(buffer[: 7 + int.from_bytes(buffer[5:7], "little")])
            if len(packet) >= 10 and crc16(packet[:-2]) == int.from_bytes(packet[-2:], "little"):
                del buffer[: len(packet)]
                body = packet[7:-2].replace(HEADER + b"\xfd", HEADER)
                self._hear()
                return packet[4], body[0], body[1:]
            del buffer[:1]
        del buffer[:-2]
        return None

    def status(self, servo: EmulatedServo, data: bytes, error: int = 0) -> bytes:
        alert = ALERT if servo.get(ERROR) else 0
        body = (bytes([0x55, error | alert]) + data).replace(HEADER, HEADER + b"\xfd")
        packet = HEADER + bytes([0, servo.id]) + (len(body) + 2).to_bytes(2, "little") + body
        return packet + crc16(packet).to_bytes(2, "little")

    def execute(self, servo_id: int, instruction: int, parameters: bytes) -> list[tuple[int, bytes]]:
        if servo_id == BROADCAST:
            return self._broadcast(instruction, parameters)
        if (servo := self.servos.get(servo_id)) is None:
            return []
        data, error = b"", 0
        if instruction == PING:
            data = bytes(servo.registers[:2]) + bytes([servo.get(FIRMWARE)])
        elif instruction == READ:
            data = _slice(servo, parameters)
        elif instruction == WRITE:
            error = self._write(servo, int.from_bytes(parameters[:2], "little"), parameters[2:])
        elif instruction == REBOOT:
            servo.registers[RAM_START:120] = bytes(120 - RAM_START)
            servo.put((68, 1), 2)
        else:
            return []
        return [(servo_id, self.status(servo, data, error))]

    def overload(self, servo: EmulatedServo) -> None:
        servo.put(ERROR, OVERLOAD)
        servo.put(LAYOUT.torque, 0)

    def elapse(self, servo: EmulatedServo, duration_s: float) -> None:
        self._silence[servo.id] = self._silence.get(servo.id, 0.0) + duration_s
        watchdog = servo.get(WATCHDOG)
        if 0 < watchdog < TRIPPED and self._silence[servo.id] > watchdog * 0.02:
            servo.put(WATCHDOG, TRIPPED)
            servo.put(LAYOUT.goal, round(servo.position))
        if not servo.is_frozen:
            self._clock_s[servo.id] = self._clock_s.get(servo.id, 0.0) + duration_s
            servo.put(CLOCK, round(self._clock_s[servo.id] * 1e3) % CLOCK_TURN_MS)
        if (primary := self.servos.get(servo.get(SECONDARY))) is not None:  # turned by the joint, and by its goal
            servo.position, servo.may_move = primary.position, False

    def _hear(self) -> None:
        """Note that somebody spoke on the bus, after the silence before it was counted."""
        self.advance()
        self._silence.clear()

    def __init__(self, servos: list[EmulatedServo]) -> None:
        super().__init__(servos)
        self._silence: dict[int, float] = {}
        self._clock_s: dict[int, float] = {}

    def _broadcast(self, instruction: int, parameters: bytes) -> list[tuple[int, bytes]]:
        asked, rest = parameters[:4], parameters[4:]
        if instruction == SYNC_READ:
            found = [self.servos[number] for number in rest if number in self.servos]
            return [(one.id, self.status(one, _slice(one, asked))) for one in found]
        if instruction == SYNC_WRITE:
            size = int.from_bytes(asked[2:], "little")
            for at in range(0, len(rest), size + 1):
                if (servo := self.servos.get(rest[at])) is not None:
                    self._write(servo, int.from_bytes(asked[:2], "little"), rest[at + 1 : at + 1 + size])
        return []

    def _write(self, servo: EmulatedServo, address: int, data: bytes) -> int:
        """Write registers; the error number of the status packet where they may not be written."""
        if not servo.is_powered:
            return 0
        if address < EEPROM_END and servo.get(LAYOUT.torque):
            return ACCESS
        if address == LAYOUT.torque[0] and data[0] and servo.get(ERROR):
            return NO_RESULT
        if address == LAYOUT.goal[0]:
            if servo.get(WATCHDOG) == TRIPPED:
                return ACCESS
            if not servo.get(LAYOUT.low) <= int.from_bytes(data, "little", signed=True) <= servo.get(LAYOUT.high):
                return LIMIT
        servo.registers[address : address + len(data)] = data
        return 0


def _slice(servo: EmulatedServo, parameters: bytes) -> bytes:
    address, size = int.from_bytes(parameters[:2], "little"), int.from_bytes(parameters[2:4], "little")
    return bytes(servo.registers[address : address + size])


@cache
def _crc_of(byte: int) -> int:
    crc = byte << 8
    for _ in range(8):
        crc = (crc << 1 ^ 0x8005 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def crc16(data: bytes) -> int:
    """Return the protocol's check sum: polynomial 0x8005, from 0, most significant bit first."""
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _crc_of(crc >> 8 ^ byte)
    return crc


def make_bus(station: StationSpec, options: ServoBusOptions) -> DynamixelBus:
    """Return the servos of a station, at its home and without torque; shadows are turned by their joints."""
    servos: list[EmulatedServo] = []
    volts = round(5 * sum(options.voltage_v))  # in 0.1 V, the middle of what the station says
    for spec, (low, high), home in zip(
        options.servos, tick_limits(station, options), home_ticks(station, options), strict=True
    ):
        for number in filter(None, (spec.id, spec.shadow)):
            servo = EmulatedServo(number, LAYOUT, position=home, rest=low)
            own = {MODEL: spec.model, (7, 1): number, LAYOUT.low: low, LAYOUT.high: high, LAYOUT.goal: 2048}
            is_shadow = number == spec.shadow  # which sits the other way round
            own |= {VOLTAGE: volts, DRIVE_MODE: int(spec.is_reversed != is_shadow)}
            own |= {SECONDARY: spec.id} if is_shadow else {}
            for register, value in {**INITIAL, **own}.items():
                servo.put(register, value)
            servos.append(servo)
    return DynamixelBus(servos)


if __name__ == "__main__":
    raise SystemExit(run(make_bus, "dynamixel"))
