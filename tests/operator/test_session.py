"""The operator's session: one lease, the newest packet wins, no edge is lost or stuck, nothing sticks in silence."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from robot import ownership
from robot.operator.session import (
    HELD_ELSEWHERE,
    LATE_S,
    LEASE_S,
    REPEAT_S,
    REPLAYED,
    OperatorSession,
    Seen,
)
from robot.operator.wire import PacketError
from robot.ownership import PAGE_RULES, Mode, Ownership
from robot.specs import load_station
from robot.types import Mark, OwnerRequest
from tests.operator.page_client import AUTO, HOLD, HUMAN, PERIOD_S, STATION, UP, Page


@pytest.fixture
def session() -> OperatorSession:
    return OperatorSession(STATION, first_seq=100)


def test_a_packet_becomes_one_operator_input_in_the_robots_units(session: OperatorSession) -> None:
    page = Page(session)
    page.send(1.0, move=(1.0, -0.5, 0.0, 0.0, 0.0, 0.25))
    taken = page.take(1.0)
    assert taken is not None
    assert (taken.device, taken.seq, taken.time_ns, taken.engaged) == ("page", 101, 1_000_000_000, True)
    linear, angular = STATION.operator.linear_speed_m_s, STATION.operator.angular_speed_rad_s
    assert taken.twist == (linear, -linear / 2, 0, 0, 0, angular / 4)
    assert page.take(1.0) is None  # never given out twice: silence must stay silence


def test_the_newest_packet_wins_and_old_ones_are_gone(session: OperatorSession) -> None:
    page = Page(session)
    page.send(1.0, move=UP)
    page.send(1.01, move=(0.0,) * 6)
    taken = page.take(1.02)
    assert taken is not None and taken.twist == (0.0,) * 6
    assert page.take(1.03) is None


def test_a_held_lease_cannot_be_stolen(session: OperatorSession) -> None:
    first, second = Page(session, "page 1"), Page(session, "page 2")
    assert first.send(1.0).holds
    first.take(1.0)
    refused = second.send(1.1, move=UP, edges=((1, "take_over"),))
    assert not refused.holds and refused.notice == HELD_ELSEWHERE
    assert second.take(1.1) is None
    assert session.holder(1.1) == "page 1"


def test_a_lease_expires_in_silence_and_what_was_pending_goes_with_it(session: OperatorSession) -> None:
    first, second = Page(session, "page 1"), Page(session, "page 2")
    first.send(1.0, edges=((1, "hand_back"), (2, "success")))
    assert session.holder(1.0 + LEASE_S) == "page 1"
    assert session.holder(1.001 + LEASE_S) is None
    assert second.send(1.6).holds
    taken = second.take(1.6)
    assert taken is not None and (taken.request, taken.mark) == (OwnerRequest.NONE, Mark.NONE)
    assert not first.send(1.65).holds  # it came back too late


def test_giving_the_lease_up_sends_the_dead_man_off_first(session: OperatorSession) -> None:
    page, other = Page(session), Page(session, "page 2")
    page.send(1.0, move=UP)
    page.take(1.0)
    page.send(1.05, wants_control=False, move=UP)
    taken = page.take(1.05)
    assert taken is not None and not taken.engaged and taken.twist == (0.0,) * 6
    assert other.send(1.06).holds


def test_a_closed_page_lets_go_at_once(session: OperatorSession) -> None:
    page = Page(session)
    page.send(1.0, move=UP)
    session.leave(page.name, 1.01)
    taken = page.take(1.01)
    assert taken is not None and not taken.engaged
    assert session.holder(1.01) is None


def test_a_watching_page_that_closes_does_not_touch_the_one_that_drives(session: OperatorSession) -> None:
    driver, watcher = Page(session, "page 1"), Page(session, "page 2")
    driver.send(1.0, move=UP)
    driver.take(1.0)
    watcher.send(1.0, wants_control=False)
    session.leave("page 2", 1.1)
    assert driver.take(1.1) is None
    assert session.holder(1.1) == "page 1"


def test_reordered_and_repeated_packets_are_dropped(session: OperatorSession) -> None:
    page = Page(session)
    page.send(1.0)
    page.send(1.05, engaged=False)
    page.take(1.05)
    page.seq = 0
    assert not page.send(1.06, move=UP).holds
    assert page.take(1.06) is None


def test_focus_lost_stops_the_motion_with_the_very_next_packet(session: OperatorSession) -> None:
    page = Page(session)
    page.send(1.0, move=UP)
    page.take(1.0)
    page.send(1.01, HUMAN, engaged=False, wants_control=False)
    taken = page.take(1.01, HUMAN)
    assert taken is not None and not taken.engaged and taken.twist == (0.0,) * 6 and taken.gripper is None


def test_a_request_is_repeated_until_the_robot_shows_that_it_obeyed(session: OperatorSession) -> None:
    page, requests = Page(session), []
    page.send(1.0, edges=((1, "take_over"),))
    for tick, seen in enumerate([AUTO, AUTO, HUMAN, HUMAN]):
        now_s = 1.0 + PERIOD_S * tick
        page.send(now_s, seen)
        taken = page.take(now_s, seen)
        assert taken is not None
        requests.append(taken.request)
    assert requests == [OwnerRequest.TAKE_OVER] * 2 + [OwnerRequest.NONE] * 2


def test_a_request_that_nobody_obeys_is_given_up(session: OperatorSession) -> None:
    page = Page(session)
    page.send(1.0, edges=((1, "take_over"),))
    page.take(1.0)
    page.send(1.01 + REPEAT_S)
    taken = page.take(1.01 + REPEAT_S)
    assert taken is not None and taken.request is OwnerRequest.NONE


@pytest.mark.parametrize(("name", "obeyed"), [("hand_back", AUTO), ("freeze", HOLD)])
def test_a_request_goes_out_once_even_where_it_seems_to_be_obeyed(
    session: OperatorSession, name: str, obeyed: Seen
) -> None:
    """What the graph shows may be older than the request."""
    page = Page(session)
    page.send(1.0, obeyed, edges=((1, name),))
    taken = page.take(1.0, obeyed)
    assert taken is not None and taken.request is OwnerRequest[name.upper()]
    page.send(1.05, obeyed)
    again = page.take(1.05, obeyed)
    assert again is not None and again.request is OwnerRequest.NONE


def test_letting_go_takes_back_a_takeover_that_was_not_obeyed_yet(session: OperatorSession) -> None:
    page = Page(session)
    page.send(1.0, edges=((1, "take_over"),))
    page.take(1.0)
    page.send(1.02, engaged=False)
    page.send(1.04)
    taken = page.take(1.04)
    assert taken is not None and taken.request is OwnerRequest.NONE


def test_a_newer_request_replaces_an_older_one(session: OperatorSession) -> None:
    page = Page(session)
    page.send(1.0, edges=((1, "take_over"), (2, "freeze")))
    taken = page.take(1.0)
    assert taken is not None and taken.request is OwnerRequest.FREEZE


def test_an_edge_repeated_by_the_page_counts_once(session: OperatorSession) -> None:
    page, packets = Page(session), []
    for i in range(3):
        page.send(1.0 + 0.01 * i, HUMAN, edges=((1, "gripper"),))
        packets.append(page.take(1.0 + 0.01 * i, HUMAN))
    assert [packet.gripper for packet in packets if packet] == [STATION.gripper.lower_m] * 3
    assert session.edge(page.name) == 1
    page.send(1.1, HUMAN, edges=((2, "gripper"),))
    opened = page.take(1.1, HUMAN)
    assert opened is not None and opened.gripper == STATION.gripper.upper_m


def test_a_mark_is_repeated_until_the_episode_ends_and_refused_where_none_runs(session: OperatorSession) -> None:
    page, ended = Page(session), replace(AUTO, phase="ended")
    page.send(1.0, edges=((1, "success"),))
    first, _ = page.take(1.0), page.send(1.05)
    second, _ = page.take(1.05), page.send(1.10, ended)
    third = page.take(1.10, ended)
    assert first and second and third
    assert [packet.mark for packet in (first, second, third)] == [Mark.SUCCESS, Mark.SUCCESS, Mark.NONE]
    assert "no episode is running" in page.send(1.15, ended, edges=((2, "failure"),)).notice
    refused = page.take(1.15, ended)
    assert refused is not None and refused.mark is Mark.NONE


def test_commands_are_given_to_the_caller_once_and_only_with_the_lease(session: OperatorSession) -> None:
    page, other = Page(session), Page(session, "page 2")
    assert page.send(1.0, edges=((1, "start"), (2, "reset"))).commands == ("start", "reset")
    assert page.send(1.05, edges=((1, "start"), (2, "reset"))).commands == ()
    assert other.send(1.06, edges=((1, "reset"), (2, "end"))).commands == ()


def test_a_stop_is_obeyed_from_every_page_and_however_late(session: OperatorSession) -> None:
    driver, other = Page(session), Page(session, "page 2")
    driver.send(1.0)
    assert other.send(1.01, edges=((1, "stop"),)).commands == ("stop",)
    assert driver.send(3.0, delay_s=1.9, edges=((1, "start"), (2, "stop"))).commands == ("stop",)


def test_a_packet_held_up_on_its_way_moves_nothing(session: OperatorSession) -> None:
    page = Page(session)
    page.send(1.0)
    page.take(1.0)
    assert page.send(1.3, delay_s=LATE_S + 0.02, move=UP).holds is False
    assert page.take(1.3) is None
    assert page.send(1.35, delay_s=LATE_S - 0.02, move=UP).holds
    assert page.take(1.35) is not None


def test_the_pages_clock_may_be_any_clock_and_the_link_any_length(session: OperatorSession) -> None:
    """Only the excess over the fastest packet counts: a page in another time zone on a slow link still drives."""
    page = Page(session)
    for tick in range(300):
        assert page.send(1.0 + PERIOD_S * tick, delay_s=4000.0 + 0.1 * (tick % 3)).holds


def drive(session: OperatorSession, lost: Sequence[bool], *, hold_ticks: int) -> list[tuple[bool, Mode]]:
    """Hold the key for a while, then let go, over a link that loses packets; returns (moves, mode) of every tick."""
    page, owner = Page(session), ownership.begin(Ownership(), 0)
    newest, heard_s, edges, log = None, -np.inf, [(1, "take_over")], []
    for tick, is_lost in enumerate(lost):
        now_s = 1.0 + PERIOD_S * tick
        seen = Seen(owner.mode.value, "running", "7", (0.04,))
        engaged = tick < hold_ticks
        if is_lost:
            page.seq += 1
        else:
            wants = engaged or owner.is_human
            page.send(now_s, seen, engaged=engaged, wants_control=wants, move=UP, edges=tuple(edges if engaged else ()))
            edges = [edge for edge in edges if edge[0] > session.edge(page.name)]
            taken = page.take(now_s, seen)
            if taken is not None:
                newest, heard_s = taken, now_s
        owner = ownership.advance(
            PAGE_RULES, owner, time_ns=round(now_s * 1e9), operator=newest, operator_age_s=now_s - heard_s, fault=False
        )
        log.append((owner.is_human and newest is not None and newest.engaged, owner.mode))
    return log


@pytest.mark.parametrize("seed", range(50))
def test_five_percent_of_loss_neither_keeps_control_from_the_person_nor_leaves_motion_behind(seed: int) -> None:
    lost = np.random.default_rng(seed).random(80) < 0.05
    log = drive(OperatorSession(STATION), lost.tolist(), hold_ticks=40)
    assert all(mode is Mode.HUMAN_CORRECTION for _, mode in log[8:40])
    released = 40 + int(np.argmin(lost[40:]))  # the first packet after the release that arrived
    assert not any(moves for moves, _ in log[released:])
    assert log[-1][1] is Mode.HOLD


@pytest.mark.parametrize("silent_from", range(10, 30, 3))
def test_a_link_that_dies_stops_the_arm_within_a_quarter_of_a_second(silent_from: int) -> None:
    lost = [tick >= silent_from for tick in range(silent_from + 60)]
    log = drive(OperatorSession(STATION), lost, hold_ticks=1000)
    moving = [tick for tick, (moves, _) in enumerate(log) if moves]
    assert (moving[-1] - (silent_from - 1)) * PERIOD_S <= PAGE_RULES.silence_hold_s
    assert log[silent_from + 10][1] is Mode.HOLD
    assert log[-1][1] is Mode.SAFETY  # 2 s later


def test_of_two_arms_a_packet_moves_the_one_it_names_and_each_gripper_has_its_own_toggle() -> None:
    page = Page(OperatorSession(load_station("fr3_pair_sim")))
    human = replace(HUMAN, grippers_m=(0.04, 0.0))
    page.send(1.0, human, side="left", move=UP, edges=((1, "gripper"),))
    left = page.take(1.0, human)
    assert left is not None and (left.side, left.engaged, left.gripper) == ("left", True, 0.0)
    page.send(1.1, human, side="right", move=UP, edges=((2, "gripper"),))
    right = page.take(1.1, human)
    assert right is not None and (right.side, right.gripper) == ("right", 0.04), "closed, so it opens"
    page.send(1.2, human, side="left")
    back = page.take(1.2, human)
    assert back is not None and back.gripper is None, "what was asked of the other arm is not asked of this one"


def test_of_two_arms_none_is_taken_for_the_other() -> None:
    page = Page(OperatorSession(load_station("fr3_pair_sim")))
    assert "take over first" in page.send(1.0, HUMAN, move=UP, edges=((1, "gripper"),)).notice
    taken = page.take(1.0, HUMAN)
    assert taken is not None and not taken.engaged
    with pytest.raises(PacketError, match="left, right"):
        page.send(1.1, HUMAN, side="middle")


def test_a_replayed_packet_is_refused_by_name(session: OperatorSession) -> None:
    page = Page(session)
    assert page.send(1.0).refusal == ""
    page.seq = 0
    assert page.send(1.05, move=UP).refusal == REPLAYED


def test_a_hand_goes_out_while_the_dead_man_is_held_and_every_press_of_any_page_is_another(
    session: OperatorSession,
) -> None:
    """The tick latches hand and arm where `clutch` changes: what a new page counts from is not what another counted."""
    here = (0.1, 0.2, 0.3, 1.0, 0.0, 0.0, 0.0)
    page, clutches = Page(session), []
    for now_s, press in ((1.0, 1), (1.05, 1), (1.1, 2)):
        page.send(now_s, hand=here, clutch=press, is_fine=press == 2)
        taken = page.take(now_s)
        assert taken is not None and taken.pose == here and taken.twist == (0.0,) * 6
        assert taken.is_fine == (press == 2)
        clutches.append(taken.clutch)
    page.send(1.15, engaged=False, hand=here, clutch=2)
    released = page.take(1.15)
    assert released is not None and released.pose is None
    session.leave(page.name, 1.2)
    other = Page(session, "other")
    other.send(1.25, hand=here, clutch=2)
    taken = other.take(1.25)
    assert taken is not None
    assert clutches == [101, 101, 102] and taken.clutch == 103
