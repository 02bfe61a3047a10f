"""Labels that are taken back, frames to steer in, and going back along the way, through the operator's session."""

from dataclasses import replace

import numpy as np
import pytest

from robot.operator.rewind import Rewind
from robot.operator.session import WENT_WRONG_S, OperatorSession
from robot.types import UNDO_S, Mark
from tests.operator.page_client import AUTO, HUMAN, PERIOD_S, STATION, UP, Page


@pytest.fixture
def session() -> OperatorSession:
    return OperatorSession(STATION, first_seq=100)


@pytest.mark.parametrize("name", ["success", "failure", "discard"])
def test_a_label_that_ended_an_episode_is_withdrawn_from_it_within_five_seconds(
    session: OperatorSession, name: str
) -> None:
    page, ended = Page(session), replace(AUTO, phase="ended")
    page.send(1.0, edges=((1, name),))
    page.take(1.0)
    running = replace(AUTO, episode="8")
    assert page.send(1.0 + UNDO_S - 0.1, running, edges=((2, "undo"),)).withdrawn == "7", (
        "not from the one that runs now"
    )
    again = page.send(1.0 + UNDO_S, ended, edges=((3, "undo"),))
    assert again.withdrawn == "" and "no label was given" in again.notice


def test_a_label_is_not_withdrawn_after_five_seconds(session: OperatorSession) -> None:
    page = Page(session)
    page.send(1.0, edges=((1, "success"),))
    page.take(1.0)
    late = page.send(1.1 + UNDO_S, edges=((2, "undo"),))
    assert late.withdrawn == "" and "no label was given" in late.notice


def test_a_label_taken_back_in_the_packet_that_gave_it_never_goes_out(session: OperatorSession) -> None:
    page = Page(session)
    receipt = page.send(1.0, edges=((1, "success"), (2, "undo")))
    taken = page.take(1.0)
    assert taken is not None and taken.mark is Mark.NONE and receipt.withdrawn == ""


def test_a_boundary_is_taken_back_in_the_record_itself(session: OperatorSession) -> None:
    page, recovery = Page(session), replace(HUMAN, mode="human_recovery")
    page.send(1.0, recovery, edges=((1, "correction"),))
    given = page.take(1.0, recovery)
    page.send(2.0, HUMAN, edges=((2, "undo"),))
    back = page.take(2.0, HUMAN)
    page.send(2.05, recovery)
    after = page.take(2.05, recovery)
    assert given and back and after
    assert [packet.mark for packet in (given, back, after)] == [Mark.CORRECTION, Mark.UNDO, Mark.NONE]


@pytest.mark.parametrize(("before", "mark"), [("human_correction", Mark.CORRECTION), ("human_recovery", Mark.NONE)])
def test_a_return_to_recovery_is_taken_back_where_there_was_one(
    session: OperatorSession, before: str, mark: Mark
) -> None:
    page, then, recovery = Page(session), replace(HUMAN, mode=before), replace(HUMAN, mode="human_recovery")
    page.send(1.0, then, edges=((1, "recovery"),))
    page.take(1.0, then)
    page.send(2.0, recovery, edges=((2, "undo"),))
    back = page.take(2.0, recovery)
    assert back is not None and back.mark is mark


def test_a_boundary_is_not_taken_back_in_the_episode_that_follows(session: OperatorSession) -> None:
    page, recovery = Page(session), replace(HUMAN, mode="human_recovery")
    page.send(1.0, recovery, edges=((1, "correction"),))
    page.take(1.0, recovery)
    anew = replace(HUMAN, episode="8")
    receipt = page.send(2.0, anew, edges=((2, "undo"),))
    taken = page.take(2.0, anew)
    assert taken is not None and taken.mark is Mark.NONE and "is over" in receipt.notice


def test_it_went_wrong_is_said_once_and_for_how_long_ago(session: OperatorSession) -> None:
    page = Page(session)
    page.send(1.0, HUMAN, edges=((1, "went_wrong"),))
    said = page.take(1.0, HUMAN)
    page.send(1.05, HUMAN)
    after = page.take(1.05, HUMAN)
    assert said and after and (said.mark, said.mark_back_s) == (Mark.WENT_WRONG, WENT_WRONG_S)
    assert (after.mark, after.mark_back_s) == (Mark.NONE, 0.0)


def test_a_mark_is_not_repeated_into_the_episode_that_follows(session: OperatorSession) -> None:
    page, anew = Page(session), replace(HUMAN, episode="8")
    page.send(1.0, HUMAN, edges=((1, "rerecord"),))
    first = page.take(1.0, HUMAN)
    page.send(1.05, HUMAN)
    again = page.take(1.05, HUMAN)
    page.send(1.1, anew)
    after = page.take(1.1, anew)
    assert first and again and after
    assert [packet.mark for packet in (first, again, after)] == [Mark.RERECORD, Mark.RERECORD, Mark.NONE]


def test_the_page_steers_in_the_frame_it_names(session: OperatorSession) -> None:
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # forward in it is left in the cell
    down = np.diag([1.0, -1.0, -1.0])
    seen = replace(HUMAN, camera_rotation=quarter, tool_rotations=(down,))
    speed, wanted = STATION.operator.linear_speed_m_s, {"cell": (1, 0, 0), "camera": (0, 1, 0), "tool": (1, 0, 0)}
    for tick, (frame, direction) in enumerate(wanted.items()):
        page = Page(session, frame)
        page.send(1.0 + tick, seen, frame=frame, move=(1.0, 0.0, 0.0, 0.0, 0.0, 0.0))
        taken = page.take(1.0 + tick, seen)
        assert taken is not None
        np.testing.assert_allclose(taken.twist[:3], np.multiply(speed, direction), atol=1e-12)


@pytest.mark.parametrize("frame", ["camera", "tool"])
def test_a_frame_of_which_nothing_is_known_moves_nothing(session: OperatorSession, frame: str) -> None:
    page = Page(session)
    page.send(1.0, HUMAN, frame=frame, move=UP)
    taken = page.take(1.0, HUMAN)
    assert taken is not None and taken.twist == (0.0,) * 6


def test_going_back_needs_the_dead_man_and_follows_the_way() -> None:
    rewind = Rewind(1)
    for tick in range(40):
        rewind.note(PERIOD_S * tick, [np.array([0.4, 0.0, 0.2 + 0.005 * tick])])  # it came up, 0.1 m/s
    session = OperatorSession(STATION, rewind=rewind)
    page, here = Page(session), replace(HUMAN, tcps_m=(np.array([0.4, 0.0, 0.395]),))
    speeds = []
    for tick in range(10):
        page.send(3.0 + PERIOD_S * tick, here, rewinds=True)
        taken = page.take(3.0 + PERIOD_S * tick, here)
        assert taken is not None
        speeds.append(taken.twist[2])
    assert max(speeds) < 0.0 and speeds[-1] < -0.05, "down again"
    page.send(3.5, here, engaged=False, rewinds=True)
    let_go = page.take(3.5, here)
    assert let_go is not None and let_go.twist == (0.0,) * 6 and not let_go.engaged
