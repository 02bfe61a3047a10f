"""What operator devices said since the last tick: the newest packet wins, but no request and no label is lost."""

import threading
from dataclasses import dataclass, replace
from typing import Protocol

from robot.types import Mark, OperatorInput, OwnerRequest

STOPPING = (OwnerRequest.FREEZE, OwnerRequest.STOP)


@dataclass(slots=True)
class _Device:
    """The newest packet of one device, and what no tick has seen of it yet."""

    packet: OperatorInput
    heard_s: float
    is_new: bool = True
    request: OwnerRequest = OwnerRequest.NONE
    mark: Mark = Mark.NONE


class Listener(Protocol):
    """Who is told, in their order, of all packets and of all ticks that ask for them: `robot.operator_log`."""

    def packet(self, packet: OperatorInput, now_s: float) -> None: ...

    def take(self, now_s: float, *, is_human: bool) -> None: ...


class OperatorInbox:
    """Packets of any number of devices, filled by one thread and emptied tick by tick by another.

    While a person drives, only the device that took over is followed, and of the others a stop, a freeze and labels
    count. Within one tick a stop or a freeze is not overtaken by what the same device asks for after it.
    Packets are numbered anew, so that a device that starts again is not taken for an old one.
    """

    def __init__(self, listener: Listener | None = None) -> None:
        self._listener = listener
        self._devices: dict[str, _Device] = {}
        self._driver = ""
        self._seq = 0
        self._lock = threading.Lock()

    def put(self, packet: OperatorInput, now_s: float) -> bool:
        """Keep a packet; False where it is not newer than the device's last."""
        with self._lock:
            if self._listener is not None:
                self._listener.packet(packet, now_s)
            known = self._devices.get(packet.device)
            if known is None:
                known = self._devices[packet.device] = _Device(packet, now_s)
            elif packet.time_ns <= known.packet.time_ns:
                return False
            known.packet, known.heard_s, known.is_new = packet, now_s, True
            if packet.request and not (known.request in STOPPING and packet.request < known.request):
                known.request = packet.request
            known.mark = packet.mark or known.mark
            return True

    def take(self, now_s: float, *, is_human: bool) -> tuple[OperatorInput | None, float]:
        """Return the packet of this tick and its age [s]; None before any.

        Args:
            now_s: monotonic time.
            is_human: whether a person drives by now.
        """
        with self._lock:
            if self._listener is not None:
                self._listener.take(now_s, is_human=is_human)
            if not self._devices:
                return None, 0.0
            self._driver = self._driver if is_human else ""
            chosen = self._devices.get(self._driver) or self._loudest()
            request, mark = chosen.request, chosen.mark
            is_new = chosen.is_new
            for other in self._devices.values():
                if other is not chosen and (other.mark or other.request in STOPPING):
                    is_new, mark = True, mark or other.mark
                    request = max(request, other.request) if other.request in STOPPING else request
                other.request, other.mark = OwnerRequest.NONE, Mark.NONE
            chosen.is_new = False
            self._seq += is_new
            if request is OwnerRequest.TAKE_OVER:
                self._driver = chosen.packet.device
            return replace(chosen.packet, seq=self._seq, request=request, mark=mark), now_s - chosen.heard_s

    def _loudest(self) -> _Device:
        """Return the device that asks for something, else the one heard last."""
        return max(self._devices.values(), key=lambda device: (device.request is not OwnerRequest.NONE, device.heard_s))
