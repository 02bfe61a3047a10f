"""What a driver does inside its child process: a source of pictures, and what happened there as plain data.

A source may block for good in any of its calls; whoever watches the process ends it then. Methods are called from one
thread. Errors of ours (`robot.errors`) say what cannot be had; any other exception is a bug and ends the process.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from robot.devices import Intrinsics

SAMPLED_ROWS = 16


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: its number in the device's own counting, when it was taken [monotonic ns], and the arrays.

    `image` is uint8 (height, width, 3) RGB, `depth` uint16 (height, width) [mm]; both may be views that the next
    `grab` overwrites.
    """

    number: int
    time_ns: int
    image: np.ndarray
    depth: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """What a device said of itself when its stream was started; `alerts` are for a person to read."""

    intrinsics: Intrinsics | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    alerts: tuple[str, ...] = ()


def fingerprint(image: np.ndarray) -> int:
    """Return a number that tells an image from any other that a sensor gives, by one row in sixteen."""
    return zlib.crc32(np.ascontiguousarray(image[::SAMPLED_ROWS]).data)


class Source(Protocol):
    """A device's stream, and the steps by which it may be brought back."""

    def start(self) -> Opened:
        """Open the device and start its stream.

        Raises DeviceNotFound where it is not there, DeviceDisconnected where it does not answer, ConfigError where it
        cannot do what the station asks for.
        """
        ...

    def grab(self, timeout_s: float) -> Picture | None:
        """Return the next picture, None where none came in time; DeviceDisconnected where none can come any more."""
        ...

    def stop(self) -> None:
        """End the stream and let go of the device; `start` begins another one. May be called without a stream."""
        ...

    def reset(self) -> None:
        """Reset the hardware and wait until it is back; a source without such a thing has no step for it."""
        ...

    def renew(self) -> None:
        """Drop every handle of the SDK, so that the next `start` begins from nothing."""
        ...
