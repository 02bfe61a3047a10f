"""The process of a real arm's servo: a thread for it, and beside that only what the driver starts.

usage: python -m hardware.servo_process DESCRIPTOR

Interpolation, last filter, watchdogs and the latch live here. In the node's process a thread that was put aside while
it held the interpreter's lock would keep the servo waiting, whatever the servo's own priority. The latch outlives
nothing: when the node is gone the arm is stopped and let go of, and a new process starts latched.
"""

import gc
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from hardware.arm_drivers import make_arm
from hardware.real_time import RealTime, ask_for_real_time
from hardware.servo_link import Answer, Connected, Estop, Follow, Link, LinkClosed, Reset, Stop
from robot.arm_servo import LocalServo, ServoReport
from robot.errors import RobotError
from robot.specs import StationSpec

REPORT_S = 0.5
STATION_S = 10.0  # for the node to name its station


def serve(link: Link, servo: LocalServo) -> None:
    """Step a connected servo until the node is gone."""
    granted = ask_for_real_time()
    reported_s = 0.0
    while True:
        servo.wait()
        while (order := link.receive()) is not None:
            obey(order, servo, link)
        link.send(servo.step())
        if (now_s := time.monotonic()) - reported_s >= REPORT_S:
            reported_s = now_s
            link.send(with_scheduling(servo.report(), granted))


def obey(order: object, servo: LocalServo, link: Link) -> None:
    """Do what the node says."""
    match order:
        case Follow(command, offered_ns):
            servo.follow(command, offered_ns)
        case Estop(pressed):
            servo.set_estop(pressed)
        case Stop(number, reason):
            link.send(Answer(number, *servo.stop(reason)))
        case Reset(number):
            link.send(Answer(number, *servo.reset()))
        case _:
            raise TypeError(f"a servo process does not know {order!r}")


def with_scheduling(report: ServoReport, granted: RealTime) -> ServoReport:
    notes: dict[str, object] = {"scheduling": granted.scheduling, "memory_locked": granted.memory_locked}
    return replace(report, notes={**notes, **({"real_time_advice": granted.advice} if granted.advice else {})})


def main(words: Sequence[str] = sys.argv[1:]) -> int:
    """Serve the node at the other end of the inherited socket; errors of connecting go there."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the node says when to end
        signal.signal(number, signal.SIG_IGN)
    link = Link(socket.socket(fileno=int(words[0])))
    try:
        station = link.receive(STATION_S)
        if not isinstance(station, StationSpec):
            raise TypeError(f"the first thing said must be the station, it is {station!r}")
        servo = LocalServo(make_arm(station), station)
        try:
            servo.connect()
            link.send(Connected(servo.mismatches))
            gc.collect()
            gc.freeze()  # what is there now stays: later collections have next to nothing to look at
            serve(link, servo)
        finally:
            servo.close()
    except LinkClosed:
        return 0
    except RobotError as error:
        link.send(error)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
