"""An episode begins anew when it was thrown away for that, once, and not when anything else became of it."""

import pytest

from robot.operator.re_recording import PAUSE_S, ReRecording

RUNNING = {"id": "7", "phase": "running", "end_reason": "open"}
THROWN = {"id": "7", "phase": "ended", "end_reason": "discard"}
KEPT = {"id": "7", "phase": "ended", "end_reason": "success"}
NEXT = {"id": "8", "phase": "reset", "end_reason": "open"}


@pytest.fixture
def asked() -> ReRecording:
    found = ReRecording()
    for _ in range(2):  # marks are repeated
        found.ask(RUNNING)
    return found


def test_it_begins_once_and_a_while_after_the_end_however_often_that_is_told(asked: ReRecording) -> None:
    assert not asked.is_due(0.0)
    asked.hear(RUNNING, 0.0)
    asked.hear(THROWN, 1.0)
    asked.hear(THROWN, 1.9)
    assert not asked.is_due(0.9 + PAUSE_S)
    assert asked.is_due(1.0 + PAUSE_S)
    asked.ask(THROWN)  # a mark on its way
    asked.hear(THROWN, 3.0)
    assert not asked.is_due(10.0)


def test_an_episode_that_ended_otherwise_is_not_followed_by_another(asked: ReRecording) -> None:
    asked.hear(KEPT, 1.0)
    asked.hear(THROWN, 2.0)
    assert not asked.is_due(10.0)


def test_who_begins_the_next_one_is_not_interrupted(asked: ReRecording) -> None:
    asked.hear(THROWN, 1.0)
    asked.hear(NEXT, 1.5)
    assert not asked.is_due(10.0)


def test_it_can_be_taken_back(asked: ReRecording) -> None:
    asked.hear(THROWN, 1.0)
    asked.forget("6")
    asked.forget("7")
    assert not asked.is_due(10.0)
