"""Feetech STS3215 servos behind a pseudo terminal: protocol 0 of the memory table in the vendor's documents.

See `hardware.stand_ins.servo_bus` for how it is run and what can be broken.
"""

from hardware.servo_options import ServoBusOptions
from hardware.stand_ins.emulated_servo import EmulatedServo, Layout
from hardware.stand_ins.servo_bus import BROADCAST, Emulator, home_ticks, run, tick_limits
from robot.specs import StationSpec

LAYOUT = Layout(
    torque=(40, 1), goal=(42, 2), position=(56, 2), velocity=(58, 2), low=(9, 2), high=(11, 2),
    velocity_per_tick_s=1.0, sign_bit=15,
)  # fmt: skip
PING, READ, WRITE, SYNC_READ, SYNC_WRITE = 1, 2, 3, 0x82, 0x83
EEPROM_END, LOCK, STATUS = 40, (55, 1), (65, 1)
OVERLOAD = 32
INITIAL = {(0, 1): 3, (1, 1): 10, (3, 2): 777, (6, 1): 0, (7, 1): 0, (33, 1): 0, (48, 2): 1000, (55, 1): 1, (63, 1): 32}


class FeetechBus(Emulator):
    """FF FF id length instruction parameters ~sum; a status packet has an error byte for the instruction."""

    def take(self, buffer: bytearray) -> tuple[int, int, bytes] | None:
        while (start := buffer.find(b"\xff\xff")) >= 0:
            del buffer[:start]
            if len(buffer) < 4 or len(buffer) < 4 + buffer[3]:
                return None
            end = 4 + buffer[3]
            packet = bytes(buffer[:end])
            if packet[2] != 0xFF and packet[3] >= 2 and checksum(packet[2:-1]) == packet[-1]:
                del buffer[:end]
                return packet[2], packet[4], packet[5:-1]
            del buffer[:1]
        del buffer[:-1]
        return None

    def status(self, servo: EmulatedServo, data: bytes, error: int = 0) -> bytes:
        body = bytes([servo.id, len(data) + 2, error | servo.get(STATUS), *data])
        return b"\xff\xff" + body + bytes([checksum(body)])

    def execute(self, servo_id: int, instruction: int, parameters: bytes) -> list[tuple[int, bytes]]:
        if servo_id == BROADCAST:
            return self._broadcast(instruction, parameters)
        if (servo := self.servos.get(servo_id)) is None:
            return []
        data = b""
        if instruction == READ:
            address, size = parameters
            data = bytes(servo.registers[address : address + size])
        elif instruction == WRITE:
            self._write(servo, parameters[0], parameters[1:])
        elif instruction != PING:
            return []
        return [(servo_id, self.status(servo, data))]

    def overload(self, servo: EmulatedServo) -> None:
        servo.put(STATUS, servo.get(STATUS) | OVERLOAD)
        servo.put(LAYOUT.torque, 0)

    def elapse(self, servo: EmulatedServo, duration_s: float) -> None:
        """Nothing but the shaft knows of time: these servos have no clock in their table."""

    def _broadcast(self, instruction: int, parameters: bytes) -> list[tuple[int, bytes]]:
        address, size, rest = parameters[0], parameters[1], parameters[2:]
        if instruction == SYNC_READ:
            asked = [self.servos[number] for number in rest if number in self.servos]
            return [(one.id, self.status(one, bytes(one.registers[address : address + size]))) for one in asked]
        if instruction == SYNC_WRITE:
            for at in range(0, len(rest), size + 1):
                if (servo := self.servos.get(rest[at])) is not None:
                    self._write(servo, address, rest[at + 1 : at + 1 + size])
        return []

    def _write(self, servo: EmulatedServo, address: int, data: bytes) -> None:
        if not servo.is_powered or (address < EEPROM_END and servo.get(LOCK)):
            return
        servo.registers[address : address + len(data)] = data
        if address == LAYOUT.torque[0]:
            servo.put(STATUS, servo.get(STATUS) & ~OVERLOAD)


def checksum(body: bytes) -> int:
    return ~sum(body) & 0xFF


def make_bus(station: StationSpec, options: ServoBusOptions) -> FeetechBus:
    """Return the servos of a station, at its home and without torque."""
    servos = []
    volts = round(5 * sum(options.voltage_v))  # in 0.1 V, the middle of what the station says
    for spec, (low, high), home in zip(
        options.servos, tick_limits(station, options), home_ticks(station, options), strict=True
    ):
        servo = EmulatedServo(spec.id, LAYOUT, position=home, rest=low)
        own = {(5, 1): spec.id, (9, 2): low, (11, 2): high, (42, 2): 2048, (62, 1): volts}
        for register, value in {**INITIAL, **own}.items():
            servo.put(register, value)
        servos.append(servo)
    return FeetechBus(servos)


if __name__ == "__main__":
    raise SystemExit(run(make_bus, "feetech"))
