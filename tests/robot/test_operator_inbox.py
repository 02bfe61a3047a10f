"""The newest packet wins, and no request or label is lost on the way to the tick."""

from dataclasses import replace

from robot.operator_inbox import OperatorInbox
from robot.types import Mark, OperatorInput, OwnerRequest

TAKE, BACK, FREEZE = OwnerRequest.TAKE_OVER, OwnerRequest.HAND_BACK, OwnerRequest.FREEZE


def packet(time_ns: int, device: str = "hand", **more: object) -> OperatorInput:
    return replace(OperatorInput(time_ns, time_ns, device), **more)  # type: ignore[arg-type]


def test_before_the_first_packet_there_is_nobody() -> None:
    assert OperatorInbox().take(0.0, is_human=False) == (None, 0.0)


def test_a_request_that_a_newer_packet_overtook_is_still_made_and_only_once() -> None:
    inbox = OperatorInbox()
    inbox.put(packet(1, request=TAKE), 0.00)
    inbox.put(packet(2, mark=Mark.SUCCESS), 0.01)
    inbox.put(packet(3, engaged=True), 0.02)
    taken, age_s = inbox.take(0.05, is_human=False)
    assert taken is not None
    assert (taken.time_ns, taken.engaged, taken.request, taken.mark) == (3, True, TAKE, Mark.SUCCESS)
    assert age_s == 0.05 - 0.02
    again, age_s = inbox.take(0.10, is_human=True)
    assert again is not None
    assert (again.request, again.mark, again.seq) == (OwnerRequest.NONE, Mark.NONE, taken.seq)
    assert age_s == 0.10 - 0.02


def test_numbers_rise_over_restarts_of_a_device() -> None:
    inbox, seen = OperatorInbox(), []
    for time_ns, seq in [(10, 500), (20, 501), (30, 0), (40, 1)]:
        assert inbox.put(packet(time_ns, seq=seq), 0.0)
        taken, _ = inbox.take(0.0, is_human=False)
        assert taken is not None
        seen.append(taken.seq)
    assert seen == sorted(set(seen))


def test_what_is_not_newer_is_not_taken() -> None:
    inbox = OperatorInbox()
    assert inbox.put(packet(10), 0.0)
    assert not inbox.put(packet(10), 0.1)
    assert not inbox.put(packet(9, request=TAKE), 0.1)


def test_who_drives_is_followed_and_others_may_freeze_and_label() -> None:
    inbox = OperatorInbox()
    inbox.put(packet(1, "mouse", request=TAKE, engaged=True), 0.0)
    assert inbox.take(0.0, is_human=False)[0] is not None
    inbox.put(packet(2, "mouse", engaged=True), 0.01)
    inbox.put(packet(3, "page", request=BACK, mark=Mark.FAILURE), 0.02)
    taken, _ = inbox.take(0.03, is_human=True)
    assert taken is not None
    assert (taken.device, taken.engaged, taken.request, taken.mark) == ("mouse", True, OwnerRequest.NONE, Mark.FAILURE)
    inbox.put(packet(4, "page", request=FREEZE), 0.04)
    taken, age_s = inbox.take(0.05, is_human=True)
    assert taken is not None
    assert (taken.device, taken.request) == ("mouse", FREEZE)
    assert age_s == 0.05 - 0.01  # the driver's silence counts, not the other's chatter


def test_a_device_that_asks_is_heard_before_one_that_only_speaks() -> None:
    inbox = OperatorInbox()
    inbox.put(packet(1, "mouse", request=TAKE, engaged=True), 0.00)
    inbox.put(packet(2, "page"), 0.01)
    taken, _ = inbox.take(0.02, is_human=False)
    assert taken is not None
    assert (taken.device, taken.request) == ("mouse", TAKE)


def test_a_stop_is_not_overtaken_within_a_tick_and_everybody_may_say_it() -> None:
    inbox = OperatorInbox()
    inbox.put(packet(1, "mouse", request=TAKE, engaged=True), 0.00)
    assert inbox.take(0.0, is_human=False)[0] is not None
    inbox.put(packet(2, "mouse", engaged=True, request=FREEZE), 0.01)
    inbox.put(packet(3, "mouse", engaged=True, request=TAKE), 0.01)
    inbox.put(packet(4, "page", request=OwnerRequest.STOP), 0.02)
    inbox.put(packet(5, "page", request=FREEZE), 0.03)
    taken, _ = inbox.take(0.05, is_human=True)
    assert taken is not None
    assert (taken.device, taken.request) == ("mouse", OwnerRequest.STOP)
