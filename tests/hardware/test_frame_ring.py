"""Frames through shared memory: whole, newest first, and none left behind by whoever dies."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from hardware.cameras.frame_ring import SLOTS, FrameRing, FrameShape
from robot.devices import Frame

SHAPE = FrameShape(64, 48, True)


def frame(counter: int, shape: FrameShape = SHAPE) -> Frame:
    image = np.full((shape.height, shape.width, 3), counter % 251, np.uint8)
    depth = np.full((shape.height, shape.width), counter, np.uint16) if shape.has_depth else None
    return Frame(1000 * counter, counter, image, depth)


def test_nothing_is_read_before_anything_was_written() -> None:
    ring = FrameRing(SHAPE)
    assert ring.read() is None
    assert ring.newest() == (0, 0)


def test_the_newest_frame_is_read_whole_and_as_a_copy() -> None:
    ring = FrameRing(SHAPE)
    for counter in range(1, 2 * SLOTS + 2):
        ring.write(frame(counter), host_ns=counter)
    newest, host_ns = ring.read() or (None, 0)
    assert (newest.counter, newest.time_ns, host_ns) == (9, 9000, 9)
    assert (newest.image == 9).all() and (newest.depth == 9).all()
    for counter in range(10, 20):
        ring.write(frame(counter), host_ns=counter)
    assert (newest.image == 9).all()


def test_a_camera_without_depth_has_none() -> None:
    ring = FrameRing(FrameShape(64, 48, False))
    ring.write(frame(1, ring.shape), 1)
    assert ring.read()[0].depth is None


def test_a_reader_never_sees_half_a_frame() -> None:
    ring = FrameRing(FrameShape(320, 240, True))
    stopping = threading.Event()

    def write() -> None:
        counter = 0
        while not stopping.is_set():
            counter += 1
            ring.write(frame(counter, ring.shape), counter)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(300):
            found = ring.read()
            if found is not None:
                seen, _ = found
                assert (seen.image == seen.counter % 251).all()
                assert (seen.depth == seen.counter % 65536).all()
    finally:
        stopping.set()
        writer.join()


def test_a_frame_that_its_writer_did_not_finish_is_not_read() -> None:
    ring = FrameRing(SHAPE)
    ring.write(frame(1), 1)
    ring.write(frame(2), 2)
    ring._headers[1]["sequence"] -= 1  # as if it had died while it wrote
    assert ring.read()[0].counter == 1


def test_another_process_goes_on_where_one_died() -> None:
    ring = FrameRing(SHAPE)
    ring.write(frame(1), 1)
    again = FrameRing(SHAPE, os.dup(ring.descriptor))
    again.write(frame(2), 2)
    assert ring.read()[0].counter == 2
    again.notes["dropped"] += 3
    assert ring.notes["dropped"] == 3


def test_it_has_no_name_that_could_be_left_behind() -> None:
    before = set(Path("/dev/shm").iterdir())
    code = "from hardware.cameras.frame_ring import *; import os; FrameRing(FrameShape(640, 480, True)); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    named = {path for path in set(Path("/dev/shm").iterdir()) - before if "tandem" in path.name}
    assert not named
