"""What an operator page may do: who holds the controls, what was asked last. No transport, no ROS, no clock.

A page sends packets of its whole state (`robot.operator.wire`), so a lost one is made good by the next. Only what
happens once, a request, a mark, a command, is an edge: the page repeats it until the session has acknowledged its
number, the session repeats it to the arbiter until the graph shows that it was obeyed. Times are seconds on any
monotonic clock.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from robot.operator.rewind import Rewind
from robot.operator.wire import COMMANDS, GRIPPER, MARK_EDGES, REQUEST_EDGES, STILL, STOP, UNDO, PacketError, PagePacket
from robot.specs import StationSpec
from robot.types import NS_PER_S, UNDO_S, Array, Mark, OperatorInput, OwnerRequest

LEASE_S = 0.5  # silence after which another page may take the controls
LATE_S = 0.25  # a packet held up for longer than this is not obeyed any more
REPEAT_S = 0.5  # for how long an edge is repeated to the arbiter
WENT_WRONG_S = 2.0  # how long ago it did, when an operator says that it went wrong
OFFSET_WINDOW_S = 10.0
# The tool's axes as a person who sits on it names them: forward, left and up are those of the cell where a tool looks
# straight down with its x to the front.
TOOL_AXES = np.diag([1.0, -1.0, -1.0])
NO_EPISODE = "no episode is running"
HELD_ELSEWHERE = "another page holds the controls"
REPLAYED = "a packet that is not newer than the last"
REQUESTS = {name: OwnerRequest[name.upper()] for name in REQUEST_EDGES}
MARKS = {name: Mark[name.upper()] for name in MARK_EDGES}
BOUNDARIES = ("correction", "recovery", "went_wrong")  # labels that do not end an episode


@dataclass(frozen=True, slots=True)
class Seen:
    """What the graph shows of the robot; None or "" where nothing is known yet."""

    mode: str = ""  # robot.ownership.Mode of command/author
    phase: str = ""  # of episode/state
    episode: str = ""  # its id
    grippers_m: tuple[float, ...] = ()  # of each side
    tcps_m: tuple[Array, ...] = ()  # of each side: the commanded tcp in the cell's frame, (3,)
    tool_rotations: tuple[Array, ...] = ()  # of each side: the tool's axes in the cell's frame, (3, 3)
    camera_rotation: Array | None = None  # of the view that camera-frame jogging goes by, (3, 3)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of a packet: whether its page holds the controls, commands to carry out, what to tell the operator, and
    why it was refused where it was."""

    holds: bool = False
    commands: tuple[str, ...] = ()
    notice: str = ""
    refusal: str = ""
    withdrawn: str = ""  # the episode whose label was taken back after it had ended


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
    episode: str = ""  # that a mark is meant for, and no other
    first_sent_s: float | None = None

    def is_over(self, seen: Seen, now_s: float) -> bool:
        if self.mark is not Mark.NONE and seen.episode != self.episode:
            return True
        if self.first_sent_s is None:
            return False
        return now_s - self.first_sent_s > REPEAT_S or _is_obeyed(self.request, self.mark, seen)


@dataclass(frozen=True, slots=True)
class _Label:
    """The label given last, when, in which episode, and in which mode of the arm."""

    name: str
    given_s: float
    episode: str
    mode: str


_NO_LABEL = _Label("", -math.inf, "", "")


def _is_obeyed(request: OwnerRequest, mark: Mark, seen: Seen) -> bool:
    if request is OwnerRequest.TAKE_OVER:
        return seen.mode.startswith("human")
    if request is not OwnerRequest.NONE:
        return seen.mode == ("auto" if request is OwnerRequest.HAND_BACK else "hold")
    if mark is Mark.CORRECTION:
        return seen.mode != "human_recovery"
    if mark in (Mark.RECOVERY, Mark.UNDO):
        return seen.mode == "human_recovery"
    return mark is Mark.WENT_WRONG or seen.phase != "running"


class OperatorSession:
    """One lease for many pages, and the newest packet of the page that holds it.

    `first_seq` must rise from one session of a device to the next, so that the arbiter does not take a restarted
    page for an old one.
    """

    def __init__(
        self, station: StationSpec, *, device: str = "page", first_seq: int = 0, rewind: Rewind | None = None
    ) -> None:
        self.device = device
        self.rewind = rewind
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
        self._label = _NO_LABEL
        self._withdrawn = ""
        self._clutch, self._pressed = (
            first_seq,
            ("", -1),
        )  # presses of every page's clutch; the page and number of the last

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
            return Receipt(refusal=REPLAYED)
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
        if packet.hand is not None and self._pressed != (page, packet.clutch):
            self._clutch, self._pressed = self._clutch + 1, (page, packet.clutch)
        self._newest = packet
        self._withdrawn = ""
        notices = [self._take_edge(name, packet, now_s, seen) for _, name in edges]
        commands = tuple(name for _, name in edges if name in COMMANDS)
        return Receipt(True, commands, ", ".join(filter(None, notices)), withdrawn=self._withdrawn)

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
        hand = packet.hand if packet.engaged and not packet.rewinds else None
        return OperatorInput(
            seq=self._seq,
            time_ns=time_ns,
            device=self.device,
            engaged=packet.engaged and packet.side in self.sides,
            request=request.request if request else OwnerRequest.NONE,
            mark=mark.mark if mark else Mark.NONE,
            twist=self._twist(packet, now_s, seen),
            gripper=self._gripper_m if packet.engaged else None,
            side=packet.side,
            is_fine=hand is not None and packet.is_fine,
            pose=hand,
            clutch=self._clutch,
            mark_back_s=WENT_WRONG_S if mark and mark.mark is Mark.WENT_WRONG else 0.0,
            device_time_ns=round(packet.sent_s * NS_PER_S),
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

    def _take_edge(self, name: str, packet: PagePacket, now_s: float, seen: Seen) -> str:
        """Note an edge of the holder; returns what the operator should be told."""
        if name in REQUESTS:
            self._request = _Pending(request=REQUESTS[name])
        elif name in MARKS:
            if seen.phase != "running":
                return f"{name}: {NO_EPISODE}"
            self._mark = _Pending(mark=MARKS[name], episode=seen.episode)
            self._label = _Label(name, now_s, seen.episode, seen.mode)
            return f"noted: it went wrong {WENT_WRONG_S:g} s ago" if name == "went_wrong" else ""
        elif name == UNDO:
            return self._undo(now_s, seen)
        elif name == GRIPPER:
            if not packet.engaged or packet.side not in self.sides:
                return "gripper: take over first"
            self._toggle_gripper(self.sides.index(packet.side), seen)
        return ""

    def _undo(self, now_s: float, seen: Seen) -> str:
        """Take the last label back: dropped where it has not gone out yet, else withdrawn from the episode it ended."""
        label, self._label = self._label, _NO_LABEL
        if now_s - label.given_s > UNDO_S:
            return f"undo: no label was given in the last {UNDO_S:g} s"
        was_sent = self._mark is None or self._mark.first_sent_s is not None
        self._mark = None
        if was_sent and label.name not in BOUNDARIES:
            self._withdrawn = label.episode
        elif was_sent and label.episode != seen.episode:
            return f"undo: the episode of this {label.name} is over"
        elif was_sent and label.name == "recovery":  # taken back by its opposite, where it has changed anything
            if label.mode == "human_correction":
                self._mark = _Pending(mark=Mark.CORRECTION, episode=label.episode)
        elif was_sent:
            self._mark = _Pending(mark=Mark.UNDO, episode=label.episode)
        return f"{label.name} was taken back"

    def _toggle_gripper(self, arm: int, seen: Seen) -> None:
        lower, upper = self._gripper_ranges[arm]
        measured = seen.grippers_m[arm] if seen.grippers_m else None
        travel = self._gripper_m if self._gripper_m is not None else measured
        is_open = travel is None or travel > 0.5 * (lower + upper)
        self._gripper_m = lower if is_open else upper

    def _twist(self, packet: PagePacket, now_s: float, seen: Seen) -> tuple[float, float, float, float, float, float]:
        """Return the velocity asked for in the cell's frame [m/s], [rad/s]."""
        arm = self.sides.index(packet.side) if packet.side in self.sides else -1
        if not packet.engaged or arm < 0:
            return STILL
        if packet.rewinds:
            if self.rewind is None or len(seen.tcps_m) <= arm:
                return STILL
            return (*self.rewind.velocity(arm, now_s, seen.tcps_m[arm]), 0.0, 0.0, 0.0)
        axes = _axes(packet, arm, seen)
        if axes is None:
            return STILL
        x, y, z = (axes @ packet.move[:3] * self._speeds.linear_speed_m_s).tolist()
        rx, ry, rz = (axes @ packet.move[3:] * self._speeds.angular_speed_rad_s).tolist()
        return (x, y, z, rx, ry, rz)


def _axes(packet: PagePacket, arm: int, seen: Seen) -> Array | None:
    """Return forward, left and up of the frame that a page steers in as columns in the cell's frame, (3, 3); None where
    nothing is known of it now."""
    if packet.frame == "cell":
        return np.eye(3)
    if packet.frame == "camera":
        return seen.camera_rotation
    return seen.tool_rotations[arm] @ TOOL_AXES if arm < len(seen.tool_rotations) else None


def _next(pending: _Pending | None, now_s: float, seen: Seen) -> _Pending | None:
    """Return the edge to send now, or None when there is none or it need not be repeated."""
    if pending is None or pending.is_over(seen, now_s):
        return None
    if pending.first_sent_s is None:
        pending.first_sent_s = now_s
    return pending
