"""Clips to look at: true, imagined and imagined under shuffled actions side by side, views below each other."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from policies.report_video import encode_frames
from world_models.contract import Frames

SIDE = 144  # pixels of a view


def film_clips(
    folder: Path, columns: Sequence[Frames], rows: Sequence[int], names: Sequence[str], *, rate_hz: float
) -> list[Path]:
    """Write one animated WebP per clip.

    Args:
        folder: where to.
        columns: frames by view, (B, T, H, W, 3) each, left to right.
        rows: numbers of the clips.
        names: file names without ending, one per clip.
        rate_hz: of the frames.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for row, name in zip(rows, names, strict=True):
        shown = [np.concatenate([_large(frames[row]) for frames in column.values()], axis=1) for column in columns]
        path = folder / f"{name}.webp"
        path.write_bytes(encode_frames(list(np.concatenate(shown, axis=2)), rate_hz=rate_hz))
        paths.append(path)
    return paths


def _large(frames: np.ndarray) -> np.ndarray:
    """Return frames (T, SIDE, SIDE, 3), their pixels whole."""
    return np.stack([cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) for frame in frames])
