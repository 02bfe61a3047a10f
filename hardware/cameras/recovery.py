"""The recovery ladder of a camera: which step is tried next while its stream stands still.

Plain state without threads or devices; times are seconds of the caller's clock. Each step is tried its number of
times, each try is given its time, and pictures end it all. The last step is for a person, and repeats.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One step: `limit_s` is how long it may take before its process is ended, `settle_s` how long pictures may take
    after it; `advice` is what a person reads meanwhile."""

    name: str
    tries: int
    limit_s: float
    settle_s: float
    advice: str = ""


# What the child process is told to do; PROCESS and REPLUG are done to it.
START, WAIT, RESTART, RESET, RENEW = "start", "wait", "restart", "reset", "renew"
PROCESS, REPLUG = "process", "replug"
HEALTHY_FRAMES = 30  # in a row, before the ladder begins from its foot again


class Ladder:
    """Where a camera stands on its ladder, and what was tried so far."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self._steps = steps
        self._rung, self._tries, self._healthy = 0, 0, 0
        self._next_s: float | None = None
        self.tried: list[str] = []  # since the stream last stood still
        self.recoveries = 0
        self.is_climbing = False

    @property
    def advice(self) -> str:
        return self._steps[min(self._rung, len(self._steps) - 1)].advice

    def next_step(self, now_s: float) -> Step | None:
        """Return the step to try now, None while the last one may still help."""
        if self._next_s is not None and now_s < self._next_s:
            return None
        if not self.is_climbing:
            self.is_climbing, self.tried, self._healthy = True, [], 0
        while self._rung < len(self._steps) - 1 and self._tries >= self._steps[self._rung].tries:
            self._rung, self._tries = self._rung + 1, 0
        step = self._steps[self._rung]
        self._tries += 1
        self.tried.append(step.name)
        self._next_s = now_s + step.limit_s + step.settle_s
        return step

    def settle(self, step: Step, now_s: float, *, succeeded: bool) -> None:
        """Note that a step is over: pictures have `settle_s` to come, after a failed one the next is due at once."""
        is_last = step is self._steps[-1]
        self._next_s = now_s + (step.settle_s if succeeded or is_last else 0.0)

    def pictures(self, count: int) -> None:
        """Note new pictures; the stream that stood still is back."""
        self._next_s = None
        if self.is_climbing:
            self.is_climbing = False
            self.recoveries += 1
        self._healthy += count
        if self._healthy >= HEALTHY_FRAMES:
            self._rung, self._tries = 0, 0
