"""A1 to A4: the codec's ceiling, and how much better than a copy, and than the wrong actions, imagination is."""

import numpy as np

from world_models.acceptance.clips import Clips, imagine_clips
from world_models.acceptance.rows import Report
from world_models.contract import Frames, WorldModel
from world_models.metrics.video import bootstrap, clip_psnr, copy_last, moving_pixels
from world_models.rollout import Rollout


def check_ceiling(model: WorldModel, clips: Clips, report: Report) -> None:
    """A1: what the codec can show of true frames at all."""
    shown = model.decode(model.encode(clips.true))
    for view, (whole, moving) in _psnr(clips, shown).items():
        report.add("A1", f"ceiling, {view}", bootstrap(whole), "dB", key="whole")
        report.add("A1", f"ceiling, moving pixels, {view}", bootstrap(moving), "dB", key="moving")


def check_against_copy(model: WorldModel, clips: Clips, made: Rollout, report: Report, check: str) -> None:
    """A2 and A3: imagined frames against the last true frame repeated, by the same clips."""
    frames = model.decode(made.latents)
    copies = {view: copy_last(first, clips.steps) for view, first in clips.first.items()}
    found, copied = _psnr(clips, frames), _psnr(clips, copies)
    for view in clips.true:
        for part, words in ((0, ""), (1, "moving pixels, ")):
            gain = bootstrap(found[view][part] - copied[view][part])
            copy = float(np.nanmean(copied[view][part]))
            report.add(
                check,
                f"{clips.steps}-step PSNR minus copy, {words}{view}",
                gain,
                "dB",
                key="moving" if part else "whole",
                psnr=float(np.nanmean(found[view][part])),
                copy=copy,
            )


def check_shuffled(model: WorldModel, clips: Clips, made: Rollout, report: Report) -> dict[str, np.ndarray]:
    """A4: true against shuffled actions; returns the frames imagined under those, by view."""
    wrong = model.decode(imagine_clips(model, clips, clips.shuffled(model.spec)).latents)
    found, shuffled = _psnr(clips, model.decode(made.latents)), _psnr(clips, wrong)
    for view in clips.true:
        for part, words in ((0, ""), (1, "moving pixels, ")):
            gain = bootstrap(found[view][part] - shuffled[view][part])
            metric = f"{clips.steps}-step true minus shuffled actions, {words}{view}"
            report.add("A4", metric, gain, "dB", key="moving" if part else "whole")
    return dict(wrong)


def clip_scores(clips: Clips, frames: Frames) -> np.ndarray:
    """Return one number per clip, (B,): the PSNR of moving pixels, mean of the views [dB]."""
    return np.nanmean([moving for _, moving in _psnr(clips, frames).values()], axis=0)


def _psnr(clips: Clips, frames: Frames) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return per view the PSNR of each clip, whole and of moving pixels [dB]."""
    found = {}
    for view, true in clips.true.items():
        mask = moving_pixels(true, clips.first[view])
        found[view] = clip_psnr(frames[view], true), clip_psnr(frames[view], true, mask)
    return found
