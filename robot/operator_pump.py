"""From an operator device to whoever decides: packets at a rate, and silence where the device is silent.

Nothing is repeated or made up: the dead-man of the arbiter is the time since the last packet.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from robot.clock import RateKeeper
from robot.devices import DeviceState, OperatorDevice
from robot.errors import DeviceDisconnected, DeviceNotFound
from robot.types import Mark, OperatorInput, OwnerRequest, RobotState

RATE_HZ = 100.0  # at which a device is read: slower, reports pile up in some
QUIET_S = 0.019  # packets that say nothing new go out so often: at every second reading
AGAIN_S = 1.0
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Said:
    """What of a packet is worth sending at once."""

    engaged: bool
    request: OwnerRequest
    mark: Mark


class OperatorPump:
    """Reads one device in one thread.

    Args:
        device: not yet connected, or connected; the pump closes it.
        send: what a packet is given to.
        now_ns: the clock that packets are stamped by.
        stop: called for a stop, beside the packet that says so.
    """

    def __init__(
        self,
        device: OperatorDevice,
        send: Callable[[OperatorInput], object],
        now_ns: Callable[[], int],
        stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.complaint = ""
        self.sent = self.losses = 0
        self._device, self._send, self._now_ns, self._stop = device, send, now_ns, stop
        self._said = Said(False, OwnerRequest.NONE, Mark.NONE)
        self._sent_s = self._tried_s = -AGAIN_S

    def run(self, stopping: threading.Event) -> None:
        """Pump until told to stop; a device that is not there is looked for once a second."""
        keeper = RateKeeper(RATE_HZ)
        try:
            while not stopping.is_set():
                keeper.wait()
                self.step(time.monotonic())
        finally:
            self._device.close()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Pump in a thread of its own for the length of a `with` block."""
        stopping = threading.Event()
        thread = threading.Thread(target=self.run, args=(stopping,), name="operator device", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join(timeout=3.0)

    def step(self, now_s: float) -> OperatorInput | None:
        """Read once and send what is due; returns what was sent."""
        if self._device.state is DeviceState.DISCONNECTED and not self._connect(now_s):
            return None
        try:
            packet = self._device.read()
        except DeviceDisconnected as error:
            self.losses += 1
            self._complain(str(error))
            self._device.close()
            return None
        if packet is None:
            return None
        said = Said(packet.engaged, packet.request, packet.mark)
        if said == self._said and now_s - self._sent_s < QUIET_S and not (said.request or said.mark):
            return None
        self._said, self._sent_s, self.sent = said, now_s, self.sent + 1
        packet = replace(packet, time_ns=self._now_ns())
        self._send(packet)
        if packet.request is OwnerRequest.STOP:
            self._stop()
        return packet

    def feel(self, robot: RobotState) -> None:
        """Tell the device where the arm is."""
        self._device.feel(robot)

    def _connect(self, now_s: float) -> bool:
        if now_s - self._tried_s < AGAIN_S:
            return False
        self._tried_s = now_s
        try:
            self._device.connect()
        except (DeviceNotFound, DeviceDisconnected) as error:
            self._complain(str(error))
            return False
        self.complaint = ""
        return True

    def _complain(self, complaint: str) -> None:
        if complaint != self.complaint:
            self.complaint = complaint
            log.error("%s", complaint)
