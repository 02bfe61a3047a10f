"""An operator's shift: how often and for how long a person drives, and when a rest is due (13.1 row 24)."""

from collections import deque
from dataclasses import dataclass, field

RATE_WINDOW_S = 300.0
WORK_S = 25 * 60.0
BREAK_S = 5 * 60.0


@dataclass(slots=True)
class Shift:
    """Counts takeovers as the graph shows them. A break of `BREAK_S` without anybody driving begins it anew."""

    takeovers: int = 0
    driving_s: float = 0.0
    _began_s: float | None = None
    _drove_s: float = 0.0  # when a person drove last
    _noted_s: float | None = None
    _intervention: object = None
    _recent: deque[float] = field(default_factory=deque)

    def note(self, now_s: float, *, is_human: bool, intervention: object) -> None:
        """Take note of who drives now; `intervention` tells one takeover from the next."""
        passed_s = 0.0 if self._noted_s is None else now_s - self._noted_s
        self._noted_s = now_s
        if self._began_s is not None and now_s - self._drove_s > BREAK_S:
            self._began_s = None
        if not is_human:
            self._intervention = None
            return
        self._began_s = now_s if self._began_s is None else self._began_s
        self._drove_s = now_s
        if intervention != self._intervention:
            self._intervention = intervention
            self.takeovers += 1
            self._recent.append(now_s)
        else:
            self.driving_s += passed_s

    def per_minute(self, now_s: float) -> float:
        """Return takeovers per minute over the last five minutes, or over the shift where that is younger."""
        while self._recent and now_s - self._recent[0] > RATE_WINDOW_S:
            self._recent.popleft()
        if not self._recent or self._began_s is None:
            return 0.0
        return 60.0 * len(self._recent) / max(60.0, min(RATE_WINDOW_S, now_s - self._began_s))

    def rest_is_due(self, now_s: float) -> bool:
        return self._began_s is not None and now_s - self._began_s > WORK_S
