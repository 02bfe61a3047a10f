"""How near imagined frames are to the true ones.

Frames are uint8 RGB or numbers in [0, 1], shape (..., T, H, W, 3); a PSNR is of the mean squared error over a clip, so
that one bad frame is not hidden by many good ones.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from robot.errors import ConfigError
from robot.types import Array

MOVING = 0.05  # of [0, 1]: a pixel that changed by more has moved
DILATION_PX = 2
FLOOR = 1e-10  # of the squared error: equal frames have 100 dB
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `n` items with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}, n = {self.n})"


def unit(frames: np.ndarray) -> Array:
    """Return frames as numbers in [0, 1]; ConfigError for others."""
    if frames.dtype == np.uint8:
        return frames.astype(np.float64) / 255.0
    if frames.min(initial=0.0) < 0.0 or frames.max(initial=0.0) > 1.0:
        raise ConfigError(f"frames must be uint8 or lie in [0, 1]; found {frames.min():.3g} to {frames.max():.3g}")
    return frames.astype(np.float64)


def clip_psnr(found: np.ndarray, true: np.ndarray, mask: np.ndarray | None = None) -> Array:
    """Return the PSNR of each clip [dB], shape (B,); nan where its mask is empty.

    Args:
        found: frames, (B, T, H, W, 3).
        true: of the same shape.
        mask: pixels that count, (B, T, H, W); all when None.
    """
    if found.shape != true.shape or found.ndim != 5:
        raise ConfigError(f"clips must have one shape (B, T, H, W, 3), got {found.shape} and {true.shape}")
    error = np.square(unit(found) - unit(true)).mean(axis=-1)
    weight = np.ones(error.shape, bool) if mask is None else mask
    count = weight.sum(axis=(1, 2, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(weight, error, 0.0).sum(axis=(1, 2, 3)) / count
    return -10.0 * np.log10(np.maximum(mean, FLOOR))


def moving_pixels(true: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return which pixels differ from the clip's first frame in any colour, dilated, shape (B, T, H, W).

    Args:
        true: frames, (B, T, H, W, 3).
        first: the last true frame before them, (B, H, W, 3).
    """
    changed = (np.abs(unit(true) - unit(first)[:, None]) > MOVING).any(axis=-1)
    side = 2 * DILATION_PX + 1
    kernel = np.ones((side, side), np.uint8)
    flat = changed.reshape(-1, *changed.shape[2:]).astype(np.uint8)
    return np.stack([cv2.dilate(image, kernel) for image in flat]).astype(bool).reshape(changed.shape)


def copy_last(first: np.ndarray, steps: int) -> np.ndarray:
    """Return what a model that lets nothing move imagines: the last true frame, (B, T, H, W, 3)."""
    return np.repeat(first[:, None], steps, axis=1)


def bootstrap(values: np.ndarray, seed: int = 0) -> Estimate:
    """Return mean and percentile interval over the finite values; nan without any."""
    kept = np.asarray(values, np.float64)
    kept = kept[np.isfinite(kept)]
    if not len(kept):
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    draws = np.random.default_rng(seed).integers(len(kept), size=(RESAMPLES, len(kept)))
    low, high = np.percentile(kept[draws].mean(axis=1), (2.5, 97.5))
    return Estimate(float(kept.mean()), float(low), float(high), len(kept))
