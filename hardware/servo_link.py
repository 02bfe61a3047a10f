"""What a servo process and its node say to each other: whole objects over a socket, in order; nobody waits to send.

Both ends are this very program, so objects travel pickled.
"""

import pickle
import select
import socket
from dataclasses import dataclass
from typing import Any

from robot.errors import DeviceDisconnected
from robot.types import Command


class LinkClosed(DeviceDisconnected):
    """The process at the other end is gone."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The arm is there; the servo runs, latched."""

    mismatches: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Follow:
    """A command, and when it came to the node [ns of the monotonic clock, which both share]."""

    command: Command
    offered_ns: int


@dataclass(frozen=True, slots=True)
class Estop:
    """The software emergency stop is pressed, or is not."""

    pressed: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """Latch. Answered."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reset:
    """Allow commands again. Answered."""

    number: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of the request of this number."""

    number: int
    is_met: bool
    text: str


class Link:
    """One end of the connection."""

    LARGEST = 1 << 18  # [bytes] of one object

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        end.setblocking(False)

    @staticmethod
    def pair() -> "tuple[Link, socket.socket]":
        """Return our end, and theirs for a child process to inherit."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return Link(ours), theirs

    def send(self, message: object) -> bool:
        """Send at once; False, and not sent, where the other end has too much unread. LinkClosed where it is gone."""
        try:
            self._end.send(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
        except BlockingIOError:
            return False
        except OSError as error:
            raise LinkClosed(f"the other process is gone ({error})") from error
        return True

    def receive(self, timeout_s: float = 0.0) -> Any:
        """Return the next object, None where none comes in time. LinkClosed where none ever will."""
        try:
            if timeout_s > 0.0 and not select.select([self._end], [], [], timeout_s)[0]:
                return None
            data = self._end.recv(self.LARGEST)
        except BlockingIOError:
            return None
        except (OSError, ValueError) as error:
            raise LinkClosed(f"the other process is gone ({error})") from error
        if not data:
            raise LinkClosed("the other process is gone")
        return pickle.loads(data)

    def close(self) -> None:
        self._end.close()
