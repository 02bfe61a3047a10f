"""One bus of smart servos through its vendor's SDK, with every answer checked.

What the SDKs leave to the caller is done here. A return code other than success voids a whole reading, the servos that
answered included; an answer of another servo or of another length than asked for does so too. After any such failure
the line is drained until it is silent and one servo must answer a request of its own, before anything is read again:
with feetech-servo-sdk a single late answer otherwise puts every later reading one cycle behind, success as its code.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hardware.servo_port import PORT_ERRORS, make_port
from robot.errors import DeviceNotFound, RobotError

FINDS = 3  # attempts to get an answer of a servo before anything moves
ROUND_TRIPS = 2  # attempts to get one clean answer after a failure
SETUP_PATIENCE_MS = 100.0  # while nothing moves


class BusError(RobotError, ConnectionError):
    """A request that was not answered as it must be; nothing of the answer may be used."""


class BusLost(BusError):
    """The port itself is gone."""


@dataclass(frozen=True, slots=True)
class Sdk:
    """A vendor's SDK, loaded."""

    port_handler: type[Any]
    packets: Any  # the vendor's packet handler


class Dialect(Protocol):
    """What differs between the vendors' protocols and SDKs."""

    model_address: int

    def load(self) -> Sdk:
        """Import the SDK; MissingDependency names the extra."""
        ...

    def request_all(self, sdk: Sdk, port: Any, address: int, size: int, ids: Sequence[int]) -> int:
        """Send a sync read and return the SDK's code."""
        ...

    def receive(self, sdk: Sdk, port: Any) -> tuple[int, int, int, bytes]:
        """Receive one status packet: code, id, error byte, data."""
        ...

    def alert(self, error: int) -> tuple[int, bool]:
        """Split an error byte into the servo's alert bits and whether the request itself was refused."""
        ...


class ServoBus:
    """Requests to the servos of one port. Not thread-safe: one thread at a time."""

    def __init__(self, dialect: Dialect, path: str, baud: int, patience_ms: float) -> None:
        self.errors: Counter[str] = Counter()  # by kind
        self.alerts: dict[int, int] = {}  # newest alert bits by id, as the status packets brought them
        self._dialect, self._path, self._baud, self._patience_ms = dialect, path, baud, patience_ms
        self._sdk: Sdk | None = None
        self._port: Any = None
        self._first: tuple[int, int] = (0, 0)  # id and model of the servo that proves the line
        self._is_dirty = False

    @property
    def is_open(self) -> bool:
        return self._port is not None

    def open(self) -> None:
        """Open the port; DeviceNotFound where there is none, or another program has it."""
        self._sdk = self._dialect.load()
        port = make_port(self._sdk.port_handler, self._path)
        try:
            opened = port.setBaudRate(self._baud)
        except PORT_ERRORS as error:
            raise DeviceNotFound(
                f"servo bus {self._path} cannot be opened ({error}): is it plugged in, is the name from "
                "/dev/serial/by-id, are you in the group dialout, has another program opened it?"
            ) from error
        if not opened:
            raise DeviceNotFound(f"servo bus {self._path}: the SDK does not know the rate {self._baud} baud")
        self._port, self._is_dirty = port, False
        self.be_patient()

    def be_patient(self) -> None:
        """Wait longer for answers from here on, as nothing moves."""
        if self._port is not None:
            self._port.patience_ms = max(SETUP_PATIENCE_MS, self._patience_ms)

    def hurry(self) -> None:
        """Wait for answers no longer than in motion from here on."""
        if self._port is not None:
            self._port.patience_ms = self._patience_ms

    def close(self) -> None:
        if self._port is not None:
            self._port.shut()
            self._port = None

    def read(self, servo: int, address: int, size: int) -> bytes:
        """Return `size` bytes of one servo's registers."""
        self._clean()
        return self._ask(servo, address, size)

    def read_number(self, servo: int, address: int, size: int) -> int:
        """Return one register, little endian, without sign."""
        return int.from_bytes(self.read(servo, address, size), "little")

    def write(self, servo: int, address: int, size: int, value: int) -> None:
        """Write one register of one servo and wait for its acknowledgement."""
        self._clean()
        packets, port = self._parts()
        data = list((value % (1 << 8 * size)).to_bytes(size, "little"))
        code, error = self._guard(packets.writeTxRx, port, servo, address, size, data)
        self._check(code, error, servo, f"writing {value} to register {address}")

    def read_all(self, ids: Sequence[int], address: int, size: int) -> list[bytes]:
        """Return `size` bytes of the same registers of every servo, or raise: never some of them."""
        self._clean()
        assert self._sdk is not None
        what = f"reading registers {address} to {address + size - 1} of all servos"
        code = self._guard(self._dialect.request_all, self._sdk, self._port, address, size, ids)
        self._check(code, 0, 0, what)
        found: list[bytes] = []
        for servo in ids:
            code, answering, error, data = self._guard(self._dialect.receive, self._sdk, self._port)
            self._check(code, error, servo, what)
            self._expect(answering == servo, "order", f"servo {answering} answered where {servo} had to, {what}")
            self._expect(len(data) == size, "length", f"servo {servo} sent {len(data)} bytes for {size}, {what}")
            found.append(data)
        self._expect(not self._guard(self._port.getBytesAvailable), "surplus", f"more bytes than asked for, {what}")
        return found

    def write_all(self, ids: Sequence[int], address: int, size: int, values: Sequence[int]) -> None:
        """Write the same register of every servo in one packet; nobody acknowledges it."""
        packets, port = self._parts()
        data: list[int] = []
        for servo, value in zip(ids, values, strict=True):
            data += [servo, *(value % (1 << 8 * size)).to_bytes(size, "little")]
        code = self._guard(packets.syncWriteTxOnly, port, address, size, data, len(data))
        self._check(code, 0, 0, f"writing register {address} of all servos")

    def reboot(self, servo: int) -> None:
        """Restart one servo (Dynamixel only). Its torque goes, and what it held falls."""
        self._clean()
        packets, port = self._parts()
        code, error = self._guard(packets.reboot, port, servo)
        self._check(code, error, servo, "rebooting")

    def find(self, servo: int) -> int:
        """Return the model of a servo; DeviceNotFound where it does not answer."""
        for attempt in range(FINDS):
            try:
                self._is_dirty = False  # the round trip would ask the first servo
                model = int.from_bytes(self._ask(servo, self._dialect.model_address, 2), "little")
            except BusLost:
                raise
            except BusError as error:
                self._drain()
                if attempt == FINDS - 1:
                    raise DeviceNotFound(
                        f"servo {servo} on {self._path} does not answer at {self._baud} baud ({error}): "
                        "is it powered, its id right, its cable in?"
                    ) from error
                continue
            self._first = servo, model
            return model
        raise AssertionError("the last attempt returns or raises")

    def _clean(self) -> None:
        """After a failure: drain the line, and have one answer of the length that was asked for."""
        for _ in range(ROUND_TRIPS if self._is_dirty else 0):
            self._drain()
            servo, model = self._first
            try:
                answer = self._ask(servo, self._dialect.model_address, 2)
            except BusLost:
                raise
            except BusError:
                continue
            if int.from_bytes(answer, "little") == model:
                self._is_dirty = False
                return
        if self._is_dirty:
            raise BusError(f"servo bus {self._path} gives no clean answer: {dict(self.errors)}")

    def _ask(self, servo: int, address: int, size: int) -> bytes:
        packets, port = self._parts()
        data, code, error = self._guard(packets.readTxRx, port, servo, address, size)
        what = f"reading register {address}"
        self._check(code, error, servo, what)
        self._expect(len(data) == size, "length", f"servo {servo} sent {len(data)} bytes for {size}, {what}")
        return bytes(data)

    def _drain(self) -> None:
        self._parts()
        if self._guard(self._port.drain):
            self.errors["drained"] += 1

    def _parts(self) -> tuple[Any, Any]:
        if self._sdk is None or self._port is None:
            raise BusLost(f"servo bus {self._path} is not open")
        return self._sdk.packets, self._port

    def _check(self, code: int, error: int, servo: int, what: str) -> None:
        assert self._sdk is not None
        whose = f"servo {servo}: " if servo else ""
        self._expect(code == 0, "code", f"{whose}{what}: {self._sdk.packets.getTxRxResult(code)} ({code})")
        if servo:
            self.alerts[servo], is_refused = self._dialect.alert(error)
            self._expect(not is_refused, "refused", f"servo {servo} refuses {what} (error {error & 0x7F})")

    def _expect(self, is_met: bool, kind: str, otherwise: str) -> None:
        if not is_met:
            self.errors[kind] += 1
            self._is_dirty = True
            raise BusError(f"{self._path}: {otherwise}")

    def _guard(self, call: Any, *arguments: Any) -> Any:
        """Call into SDK or port; BusLost, and the port closed, where that breaks."""
        try:
            if self._port is None:
                raise OSError("it is closed")
            return call(*arguments)
        except PORT_ERRORS as error:
            self.errors["lost"] += 1
            self.close()
            raise BusLost(f"servo bus {self._path} is gone ({error}): is the cable still in?") from error
        except IndexError:  # the SDKs index into answers that are shorter than they think
            self._expect(False, "length", "an answer too short to be one")
            raise
