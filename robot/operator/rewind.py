"""Going back along the way the arm came: the last seconds of commanded tcp path, reversed at half speed.

The way is kept while the arm moves under anybody's control; time in which it stood still is not part of it. Going
back consumes the way, so that letting go and pressing again goes on further back instead of forth.
"""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from robot.types import Array

LONGEST_S = 5.0  # of motion, that one press goes back
SPEED = 0.5  # of that with which the arm came
PLACES_KEPT = 400  # 20 s of motion at 20 Hz
GAIN_PER_S = 6.0  # how hard the arm is drawn to its place on the way
STEP_M = 5e-4  # a smaller change is standing still
PAUSE_S = 0.3  # without a packet that rewinds: the press has ended
SHORTEST_PERIOD_S, LONGEST_PERIOD_S = 0.005, 0.1


@dataclass(slots=True)
class _Way:
    """Of one arm: places in the cell's frame with how long the arm took from the one before [s]."""

    places: deque[tuple[float, Array]] = field(default_factory=deque)
    noted_s: float = -np.inf
    pressed_s: float = -np.inf  # when a packet last asked to go back
    left_s: float = 0.0  # how much further this press may go
    owed_s: float = 0.0  # time on the way that is gone through and not yet taken off it

    def note(self, now_s: float, tcp_m: Array) -> None:
        passed_s, self.noted_s = min(max(now_s - self.noted_s, SHORTEST_PERIOD_S), LONGEST_PERIOD_S), now_s
        is_going_back = now_s - self.pressed_s < PAUSE_S
        is_still = len(self.places) > 0 and np.linalg.norm(tcp_m - self.places[-1][1]) < STEP_M
        if not (is_going_back or is_still):
            self.places.append((passed_s, tcp_m.copy()))
        if len(self.places) > PLACES_KEPT:
            self.places.popleft()

    def go_back(self, now_s: float) -> None:
        """Take off the way what is gone through since the last call; a call after a pause begins a new press."""
        since_s, self.pressed_s = now_s - self.pressed_s, now_s
        if since_s > PAUSE_S:
            self.left_s, self.owed_s, since_s = LONGEST_S, 0.0, 0.0
        step_s = min(SPEED * min(since_s, LONGEST_PERIOD_S), self.left_s)
        self.left_s -= step_s
        self.owed_s += step_s
        while len(self.places) > 1 and self.places[-1][0] <= self.owed_s:
            self.owed_s -= self.places.pop()[0]

    def velocity(self, tcp_m: Array) -> Array:
        """Return the velocity towards the place reached on the way, and on with it, (3,) [m/s]."""
        if not self.places:
            return np.zeros(3)
        passed_s, target_m = self.places[-1]
        if len(self.places) == 1 or self.left_s <= 0.0:
            return GAIN_PER_S * (target_m - tcp_m)
        before_m = self.places[-2][1]
        target_m = target_m + self.owed_s / passed_s * (before_m - target_m)
        return SPEED * (before_m - self.places[-1][1]) / passed_s + GAIN_PER_S * (target_m - tcp_m)


class Rewind:
    """The ways of a station's arms. One thread may note while another goes back."""

    def __init__(self, arms: int) -> None:
        self._ways = [_Way() for _ in range(arms)]
        self._lock = threading.Lock()

    def note(self, now_s: float, tcps_m: Sequence[Array]) -> None:
        """Keep where each arm's commanded tcp is, (3,) [m] in the cell's frame; about 20 times a second."""
        with self._lock:
            for way, tcp_m in zip(self._ways, tcps_m, strict=True):
                way.note(now_s, tcp_m)

    def forget(self) -> None:
        """Drop the ways: the scene was reset, and the arm with it."""
        with self._lock:
            self._ways = [_Way() for _ in self._ways]

    def velocity(self, arm: int, now_s: float, tcp_m: Array) -> tuple[float, float, float]:
        """Return the velocity that leads back along the way now [m/s], zero at its end or after `LONGEST_S` of it."""
        with self._lock:
            way = self._ways[arm]
            way.go_back(now_s)
            x, y, z = way.velocity(tcp_m).tolist()
        return (x, y, z)
