"""The serial port below a servo vendor's SDK: waiting without a busy loop, time that no clock step can bend, draining.

Both SDKs talk to a `PortHandler` of the same shape. Theirs poll the port at full speed while they wait, take the wall
clock for time-outs, and leave bytes of a late answer for the next request to find; this one is put in its place.
"""

import contextlib
import select
import termios
import time
from typing import Any

SILENCE_S = 0.005  # the line is drained once it was silent for so long
DRAIN_LIMIT_S = 0.2
WAIT_S = 0.002
PORT_ERRORS = (OSError, termios.error)  # errors of pyserial are OSErrors


def make_port(handler: type[Any], path: str) -> Any:
    """Return a port of the SDK's class `handler` whose waiting is ours.

    Args:
        handler: `PortHandler` of the vendor's SDK.
        path: of the serial port.
    """

    class PatientPort(handler):
        """Waits in `select`, on the monotonic clock, and can be drained."""

        patience_ms = 0.0  # how long beyond the bytes' own time on the wire an answer may take

        def readPort(self, length: int) -> bytes:
            data = self.ser.read(length)
            if not data and length > 0:
                select.select([self.ser.fd], [], [], WAIT_S)
                data = self.ser.read(length)
            return data

        def clearPort(self) -> None:
            self.ser.reset_input_buffer()

        def getCurrentTime(self) -> float:
            return time.monotonic() * 1e3

        def setPacketTimeout(self, packet_length: int) -> None:
            self.setPacketTimeoutMillis(self.tx_time_per_byte * packet_length + self.patience_ms)

        def drain(self) -> int:
            """Throw away what comes until the line is silent; return how many bytes that was."""
            thrown, limit_s = 0, time.monotonic() + DRAIN_LIMIT_S
            while time.monotonic() < limit_s and select.select([self.ser.fd], [], [], SILENCE_S)[0]:
                found = len(self.ser.read(4096))
                if not found:
                    break
                thrown += found
            return thrown

        def shut(self) -> None:
            """Close, whatever state the port is in."""
            with contextlib.suppress(*PORT_ERRORS):
                self.closePort()

    return PatientPort(path)
