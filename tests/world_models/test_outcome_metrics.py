"""Agreement, AUROC, calibration, the horizon gate and rankings: exact answers."""

import numpy as np
import pytest
from scipy.special import expit

from robot.errors import ConfigError
from world_models.metrics.outcomes import (
    auroc,
    calibration_error,
    calibration_per_depth,
    choose_calibration,
    fit_calibration,
    horizon_gate,
    outcome_agreement,
    reliability,
)
from world_models.metrics.ranking import max_rank_violation, rank


def test_agreement_counts_false_success_among_failures_alone() -> None:
    true = np.array([True, True, True, False, False, False, False, False])
    imagined = np.array([True, True, False, True, False, False, False, False])
    found = outcome_agreement(imagined, true)
    assert found.agreement.value == 6 / 8
    assert (found.false_success.value, found.false_success.n) == (1 / 5, 5)
    assert found.missed_success.value == pytest.approx(1 / 3)
    assert outcome_agreement(true, np.ones(8, bool)).false_success is None


def test_auroc_counts_ties_half() -> None:
    assert auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])) == 0.75
    assert auroc(np.full(6, 0.5), np.array([0, 1, 0, 1, 0, 1])) == 0.5
    assert np.isnan(auroc(np.array([0.1]), np.array([1])))


def test_calibration_error_is_the_weighted_gap_of_the_bins() -> None:
    probabilities = np.array([0.05, 0.05, 0.95, 0.95])
    labels = np.array([0, 1, 1, 1])
    first, last = reliability(probabilities, labels)
    assert (first.n, first.observed) == (2, 0.5)
    assert (last.predicted, last.high) == (0.95, 1.0)
    assert calibration_error(probabilities, labels) == pytest.approx((2 * 0.45 + 2 * 0.05) / 4)
    assert reliability(np.array([1.0]), np.array([1]))[0].low == 0.9
    depths = calibration_per_depth(probabilities, labels, np.array([4, 8, 4, 8]))
    assert [len(bins) for bins in (depths[4], depths[8])] == [2, 2]


def test_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 1.5, 20_000)
    labels = rng.random(20_000) < expit(scores)
    overconfident = expit(3.0 * scores)
    fitted = fit_calibration(overconfident, labels, "temperature")
    assert fitted.temperature == pytest.approx(3.0, rel=0.06)
    assert calibration_error(overconfident, labels) > 0.08
    assert calibration_error(fitted(overconfident), labels) < 0.02


def test_isotonic_is_monotone_and_pools_violators() -> None:
    fitted = fit_calibration(np.array([0.1, 0.2, 0.2, 0.3, 0.9]), np.array([0, 1, 1, 0, 1]), "isotonic")
    assert fitted(np.array([0.1, 0.2, 0.3, 0.9])) == pytest.approx([0.0, 2 / 3, 2 / 3, 1.0])
    with pytest.raises(ConfigError, match="one kind"):
        fit_calibration(np.array([0.1, 0.2]), np.array([1, 1]), "isotonic")


def test_the_gate_is_where_agreement_falls_below() -> None:
    disagreement = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    agrees = np.array([True, True, True, False, False])
    assert horizon_gate(disagreement, agrees, 0.75) == 0.4
    assert horizon_gate(disagreement, agrees, 0.85) == 0.3
    assert horizon_gate(disagreement, agrees, 0.5) == np.inf
    assert horizon_gate(disagreement, ~agrees, 0.85) < 0.1


def test_a_ranking_of_eight_policies() -> None:
    true = np.linspace(0.05, 0.95, 8)
    found = rank(true + 0.1, true)
    assert (found.spearman, found.kendall, found.pearson) == pytest.approx((1.0, 1.0, 1.0))
    assert (found.mmrv, found.mean_gap, found.mean_bias) == pytest.approx((0.0, 0.1, 0.1))
    assert rank(true[::-1], true).spearman == pytest.approx(-1.0)
    assert np.isnan(rank(np.full(8, 0.5), true).spearman)
    with pytest.raises(ConfigError, match="8 policies"):
        rank(true[:3], true[:3])


def test_rank_violation_is_the_true_difference_that_was_missed() -> None:
    true = np.array([0.1, 0.5, 0.6])
    assert max_rank_violation(np.array([0.1, 0.7, 0.6]), true) == pytest.approx(2 * 0.1 / 3)


def test_a_head_that_is_right_is_left_alone_and_another_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 1.5, (200, 20))
    labels = rng.random(scores.shape) < expit(scores)
    overconfident = expit(3.0 * scores)
    assert calibration_error(choose_calibration(expit(scores), labels)(expit(scores)).ravel(), labels.ravel()) < 0.02
    found = choose_calibration(overconfident, labels)
    assert found.kind != "none"
    assert calibration_error(found(overconfident).ravel(), labels.ravel()) < 0.02
    certain = labels.astype(float)
    assert choose_calibration(certain, labels).kind == "none"
