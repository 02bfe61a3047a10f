"""Frames from a child process to its parent through shared memory: the newest wins, nobody waits.

The memory has no name: nothing is left behind whichever process dies, and however. A slot's sequence number is odd
while it is written and another one after it was overwritten, so a reader notices both and reads the next newest.
"""

import mmap
import os
from dataclasses import dataclass

import numpy as np

from robot.devices import Frame

SLOTS = 4
_HEADER = np.dtype([("sequence", "<u8"), ("counter", "<i8"), ("time_ns", "<i8"), ("host_ns", "<i8")])
_NOTES = np.dtype([("dropped", "<i8"), ("repeated", "<i8"), ("content", "<i8")])
_PAGE = 4096  # images start on pages of their own


@dataclass(frozen=True, slots=True)
class FrameShape:
    """Size of the images; a depth image has the colour image's size."""

    width: int
    height: int
    has_depth: bool

    @property
    def color_bytes(self) -> int:
        return self.width * self.height * 3

    @property
    def depth_bytes(self) -> int:
        return self.width * self.height * 2 if self.has_depth else 0


class FrameRing:
    """`SLOTS` frames in shared memory, written by one process and read by another."""

    def __init__(self, shape: FrameShape, descriptor: int | None = None) -> None:
        """Make the memory, or map that of a `descriptor` handed over by the parent."""
        self.shape = shape
        stride = -(-(shape.color_bytes + shape.depth_bytes) // _PAGE) * _PAGE
        size = _PAGE + SLOTS * stride
        if descriptor is None:
            descriptor = os.memfd_create("tandem_frames")
            os.ftruncate(descriptor, size)
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, size)
        everything = np.frombuffer(self._memory, np.uint8)
        self._headers = everything[: SLOTS * _HEADER.itemsize].view(_HEADER)
        self.notes = everything[_PAGE - _NOTES.itemsize : _PAGE].view(_NOTES)[0]  # the writer's, for both to see
        starts = [_PAGE + slot * stride for slot in range(SLOTS)]
        size_of = (shape.height, shape.width)
        color, depth = shape.color_bytes, shape.depth_bytes
        self._colors = [everything[at : at + color].reshape(*size_of, 3) for at in starts]
        self._depths = [
            everything[at + color : at + color + depth].view(np.uint16).reshape(size_of) if depth else None
            for at in starts
        ]
        self._written = (int(self._headers["sequence"].max()) + 1) // 2  # by a writer that is no more

    def write(self, frame: Frame, host_ns: int) -> None:
        """Copy a frame into the oldest slot; `host_ns` is when it reached this machine."""
        slot = self._written % SLOTS
        self._written += 1
        header, depth = self._headers[slot], self._depths[slot]
        header["sequence"] = 2 * self._written - 1
        np.copyto(self._colors[slot], frame.image)
        if depth is not None and frame.depth is not None:
            np.copyto(depth, frame.depth)
        header["counter"], header["time_ns"], header["host_ns"] = frame.counter, frame.time_ns, host_ns
        header["sequence"] = 2 * self._written

    def newest(self) -> tuple[int, int]:
        """Return the counter of the newest whole frame and when it reached this machine; (0, 0) before the first."""
        slot = self._newest()
        if slot is None:
            return 0, 0
        header = self._headers[slot].copy()
        return int(header["counter"]), int(header["host_ns"])

    def read(self) -> tuple[Frame, int] | None:
        """Return a copy of the newest frame and when it reached this machine; None before the first."""
        while (slot := self._newest()) is not None:
            before = self._headers[slot].copy()
            depth = self._depths[slot]
            image, depth = self._colors[slot].copy(), None if depth is None else depth.copy()
            if self._headers[slot]["sequence"] == before["sequence"]:
                return Frame(int(before["time_ns"]), int(before["counter"]), image, depth), int(before["host_ns"])
        return None

    def close(self) -> None:
        """Close the descriptor; the memory itself goes with the last that has it mapped. May be called twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1

    def _newest(self) -> int | None:
        """Return the slot with the highest even sequence number."""
        sequences = self._headers["sequence"].copy()
        sequences[sequences % 2 == 1] = 0
        return int(sequences.argmax()) if sequences.size and sequences.any() else None
