"""What an operator page sends: one short binary packet, its whole state, twenty times a second. No transport, no ROS.

Little endian, 53 bytes and 5 for each edge:

    u8 version, u8 flags, u8 side, u8 frame, u32 seq, u64 key, f64 sent_s, u32 shown, 6 x f32 move, u8 edges,
    then for each edge: u32 number, u8 place in `EDGES`

The key is drawn for each connection and told to the page that opened it, so that a packet recorded from one connection
is refused on every other; within a connection `seq` has to rise. Nothing of another length or version is read at all.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from robot.errors import RobotError

VERSION = 1
STILL = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
MAX_EDGES = 16
NO_SIDE = 255
MAX_CLOCK_S = 1e12
STOP = "stop"
REQUEST_EDGES = ("take_over", "hand_back", "freeze")
MARK_EDGES = ("success", "failure", "discard", "correction", "recovery", "went_wrong", "rerecord")
COMMANDS = (STOP, "reset", "start", "demonstrate", "end")
UNDO, GRIPPER = "undo", "gripper"
EDGES = (*REQUEST_EDGES, *MARK_EDGES, *COMMANDS, GRIPPER, UNDO)
JogFrame = Literal["cell", "tool", "camera"]
FRAMES: tuple[JogFrame, ...] = get_args(JogFrame)

_HEAD = struct.Struct("<BBBBIQdI6fB")
_EDGE = struct.Struct("<IB")
MAX_BYTES = _HEAD.size + MAX_EDGES * _EDGE.size
_FLAGS = ("watching", "wants_control", "engaged", "rewinds")


class PacketError(RobotError, ValueError):
    """A page sent something that is not a packet."""


@dataclass(frozen=True, slots=True)
class PagePacket:
    """A page's state at one time; `move` is a share (-1 to 1) of the speed limits along, then about forward, left and
    up of `frame`.

    `side` is the arm that is meant, of a station of several.
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
    _, flags, side, frame, seq, key, sent_s, shown, *move, count = _HEAD.unpack_from(data)
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
    )


def _edge(data: bytes, offset: int) -> tuple[int, str]:
    number, code = _EDGE.unpack_from(data, offset)
    if code >= len(EDGES):
        raise PacketError(f"edge {code} is unknown, there are {len(EDGES)}: {', '.join(EDGES)}")
    return number, EDGES[code]
