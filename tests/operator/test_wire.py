"""The page's packets: what was sent comes back, and nothing else is read at all."""

import contextlib
import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot.operator.wire import EDGES, FRAMES, MAX_BYTES, MAX_EDGES, PacketError, PagePacket, pack, unpack

MOVE, HAND, COUNT = 28, 56, 84  # where they are in a packet
GOOD = PagePacket(7, 1.5, edges=((1, "take_over"),))
HELD = PagePacket(7, 1.5, hand=(0.25, -0.5, 1.0, 0.5, -0.5, 0.5, 0.5))


def changed(offset: int, value: bytes, packet: PagePacket = GOOD) -> bytes:
    data = bytearray(pack(packet))
    data[offset : offset + len(value)] = value
    return bytes(data)


@given(
    st.builds(
        PagePacket,
        seq=st.integers(0, 2**32 - 1),
        sent_s=st.floats(-1e9, 1e9),
        watching=st.booleans(),
        wants_control=st.booleans(),
        engaged=st.booleans(),
        move=st.tuples(*[st.floats(-1, 1, width=32)] * 6),
        edges=st.lists(st.tuples(st.integers(0, 2**32 - 1), st.sampled_from(EDGES)), max_size=MAX_EDGES).map(tuple),
        shown=st.integers(0, 2**32 - 1),
        side=st.sampled_from(["left", "right", ""]),
        frame=st.sampled_from(FRAMES),
        rewinds=st.booleans(),
        key=st.integers(0, 2**64 - 1),
        is_fine=st.booleans(),
        hand=st.one_of(
            st.none(), st.tuples(*[st.floats(-100, 100, width=32)] * 3, *map(st.just, (0.5, -0.5, 0.5, 0.5)))
        ),
        clutch=st.integers(0, 2**32 - 1),
    )
)
@settings(max_examples=100, deadline=None)
def test_a_packet_comes_back_as_it_was_sent(packet: PagePacket) -> None:
    data = pack(packet, ("left", "right"))
    assert len(data) <= MAX_BYTES
    assert unpack(data, ("left", "right")) == packet


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a packet"),
        (b'{"seq": 1}', "not a packet"),
        (changed(0, b"\1"), "version 2"),
        (pack(GOOD)[:-1], "edges"),
        (pack(GOOD) + b"\0", "edges"),
        (pack(GOOD) * 2, "edges"),
        (changed(COUNT, b"\2"), "edges"),
        (pack(GOOD)[:COUNT] + bytes([MAX_EDGES + 1]) + bytes(5 * (MAX_EDGES + 1)), "at most 16"),
        (changed(1, b"\x80"), "flags"),
        (changed(HAND, struct.pack("<f", math.nan), HELD), "hand is"),
        (changed(HAND, struct.pack("<f", 101.0), HELD), "within 100 m"),
        (changed(HAND + 12, struct.pack("<f", 0.9), HELD), "of length 1"),
        (changed(2, b"\1"), "side is 1, this station has 1"),
        (changed(3, bytes([len(FRAMES)])), "frame"),
        (changed(16, struct.pack("<d", math.nan)), "sent_s"),
        (changed(16, struct.pack("<d", -math.inf)), "sent_s"),
        (changed(16, struct.pack("<d", 1e300)), "sent_s"),
        (changed(MOVE, struct.pack("<f", 1.01)), "move"),
        (changed(MOVE + 20, struct.pack("<f", math.nan)), "move"),
        (pack(GOOD)[:-1] + bytes([len(EDGES)]), "edge"),
    ],
)
def test_what_is_not_a_packet_is_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(PacketError, match=why):
        unpack(data)


@given(st.binary(max_size=200) | st.binary(min_size=52, max_size=140).map(lambda data: b"\1" + data))
@settings(max_examples=300, deadline=None)
def test_no_bytes_do_anything_but_parse_or_raise(data: bytes) -> None:
    with contextlib.suppress(PacketError):
        packet = unpack(data)
        assert all(abs(share) <= 1.0 for share in packet.move) and len(packet.edges) <= MAX_EDGES
