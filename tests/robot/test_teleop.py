"""`tandem teleop --sim` as a person at a terminal uses it."""

import os
import pty
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from robot.ros.teleop_verb import TeleopConfig, run_teleop
from robot.types import EndReason


@contextmanager
def typing(*keys: tuple[float, bytes]) -> Iterator[str]:
    """Yield the path of a terminal at which keys are pressed, each so long after the one before."""
    ours, theirs = pty.openpty()

    def press() -> None:
        for wait_s, key in keys:
            time.sleep(wait_s)
            os.write(ours, key)

    thread = threading.Thread(target=press)
    thread.start()
    yield os.ttyname(theirs)
    thread.join()
    os.close(ours)
    os.close(theirs)


def test_keys_drive_a_simulated_arm_in_real_time() -> None:
    with typing((0.8, b"w"), *[(0.05, b"w")] * 10, (0.0, b"y")) as terminal:
        result = run_teleop(TeleopConfig(sim=True, task="reach", option=(f"path={terminal}",), limit_s=2.0))
    assert result["human_ticks"] > 3
    assert result["ticks"] > result["human_ticks"]
    assert result["episodes"] == [EndReason.SUCCESS]
