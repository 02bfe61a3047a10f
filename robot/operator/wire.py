"""What an operator page sends: one short binary packet, its whole state, twenty times a second. No transport, no ROS.

Little endian, 85 bytes and 5 for each edge:

    u8 version, u8 flags, u8 side, u8 frame, u32 seq, u64 key, f64 sent_s, u32 shown, 6 x f32 move, u32 clutch,
    7 x f32 hand, u8 edges, then for each edge: u32 number, u8 place in `EDGES`

The key is drawn for each connection and told to the page that opened it, so that a packet recorded from one connection
is refused on every other; within a connection `seq` has to rise. Nothing of another length or version is read at all.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from robot.errors import RobotError
from robot.types import HandPose

VERSION = 2
STILL = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
MAX_EDGES = 16
NO_SIDE = 255
MAX_CLOCK_S = 1e12
MAX_REACH_M = 100.0  # of a hand, from where its tracking began
UNIT_TOLERANCE = 0.01  # of a quaternion's length
NO_HAND = (0.0,) * 7
STOP = "stop"
REQUEST_EDGES = ("take_over", "hand_back", "freeze")
MARK_EDGES = ("success", "failure", "discard", "correction", "recovery", "went_wrong", "rerecord")
COMMANDS = (STOP, "reset", "start", "demonstrate", "end")
UNDO, GRIPPER = "undo", "gripper"
EDGES = (*REQUEST_EDGES, *MARK_EDGES, *COMMANDS, GRIPPER, UNDO)
JogFrame = Literal["cell", "tool", "camera"]
FRAMES: tuple[JogFrame, ...] = get_args(JogFrame)

_HEAD = struct.Struct("<BBBBIQdI6fI7fB")
_EDGE = struct.Struct("<IB")
MAX_BYTES = _HEAD.size + MAX_EDGES * _EDGE.size
_FLAGS = ("watching", "wants_control", "engaged", "rewinds", "is_fine", "has_hand")


class PacketError(RobotError, ValueError):
    """A page sent something that is not a packet."""


@dataclass(frozen=True, slots=True)
class PagePacket:
    """A page's state at one time; `move` is a share (-1 to 1) of the speed limits along, then about forward, left and
    up of `frame`.

    `hand` is the pose of a tracked hand along and about forward, left and up of whoever holds it, as they stood when
    they pressed the clutch; `clutch` counts the presses. `side` is the arm that is meant, of a station of several.
    """

    seq: int
    sent_s: float  # on the page's clock
    watching: bool = True  # visible: wants images
    wants_control: bool = False
    engaged: bool = False
    move: tuple[float, ...] = STILL
    edges: tuple[tuple[int, str], ...] = ()  # (number, name), numbers rising
    shown: int = 0  # the newest image shown
    side: str = ""
    frame: JogFrame = "cell"
    rewinds: bool = False  # go back along the way that the arm came, instead of `move`
    key: int = 0
    is_fine: bool = False  # of a hand; the shares of `move` are scaled by the page
    hand: HandPose | None = None
    clutch: int = 0

    @property
    def has_hand(self) -> bool:
        return self.hand is not None


def pack(packet: PagePacket, sides: Sequence[str] = ("",)) -> bytes:
    """Return a packet's bytes, as the page itself makes them."""
    flags = sum(1 << bit for bit, name in enumerate(_FLAGS) if getattr(packet, name))
    side = sides.index(packet.side) if packet.side in sides else NO_SIDE
    head = _HEAD.pack(
        VERSION,
        flags,
        side,
        FRAMES.index(packet.frame),
        packet.seq,
        packet.key,
        packet.sent_s,
        packet.shown,
        *packet.move,
        packet.clutch,
        *(packet.hand or NO_HAND),
        len(packet.edges),
    )
    return head + b"".join(_EDGE.pack(number, EDGES.index(name)) for number, name in packet.edges)


def unpack(data: bytes, sides: Sequence[str] = ("",)) -> PagePacket:
    """Read a page's packet; PacketError says which part of it is wrong.

    Args:
        data: one binary message.
        sides: names of the station's arms, in the order that the page was told.
    """
    if len(data) < _HEAD.size or data[0] != VERSION:
        raise PacketError(f"not a packet of the operator page, version {VERSION}: {len(data)} bytes, {data[:8]!r}")
    _, flags, side, frame, seq, key, sent_s, shown, *numbers, count = _HEAD.unpack_from(data)
    move, clutch, hand = numbers[:6], numbers[6], numbers[7:]
    if count > MAX_EDGES or len(data) != _HEAD.size + count * _EDGE.size:
        raise PacketError(f"{len(data)} bytes for {count} edges; at most {MAX_EDGES} edges of {_EDGE.size} bytes")
    if flags >> len(_FLAGS) or frame >= len(FRAMES):
        raise PacketError(f"flags {flags:#x} or frame {frame} unknown; flags: {_FLAGS}, frames: {FRAMES}")
    if side != NO_SIDE and side >= len(sides):
        raise PacketError(f"side is {side}, this station has {len(sides)}: {', '.join(sides)}")
    if not abs(sent_s) < MAX_CLOCK_S:  # nan neither
        raise PacketError(f"sent_s is {sent_s}, needed: a clock in seconds below {MAX_CLOCK_S:g}")
    if not all(abs(share) <= 1.0 for share in move):  # nan neither
        raise PacketError(f"move is {move}, needed: {len(STILL)} shares from -1 to 1")
    has_hand = bool(flags & 32)
    if has_hand and not _is_pose(hand):
        raise PacketError(f"hand is {hand}, needed: x y z within {MAX_REACH_M:g} m, then w x y z of length 1")
    return PagePacket(
        watching=bool(flags & 1),
        wants_control=bool(flags & 2),
        engaged=bool(flags & 4),
        rewinds=bool(flags & 8),
        seq=seq,
        sent_s=sent_s,
        move=tuple(move),
        edges=tuple(_edge(data, _HEAD.size + index * _EDGE.size) for index in range(count)),
        shown=shown,
        side="" if side == NO_SIDE else str(sides[side]),
        frame=FRAMES[frame],
        key=key,
        is_fine=bool(flags & 16),
        hand=tuple(hand) if has_hand else None,  # type: ignore[arg-type]
        clutch=clutch,
    )


def _is_pose(hand: Sequence[float]) -> bool:
    is_near = all(abs(metres) <= MAX_REACH_M for metres in hand[:3])  # nan is not
    return is_near and abs(math.hypot(*hand[3:]) - 1.0) <= UNIT_TOLERANCE


def _edge(data: bytes, offset: int) -> tuple[int, str]:
    number, code = _EDGE.unpack_from(data, offset)
    if code >= len(EDGES):
        raise PacketError(f"edge {code} is unknown, there are {len(EDGES)}: {', '.join(EDGES)}")
    return number, EDGES[code]
