"""Join ticks with what the arm really did: its last filter may have changed a command after the tick was decided.

A record waits until the arm has gone on to a later command, or has been silent for a while; then its executed action
is what was applied, and learners train on that.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from robot.record import TickRecord
from robot.types import Array

PATIENCE_S = 0.15
BEHIND_RAD = 5e-4  # an arm that keeps this close to its command has followed it; half a millimetre at the tcp
KEPT = 64


@dataclass(frozen=True, slots=True)
class Applied:
    """A setpoint the arm was given while it followed command `seq`, and how far its filter kept it from that."""

    seq: int
    position: Array
    behind_rad: float


class AppliedJoin:
    """Feed it records, the numbers of commands and applied setpoints, in any order; records come out in theirs.

    Times are the caller's monotonic clock [s].
    """

    def __init__(self, to_action: Callable[[Array], Array]) -> None:
        self._to_action = to_action
        self._waiting: deque[tuple[float, TickRecord]] = deque()
        self._seqs: dict[int, int] = {}  # by tick time
        self._applied: dict[int, Applied] = {}
        self._newest_seq = -1
        self.changed = self.unmatched = 0

    def add_record(self, record: TickRecord, now_s: float) -> None:
        self._waiting.append((now_s, record))

    def add_command(self, seq: int, tick_time_ns: int) -> None:
        self._seqs[tick_time_ns] = seq
        _shorten(self._seqs)

    def add_applied(self, applied: Applied) -> None:
        """Take a setpoint; the last one of a command counts."""
        self._applied[applied.seq] = applied
        self._newest_seq = applied.seq
        _shorten(self._applied)

    def ready(self, now_s: float, *, everything: bool = False) -> Iterator[TickRecord]:
        """Yield the records that nothing more will be learned about."""
        while self._waiting:
            since_s, record = self._waiting[0]
            seq = self._seqs.get(record.tick_time_ns)
            is_final = seq is not None and self._newest_seq > seq
            if not (is_final or everything or now_s - since_s > PATIENCE_S):
                return
            self._waiting.popleft()
            yield self._joined(record, None if seq is None else self._applied.get(seq))

    def _joined(self, record: TickRecord, applied: Applied | None) -> TickRecord:
        if applied is None:
            self.unmatched += 1
            return record
        if applied.behind_rad <= BEHIND_RAD:
            return record
        self.changed += 1
        return replace(record, executed_action=self._to_action(applied.position), joint_command=applied.position)


def _shorten(entries: dict[int, Any]) -> None:
    while len(entries) > KEPT:
        del entries[next(iter(entries))]
