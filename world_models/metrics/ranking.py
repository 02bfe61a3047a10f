"""Whether imagined success ranks policies as true success does."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import kendalltau, pearsonr, spearmanr

from robot.errors import ConfigError

MIN_POLICIES = 8  # with 8, Spearman 0.643 is the one-sided 5 % point; with 3 a test proves nothing


@dataclass(frozen=True, slots=True)
class Ranking:
    """Imagined against true success over `n` policies; nan where one side does not vary."""

    spearman: float
    kendall: float
    pearson: float
    mmrv: float  # mean over policies of the largest true difference that is ranked wrongly (Li et al. 2024, SIMPLER)
    mean_gap: float  # mean |imagined - true|
    mean_bias: float  # mean (imagined - true): optimism
    n: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def rank(imagined: np.ndarray, true: np.ndarray, *, at_least: int = MIN_POLICIES) -> Ranking:
    """Compare success rates in 0..1, one per policy, from the same starts; ConfigError with too few policies."""
    imagined, true = np.asarray(imagined, np.float64), np.asarray(true, np.float64)
    if imagined.shape != true.shape or imagined.ndim != 1 or len(true) < at_least:
        raise ConfigError(f"a ranking needs two rates of each of >= {at_least} policies, got {imagined.shape}")
    gap = imagined - true
    return Ranking(
        spearman=_coefficient(spearmanr, imagined, true),
        kendall=_coefficient(kendalltau, imagined, true),
        pearson=_coefficient(pearsonr, imagined, true),
        mmrv=max_rank_violation(imagined, true),
        mean_gap=float(np.abs(gap).mean()),
        mean_bias=float(gap.mean()),
        n=len(true),
    )


def _coefficient(test: Callable[..., Any], imagined: np.ndarray, true: np.ndarray) -> float:
    varies = np.ptp(imagined) > 0.0 and np.ptp(true) > 0.0
    return float(test(imagined, true)[0]) if varies else float("nan")


def max_rank_violation(imagined: np.ndarray, true: np.ndarray) -> float:
    """Return the mean over policies of the largest true difference to one that is ranked on the wrong side."""
    difference = np.abs(true[:, None] - true[None])
    is_wrong = (imagined[:, None] < imagined[None]) != (true[:, None] < true[None])
    return float(np.where(is_wrong, difference, 0.0).max(axis=1).mean())
