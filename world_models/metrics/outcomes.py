"""Whether imagined outcomes are the true ones: agreement, false success, ranking quality and calibration."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression, minimize_scalar
from scipy.special import expit, logit
from scipy.stats import rankdata

from robot.errors import ConfigError
from robot.evaluation import Success
from robot.types import Array

BINS = 10
EDGE = 1e-4  # probabilities are held this far from 0 and 1 before their logits are taken


@dataclass(frozen=True, slots=True)
class Agreement:
    """Outcomes of replayed actions against the true ones."""

    agreement: Success
    false_success: Success | None  # of the true failures; None without any
    missed_success: Success | None  # of the true successes


def outcome_agreement(imagined: np.ndarray, true: np.ndarray) -> Agreement:
    """Compare imagined with true outcomes, booleans of shape (N,)."""
    imagined, true = _paired(imagined, true)
    return Agreement(
        Success.of(int((imagined == true).sum()), len(true)),
        _share(imagined, ~true),
        _share(~imagined, true),
    )


def _share(found: np.ndarray, among: np.ndarray) -> Success | None:
    count = int(among.sum())
    return Success.of(int((found & among).sum()), count) if count else None


def _paired(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ConfigError(f"expected two arrays of one shape (N,), N >= 1; got {first.shape} and {second.shape}")
    return first.astype(bool), second.astype(bool)


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the chance that a positive has the higher score, ties counted half; nan with one class only."""
    labels = np.asarray(labels, bool)
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predictions that fell between two edges: their mean, and how often they came true."""

    low: float
    high: float
    n: int
    predicted: float
    observed: float


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> list[ReliabilityBin]:
    """Return the reliability diagram in bins of equal width, empty ones left out."""
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels, np.float64)
    if probabilities.shape != labels.shape or probabilities.min(initial=0) < 0 or probabilities.max(initial=0) > 1:
        raise ConfigError("probabilities must lie in 0..1, one per label")
    place = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    found = []
    for index in np.unique(place):
        inside = place == index
        means = float(probabilities[inside].mean()), float(labels[inside].mean())
        found.append(ReliabilityBin(index / bins, (index + 1) / bins, int(inside.sum()), *means))
    return found


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Return the expected calibration error: mean |predicted - observed| over the bins, weighted by their counts."""
    found = reliability(probabilities, labels, bins)
    return sum(item.n * abs(item.predicted - item.observed) for item in found) / sum(item.n for item in found)


def calibration_per_depth(
    probabilities: np.ndarray, labels: np.ndarray, depths: np.ndarray
) -> Mapping[int, list[ReliabilityBin]]:
    """Return one reliability diagram per depth (frames imagined since the last true one); all of shape (N,)."""
    depths = np.asarray(depths)
    return {int(depth): reliability(probabilities[depths == depth], labels[depths == depth]) for depth in set(depths)}


@dataclass(frozen=True, slots=True)
class Calibration:
    """A monotone map from a head's probability to one that comes true so often; the identity by default."""

    kind: str = "none"  # none, temperature or isotonic
    temperature: float = 1.0
    known: tuple[float, ...] = ()  # isotonic: probabilities at which it is known,
    values: tuple[float, ...] = ()  # and what they stand for

    def __post_init__(self) -> None:
        if self.kind not in ("none", "temperature", "isotonic") or self.temperature <= 0.0:
            raise ConfigError(
                f"calibration is '{self.kind}' at temperature {self.temperature}; allowed: none, temperature (> 0), "
                "isotonic"
            )

    def __call__(self, probabilities: np.ndarray) -> Array:
        """Return calibrated probabilities of the same shape."""
        found = np.asarray(probabilities, np.float64)
        if self.kind == "temperature":
            return expit(logit(np.clip(found, EDGE, 1 - EDGE)) / self.temperature)
        if self.kind == "isotonic":
            return np.interp(found, self.known, self.values)
        return found


def fit_calibration(probabilities: np.ndarray, labels: np.ndarray, kind: str) -> Calibration:
    """Fit on imagined replays of true episodes; the labels are the true outcomes.

    Args:
        probabilities: of the head, (N,).
        labels: what was true, (N,).
        kind: `temperature` (Guo et al. 2017, least negative log likelihood) or `isotonic` (pool adjacent violators).
    """
    _, labels = _paired(probabilities, labels)
    if labels.all() or not labels.any():
        raise ConfigError("calibration needs successes and failures among the replays; found one kind only")
    found = np.clip(np.asarray(probabilities, np.float64), 0.0, 1.0)
    if kind == "isotonic":
        known, place = np.unique(found, return_inverse=True)
        counts = np.bincount(place).astype(np.float64)
        values = isotonic_regression(np.bincount(place, labels) / counts, weights=counts).x
        return Calibration("isotonic", known=tuple(known.tolist()), values=tuple(values.tolist()))
    if kind == "temperature":
        scores = logit(np.clip(found, EDGE, 1 - EDGE))
        sign = np.where(labels, 1.0, -1.0)

        def loss(log_temperature: float) -> float:
            return float(np.logaddexp(0.0, -sign * scores / np.exp(log_temperature)).mean())

        fitted = minimize_scalar(loss, bounds=(-3.0, 4.0), method="bounded")
        return Calibration("temperature", temperature=float(np.exp(fitted.x)))  # pyright: ignore[reportAttributeAccessIssue]
    raise ConfigError(f"calibration kind is '{kind}', allowed: temperature, isotonic")


def choose_calibration(probabilities: np.ndarray, labels: np.ndarray, folds: int = 4) -> Calibration:
    """Return the calibration that foretells episodes it was not fitted on best, by squared error: it may be none.

    Args:
        probabilities: of the head, (B, T): a row per episode.
        labels: what was true, (B, T).
        folds: parts that the episodes are dealt to, each held out once.

    Where training rows of a fold hold one kind only, nothing is fitted there.
    """
    kinds = ("none", "temperature", "isotonic")  # ties go to the simpler one
    errors = dict.fromkeys(kinds, 0.0)
    place = np.arange(len(labels)) % folds
    for fold in range(folds):
        asked, train = place == fold, place != fold
        for kind in kinds:
            fitted = _fitted(probabilities[train].ravel(), labels[train].ravel(), kind)
            errors[kind] += float(np.square(fitted(probabilities[asked]) - labels[asked]).sum())
    best = min(kinds, key=lambda kind: errors[kind])
    return _fitted(probabilities.ravel(), labels.ravel(), best)


def _fitted(probabilities: np.ndarray, labels: np.ndarray, kind: str) -> Calibration:
    if kind == "none" or labels.all() or not labels.any():
        return Calibration()
    return fit_calibration(probabilities, labels, kind)


def horizon_gate(disagreement: np.ndarray, agrees: np.ndarray, wanted: float = 0.85) -> float:
    """Return the largest disagreement up to which replays still agree with the truth at least so often.

    Args:
        disagreement: of each imagined replay, (N,).
        agrees: whether its outcome was the true one, (N,).
        wanted: share of agreement among all that stay below the gate.

    Infinite where even all of them agree often enough; below the least where none do.
    """
    disagreement, agrees = np.asarray(disagreement, np.float64), np.asarray(agrees, bool)
    order = np.argsort(disagreement, kind="stable")
    share = np.cumsum(agrees[order]) / np.arange(1, len(order) + 1)
    kept = np.flatnonzero(share >= wanted)
    if not len(kept):
        return float(np.nextafter(disagreement.min(initial=0.0), -np.inf))
    last = int(kept[-1])
    return float("inf") if last == len(order) - 1 else float(disagreement[order[last]])
