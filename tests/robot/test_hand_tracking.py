"""A tracked hand: its axes become the cell's, a lost track is no motion, and the clutch counts its presses."""

import numpy as np
import pytest

from robot import geometry
from robot.hand_tracking import HandTracking, TrackingOptions
from robot.types import OwnerRequest

STILL = (0.0, 0.0, 0.0, 1.0)
MS = 1_000_000


def test_forward_left_and_up_of_the_person_are_those_of_the_cell() -> None:
    hand = HandTracking("phone")
    for there, wanted in (((0, 0, -0.01), (0.01, 0, 0)), ((-0.01, 0, 0), (0, 0.01, 0)), ((0, 0.01, 0), (0, 0, 0.01))):
        hand.feed(there, STILL, False, 0)
        pose = hand.packet(1).pose
        assert pose is not None
        np.testing.assert_allclose(pose[:3], wanted, atol=1e-12)
        np.testing.assert_allclose(np.abs(pose[3:]), [1, 0, 0, 0], atol=1e-12)
    half = np.sin(0.05)
    hand.feed((0, 0, 0), (0.0, half, 0.0, np.sqrt(1 - half**2)), False, 2)  # about the vertical
    pose = hand.packet(3).pose
    assert pose is not None
    np.testing.assert_allclose(geometry.rotation_vector(pose[3:]), [0, 0, 0.1], atol=1e-9)


def test_a_person_who_stands_turned_says_so_by_the_yaw() -> None:
    hand = HandTracking("phone", TrackingOptions(yaw_deg=90.0))
    hand.feed((0, 0, -0.02), STILL, False, 0)
    pose = hand.packet(1).pose
    assert pose is not None
    np.testing.assert_allclose(pose[:3], [0, 0.02, 0], atol=1e-12)


def test_each_press_is_a_new_clutch_and_asks_for_a_moment() -> None:
    hand, seen = HandTracking("phone"), []
    for t, is_held in enumerate((False, True, True, False, True)):
        hand.feed((0, 0, 0), STILL, is_held, t * 200 * MS)
        packet = hand.packet(t * 200 * MS)
        seen.append((packet.engaged, packet.clutch, packet.request is OwnerRequest.TAKE_OVER))
    assert seen == [(False, 0, False), (True, 1, True), (True, 1, True), (False, 1, False), (True, 2, True)]
    assert hand.packet(2000 * MS).request is OwnerRequest.NONE


@pytest.mark.parametrize(
    ("to", "turned", "leaps"),
    [((0.049, 0, 0), 9.0, 0), ((0.051, 0, 0), 0.0, 1), ((0, 0, 0), 11.0, 1)],
)
def test_a_leap_of_the_tracking_latches_anew(to: tuple[float, ...], turned: float, leaps: int) -> None:
    hand, half = HandTracking("phone"), np.deg2rad(turned) / 2
    hand.feed((0, 0, 0), STILL, True, 0)
    hand.feed(to, (np.sin(half), 0.0, 0.0, np.cos(half)), True, MS)
    assert hand.leaps == leaps
    assert hand.packet(2 * MS).clutch == 1 + leaps


def test_a_hand_that_is_lost_lets_go() -> None:
    hand = HandTracking("phone")
    hand.feed((0, 0, 0), STILL, True, 0)
    hand.lose()
    packet = hand.packet(MS)
    assert (packet.engaged, packet.pose) == (False, None)
    hand.feed((3, 0, 0), STILL, True, 2 * MS)
    assert (hand.packet(3 * MS).clutch, hand.leaps) == (2, 0)
