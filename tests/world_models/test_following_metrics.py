"""Sensitivity, timing and displacement: exact answers, and the wrong model each is for."""

import numpy as np
import pytest

from robot.errors import ConfigError
from world_models.metrics.following import (
    derangement,
    disagreement_px,
    displacement_fit,
    drift_px,
    early_share,
    loss_ratio,
    variance_ratio,
)


@pytest.mark.parametrize("count", [2, 3, 17])
def test_nobody_keeps_his_actions(count: int) -> None:
    order = derangement(count, np.random.default_rng(count))
    assert sorted(order) == list(range(count))
    assert (order != np.arange(count)).all()
    with pytest.raises(ConfigError):
        derangement(1, np.random.default_rng(0))


def test_a_model_blind_to_actions_has_loss_ratio_one() -> None:
    assert loss_ratio(np.array([1.0, 3.0]), np.array([3.0, 1.0])) == 1.0
    assert loss_ratio(np.array([1.0, 3.0]), np.array([4.0, 4.0])) == 2.0


def test_variance_ratio_tells_actions_from_seeds() -> None:
    rng = np.random.default_rng(0)
    effect, noise = rng.normal(size=(40, 30, 1, 8)), rng.normal(size=(40, 30, 6, 8))
    assert variance_ratio(3.0 * effect + noise) == pytest.approx(9.0, rel=0.05)
    assert variance_ratio(noise) < 0.05  # the seeds' part in the means is taken off
    assert variance_ratio(effect.repeat(6, axis=2)) == np.inf
    assert variance_ratio(np.zeros((2, 3, 4, 5))) == 0.0


def test_early_share_counts_the_energy_before_the_changed_action() -> None:
    plain = np.zeros((1, 4, 2, 2))
    changed = plain.copy()
    changed[:, 2:] = 1.0
    assert early_share(changed, plain, 2) == 0.0
    assert early_share(changed, plain, 3) == 0.5  # one frame too early
    assert np.isnan(early_share(plain, plain, 2))


def test_displacement_fit_catches_signs_axes_and_scale() -> None:
    commanded = np.random.default_rng(0).normal(size=(100, 2))
    fit = displacement_fit(commanded, 0.9 * commanded)
    assert (fit.slope, fit.r_squared) == pytest.approx((0.9, 1.0))
    assert displacement_fit(commanded, -commanded).slope == pytest.approx(-1.0)
    swapped = displacement_fit(commanded, commanded[:, ::-1])
    assert abs(swapped.slope) < 0.3
    assert swapped.r_squared < 0.2
    with pytest.raises(ConfigError, match="all zero"):
        displacement_fit(np.zeros((4, 2)), commanded[:4])


def test_drift_and_disagreement_are_distances_in_pixels() -> None:
    track = np.array([[[1.0, 1.0], [9.0, 9.0], [4.0, 5.0]]])
    assert drift_px(track) == pytest.approx([5.0])
    assert disagreement_px(track, track + np.array([0.0, 2.0])) == 2.0
