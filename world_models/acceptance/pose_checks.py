"""A7, A9 and A10: the imagined hand goes where it was told, stays when told to, and is one hand in every view.

What a probe says of imagined frames cannot be better than what it says of true ones: where it misses the target there,
the row is not measurable, and decides nothing of the model.
"""

from itertools import combinations

import numpy as np

from robot.specs import StationSpec
from world_models.acceptance.clips import Clips, imagine_clips
from world_models.acceptance.pose_probe import ALL, PoseProbe, fixed_camera, hand_positions, project
from world_models.acceptance.rows import Report
from world_models.contract import Frames, WorldModel
from world_models.metrics.following import disagreement_px, displacement_fit, drift_px
from world_models.metrics.video import bootstrap
from world_models.rollout import Rollout


def check_displacement(
    model: WorldModel, station: StationSpec, clips: Clips, made: Rollout, probe: PoseProbe, report: Report
) -> None:
    """A7: displacement over one chunk, as the probe sees it, on the commanded one; beside the same on true frames."""
    last = model.spec.chunk - 1
    before = hand_positions(station, clips.before.numpy())
    commanded = hand_positions(station, clips.commands[:, last].numpy()) - before
    begin = probe(clips.first)[ALL]
    frames = model.decode(made.latents[:, last : last + 1])
    found = displacement_fit(commanded, probe(frames)[ALL][:, 0] - begin)
    true = displacement_fit(commanded, probe({v: f[:, last] for v, f in clips.true.items()})[ALL] - begin)
    is_measurable = report.holds("A7_slope", true.slope) and report.holds("A7_r_squared", true.r_squared)
    for metric, key in (("slope of imagined on commanded displacement", "slope"), ("R^2 of it", "r_squared")):
        value, reference = getattr(found, key), getattr(true, key)
        report.add("A7", metric, value, "", key=key, reference=reference, is_measurable=is_measurable)


def check_standing(model: WorldModel, station: StationSpec, clips: Clips, probe: PoseProbe, report: Report) -> None:
    """A9: commanded to stay for the whole clip, how far the hand strays; beside the probe's own error on true clips."""
    held = clips.before[:, None].expand(-1, clips.steps, -1).contiguous()
    frames = model.decode(imagine_clips(model, clips, held).latents)
    track = _track(station, model, probe, frames)
    metric = f"drift under null actions, {clips.steps} steps"
    camera, size = fixed_camera(station, model.spec.views), model.spec.image_size
    commanded = project(camera, hand_positions(station, clips.commands.numpy()), size)
    noise = float(drift_px(_track(station, model, probe, clips.true) - commanded).mean())
    is_measurable = report.holds("A9_drift_max", noise)
    found = bootstrap(drift_px(track))
    report.add("A9", metric, found, "px", key="drift_max", reference=noise, is_measurable=is_measurable)


def check_views(
    model: WorldModel, station: StationSpec, clips: Clips, made: Rollout, probe: PoseProbe, report: Report
) -> None:
    """A10: the hand as one view has it against another, in a fixed camera's pixels; beside it on true frames."""
    camera, size = fixed_camera(station, model.spec.views), model.spec.image_size
    imagined, true = probe(model.decode(made.latents)), probe(clips.true)
    for first, second in combinations(model.spec.views, 2):
        found, reference = (
            disagreement_px(project(camera, seen[first], size), project(camera, seen[second], size))
            for seen in (imagined, true)
        )
        metric = f"hand from {first} against from {second}, median"
        is_measurable = report.holds("A10_px_max", reference)
        report.add("A10", metric, found, "px", key="px_max", reference=reference, is_measurable=is_measurable)


def _track(station: StationSpec, model: WorldModel, probe: PoseProbe, frames: Frames) -> np.ndarray:
    return project(fixed_camera(station, model.spec.views), probe(frames)[ALL], model.spec.image_size)
