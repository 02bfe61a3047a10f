"""Whether the check that is for a broken model notices it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from robot.rows import row
from robot.specs import StationSpec
from world_models.acceptance.clips import Clips, imagine_clips
from world_models.acceptance.following_checks import check_timing
from world_models.acceptance.outcome_checks import check_outcomes, replay_clips
from world_models.acceptance.pose_checks import check_views
from world_models.acceptance.pose_probe import PoseProbe
from world_models.acceptance.rows import Report
from world_models.acceptance.video_checks import check_against_copy, check_shuffled
from world_models.broken import ZOO
from world_models.contract import WorldModel
from world_models.trust import Trust


@dataclass(frozen=True)
class Evidence:
    """What the checks of broken models look at: warm and cold clips of the long length, and the frozen probe."""

    station: StationSpec
    clips: Clips
    cold: Clips
    probe: PoseProbe


def check_one(check: str, model: WorldModel, evidence: Evidence, targets: Mapping[str, Any]) -> Report:
    """Run a single check, as `accept` does; of those that a broken model must fail.

    A11 is of the head as it is: a model that never saw a failure has none to be calibrated on.
    """
    clips, report = evidence.clips, Report(targets)
    if check == "A11":
        check_outcomes(replay_clips(model, evidence.cold), Trust(), report)
        return report
    made = imagine_clips(model, clips)
    runs: dict[str, Callable[[], object]] = {
        "A3": lambda: check_against_copy(model, clips, made, report, "A3"),
        "A4": lambda: check_shuffled(model, clips, made, report),
        "A8": lambda: check_timing(model, clips, report),
        "A10": lambda: check_views(model, evidence.station, clips, made, evidence.probe, report),
    }
    runs[check]()
    return report


def check_zoo(
    model: WorldModel, evidence: Evidence, report: Report, retrained: Mapping[str, WorldModel] | None = None
) -> None:
    """Add one row per broken model: 1 where the check that is for it fails, and passes on the whole one.

    Args:
        model: the whole one.
        evidence: to check on.
        report: takes the rows, has the targets.
        retrained: by name those that no wrapper makes; the ones that are not given get no row.
    """
    made = {name: breakage.wrap(model) for name, breakage in ZOO.items() if breakage.wrap is not None}
    made |= dict(retrained or {})
    checks = {ZOO[name].check for name in made}
    whole_model = {check: check_one(check, model, evidence, report.targets) for check in checks}
    for name, broken in made.items():
        check = ZOO[name].check
        whole, found = whole_model[check], check_one(check, broken, evidence, report.targets)
        is_caught = bool(found.failed()) and not whole.failed()
        report.rows.append(
            row(f"broken model {name} fails {check}", float(is_caught), "", target=1.0, ok=is_caught)
            | {"check": "zoo", "values": _values(found), "whole_values": _values(whole)}
        )


def _values(report: Report) -> dict[str, float]:
    return {item["metric"]: item["value"] for item in report.rows}
