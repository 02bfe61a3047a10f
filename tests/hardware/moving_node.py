"""Moves an arm through its servo process as a node does: python -m tests.hardware.moving_node ADDRESS."""

import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace

from hardware.remote_servo import RemoteServo
from robot.errors import DeviceDisconnected
from robot.specs import StationSpec, load_station
from robot.types import Command, Owner

SPEED = 0.3  # [rad/s] of the first joint
PERIOD_S = 0.05


def so101_at(address: str) -> StationSpec:
    station = load_station("so101")
    return replace(station, arm=replace(station.arm, address=address))


def step_for(servo: RemoteServo, stopping: threading.Event) -> None:
    """Be the node's servo thread, until the servo has ended."""
    with suppress(DeviceDisconnected):
        while not stopping.is_set():
            if servo.wait():
                servo.step()


def wait_for_a_period(servo: RemoteServo) -> None:
    while servo._status is None:
        time.sleep(0.01)


def push(servo: RemoteServo, seconds: float) -> None:
    """Send commands that lead the first joint away."""
    place, end_s, seq = servo.step().reading.position.copy(), time.monotonic() + seconds, 0
    while time.monotonic() < end_s:
        seq, place = seq + 1, place.copy()
        place[0] += SPEED * PERIOD_S
        servo.follow(Command(seq, time.time_ns(), place, Owner.POLICY))
        time.sleep(PERIOD_S)


def main(address: str) -> None:
    servo, stopping = RemoteServo(so101_at(address)), threading.Event()
    servo.connect()
    threading.Thread(target=step_for, args=(servo, stopping), daemon=True).start()
    wait_for_a_period(servo)
    done, text = servo.reset()
    assert done, text
    print(servo.pid, flush=True)
    push(servo, 4.0)


if __name__ == "__main__":
    main(sys.argv[1])
