"""The node's end of a servo process: starts it, hears what every period did, tells it what to do, ends it."""

import contextlib
import itertools
import queue
import subprocess
import sys
import threading
import time
from dataclasses import replace

from hardware.servo_link import Answer, Connected, Estop, Follow, Link, LinkClosed, Reset, Stop
from robot.arm_control import ArmStatus
from robot.arm_servo import ServoReport
from robot.clock import LoopTiming
from robot.errors import DeviceDisconnected, RobotError
from robot.specs import StationSpec
from robot.types import Command

MODULE = "hardware.servo_process"
CONNECT_S = 60.0
ANSWER_S = 10.0  # a recovery restarts servos one by one
WAIT_S = 0.1
SILENT_S = 1.0  # without a period of the servo: it is frozen
LEAVE_S = 3.0
NAN = float("nan")
NOTHING = ServoReport("", False, LoopTiming(0, 0, NAN, NAN, NAN), {}, {}, ())


class RemoteServo:
    """An `ArmServo` in a process of its own. One thread waits and steps, another one may do all the rest."""

    def __init__(self, station: StationSpec) -> None:
        self._station = station
        self._link: Link | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._asking = threading.Lock()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._report = NOTHING
        self._status: ArmStatus | None = None
        self._heard_s = 0.0
        self.mismatches: tuple[str, ...] = ()

    @property
    def pid(self) -> int:
        """Return the id of the servo's process, 0 before `connect`."""
        return self._process.pid if self._process else 0

    def connect(self) -> None:
        self._link, theirs = Link.pair()
        with theirs:
            words = [sys.executable, "-m", MODULE, str(theirs.fileno())]
            self._process = subprocess.Popen(  # a terminal's Ctrl-C goes to the node, which stops it in order
                words, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), process_group=0
            )
        self._link.send(self._station)
        try:
            said = self._link.receive(CONNECT_S)
        except LinkClosed as error:
            raise self._ended() from error
        if isinstance(said, RobotError):
            self.close()
            raise said
        if not isinstance(said, Connected):
            self.close()
            raise DeviceDisconnected(f"the arm of {self._station.name} was not connected within {CONNECT_S:g} s")
        self.mismatches, self._heard_s = said.mismatches, time.monotonic()

    def wait(self) -> bool:
        try:
            said = self._open_link().receive(WAIT_S)
        except LinkClosed as error:
            raise self._ended() from error
        if isinstance(said, RobotError):
            raise said
        if isinstance(said, Answer):
            self._answers.put(said)
        elif isinstance(said, ServoReport):
            self._report = said
        elif isinstance(said, ArmStatus):
            self._status, self._heard_s = said, time.monotonic()
            return True
        return False

    def step(self) -> ArmStatus:
        assert self._status is not None, "wait() has to be True first"
        return self._status

    def follow(self, command: Command) -> None:
        self._tell(Follow(command, time.monotonic_ns()))

    def set_estop(self, pressed: bool) -> None:
        self._tell(Estop(pressed))

    def stop(self, reason: str) -> tuple[bool, str]:
        return self._ask(Stop(next(self._numbers), reason))

    def reset(self) -> tuple[bool, str]:
        return self._ask(Reset(next(self._numbers)))

    def report(self) -> ServoReport:
        silent_s = time.monotonic() - self._heard_s
        if silent_s <= SILENT_S:
            return self._report
        reason = f"the arm's servo process {self.pid} has said nothing for {silent_s:.1f} s: is it frozen?"
        return replace(self._report, reason=reason, is_stale=True)

    def close(self) -> None:
        """Have the process stop the arm and let go of it; killed where it does not within 3 s."""
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._process is not None:
            try:
                self._process.wait(LEAVE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _open_link(self) -> Link:
        if self._link is None:
            raise LinkClosed(f"the servo of {self._station.name} is not connected")
        return self._link

    def _tell(self, order: object) -> bool:
        """Say something that will be said again; whether the process is gone is found out by who waits."""
        with contextlib.suppress(LinkClosed):
            return self._open_link().send(order)
        return False

    def _ask(self, request: Stop | Reset) -> tuple[bool, str]:
        """Return the answer, which the thread in `wait` receives."""
        silent = f"the arm's servo process {self.pid} does not answer: is it frozen or gone?"
        with self._asking:
            if not self._tell(request):
                return False, silent
            deadline_s = time.monotonic() + ANSWER_S
            while (left_s := deadline_s - time.monotonic()) > 0.0:
                with contextlib.suppress(queue.Empty):
                    answer = self._answers.get(timeout=left_s)
                    if answer.number == request.number:
                        return answer.is_met, answer.text
            return False, silent

    def _ended(self) -> DeviceDisconnected:
        """Return the error for a process that has ended by itself; what it printed is above."""
        self.close()
        code = self._process.returncode if self._process else None
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        return DeviceDisconnected(f"the servo process of {self._station.name} has ended {how}; the arm holds by itself")
