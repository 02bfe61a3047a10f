"""Draw batches of a world model's data: single images for the codec, windows of latents for the rest."""

from collections.abc import Callable

import numpy as np
import torch

from robot.errors import ConfigError
from world_models.data import FrameTable, WorldData, cold_places, warm_places, window_actions, windows_at
from world_models.latent_cache import LatentCache
from world_models.losses import ImageBatch, WindowBatch


def draw_images(data: WorldData, size: int) -> Callable[[torch.Generator], ImageBatch]:
    """Return a drawer of training images, as many of each view."""
    places = np.flatnonzero(~data.table.is_validation)
    views = data.spec.views

    def draw(generator: torch.Generator) -> ImageBatch:
        share = -(-size // len(views))
        chosen = places[torch.randint(len(places), (len(views), share), generator=generator).numpy()]
        images = [torch.from_numpy(data.read(view, row)) for view, row in zip(views, chosen, strict=True)]
        numbers = torch.arange(len(views)).repeat_interleave(share)
        return ImageBatch(torch.cat(images), numbers)

    return draw


def draw_windows(
    data: WorldData, cache: LatentCache, size: int, frames: int, cold_share: float
) -> Callable[[torch.Generator], WindowBatch]:
    """Return a drawer of training windows with `frames` new frames, a share of them cold starts."""
    warm = warm_places(data.table, data.spec, frames, validation=False)
    cold = cold_places(data.table, data.spec, frames, validation=False)
    if not len(cold):
        raise too_short(data.table, frames * data.spec.ticks_per_frame)

    def draw(generator: torch.Generator) -> WindowBatch:
        pick = torch.rand(3, size, generator=generator).numpy()
        is_cold = (pick[0] < cold_share) if len(warm) else np.ones(size, bool)
        from_warm = warm[(pick[1] * len(warm)).astype(int)] if len(warm) else np.zeros(size, int)
        places = np.where(is_cold, cold[(pick[2] * len(cold)).astype(int)], from_warm)
        return window_batch(data, cache, places, is_cold, frames)

    return draw


def window_batch(
    data: WorldData, cache: LatentCache, places: np.ndarray, is_cold: np.ndarray, frames: int
) -> WindowBatch:
    """Return the windows whose present frames are at `places` (B,)."""
    windows = windows_at(data.table, data.spec, places, is_cold, frames)
    actions, commands = window_actions(data.table, data.spec, windows)
    return WindowBatch(
        frames=cache.read(windows.places),
        changes=cache.read_changes(windows.places[:, 1 + data.spec.memory :]),
        actions=actions,
        commands=commands,
        is_null=torch.from_numpy(windows.is_null),
        success=data.table.success[torch.from_numpy(windows.places)],
    )


def too_short(table: FrameTable, ticks: int) -> ConfigError:
    """Return the complaint that no stretch of the data is long enough."""
    longest = int((table.last - table.first).max()) + 1
    return ConfigError(
        f"no stretch of the training episodes has {ticks} ticks after its first frame (the longest: {longest}); record "
        "longer episodes, or lower ticks_per_frame or chunk"
    )
