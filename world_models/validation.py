"""A first look at a trained model on held-out windows: the checks that tell a learner whether it is worth going on.

`tandem imagine eval` has all of them, with intervals and controls; this takes seconds.
"""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch

from policies.report_video import encode_frames
from robot.errors import ConfigError
from world_models.batches import window_batch
from world_models.data import warm_places
from world_models.losses import WindowBatch, replay
from world_models.metrics.following import derangement, loss_ratio
from world_models.metrics.video import clip_psnr, copy_last, moving_pixels
from world_models.training import Trained

FILM_PIXELS = 192  # side of a view in the videos


def held_out_windows(trained: Trained, count: int, frames: int, seed: int = 0) -> WindowBatch:
    """Return windows of the validation episodes with their whole memory; ConfigError where they are too short."""
    places = warm_places(trained.data.table, trained.data.spec, frames, validation=True)
    if not len(places):
        raise ConfigError(
            f"no held-out stretch has memory and {frames} frames after it: record longer episodes, or more of them"
        )
    chosen = np.random.default_rng(seed).choice(places, size=count, replace=len(places) < count)
    return window_batch(trained.data, trained.cache, chosen, np.zeros(count, bool), frames)


def shuffled(batch: WindowBatch, memory: int, seed: int = 0) -> WindowBatch:
    """Return windows whose new frames got the actions of another window."""
    order = torch.from_numpy(derangement(len(batch.frames), np.random.default_rng(seed)))
    actions = torch.cat([batch.actions[:, :memory], batch.actions[order, memory:]], dim=1)
    return WindowBatch(**{**vars(batch), "actions": actions})


def shuffle_ratio(trained: Trained, batch: WindowBatch, seed: int = 0) -> float:
    """Return the loss under another window's actions by that under the true ones, one step from pure noise (A5)."""
    model, memory = trained.model, trained.data.spec.memory
    true = batch.frames[:, 1 + memory : 1 + memory + model.spec.chunk]
    errors = []
    for windows in (batch, shuffled(batch, memory, seed)):
        torch.manual_seed(seed)
        first = WindowBatch(**{**vars(windows), "actions": windows.actions[:, : memory + model.spec.chunk]})
        made = replay(model, first.to(model.device), steps=1).cpu()
        errors.append(
            (batch.changes[:, : model.spec.chunk, :, None] * (made - true).square()).mean(dim=(1, 2, 3, 4, 5))
        )
    return loss_ratio(errors[0].numpy(), errors[1].numpy())


def first_look(trained: Trained, count: int = 32, frames: int = 20, seed: int = 0) -> dict[str, float]:
    """Return PSNR [dB] of codec, copy, one frame and a chained rollout, whole and moving pixels, and the shuffle ratio.

    Views are averaged; a view in which nothing moves counts for nothing.
    """
    model, memory = trained.model, trained.data.spec.memory
    batch = held_out_windows(trained, count, _possible(trained, frames), seed)
    torch.manual_seed(seed)
    imagined = model.decode(replay(model, batch.to(model.device), model.config.sample_steps))
    truth = _truth(trained, count, batch.actions.shape[1] - memory, seed)
    ceiling = model.decode(batch.frames[:, 1 + memory :])
    found = {"shuffle_ratio": shuffle_ratio(trained, batch, seed)}
    last = batch.actions.shape[1] - memory
    for name, part in (("1", slice(0, 1)), (str(last), slice(last - 1, last))):
        rows: dict[str, list[float]] = {}
        for view, true in truth.items():
            first, shown = true[:, 0], true[:, 1:]
            moving = moving_pixels(shown, first)[:, part]
            candidates = {"ceiling": ceiling[view], "copy": copy_last(first, last), "model": imagined[view]}
            for who, clips in candidates.items():
                for kind, mask in (("whole", None), ("moving", moving)):
                    value = np.nanmean(clip_psnr(clips[:, part], shown[:, part], mask))
                    rows.setdefault(f"{who}_{kind}_db_at_{name}", []).append(float(value))
        found |= {name: float(np.nanmean(values)) for name, values in rows.items()}
    return found


def film(trained: Trained, folder: Path, count: int = 4, frames: int = 20, seed: int = 1) -> list[Path]:
    """Write videos of held-out windows: what happened above, what is imagined below."""
    model = trained.model
    batch = held_out_windows(trained, count, _possible(trained, frames), seed)
    torch.manual_seed(seed)
    imagined = model.decode(replay(model, batch.to(model.device), model.config.sample_steps))
    truth = _truth(trained, count, batch.actions.shape[1] - model.spec.memory, seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        rows = [_row({view: clip[number, 1:] for view, clip in truth.items()})]
        rows.append(_row({view: clip[number] for view, clip in imagined.items()}))
        path = folder / f"{number}-true-above-imagined.webp"
        path.write_bytes(encode_frames(np.concatenate(rows, axis=1), rate_hz=1.0 / model.spec.step_s))  # type: ignore[arg-type]
        paths.append(path)
    return paths


def _row(clips: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return views side by side, enlarged, (T, H, W, 3)."""
    side = (FILM_PIXELS, FILM_PIXELS)
    large = [
        np.stack([cv2.resize(frame, side, interpolation=cv2.INTER_NEAREST) for frame in clip])
        for clip in clips.values()
    ]
    return np.concatenate(large, axis=2)


def _possible(trained: Trained, frames: int) -> int:
    """Return at most `frames`, as many as some held-out window has."""
    while frames > 1 and not len(warm_places(trained.data.table, trained.data.spec, frames, validation=True)):
        frames -= 1
    return frames


def _truth(trained: Trained, count: int, frames: int, seed: int) -> dict[str, np.ndarray]:
    """Return the recorded images of the windows that `held_out_windows` draws: the present frame and those after."""
    data = trained.data
    places = warm_places(data.table, data.spec, frames, validation=True)
    chosen = np.random.default_rng(seed).choice(places, size=count, replace=len(places) < count)
    rows = chosen[:, None] + data.spec.ticks_per_frame * np.arange(frames + 1)
    flat = rows.ravel()
    return {
        view: data.read(view, flat).reshape(*rows.shape, *data.read(view, flat[:1]).shape[1:])
        for view in data.spec.views
    }
