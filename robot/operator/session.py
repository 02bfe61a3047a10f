"""What an operator page may do: who holds the controls, what was asked last. No transport, no ROS, no clock.

A page sends packets of its whole state (`PagePacket`), so a lost one is made good by the next. Only what happens once,
a request, a mark, a command, is an edge: the page repeats it until the session has acknowledged its number, the
session repeats it to the arbiter until the graph shows that it was obeyed. Times are seconds on any monotonic clock.
"""

import json
import math
from dataclasses import dataclass, field, replace

from robot.errors import RobotError
from robot.specs import StationSpec
from robot.types import Mark, OperatorInput, OwnerRequest

LEASE_S = 0.5  # silence after which another page may take the controls
LATE_S = 0.25  # a packet held up for longer than this is not obeyed any more
REPEAT_S = 0.5  # for how long an edge is repeated to the arbiter
OFFSET_WINDOW_S = 10.0
STILL = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
MAX_EDGES = 16

REQUESTS = {
    "take_over": OwnerRequest.TAKE_OVER,
    "hand_back": OwnerRequest.HAND_BACK,
    "freeze": OwnerRequest.FREEZE,
}
MARKS = {
    "success": Mark.SUCCESS,
    "failure": Mark.FAILURE,
    "discard": Mark.DISCARD,
    "correction": Mark.CORRECTION,
}
STOP = "stop"
COMMANDS = (STOP, "reset", "start", "demonstrate", "end")
EDGES = (*REQUESTS, *MARKS, *COMMANDS, "gripper")
HELD_ELSEWHERE = "another page holds the controls"


class PacketError(RobotError, ValueError):
    """A page sent something that is not a packet."""


@dataclass(frozen=True, slots=True)
class PagePacket:
    """A page's state at one time; `move` is a share (-1 to 1) of the speed limits along, then about the cell's axes.

    `side` is the arm that is meant, of a station of several.
    """

    seq: int
    sent_s: float  # on the page's clock
    watching: bool = True  # visible: wants images
    wants_control: bool = False
    engaged: bool = False
    move: tuple[float, ...] = STILL
    edges: tuple[tuple[int, str], ...] = ()  # (number, name), numbers rising
    frame: int = 0  # the newest image shown
    side: str = ""


def parse_packet(text: str) -> PagePacket:
    """Read a page's JSON message; PacketError says which part is wrong."""
    try:
        tree = json.loads(text)
        packet = PagePacket(
            seq=int(tree["seq"]),
            sent_s=float(tree["sent_s"]),
            watching=tree.get("watching", True) is True,
            wants_control=tree.get("wants_control", False) is True,
            engaged=tree.get("engaged", False) is True,
            move=tuple(float(share) for share in tree.get("move", STILL)),
            edges=tuple((int(number), str(name)) for number, name in tree.get("edges", ())),
            frame=int(tree.get("frame", 0)),
            side=str(tree.get("side", "")),
        )
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise PacketError(f"not a packet of the operator page: {error!r} in {text[:200]!r}") from error
    _check(packet)
    return packet


def _check(packet: PagePacket) -> None:
    if not math.isfinite(packet.sent_s):
        raise PacketError(f"sent_s is {packet.sent_s}, a finite time is needed")
    if len(packet.move) != len(STILL) or not all(abs(share) <= 1.0 for share in packet.move):
        raise PacketError(f"move is {packet.move}, needed: {len(STILL)} shares from -1 to 1")
    unknown = [name for _, name in packet.edges if name not in EDGES]
    if unknown or len(packet.edges) > MAX_EDGES:
        raise PacketError(f"edges {packet.edges[:MAX_EDGES]} has more than {MAX_EDGES}, or names outside {EDGES}")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the graph shows of the robot; None or "" where nothing is known yet."""

    mode: str = ""  # robot.ownership.Mode of command/author
    phase: str = ""  # of episode/state
    grippers_m: tuple[float, ...] = ()  # of each side


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of a packet: whether its page holds the controls, commands to carry out, what to tell the operator."""

    holds: bool = False
    commands: tuple[str, ...] = ()
    notice: str = ""


@dataclass(slots=True)
class _Delay:
    """How much longer than the fastest recent packet one took; needs no common clock."""

    fastest_s: float = math.inf
    fastest_before_s: float = math.inf
    since_s: float = -math.inf

    def excess(self, transit_s: float, now_s: float) -> float:
        if now_s - self.since_s > OFFSET_WINDOW_S:
            self.fastest_before_s, self.fastest_s, self.since_s = self.fastest_s, transit_s, now_s
        self.fastest_s = min(self.fastest_s, transit_s)
        return transit_s - min(self.fastest_s, self.fastest_before_s)


@dataclass(slots=True)
class _Page:
    seq: int = -1
    edge: int = 0
    delay: _Delay = field(default_factory=_Delay)


@dataclass(slots=True)
class _Pending:
    """A request or mark on its way to the arbiter."""

    request: OwnerRequest = OwnerRequest.NONE
    mark: Mark = Mark.NONE
    first_sent_s: float | None = None

    def is_over(self, seen: Seen, now_s: float) -> bool:
        if self.first_sent_s is None:
            return False
        return now_s - self.first_sent_s > REPEAT_S or _is_obeyed(self.request, self.mark, seen)


def _is_obeyed(request: OwnerRequest, mark: Mark, seen: Seen) -> bool:
    if request is OwnerRequest.TAKE_OVER:
        return seen.mode.startswith("human")
    if request is not OwnerRequest.NONE:
        return seen.mode == ("auto" if request is OwnerRequest.HAND_BACK else "hold")
    return seen.mode != "human_recovery" if mark is Mark.CORRECTION else seen.phase != "running"


class OperatorSession:
    """One lease for many pages, and the newest packet of the page that holds it.

    `first_seq` must rise from one session of a device to the next, so that the arbiter does not take a restarted
    page for an old one.
    """

    def __init__(self, station: StationSpec, *, device: str = "page", first_seq: int = 0) -> None:
        self.device = device
        self._seq = first_seq
        self._speeds = station.operator
        self.sides = station.side_names
        self._gripper_ranges = [side.gripper.joint_limits for side in station.sides]
        self._side = self.sides[0]  # whose gripper `_gripper_m` is
        self._pages: dict[str, _Page] = {}
        self._holder: str | None = None
        self._renewed_s = -math.inf
        self._newest: PagePacket | None = None
        self._request: _Pending | None = None
        self._mark: _Pending | None = None
        self._gripper_m: float | None = None

    def holder(self, now_s: float) -> str | None:
        """Return the page that holds the controls, None after `LEASE_S` without a packet of it."""
        return self._holder if now_s - self._renewed_s <= LEASE_S else None

    def edge(self, page: str) -> int:
        """Return the number of the last edge of a page that needs no repeating."""
        return self._pages[page].edge if page in self._pages else 0

    def receive(self, page: str, packet: PagePacket, now_s: float, seen: Seen) -> Receipt:
        """Take a page's packet in. A stop is obeyed from every page, and however late it comes."""
        known = self._pages.setdefault(page, _Page())
        if packet.side not in ("", *self.sides):
            raise PacketError(f"side is {packet.side!r}, this station has: {', '.join(self.sides)}")
        if packet.seq <= known.seq:
            return Receipt()
        known.seq = packet.seq
        edges = [(number, name) for number, name in packet.edges if number > known.edge]
        if known.delay.excess(now_s - packet.sent_s, now_s) > LATE_S and packet.wants_control:
            edges = [(number, name) for number, name in edges if name == STOP]
            known.edge = max((number for number, _ in edges), default=known.edge)
            return Receipt(commands=tuple(name for _, name in edges))
        known.edge = max((number for number, _ in edges), default=known.edge)
        if not self._hold(page, packet, now_s):
            notice = HELD_ELSEWHERE if packet.wants_control else ""
            return Receipt(commands=tuple(name for _, name in edges if name == STOP), notice=notice)
        if not packet.engaged and self._request and self._request.request is OwnerRequest.TAKE_OVER:
            self._request = None
        if packet.side != self._side:
            self._side, self._gripper_m = packet.side, None
        self._newest = packet
        notices = [self._take_edge(name, packet, seen) for _, name in edges]
        commands = tuple(name for _, name in edges if name in COMMANDS)
        return Receipt(True, commands, ", ".join(filter(None, notices)))

    def leave(self, page: str, now_s: float) -> None:
        """Forget a page; if it held the controls, the dead-man is released at once."""
        self._pages.pop(page, None)
        if self.holder(now_s) == page:
            self._newest = PagePacket(seq=0, sent_s=0.0)
            self._let_go()

    def take(self, now_s: float, time_ns: int, seen: Seen) -> OperatorInput | None:
        """Return the newest packet of the holder as the arbiter's input, once; None when there is nothing new.

        A packet is never given out twice, so the arbiter's own watchdog measures the silence of the page.
        """
        packet, self._newest = self._newest, None
        if packet is None:
            return None
        self._seq += 1
        request, mark = _next(self._request, now_s, seen), _next(self._mark, now_s, seen)
        self._request, self._mark = request, mark
        return OperatorInput(
            seq=self._seq,
            time_ns=time_ns,
            device=self.device,
            engaged=packet.engaged and packet.side in self.sides,
            request=request.request if request else OwnerRequest.NONE,
            mark=mark.mark if mark else Mark.NONE,
            twist=self._twist(packet),
            gripper=self._gripper_m if packet.engaged else None,
            side=packet.side,
        )

    def _hold(self, page: str, packet: PagePacket, now_s: float) -> bool:
        """Give, renew or end the lease; False when the page has no say now."""
        holder = self.holder(now_s)
        if holder not in (None, page):
            return False
        if holder is None:
            self._let_go()
        if not packet.wants_control:
            if holder == page:
                self._newest = replace(packet, engaged=False)
                self._let_go()
            return False
        self._holder, self._renewed_s = page, now_s
        return True

    def _let_go(self) -> None:
        self._holder, self._request, self._mark, self._gripper_m = None, None, None, None

    def _take_edge(self, name: str, packet: PagePacket, seen: Seen) -> str:
        """Note an edge of the holder; returns what the operator should be told."""
        if name in REQUESTS:
            self._request = _Pending(request=REQUESTS[name])
        elif name in MARKS:
            if seen.phase != "running":
                return f"{name}: no episode is running"
            self._mark = _Pending(mark=MARKS[name])
        elif name == "gripper":
            if not packet.engaged or packet.side not in self.sides:
                return "gripper: take over first"
            self._toggle_gripper(self.sides.index(packet.side), seen)
        return ""

    def _toggle_gripper(self, arm: int, seen: Seen) -> None:
        lower, upper = self._gripper_ranges[arm]
        measured = seen.grippers_m[arm] if seen.grippers_m else None
        travel = self._gripper_m if self._gripper_m is not None else measured
        is_open = travel is None or travel > 0.5 * (lower + upper)
        self._gripper_m = lower if is_open else upper

    def _twist(self, packet: PagePacket) -> tuple[float, float, float, float, float, float]:
        if not packet.engaged:
            return STILL
        linear, angular = self._speeds.linear_speed_m_s, self._speeds.angular_speed_rad_s
        x, y, z, rx, ry, rz = packet.move
        return (x * linear, y * linear, z * linear, rx * angular, ry * angular, rz * angular)


def _next(pending: _Pending | None, now_s: float, seen: Seen) -> _Pending | None:
    """Return the edge to send now, or None when there is none or it need not be repeated."""
    if pending is None or pending.is_over(seen, now_s):
        return None
    if pending.first_sent_s is None:
        pending.first_sent_s = now_s
    return pending
