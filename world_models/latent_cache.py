"""All frames of a data set as latents, encoded once and mapped into memory, with where the picture changes."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from robot.verb import progress
from world_models.data import WorldData
from world_models.settings import CELL
from world_models.video_model import VideoWorldModel

FRAMES_AT_ONCE = 256
FULL_CHANGE = 0.1  # a blurred change of so much of the range counts fully


class LatentCache:
    """Latents of every frame, float16 (N, V, C, H, W), and change weights (N, V, H, W) since the frame before."""

    def __init__(self, folder: Path, data: WorldData, model: VideoWorldModel, key: str) -> None:
        """Open the cache of this codec and data under `folder`, or build it."""
        self.frames = _mapped(folder / f"latents-{key}.npy", (len(data.table), *data.spec.frame_shape))
        shape = (len(data.table), len(data.spec.views), *data.spec.latent_shape[1:])
        self.changes = _mapped(folder / f"changes-{key}.npy", shape)
        done = folder / f"whole-{key}"
        if not done.exists():
            self._build(data, model)
            self.frames.flush()
            self.changes.flush()
            done.touch()

    def _build(self, data: WorldData, model: VideoWorldModel) -> None:
        count, gap = len(data.table), data.spec.ticks_per_frame
        starts = range(0, count, FRAMES_AT_ONCE)
        for start in progress(starts, "encoding frames", total=len(starts)):
            places = np.arange(start, min(start + FRAMES_AT_ONCE, count))
            before = np.maximum(places - gap, data.table.first[places])
            seen = {view: data.read(view, places) for view in data.spec.views}
            frames = {view: images[:, None] for view, images in seen.items()}
            self.frames[places] = model.encode(frames)[:, 0].cpu().numpy()
            for number, view in enumerate(data.spec.views):
                change = change_weight(torch.from_numpy(seen[view]), torch.from_numpy(data.read(view, before)))
                self.changes[places, number] = change.numpy()

    def read(self, places: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(self.frames[places], np.float32))

    def read_changes(self, places: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(self.changes[places], np.float32))


def change_weight(images: Tensor, before: Tensor) -> Tensor:
    """Return 1 + 4 x the blurred change between images (N, S, S, 3) uint8 on the latent grid, (N, S / 8, S / 8)."""
    change = (images.float() - before.float()).abs().amax(dim=-1) / 255.0
    blurred = functional.avg_pool2d(change[:, None], 5, stride=1, padding=2, count_include_pad=False)
    largest = functional.max_pool2d(blurred, CELL)[:, 0]
    return 1.0 + 4.0 * (largest / FULL_CHANGE).clamp(max=1.0)


def _mapped(path: Path, shape: tuple[int, ...]) -> np.memmap:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return np.lib.format.open_memmap(path, mode="r+")
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
