"""PSNR in squared-error space, moving pixels and the copy baseline: exact answers."""

import numpy as np
import pytest

from robot.errors import ConfigError
from world_models.metrics.video import bootstrap, clip_psnr, copy_last, moving_pixels


def test_psnr_averages_squared_errors_not_decibels() -> None:
    true = np.zeros((1, 2, 4, 4, 3))
    found = true.copy()
    found[0, 1] = 0.2  # one good frame, one with a squared error of 0.04: 0.02 on average
    assert clip_psnr(found, true) == pytest.approx([-10 * np.log10(0.02)])
    assert clip_psnr(true, true) == pytest.approx([100.0])


def test_psnr_of_bytes_and_of_numbers_is_the_same() -> None:
    rng = np.random.default_rng(0)
    true, found = (rng.integers(0, 256, (3, 2, 5, 5, 3), dtype=np.uint8) for _ in range(2))
    assert clip_psnr(found, true) == pytest.approx(clip_psnr(found / 255.0, true / 255.0))
    with pytest.raises(ConfigError, match=r"\[0, 1\]"):
        clip_psnr(found.astype(float), true.astype(float))


def test_moving_pixels_are_those_that_left_the_first_frame_and_two_around() -> None:
    first = np.zeros((1, 11, 11, 3))
    true = np.zeros((1, 1, 11, 11, 3))
    true[0, 0, 5, 5, 1] = 0.06
    true[0, 0, 0, 0] = 0.04  # below the threshold
    mask = moving_pixels(true, first)
    assert mask.sum() == 25
    assert mask[0, 0, 3:8, 3:8].all()
    found = np.zeros_like(true)
    error = (0.06**2 / 3) / 25  # the corner does not count
    assert clip_psnr(found, true, mask) == pytest.approx([-10 * np.log10(error)])
    assert np.isnan(clip_psnr(found, true, np.zeros_like(mask)))


def test_copy_repeats_the_last_true_frame() -> None:
    first = np.random.default_rng(0).integers(0, 256, (2, 3, 3, 3), dtype=np.uint8)
    copied = copy_last(first, 4)
    assert copied.shape == (2, 4, 3, 3, 3)
    assert (copied == first[:, None]).all()


def test_bootstrap_leaves_out_what_is_not_finite() -> None:
    found = bootstrap(np.array([1.0, np.nan, 3.0] * 20))
    assert found.value == 2.0
    assert found.n == 40
    assert 1.5 < found.low < 2.0 < found.high < 2.5
    assert bootstrap(np.array([np.nan])).n == 0
