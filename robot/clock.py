"""Time: where it comes from, and loops that keep a rate on an absolute schedule."""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from robot.errors import ConfigError
from robot.types import NS_PER_S

KEPT = 100_000


class Clock(Protocol):
    """A clock that never runs backwards."""

    def now_ns(self) -> int:
        """Return the time [ns]; only differences have a meaning."""
        ...

    def sleep_until(self, time_ns: int) -> None:
        """Block until `time_ns`; return at once where that is past."""
        ...


class MonotonicClock:
    """The machine's monotonic clock."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def sleep_until(self, time_ns: int) -> None:
        left_ns = time_ns - time.monotonic_ns()
        if left_ns > 0:
            time.sleep(left_ns / NS_PER_S)


class ManualClock:
    """A clock that moves only when told, for lock-step worlds; sleeping moves it."""

    def __init__(self, time_ns: int = 0) -> None:
        self._time_ns = time_ns

    def now_ns(self) -> int:
        return self._time_ns

    def sleep_until(self, time_ns: int) -> None:
        self._time_ns = max(self._time_ns, time_ns)

    def advance(self, duration_ns: int) -> int:
        """Move forward and return the new time [ns]."""
        if duration_ns < 0:
            raise ConfigError(f"a clock cannot go back: advance({duration_ns}) needs a duration >= 0 ns")
        self._time_ns += duration_ns
        return self._time_ns


@dataclass(frozen=True, slots=True)
class LoopTiming:
    """How late the iterations of a loop began; an overrun is a period that was skipped."""

    count: int
    overruns: int
    late_p50_ms: float
    late_p99_ms: float
    late_max_ms: float


@dataclass(slots=True)
class RateKeeper:
    """Start an iteration every period, counted from the first: a late one does not move those after it.

    An iteration that is late by a whole period or more is skipped, never caught up in a burst.
    """

    rate_hz: float
    clock: Clock = field(default_factory=MonotonicClock)
    kept: int = KEPT  # iterations that `timing` looks back on
    _period_ns: int = field(init=False)
    _next_ns: int | None = field(init=False, default=None)
    _overruns: int = field(init=False, default=0)
    _count: int = field(init=False, default=0)
    _late_ns: deque[int] = field(init=False)

    def __post_init__(self) -> None:
        if not self.rate_hz > 0:
            raise ConfigError(f"rate_hz is {self.rate_hz}, it must be above 0")
        self._period_ns = round(NS_PER_S / self.rate_hz)
        self._late_ns = deque(maxlen=self.kept)

    def wait(self) -> int:
        """Block until the next iteration is due and return how many periods were skipped before it."""
        if self._next_ns is None:
            self._next_ns = self.clock.now_ns()
        skipped = max(0, (self.clock.now_ns() - self._next_ns) // self._period_ns)
        self._overruns += skipped
        due_ns = self._next_ns + skipped * self._period_ns
        self.clock.sleep_until(due_ns)
        self._late_ns.append(max(0, self.clock.now_ns() - due_ns))
        self._count += 1
        self._next_ns = due_ns + self._period_ns
        return skipped

    def timing(self) -> LoopTiming:
        """Return the lateness of the last `kept` iterations, nan before the first."""
        if not self._late_ns:
            return LoopTiming(0, 0, float("nan"), float("nan"), float("nan"))
        p50, p99, worst = np.percentile(np.array(self._late_ns) / 1e6, [50, 99, 100])
        return LoopTiming(self._count, self._overruns, float(p50), float(p99), float(worst))
