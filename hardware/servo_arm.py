"""An arm of bus servos behind `robot.devices.Arm`; a `ServoFamily` knows registers and units of one vendor.

The thread that reads and commands owns the bus; a lock keeps a `recover` or `close` from another one out of the middle
of a reading. No servo gets torque before its goal register was set to where it stands: the register keeps the goal of
last time. Such arms have no brakes and fall without torque, so that a fault, a stop and a close leave it on.
"""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hardware.servo_bus import BusError, BusLost, ServoBus
from hardware.servo_options import ServoBusOptions, TickMap
from robot.clock import Clock, MonotonicClock
from robot.devices import DeviceLife, DeviceState, Features, JointReading, check_command
from robot.errors import ActionRejected, DeviceDisconnected, RobotError
from robot.specs import StationSpec
from robot.types import NS_PER_S, Array

HOLD_S = 0.1  # without a command the arm holds
MISSES = 3  # failed readings in a row that are a fault
REST_TOLERANCE = 0.15  # [rad] of the rest pose, within which the torque may go
CARE_EVERY = 2  # readings from one look at a single servo to the next
FULL_TURN = 4095

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServoFacts:
    """What one servo is: read once, before anything moves. `setup` tells what of its settings will not do."""

    model: int
    firmware: str
    low: int  # ticks
    high: int
    voltage_v: float
    setup: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServoReadings:
    """One reading of all servos: positions [ticks] and velocities [ticks/s]; `is_new` is the device's own progress."""

    ticks: Array
    ticks_per_s: Array
    is_new: bool
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServoCare:
    """The state of one servo that is looked at in turn."""

    has_torque: bool
    voltage_v: float
    temperature_c: float
    fault: str = ""


class ServoFamily(Protocol):
    """One vendor's servos on one bus. Raises BusError for whatever the bus does not answer."""

    bus: ServoBus

    def facts(self, servo: int) -> ServoFacts: ...

    def prepare(self) -> None:
        """Set what does not outlive the servos' supply; nothing moves."""
        ...

    def readings(self) -> ServoReadings: ...

    def care(self, servo: int) -> ServoCare: ...

    def aim(self, ticks: Array) -> None:
        """Set the goals of all servos."""
        ...

    def power(self, servo: int, *, is_on: bool) -> None:
        """Give or take the torque of one servo, and wait until it says so."""
        ...

    def clear(self, servo: int) -> None:
        """Clear a servo's own fault; its torque stays off until `power`."""
        ...

    def rest(self) -> None:
        """Undo `prepare`, before the program lets go of servos that keep their torque."""
        ...


class ServoArm(DeviceLife):
    """The arm of a station whose driver is a servo family."""

    def __init__(
        self, station: StationSpec, options: ServoBusOptions, family: ServoFamily, clock: Clock | None = None
    ) -> None:
        super().__init__()
        options.check(station)
        self.features = Features("arm", station.joint_names, station.arm.state_rate_hz, (len(station.joint_names),))
        self.mismatches: tuple[str, ...] = ()
        self.fault = ""
        self._station, self._options, self._family = station, options, family
        self._map = TickMap(options.servos)
        self._clock = clock or MonotonicClock()
        self._lock = threading.RLock()
        self._reading = JointReading(0, 0, station.home.copy(), np.zeros(len(station.joint_names)))
        self._commanded_ns = 0
        self._misses = self._reads = 0
        self._is_fresh = False  # the newest reading is what the arm says now
        self._care: dict[int, ServoCare] = {}
        self._facts: dict[int, ServoFacts] = {}

    def connect(self) -> None:
        with self._lock:
            if self._state is not DeviceState.DISCONNECTED:
                return
            try:
                self._open()
                self._accept(self._family.readings())
            except BusError as error:
                self._family.bus.close()
                raise DeviceDisconnected(f"the arm of {self._station.name} answers badly: {error}") from error
            except RobotError:
                self._family.bus.close()
                raise
            super().connect()

    def read(self) -> JointReading:
        with self._lock:
            self.require()
            try:
                self._accept(self._family.readings())
                self._look_after_one()
            except BusError as error:
                self._miss(error)
            if self._state is DeviceState.ACTIVE and self._silent_s() > HOLD_S:
                self.hold()
            return self._reading

    def command(self, position: Array, velocity: Array) -> None:
        with self._lock:
            self.require(DeviceState.CONNECTED, DeviceState.ACTIVE, DeviceState.HOLDING)
            if self.mismatches:
                raise ActionRejected(f"the arm is not the one of {self._station.name}: {'; '.join(self.mismatches)}")
            is_first = self._state is DeviceState.CONNECTED
            check_command(self._station, position, self._reading.position, is_first=is_first)
            try:
                if is_first:
                    self._take_hold()
                self._family.aim(self._map.to_ticks(position))
            except BusError as error:
                self._fail(f"a command did not reach the servos: {error}")
                raise DeviceDisconnected(self.fault) from error
            self._commanded_ns = self._clock.now_ns()
            self._state = DeviceState.ACTIVE

    def hold(self) -> None:
        with self._lock:
            if self._state is not DeviceState.ACTIVE:
                return
            try:
                self._stay()
            except BusError as error:
                self._fail(f"the servos cannot be told to hold: {error}")
                return
            self._state = DeviceState.HOLDING

    def recover(self) -> None:
        with self._lock:
            if self._state is not DeviceState.FAULT:
                return
            try:
                self._family.bus.be_patient()
                if not self._family.bus.is_open:
                    self._open()
                else:
                    self._identify()
                for servo in self._options.servos:
                    if self._family.care(servo.id).fault:
                        self._family.clear(servo.id)
                self._family.prepare()
                readings = self._family.readings()
                trouble = (*readings.faults, *filter(None, map(self._trouble, self._options.ids)))
            except RobotError as error:
                raise DeviceDisconnected(f"still at fault: {error}") from error
            finally:
                self._family.bus.hurry()
            if trouble:
                raise DeviceDisconnected(f"still at fault: {'; '.join(trouble)}")
            self._misses = 0
            self._accept(readings)
            self.fault, self._state = "", DeviceState.CONNECTED

    def close(self) -> None:
        """Stand, and let go: the torque stays on unless the arm lies in its rest pose."""
        with self._lock:
            if self._state is DeviceState.DISCONNECTED:
                return
            try:
                self.hold()
                if self._family.bus.is_open:
                    self._let_go()
            except BusError as error:
                log.warning("the arm of %s was closed without its answer: %s", self._station.name, error)
            self._family.bus.close()
            super().close()

    def health(self) -> Mapping[str, object]:
        """Return identity, the extremes over the servos, and the bus's errors, as of the last look at each."""
        care, facts = list(self._care.values()), list(self._facts.values())
        found: dict[str, object] = {f"bus_{kind}": count for kind, count in self._family.bus.errors.copy().items()}
        if facts:
            found["firmware"] = ", ".join(sorted({fact.firmware for fact in facts}))
        if care:
            found["voltage_min_v"] = min(one.voltage_v for one in care)
            found["temperature_max_c"] = max(one.temperature_c for one in care)
        return found

    def _open(self) -> None:
        bus = self._family.bus
        bus.open()
        for servo in (*self._options.ids, *(one.shadow for one in self._options.servos if one.shadow)):
            bus.find(servo)
        self._identify()
        self._family.prepare()
        bus.hurry()

    def _identify(self) -> None:
        """Compare every servo with the station; what differs is in `mismatches`."""
        found: list[str] = []
        for i, servo in enumerate(self._options.servos):
            facts = self._facts[servo.id] = self._family.facts(servo.id)
            found += [f"servo {servo.id} ({servo.joint}): {text}" for text in self._differences(i, facts)]
        versions = {(fact.model, fact.firmware) for fact in self._facts.values()}
        if len(versions) > len({model for model, _ in versions}):
            texts = [f"{number}: {fact.firmware}" for number, fact in self._facts.items()]
            found.append(f"servos of one model have different firmware ({', '.join(texts)}): bring them to one version")
        self.mismatches = tuple(found)

    def _differences(self, i: int, facts: ServoFacts) -> list[str]:
        servo, (least, most) = self._options.servos[i], self._options.voltage_v
        found = list(facts.setup)
        if facts.model != servo.model:
            found.append(f"model {facts.model}, the station says {servo.model}")
        if not least <= facts.voltage_v <= most:
            found.append(
                f"{facts.voltage_v:.1f} V, the station says {least:g} to {most:g} V: "
                "is it another arm (the leader for the follower), or the wrong supply?"
            )
        low, high = self._map.limits(facts.low, facts.high, i)
        wanted = self._station.position_lower[i], self._station.position_upper[i]
        slack = self._options.limit_tolerance_rad * servo.travel
        is_narrow = low > wanted[0] + slack or high < wanted[1] - slack
        is_wide = (low < wanted[0] - slack or high > wanted[1] + slack) and facts.high - facts.low < FULL_TURN
        if is_narrow or is_wide:
            found.append(
                f"limits [{low:.3f}, {high:.3f}], the station says [{wanted[0]:.3f}, {wanted[1]:.3f}]: "
                "other calibration, joint order or units?"
            )
        return found

    def _accept(self, readings: ServoReadings) -> None:
        self._misses, self._is_fresh = 0, readings.is_new
        if readings.is_new:
            self._reading = JointReading(
                self._clock.now_ns(),
                self._reading.counter + 1,
                self._map.to_joints(readings.ticks),
                readings.ticks_per_s * self._map.scale,
            )
        if readings.faults:
            self._fail("; ".join(readings.faults))

    def _look_after_one(self) -> None:
        """Look at one servo in turn: its torque, supply, temperature and own faults."""
        self._reads += 1
        turn, left = divmod(self._reads, CARE_EVERY)
        if left == 0:
            servo = self._options.ids[turn % len(self._options.ids)]
            if trouble := self._trouble(servo):
                self._fail(trouble)

    def _trouble(self, servo: int) -> str:
        """Return what is wrong with one servo."""
        care = self._care[servo] = self._family.care(servo)
        least, most = self._options.voltage_v
        if care.fault:
            return f"servo {servo}: {care.fault}"
        if care.temperature_c > self._options.temperature_limit_c:
            limit = self._options.temperature_limit_c
            return f"servo {servo} has {care.temperature_c:g} C, allowed: {limit:g}; let it cool"
        if not least <= care.voltage_v <= most:
            return f"servo {servo} has {care.voltage_v:.1f} V, allowed: {least:g} to {most:g}; check the supply"
        if self._state in (DeviceState.ACTIVE, DeviceState.HOLDING) and not care.has_torque:
            return f"servo {servo} has lost its torque: was its supply cut, or an emergency stop pressed?"
        return ""

    def _miss(self, error: BusError) -> None:
        """Count a failed reading; the third in a row, or a lost port, is a fault and there is no reading."""
        self._misses, self._is_fresh = self._misses + 1, False
        if isinstance(error, BusLost) or self._misses >= MISSES:
            self._fail(str(error))
            raise DeviceDisconnected(f"the arm of {self._station.name}: {error}") from error

    def _fail(self, reason: str) -> None:
        """Stand, powered, as far as the servos still let it be; only `recover` leaves this."""
        if self._state not in (DeviceState.CONNECTED, DeviceState.ACTIVE, DeviceState.HOLDING):
            return
        was_powered = self._state is not DeviceState.CONNECTED
        self._state, self.fault = DeviceState.FAULT, reason
        log.error("the arm of %s is at fault: %s", self._station.name, reason)
        if was_powered:
            try:
                self._stay()
            except BusError as error:
                log.error("and it cannot be told to hold, so that it stands at its last goal: %s", error)

    def _stay(self) -> None:
        """Make where the arm is its goal; where that is not known for sure, it stands at its last goal by itself."""
        if self._is_fresh:
            self._family.aim(self._map.to_ticks(self._reading.position))

    def _take_hold(self) -> None:
        """Make where each servo stands its goal, then give torque."""
        self._family.aim(self._family.readings().ticks)
        for servo in self._options.ids:
            self._family.power(servo, is_on=True)

    def _let_go(self) -> None:
        rest = np.array(self._options.rest_rad)
        if rest.size and np.abs(self._reading.position - rest).max() < REST_TOLERANCE:
            for servo in self._options.ids:
                self._family.power(servo, is_on=False)
        elif self._state is not DeviceState.CONNECTED:
            log.warning("the arm of %s keeps its torque: it is not in its rest pose and would fall", self._station.name)
        self._family.rest()

    def _silent_s(self) -> float:
        return (self._clock.now_ns() - self._commanded_ns) / NS_PER_S


def monotonic_ms() -> float:
    """Return the time [ms] that families take their gaps by."""
    return time.monotonic() * 1e3
