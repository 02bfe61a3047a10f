"""Whether a model does what the actions say: sensitivity, timing and the pose of the hand."""

from dataclasses import dataclass

import numpy as np

from robot.errors import ConfigError
from robot.types import Array


def derangement(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return a permutation of `count` items that leaves none in its place: who gets whose actions."""
    if count < 2:
        raise ConfigError(f"actions are shuffled among at least 2 clips, got {count}")
    order = rng.permutation(count)
    found = np.empty(count, np.int64)
    found[order] = np.roll(order, 1)  # one cycle through all of them
    return found


def loss_ratio(true: np.ndarray, shuffled: np.ndarray) -> float:
    """Return the mean loss under shuffled actions by that under the true ones; 1 of a model blind to actions.

    Both are losses per clip from pure noise (tau = 0): a lightly noised target would leak the answer.
    """
    return float(np.mean(shuffled) / max(float(np.mean(true)), 1e-12))


def variance_ratio(finals: np.ndarray) -> float:
    """Return variance between actions by variance between seeds, of the final state.

    Args:
        finals: (starts, actions, seeds, D): where each of the same actions led under each of the same seeds.

    Both variances are unbiased; the part of the seeds in the means over seeds is taken off. Infinite where the model
    is deterministic and the actions matter; 0 where nothing does.
    """
    if finals.ndim != 4 or min(finals.shape[1:3]) < 2:
        raise ConfigError(f"finals must be (starts, >= 2 actions, >= 2 seeds, D), got {finals.shape}")
    within = finals.var(axis=2, ddof=1).mean()
    between = max(finals.mean(axis=2).var(axis=1, ddof=1).mean() - within / finals.shape[2], 0.0)
    if within <= 1e-12 * max(between, 1e-300):
        return float("inf") if between > 0.0 else 0.0
    return float(between / within)


def early_share(changed: np.ndarray, plain: np.ndarray, frame: int) -> float:
    """Return the share of the change energy that lands before the frame whose action was changed.

    Args:
        changed: frames imagined with one action changed, (B, T, ...), numbers.
        plain: with the actions as they were, the same noise.
        frame: the changed action produces this frame: those before it must stay.
    """
    energy = np.square(np.asarray(changed, np.float64) - plain).reshape(*changed.shape[:2], -1).sum(axis=-1)
    total = energy.sum()
    return float(energy[:, :frame].sum() / total) if total > 0.0 else float("nan")


@dataclass(frozen=True, slots=True)
class ProbeFit:
    """Least squares of found on commanded displacement: slope, and R^2 of taking the command for the answer's line."""

    slope: float
    r_squared: float
    n: int


def displacement_fit(commanded: Array, found: Array) -> ProbeFit:
    """Return how the hand's imagined displacement follows the commanded one, all axes together.

    Args:
        commanded: (N, D) [m].
        found: of the same shape.

    The line goes through the origin: a command to stay must leave the hand where it is.
    """
    if commanded.shape != found.shape or commanded.size < 2:
        raise ConfigError(f"displacements must have one shape (N, D), got {commanded.shape} and {found.shape}")
    square = float(np.square(commanded).sum())
    if square == 0.0:
        raise ConfigError("the commanded displacements are all zero: take clips in which the hand moves")
    slope = float((commanded * found).sum() / square)
    residual = np.square(found - slope * commanded).sum()
    spread = np.square(found - found.mean(axis=0)).sum()
    return ProbeFit(slope, float(1.0 - residual / max(spread, 1e-300)), len(commanded))


def drift_px(track: Array) -> Array:
    """Return how far each clip's hand ends from where it began, (B,) [pixels].

    Args:
        track: (B, T, 2) [pixels].
    """
    return np.linalg.norm(track[:, -1] - track[:, 0], axis=-1)


def disagreement_px(first: Array, second: Array) -> float:
    """Return the median distance of the hand as two views have it, (..., 2) each [pixels of the first view]."""
    return float(np.median(np.linalg.norm(first - second, axis=-1)))
