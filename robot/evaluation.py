"""Statistics of success: the Wilson interval of a rate, and the paired comparison of two policies from equal starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.stats import binomtest

from robot.errors import ConfigError

Z_95 = 1.959963984540054


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Return the Wilson score interval of a success rate at 95 %.

    >>> [round(bound, 3) for bound in wilson(45, 50)]
    [0.786, 0.957]
    """
    if n < 1 or not 0 <= successes <= n:
        raise ConfigError(f"a success rate needs 0 <= successes <= n and n >= 1, got {successes} of {n}")
    rate, square = successes / n, Z_95**2
    middle = (rate + square / (2 * n)) / (1 + square / n)
    reach = Z_95 / (1 + square / n) * sqrt(rate * (1 - rate) / n + square / (4 * n**2))
    low = 0.0 if successes == 0 else middle - reach
    high = 1.0 if successes == n else middle + reach
    return low, high


@dataclass(frozen=True, slots=True)
class Success:
    """A success rate in 0..1 over `n` episodes with its Wilson 95 % interval."""

    value: float
    n: int
    low: float
    high: float

    @classmethod
    def of(cls, successes: int, n: int) -> "Success":
        return cls(successes / max(n, 1), n, *wilson(successes, n))

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f}, n = {self.n})"


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Second minus first success rate over equal starts, with a 95 % interval and McNemar's exact p-value."""

    value: float
    n: int
    low: float
    high: float
    p_value: float


def paired_difference(first: Sequence[bool], second: Sequence[bool]) -> PairedDifference:
    """Compare two policies that ran from the same starts, in the same order.

    The interval is Wald's for paired proportions with half a pair added to each of the two discordant cells
    (Agresti and Min, 2005); the p-value is two-sided and exact.
    """
    if len(first) != len(second) or not first:
        raise ConfigError(f"a paired comparison needs equally many starts (>= 1), got {len(first)} and {len(second)}")
    before, after = np.asarray(first, bool), np.asarray(second, bool)
    gained, lost, n = int((after & ~before).sum()), int((before & ~after).sum()), len(before)
    p_value = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    up, down, total = gained + 0.5, lost + 0.5, n + 2
    reach = Z_95 * sqrt(up + down - (up - down) ** 2 / total) / total
    middle = (up - down) / total
    return PairedDifference((gained - lost) / n, n, max(middle - reach, -1.0), min(middle + reach, 1.0), p_value)
