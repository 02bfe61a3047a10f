"""A bare recorder, run as a process of its own and killed by the tests: `journal_writer.py ROOT ID RATE_HZ STEPS`.

It writes to standard output the number of ticks recorded after each append, then `closing`, then `closed`.
"""

import os
import sys
import time

from robot.bench_store import CAMERAS, make_tick
from robot.episode_store import EpisodeStore
from robot.types import EndReason


def image_of(camera: str, step: int) -> bytes:
    """Return 50 kB of the size of a VGA JPEG, told apart by camera and step."""
    return f"{camera} {step} ".encode().ljust(50_000, b"\xd8")


def report(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def record(root: str, episode_id: str, rate_hz: float, steps: int) -> None:
    writer = EpisodeStore(root).open_episode({"station": "fr3_sim", "task": "kill"}, episode_id=episode_id)
    start = time.monotonic()
    for step in range(steps):
        time.sleep(max(0.0, start + step / rate_hz - time.monotonic()))
        writer.append(make_tick(step), {camera: image_of(camera, step) for camera in CAMERAS})
        report(str(step + 1))
    report("closing")
    writer.close(EndReason.SUCCESS)
    report("closed")


if __name__ == "__main__":
    record(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
