"""What a tick is worth to an off-policy learner: functions of the record, evaluated a few ticks late."""

from dataclasses import dataclass
from typing import Protocol

from policies.takeovers.labels import soft_blame
from policies.takeovers.ticks import Ticks
from robot.record import TickRecord


class Reward(Protocol):
    """Values a tick once the ticks around it are known."""

    @property
    def ticks_around(self) -> int:
        """How many ticks before and after must be seen to value one."""
        ...

    def __call__(self, record: TickRecord, around: Ticks, index: int) -> float:
        """Return the reward of `record`, which is tick `index` of those around it."""
        ...


@dataclass(frozen=True)
class InterventionReward:
    """RLIF: -1 before each takeover, spread by `kernel`; the world's own reward counts `task`."""

    kernel: tuple[float, ...] = (1.0,)
    task: float = 0.0

    @property
    def ticks_around(self) -> int:
        return len(self.kernel)

    def __call__(self, record: TickRecord, around: Ticks, index: int) -> float:
        return float(soft_blame(around, self.kernel)[index]) + self.task * record.reward_task


@dataclass(frozen=True)
class TaskReward:
    """The world's reward, or the operator's mark of success."""

    ticks_around: int = 0

    def __call__(self, record: TickRecord, around: Ticks, index: int) -> float:
        return max(record.reward_task, record.reward_operator)
