"""Whether the check that is for a broken model notices it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from robot.specs import StationSpec
from world_models.acceptance.clips import Clips, imagine_clips
from world_models.acceptance.following_checks import check_timing
from world_models.acceptance.pose_checks import check_views
from world_models.acceptance.pose_probe import PoseProbe
from world_models.acceptance.rows import Report
from world_models.acceptance.video_checks import check_against_copy, check_shuffled
from world_models.contract import WorldModel


@dataclass(frozen=True)
class Evidence:
    """What the checks of broken models look at: warm clips of the long length, and the frozen probe."""

    station: StationSpec
    clips: Clips
    probe: PoseProbe


def check_one(check: str, model: WorldModel, evidence: Evidence, targets: Mapping[str, Any]) -> Report:
    """Run a single check, as `accept` does; of those that a wrapper of `world_models.broken` must fail."""
    clips, report = evidence.clips, Report(targets)
    made = imagine_clips(model, clips)
    runs: dict[str, Callable[[], object]] = {
        "A3": lambda: check_against_copy(model, clips, made, report, "A3"),
        "A4": lambda: check_shuffled(model, clips, made, report),
        "A8": lambda: check_timing(model, clips, report),
        "A10": lambda: check_views(model, evidence.station, clips, made, evidence.probe, report),
    }
    runs[check]()
    return report
