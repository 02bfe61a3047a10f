"""A page without a browser or a socket: its packets go straight into a session."""

from robot.operator.session import OperatorSession, Receipt, Seen
from robot.operator.wire import PagePacket
from robot.specs import load_station
from robot.types import OperatorInput

STATION = load_station("fr3_sim")
AUTO, HUMAN, HOLD = (Seen(mode, "running", "7", (0.04,)) for mode in ("auto", "human_correction", "hold"))
UP = (0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
PERIOD_S = 0.05


class Page:
    """A page whose packets arrive at once, unless told otherwise."""

    def __init__(self, session: OperatorSession, name: str = "page 1") -> None:
        self.session, self.name, self.seq = session, name, 0

    def send(self, now_s: float, seen: Seen = AUTO, delay_s: float = 0.0, **state: object) -> Receipt:
        self.seq += 1
        packet = PagePacket(self.seq, now_s - delay_s, **{"wants_control": True, "engaged": True, **state})
        return self.session.receive(self.name, packet, now_s, seen)

    def take(self, now_s: float, seen: Seen = AUTO) -> OperatorInput | None:
        return self.session.take(now_s, round(now_s * 1e9), seen)
