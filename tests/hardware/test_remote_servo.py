"""The servo process of a real arm: what the node is told of it, and what the arm does when either of them is gone."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scservo_sdk", reason="pip install '.[feetech]'")

from hardware.remote_servo import RemoteServo
from hardware.servo_link import Follow, Link, LinkClosed
from hardware.stand_ins.servo_arms import ServoStandIn, feetech
from robot.errors import DeviceDisconnected, DeviceNotFound
from robot.types import Command, Owner
from tests.hardware.moving_node import push, so101_at, step_for, wait_for_a_period

STILL = 0.002  # [rad] within 0.1 s


def settle(is_so: Callable[[], object], timeout_s: float, what: str) -> None:
    end_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end_s, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def stand_in() -> Iterator[ServoStandIn]:
    with feetech() as running:
        yield running


@pytest.fixture
def another() -> Iterator[ServoStandIn]:
    """A stand-in that no other servo talks to."""
    with feetech() as running:
        yield running


@contextmanager
def running_servo(stand_in: ServoStandIn) -> Iterator[RemoteServo]:
    """Yield a connected servo whose periods a thread takes, as the node's does."""
    servo, stopping = RemoteServo(so101_at(str(stand_in.station.arm.address))), threading.Event()
    servo.connect()
    thread = threading.Thread(target=step_for, args=(servo, stopping))
    thread.start()
    try:
        wait_for_a_period(servo)
        yield servo
    finally:
        stopping.set()
        thread.join()
        servo.close()


@pytest.fixture(scope="module")
def servo(stand_in: ServoStandIn) -> Iterator[RemoteServo]:
    """One for every test that leaves it running."""
    with running_servo(stand_in) as running:
        yield running


def reset(servo: RemoteServo) -> None:
    """As a person does, again where a busy machine has kept the bus from answering."""
    settle(lambda: servo.reset()[0], 10.0, "a reset")


def moves(stand_in: ServoStandIn) -> bool:
    before = stand_in.joints()[0]
    time.sleep(0.1)
    return abs(stand_in.joints()[0] - before) > STILL


def test_it_starts_latched_and_follows_only_after_a_reset(servo: RemoteServo, stand_in: ServoStandIn) -> None:
    begun = stand_in.joints()
    push(servo, 0.3)
    assert servo.step().state == "latched"
    assert os.getpgid(servo.pid) == servo.pid, "a terminal's Ctrl-C goes past it"
    assert np.array_equal(stand_in.joints(), begun)
    assert not stand_in.powered_joints()[1].any(), "no torque before a reset"
    reset(servo)
    push(servo, 0.6)
    assert stand_in.joints()[0] > begun[0] + 0.05
    assert servo.step().seq > 0
    assert servo.stop("the test says so") == (True, "latched: call safety/reset to go on")
    settle(lambda: servo.step().state == "latched", 1.0, "a latched arm")


def test_an_emergency_stop_latches_and_what_it_reports_is_what_it_had(
    servo: RemoteServo, stand_in: ServoStandIn
) -> None:
    reset(servo)
    servo.set_estop(True)
    settle(lambda: servo.step().state == "latched", 1.0, "a latched arm")
    done, why = servo.reset()
    assert not done
    assert "release it first" in why
    servo.set_estop(False)
    settle(lambda: servo.report().reason == "emergency stop", 2.0, "a report")
    report = servo.report()
    assert report.notes["scheduling"] in ("fifo", "nice", "ordinary")
    assert report.timing.count > 0
    assert report.health["firmware"]
    assert stand_in.powered_joints()[1].all(), "latched, it holds under power"


def test_errors_of_connecting_are_the_driver_s_own() -> None:
    with pytest.raises(DeviceNotFound, match="cannot be opened"):
        RemoteServo(so101_at("/dev/no-such-port")).connect()


def test_a_command_that_waited_too_long_on_the_way_is_not_followed(servo: RemoteServo, stand_in: ServoStandIn) -> None:
    """Such as one from before the servo process was frozen."""
    reset(servo)
    begun = stand_in.joints()
    place = begun + np.array([0.1, 0, 0, 0, 0, 0])
    old = Follow(Command(1007, time.time_ns(), place, Owner.POLICY), time.monotonic_ns() - 10**9)
    assert servo._open_link().send(old)
    settle(lambda: servo.report().clips.get("STALE"), 2.0, "a refusal that is counted")
    assert servo.step().seq < 1007
    assert np.abs(stand_in.joints() - begun).max() < STILL


def test_a_frozen_servo_process_is_said_to_be_one_and_a_killed_one_is_an_error(another: ServoStandIn) -> None:
    with running_servo(another) as servo:
        reset(servo)
        push(servo, 0.3)
        os.kill(servo.pid, signal.SIGSTOP)
        settle(lambda: servo.report().is_stale, 3.0, "a report of silence")
        assert "frozen" in servo.report().reason
        assert not moves(another)
        os.kill(servo.pid, signal.SIGCONT)
        settle(lambda: not servo.report().is_stale, 3.0, "its return")
        os.kill(servo.pid, signal.SIGKILL)
        settle(lambda: not moves(another), 2.0, "a standing arm")
        with pytest.raises(DeviceDisconnected, match="ended by signal 9"):
            for _ in range(1000):
                servo.wait()
    assert another.powered_joints()[1].all()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_without_its_node_the_arm_holds_under_power(another: ServoStandIn, number: int) -> None:
    words = [sys.executable, "-m", "tests.hardware.moving_node", str(another.station.arm.address)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        child = int(node.stdout.readline())
        settle(lambda: moves(another), 5.0, "a moving arm")
        node.send_signal(number)
        time.sleep(0.3)
        stood = another.joints()
        time.sleep(0.4)
        assert np.abs(another.joints() - stood).max() < STILL
        assert another.powered_joints()[1].all()
        node.kill()
    settle(lambda: not Path(f"/proc/{child}").exists(), 5.0, "the end of a servo process without its node")
    assert another.powered_joints()[1].all(), "let go of, it still holds"


def test_a_link_never_waits_for_a_reader_and_tells_of_an_end() -> None:
    ours, theirs = Link.pair()
    sent = 0
    while ours.send(Command(sent, 0, np.zeros(8), Owner.POLICY)):
        sent += 1
    assert sent > 50, "some are kept for a reader that is late"
    other = Link(theirs)
    assert [other.receive().seq for _ in range(sent)] == list(range(sent))
    assert other.receive() is None
    ours.close()
    with pytest.raises(LinkClosed):
        other.receive()
