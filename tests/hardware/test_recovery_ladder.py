"""The recovery ladder as plain state: which step when, and where it begins again."""

import pytest

from hardware.cameras import realsense, uvc
from hardware.cameras.recovery import HEALTHY_FRAMES, PROCESS, RENEW, REPLUG, RESET, RESTART, WAIT, Ladder, Step

STEPS = (
    Step("first", tries=2, limit_s=1.0, settle_s=0.5),
    Step("second", tries=1, limit_s=1.0, settle_s=0.5),
    Step("last", tries=1, limit_s=1.0, settle_s=5.0, advice="replug it"),
)


def climb(ladder: Ladder, until_s: float, *, succeeded: bool) -> list[tuple[float, str]]:
    """Take every step that is due; each is over at once."""
    taken = []
    for tick in range(round(until_s * 10)):
        now_s = tick / 10
        step = ladder.next_step(now_s)
        if step is not None:
            taken.append((now_s, step.name))
            ladder.settle(step, now_s, succeeded=succeeded)
    return taken


def test_a_step_that_was_taken_has_its_time_to_help() -> None:
    taken = climb(Ladder(STEPS), 8.0, succeeded=True)
    assert taken == [(0.0, "first"), (0.5, "first"), (1.0, "second"), (1.5, "last"), (6.5, "last")]


def test_after_a_step_that_failed_the_next_is_due_at_once_and_the_last_repeats_slowly() -> None:
    taken = climb(Ladder(STEPS), 6.0, succeeded=False)
    assert [name for _, name in taken] == ["first", "first", "second", "last", "last"]
    assert [now_s for now_s, _ in taken][:4] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert taken[4][0] == pytest.approx(5.3)


def test_a_person_is_asked_only_at_the_top() -> None:
    ladder = Ladder(STEPS)
    ladder.next_step(0.0)
    assert ladder.advice == ""
    climb(ladder, 6.0, succeeded=False)
    assert ladder.advice == "replug it"


def test_pictures_end_the_climb_and_are_counted_once() -> None:
    ladder = Ladder(STEPS)
    ladder.next_step(0.0)
    ladder.pictures(1)
    ladder.pictures(1)
    assert ladder.recoveries == 1
    assert not ladder.is_climbing


def test_a_stream_that_stops_again_at_once_goes_on_where_it_was() -> None:
    ladder = Ladder(STEPS)
    climb(ladder, 1.2, succeeded=True)
    assert ladder.tried[-1] == "second"
    ladder.pictures(HEALTHY_FRAMES - 1)
    step = ladder.next_step(2.0)
    assert step is not None and step.name == "last"


def test_after_enough_good_pictures_it_begins_at_its_foot() -> None:
    ladder = Ladder(STEPS)
    climb(ladder, 1.2, succeeded=True)
    ladder.pictures(1)
    ladder.pictures(HEALTHY_FRAMES)
    step = ladder.next_step(2.0)
    assert step is not None and step.name == "first"
    assert ladder.tried == ["first"]


def test_the_drivers_climb_as_they_should() -> None:
    assert [step.name for step in realsense.LADDER] == [WAIT, RESTART, RESET, RENEW, PROCESS, REPLUG]
    assert [step.name for step in uvc.LADDER] == [WAIT, RESTART, PROCESS, REPLUG]
    for ladder in (realsense.LADDER, uvc.LADDER):
        assert "plug" in ladder[-1].advice
        assert 2 <= ladder[0].tries <= 3
