"""From a device's own clock to this machine's monotonic clock [ns] (robot_graph spec, section 8)."""

import time
from collections import deque

from robot.types import NS_PER_S

WINDOW_NS = 10 * NS_PER_S
STEP_NS = NS_PER_S // 20  # a jump further than this is a device that began anew


class DeviceClock:
    """Estimates host - device as its minimum over the last 10 s: the frame that was delayed least tells it best.

    What the quickest frame took on its way stays in the stamps. A drift of 50 ppm adds at most 0.5 ms over the window.
    """

    def __init__(self) -> None:
        self._differences: deque[tuple[int, int]] = deque()  # (host, host - device), the smallest difference first
        self._last: tuple[int, int] | None = None
        self.restarts = 0

    def to_host(self, device_ns: int, host_ns: int) -> int:
        """Return the monotonic time of a device time that reached this machine at `host_ns`; never after it."""
        if self._last is not None and self._has_stepped(device_ns, host_ns):
            self._differences.clear()
            self.restarts += 1
        self._last = device_ns, host_ns
        difference = host_ns - device_ns
        while self._differences and self._differences[-1][1] >= difference:
            self._differences.pop()
        self._differences.append((host_ns, difference))
        while host_ns - self._differences[0][0] > WINDOW_NS:
            self._differences.popleft()
        return device_ns + self._differences[0][1]

    def _has_stepped(self, device_ns: int, host_ns: int) -> bool:
        """Tell a clock that was set anew from frames that were late: it went back, or ahead of this machine's."""
        last_device_ns, last_host_ns = self._last or (0, 0)
        ahead_ns = (device_ns - last_device_ns) - (host_ns - last_host_ns)
        return device_ns < last_device_ns or ahead_ns > STEP_NS + self._lateness_ns()

    def _lateness_ns(self) -> int:
        """Return how late the last frame was against the quickest: so much may the next one catch up."""
        last_device_ns, last_host_ns = self._last or (0, 0)
        return last_host_ns - last_device_ns - self._differences[0][1] if self._differences else 0


def wall_clock_at(now_ns: int) -> int:
    """Return the wall-clock time that belongs to a monotonic time of just now."""
    return time.time_ns() - (time.monotonic_ns() - now_ns)


def from_wall_clock(wall_ns: int, wall_now_ns: int, now_ns: int) -> int:
    """Return the monotonic time of a wall-clock time, given both clocks now; never after `now_ns`."""
    return min(now_ns, now_ns - (wall_now_ns - wall_ns))
