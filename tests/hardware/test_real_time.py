"""Hints for the servo thread: what is granted is told, what is refused leaves an advice and nothing else."""

import os
import resource
import threading
from collections.abc import Callable

import pytest

from hardware import real_time
from hardware.real_time import RealTime, ask_for_real_time, own_scheduling, start_at_fixed_priority


def in_a_thread(ask: Callable[[], RealTime]) -> tuple[RealTime, int]:
    """Ask in a thread of its own and return the answer with the scheduling policy that the thread then had."""
    answers: list[tuple[RealTime, int]] = []
    thread = threading.Thread(target=lambda: answers.append((ask(), os.sched_getscheduler(0))))
    thread.start()
    thread.join()
    return answers[0]


def refuse(*_: object) -> None:
    raise PermissionError("not allowed")


def test_what_is_told_is_what_the_thread_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_time, "_lock_memory", lambda: False)
    granted, policy = in_a_thread(ask_for_real_time)
    assert (granted.scheduling == "fifo") == (policy & os.SCHED_FIFO == os.SCHED_FIFO)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER, "the thread that did not ask is left alone"
    assert "memlock" in granted.advice


def test_refusals_leave_an_ordinary_thread_and_an_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(os, "setpriority", refuse)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (65536, 65536))
    granted, policy = in_a_thread(ask_for_real_time)
    assert granted == RealTime("ordinary", False, granted.advice)
    assert "rtprio 20 and memlock unlimited" in granted.advice
    assert policy == os.SCHED_OTHER


def test_a_limit_on_locked_memory_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locking all that comes later under a limit would make later allocations fail."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (65536, 65536))
    monkeypatch.setattr(real_time.ctypes, "CDLL", lambda *_, **__: pytest.fail("it was tried"))
    assert not real_time._lock_memory()


def test_what_a_servo_thread_starts_is_ordinary() -> None:
    """Spinning threads of the middleware at a fixed priority would keep the machine from everything else."""

    def ask_and_start_another() -> RealTime:
        granted = ask_for_real_time()
        started.append(in_a_thread(lambda: granted)[1])
        return granted

    started: list[int] = []
    in_a_thread(ask_and_start_another)
    assert started == [os.SCHED_OTHER]


def test_what_an_sdk_does_to_its_caller_is_taken_back() -> None:
    def let_an_sdk_take_it() -> RealTime:
        with own_scheduling():
            return ask_for_real_time()

    assert in_a_thread(let_an_sdk_take_it)[1] == os.SCHED_OTHER


@pytest.mark.parametrize("is_permitted", [True, False])
def test_what_is_started_so_has_the_fixed_priority_in_a_servo_thread_too(
    monkeypatch: pytest.MonkeyPatch, is_permitted: bool
) -> None:
    """As libfranka's control thread. A user with a limit may take the priority, but not undo a reset on fork."""
    may = in_a_thread(ask_for_real_time)[0].scheduling == "fifo"
    schedule, granted = os.sched_setscheduler, RealTime("fifo", False)

    def schedule_as_a_user(who: int, policy: int, parameters: os.sched_param) -> None:
        if not is_permitted or os.sched_getscheduler(0) & os.SCHED_RESET_ON_FORK & ~policy:
            refuse()
        schedule(who, policy, parameters)

    started: list[int] = []

    def start_from_a_servo_thread() -> RealTime:
        ask_for_real_time()
        before = os.sched_getscheduler(0)
        monkeypatch.setattr(os, "sched_setscheduler", schedule_as_a_user)
        start_at_fixed_priority(lambda: started.append(in_a_thread(lambda: granted)[1]))
        assert os.sched_getscheduler(0) == before, "the calling thread keeps its own"
        return granted

    in_a_thread(start_from_a_servo_thread)
    assert started == [os.SCHED_FIFO if may and is_permitted else os.SCHED_OTHER]


def test_what_fails_at_the_fixed_priority_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        start_at_fixed_priority(lambda: 1 / 0)
