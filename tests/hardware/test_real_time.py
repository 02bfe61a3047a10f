"""Hints for the servo thread: what is granted is told, what is refused leaves an advice and nothing else."""

import os
import resource
import threading
from collections.abc import Callable

import pytest

from hardware import real_time
from hardware.real_time import RealTime, ask_for_real_time, own_scheduling, starting_at_fixed_priority


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
def test_only_what_is_started_meanwhile_has_the_fixed_priority(
    monkeypatch: pytest.MonkeyPatch, is_permitted: bool
) -> None:
    """As libfranka's control thread, which takes it by itself only where that is enforced."""
    may = in_a_thread(ask_for_real_time)[0].scheduling == "fifo"
    if not is_permitted:
        monkeypatch.setattr(os, "sched_setscheduler", refuse)
    granted = RealTime("fifo", False)
    with starting_at_fixed_priority():
        within = os.sched_getscheduler(0)
        started = in_a_thread(lambda: granted)[1]
    assert started == within
    assert (within == os.SCHED_FIFO) == (may and is_permitted)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
