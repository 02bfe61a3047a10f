"""Arms of Dynamixel X servos (ViperX, WidowX, Koch): dynamixel-sdk, protocol 2.0.

Registers are those of ROBOTIS's X-series control table. A reading takes 120 to 135 of every servo: its own millisecond
clock, current, velocity and position. That clock is what tells a new reading from a repeated one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hardware.arm_drivers import arm_options
from hardware.servo_arm import ServoArm, ServoCare, ServoFacts, ServoReadings, monotonic_ms
from hardware.servo_bus import BusError, Sdk, ServoBus
from hardware.servo_options import RAD_PER_TICK, ServoBusOptions, ServoSpec
from robot.errors import ConfigError, DeviceNotFound, MissingDependency
from robot.specs import StationSpec
from robot.types import Array

MODEL, FIRMWARE, DRIVE_MODE, MODE, SECONDARY, HIGH, LOW = 0, 6, 10, 11, 12, 48, 52
TORQUE, HARDWARE_ERROR, WATCHDOG, PROFILE_VELOCITY, GOAL = 64, 70, 98, 112, 116
CLOCK, VELOCITY, POSITION, READ_END, VOLTAGE, TEMPERATURE = 120, 128, 132, 136, 144, 146
POSITION_MODES = {3: "position", 4: "extended position", 5: "current-based position"}
REVERSED, TIME_BASED = 1, 4  # bits of the drive mode
HARDWARE_ERRORS = {1: "input voltage", 4: "overheated", 8: "encoder", 16: "electrical shock", 32: "overload"}
RPM_UNIT = 0.229  # of velocity registers
TICKS_PER_S = RPM_UNIT * 4096 / 60
CLOCK_TURN_MS = 32768
RESTARTED_MS = 500  # the servo's clock and ours differ by more over one reading
WATCHDOG_UNIT_MS, WATCHDOG_UNITS, TRIPPED = 20, 25, 255  # a servo in position mode stands at its last goal before too
ALERT = 0x80
REBOOT_ATTEMPTS = 20


class DynamixelDialect:
    """Protocol 2.0 through `dynamixel_sdk`: FF FF FD 00 id length 55 error data crc."""

    model_address = MODEL

    def load(self) -> Sdk:
        try:
            from dynamixel_sdk import PacketHandler, PortHandler  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingDependency(
                f"Dynamixel servos need dynamixel-sdk and pyserial ({error}): pip install '.[dynamixel]'; on the "
                "system no package but the right to use the port (group dialout) and the U2D2's latency timer at 1 ms"
            ) from error
        return Sdk(PortHandler, PacketHandler(2.0))

    def request_all(self, sdk: Sdk, port: Any, address: int, size: int, ids: Sequence[int]) -> int:
        return sdk.packets.syncReadTx(port, address, size, list(ids), len(ids), False)

    def receive(self, sdk: Sdk, port: Any) -> tuple[int, int, int, bytes]:
        packet, code = sdk.packets.rxPacket(port, False)
        if code != 0:
            return code, 0, 0, b""
        end = 7 + int.from_bytes(bytes(packet[5:7]), "little") - 2  # stuffing was taken out behind it
        return code, packet[4], packet[8], bytes(packet[9:end])

    def alert(self, error: int) -> tuple[int, bool]:
        return error & ALERT, bool(error & ~ALERT)


class DynamixelServos:
    """The family behind `ServoArm`.

    Args:
        address: of the port.
        options: of the station's arm.
        velocities: highest speed of each servo's joint [rad/s, m/s], set as its profile velocity: the last limit.
    """

    def __init__(self, address: str, options: ServoBusOptions, velocities: Array) -> None:
        self.bus = ServoBus(DynamixelDialect(), address, options.baud, options.patience_ms)
        self._servos = {servo.id: servo for servo in options.servos}
        self._ids = options.ids
        self._profile = {
            servo.id: _profile_velocity(servo, float(velocity))
            for servo, velocity in zip(options.servos, velocities, strict=True)
        }
        self._clocks: Array | None = None
        self._read_ms = 0.0

    def facts(self, servo: int) -> ServoFacts:
        head, ends = self.bus.read(servo, 0, 13), self.bus.read(servo, HIGH, 8)
        setup = []
        if head[MODE] not in POSITION_MODES:
            setup.append(f"operating mode {head[MODE]}, one of {POSITION_MODES} is needed: set register {MODE}")
        wanted = REVERSED if self._servos[servo].is_reversed else 0
        if head[DRIVE_MODE] & (REVERSED | TIME_BASED) != wanted:
            setup.append(
                f"drive mode {head[DRIVE_MODE]}, {wanted} is needed (1 turns it round, 4 times its profile): set "
                f"register {DRIVE_MODE}, or `is_reversed` in the station; where the joint then turns the wrong way, "
                "`sign: -1`"
            )
        shadow = self._servos[servo].shadow
        if shadow and (follows := self.bus.read_number(shadow, SECONDARY, 1)) != servo:
            setup.append(f"servo {shadow} on the same joint follows {follows}: set its register {SECONDARY} to {servo}")
        return ServoFacts(
            model=int.from_bytes(head[MODEL : MODEL + 2], "little"), firmware=str(head[FIRMWARE]),
            low=int.from_bytes(ends[4:], "little"), high=int.from_bytes(ends[:4], "little"),
            voltage_v=self.bus.read_number(servo, VOLTAGE, 2) / 10, setup=tuple(setup),
        )  # fmt: skip

    def prepare(self) -> None:
        for servo, velocity in self._profile.items():
            self.bus.write(servo, WATCHDOG, 1, 0)  # a tripped one refuses goals until it is cleared
            self.bus.write(servo, PROFILE_VELOCITY, 4, velocity)
        self._clocks = None

    def readings(self) -> ServoReadings:
        answers = self.bus.read_all(self._ids, CLOCK, READ_END - CLOCK)
        now_ms = monotonic_ms()
        clocks = np.array([int.from_bytes(data[:2], "little") for data in answers], float)
        alerts = [servo for servo in self._ids if self.bus.alerts[servo]]
        faults = [f"servo {one}: {_hardware_error(self.bus.read_number(one, HARDWARE_ERROR, 1))}" for one in alerts]
        is_new, late = self._progress(clocks, now_ms)
        return ServoReadings(
            ticks=np.array([_signed(data, POSITION - CLOCK) for data in answers], float),
            ticks_per_s=np.array([_signed(data, VELOCITY - CLOCK) for data in answers]) * TICKS_PER_S,
            is_new=is_new,
            faults=(*faults, *late),
        )

    def care(self, servo: int) -> ServoCare:
        state = self.bus.read(servo, TORQUE, TEMPERATURE + 1 - TORQUE)  # one long answer is quicker than two short ones
        voltage = int.from_bytes(state[VOLTAGE - TORQUE : TEMPERATURE - TORQUE], "little") / 10
        fault = _hardware_error(state[HARDWARE_ERROR - TORQUE])
        return ServoCare(state[0] == 1, voltage, float(state[TEMPERATURE - TORQUE]), fault)

    def aim(self, ticks: Array) -> None:
        self.bus.write_all(self._ids, GOAL, 4, [int(tick) for tick in ticks])

    def power(self, servo: int, *, is_on: bool) -> None:
        self.bus.write(servo, TORQUE, 1, int(is_on))
        self.bus.write(servo, WATCHDOG, 1, WATCHDOG_UNITS if is_on else 0)

    def clear(self, servo: int) -> None:
        """Restart a servo, which alone clears its error; its torque is gone until the next first command."""
        self.bus.reboot(servo)
        for attempt in range(REBOOT_ATTEMPTS):
            try:
                self.bus.find(servo)
                return
            except (BusError, DeviceNotFound):
                if attempt == REBOOT_ATTEMPTS - 1:
                    raise

    def rest(self) -> None:
        for servo in self._ids:
            self.bus.write(servo, WATCHDOG, 1, 0)

    def _progress(self, clocks: Array, now_ms: float) -> tuple[bool, tuple[str, ...]]:
        """Say whether every servo's clock went on, and which of them jumped or had its watchdog trip."""
        before, gap_ms = self._clocks, now_ms - self._read_ms
        self._clocks, self._read_ms = clocks, now_ms
        if before is None:
            return True, ()
        went_ms = (clocks - before) % CLOCK_TURN_MS
        faults: list[str] = []
        if gap_ms < CLOCK_TURN_MS / 2:
            jumped = np.flatnonzero(np.abs(went_ms - gap_ms) > RESTARTED_MS)
            faults += [f"servo {self._ids[i]}: its clock jumped, has it restarted?" for i in jumped]
        if gap_ms > WATCHDOG_UNIT_MS * WATCHDOG_UNITS:
            stopped = [servo for servo in self._ids if self.bus.read_number(servo, WATCHDOG, 1) == TRIPPED]
            faults += [f"servo {servo}: nobody spoke to it for {gap_ms:.0f} ms and it stopped" for servo in stopped]
        return bool((went_ms > 0).all()), tuple(faults)


def make_arm(station: StationSpec) -> ServoArm:
    """Return the station's arm of Dynamixel servos; `arm: address` is the port, best from /dev/serial/by-id."""
    if not station.arm.address:
        raise ConfigError(f"{station.name}: arm: address is missing; give the port, from /dev/serial/by-id")
    options = arm_options(station, ServoBusOptions)
    options.check(station)
    return ServoArm(station, options, DynamixelServos(station.arm.address, options, station.velocity_limit))


def _profile_velocity(servo: ServoSpec, velocity: float) -> int:
    """Return a joint's speed limit [rad/s, m/s] in units of the profile velocity, at least 1 as 0 is no limit."""
    return max(1, round(velocity / servo.travel / RAD_PER_TICK / TICKS_PER_S))


def _signed(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little", signed=True)


def _hardware_error(bits: int) -> str:
    """Return what the bits of the hardware error register say; nothing where there are none."""
    names = [name for bit, name in HARDWARE_ERRORS.items() if bits & bit]
    text = ", ".join(names) or f"hardware error {bits}"
    return f"{text}; take the cause away, then recover, which restarts it" if bits else ""
