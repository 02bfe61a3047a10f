"""The child process of a camera: runs a source, writes its pictures into shared memory, does what it is told.

usage: python -m hardware.cameras.capture_process JSON

It talks to its parent in lines of JSON over a socket, and dies with it. SDKs may block for good here.
"""

import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from typing import Any

from hardware.cameras.frame_ring import FrameRing, FrameShape
from hardware.cameras.recovery import RENEW, RESET, START, WAIT
from hardware.cameras.source import Picture, Source, fingerprint
from robot.devices import Frame
from robot.errors import DeviceDisconnected, RobotError
from robot.from_yaml import build
from robot.specs import CameraSpec

GRAB_S = 0.5  # how long a command may wait for a quiet source
RESTARTED_BY = 16  # numbers further back than the SDKs keep pictures come from a device that began anew
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Capture:
    """Moves pictures from the source to the ring; what is no news never gets there, so it can never look fresh."""

    def __init__(self, source: Source, ring: FrameRing, tell: Callable[..., None]) -> None:
        self._source, self._ring, self._tell = source, ring, tell
        last = ring.read()  # of the process before this one
        self._counter, self._time_ns = (last[0].counter, last[0].time_ns) if last else (0, 0)
        self._number = -1
        self._shape = (ring.shape.height, ring.shape.width)
        self.is_running = False

    def perform(self, command: str) -> None:
        """Do one step of the recovery ladder, or the first start, and tell how it went."""
        if command == WAIT:  # which a stream that is lost cannot be helped by
            self._tell(event="step", name=command, ok=self.is_running)
            return
        self._let_go()
        try:
            if command == RESET:
                self._source.reset()
            elif command == RENEW:
                self._source.renew()
            opened = self._source.start()
        except RobotError as error:
            self._tell(event="step", name=command, ok=False, **_told(error))
            return
        self.is_running, self._number = True, -1
        intrinsics = asdict(opened.intrinsics) if opened.intrinsics else None
        self._tell(event="step", name=command, ok=True, intrinsics=intrinsics, facts=dict(opened.facts),
                   alerts=list(opened.alerts))  # fmt: skip

    def _let_go(self) -> None:
        """End the stream; that it does not end well must not keep a stronger step from being taken."""
        self.is_running = False
        try:
            self._source.stop()
        except RobotError as error:
            self._tell(event="lost", **_told(error))

    def finish(self) -> None:
        if self.is_running:
            self._source.stop()

    def forward(self) -> None:
        """Move one picture, if one comes."""
        try:
            picture = self._source.grab(GRAB_S)
            if picture is not None and self._is_news(picture):
                self._write(picture)
        except RobotError as error:
            self.is_running = False
            self._tell(event="lost", **_told(error))

    def _is_news(self, picture: Picture) -> bool:
        """Tell a new picture from the last one sent again, under the same number or another."""
        content = fingerprint(picture.image)
        behind = self._number - picture.number
        notes = self._ring.notes
        if (self._number >= 0 and 0 <= behind < RESTARTED_BY) or content == notes["content"]:
            notes["repeated"] += 1
            return False
        if self._number >= 0 and behind < -1:
            notes["dropped"] += -behind - 1
        self._number, notes["content"] = picture.number, content
        return True

    def _write(self, picture: Picture) -> None:
        height, width = picture.image.shape[:2]
        if (height, width) != self._shape or (picture.depth is not None and picture.depth.shape != self._shape):
            raise DeviceDisconnected(
                f"a picture is {width}x{height}, the station asks for {self._shape[1]}x{self._shape[0]}"
            )
        now_ns = time.monotonic_ns()
        time_ns = max(self._time_ns + 1, min(picture.time_ns, now_ns))  # stamps rise and are never ahead
        self._counter, self._time_ns = self._counter + 1, time_ns
        self._ring.write(Frame(time_ns, self._counter, picture.image, picture.depth), now_ns)


def _told(error: RobotError) -> dict[str, str]:
    return {"error": type(error).__name__, "message": str(error)}


class Parent:
    """The other end of the socket: lines of JSON out, commands in."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._lines = self._socket.makefile("r")
        self.is_there = True

    def tell(self, **event: Any) -> None:
        try:
            self._socket.sendall((json.dumps(event) + "\n").encode())
        except OSError:
            self.is_there = False

    def command(self, timeout_s: float) -> str | None:
        """Return the next command, None where there is none in time; without a parent `is_there` is no longer so."""
        if not select.select([self._socket], [], [], timeout_s)[0]:
            return None
        line = self._lines.readline()
        self.is_there = bool(line)
        return line.strip()


def main(words: list[str]) -> int:
    settings = json.loads(words[0])
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    if os.getppid() != settings["parent"]:
        return 1
    parent = Parent(settings["socket"])
    ring = FrameRing(FrameShape(**settings["shape"]), settings["memory"])
    try:
        module, _, function = settings["source"].partition(":")
        source = getattr(import_module(module), function)(build(CameraSpec, settings["camera"], "camera"))
    except RobotError as error:
        parent.tell(event="step", name=START, ok=False, **_told(error))
        return 2
    capture = Capture(source, ring, parent.tell)
    capture.perform(settings["step"])
    while parent.is_there:
        command = parent.command(0.0 if capture.is_running else GRAB_S)
        if command:
            capture.perform(command)
        elif capture.is_running:
            capture.forward()
    capture.finish()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
