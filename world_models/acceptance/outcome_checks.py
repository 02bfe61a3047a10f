"""A11 and A12: replayed actions come out as they truly did, and the head's probabilities can be believed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robot.evaluation import Success
from world_models.acceptance.clips import Clips, imagine_clips
from world_models.acceptance.rows import Report
from world_models.contract import WorldModel
from world_models.metrics.outcomes import (
    auroc,
    calibration_error,
    calibration_per_depth,
    choose_calibration,
    horizon_gate,
    outcome_agreement,
)
from world_models.trust import NO_GATE, Trust

AGREEMENT = 0.85  # of replays below the gate


@dataclass(frozen=True)
class Replay:
    """Imagined replays of true episodes: what the head said, how unsure the model was, and what was true."""

    success: np.ndarray  # (B, T) probabilities of the head
    uncertainty: np.ndarray  # (B, T)
    labels: np.ndarray  # (B, T) bool
    frames: Mapping[str, np.ndarray]

    @property
    def true_outcome(self) -> np.ndarray:
        """Return whether each was truly solved, (B,) bool."""
        return np.asarray(self.labels.any(axis=1))

    @property
    def disagreement(self) -> np.ndarray:
        """Return the mean disagreement of each replay, (B,)."""
        return np.nan_to_num(self.uncertainty).mean(axis=1)

    def outcome(self, trust: Trust) -> np.ndarray:
        """Return whether each replay counts as solved by first passage, (B,) bool."""
        return trust.outcome(self.success)


def replay_clips(model: WorldModel, clips: Clips) -> Replay:
    """Replay the true commands from the clips' starts."""
    made = imagine_clips(model, clips, with_uncertainty=True)
    frames = model.decode(made.latents)
    return Replay(made.success.numpy(), made.uncertainty.numpy().astype(np.float64), clips.labels, frames)


def fit_trust(replay: Replay, threshold: float = 0.5) -> Trust:
    """Fit calibration and gate on replays that no figure is reported of; a head that is right already is left alone."""
    if replay.labels.all() or not replay.labels.any():
        return Trust(replays=len(replay.labels))
    calibration = choose_calibration(replay.success, replay.labels)
    found = Trust(calibration, threshold, replays=len(replay.labels))
    agrees = found.outcome(replay.success) == replay.true_outcome
    gate = min(horizon_gate(replay.disagreement, agrees, AGREEMENT), NO_GATE)
    return Trust(calibration, threshold, gate, len(replay.labels))


def check_outcomes(replay: Replay, trust: Trust, report: Report) -> None:
    """A11, beside the judge who always says yes and the head without calibration."""
    true = replay.true_outcome
    found = outcome_agreement(replay.outcome(trust), true)
    always = max(true.mean(), 1.0 - true.mean())
    _add_rate(report, "replayed outcomes agree", found.agreement, "agreement", reference=float(always))
    if found.false_success is not None:
        _add_rate(report, "false success", found.false_success, "false_success_max")
    if found.missed_success is not None:
        _add_rate(report, "missed success", found.missed_success, "")
    raw = outcome_agreement(replay.outcome(Trust()), true)
    _add_rate(report, "replayed outcomes agree, head as it is", raw.agreement, "")
    wrong = replay.outcome(trust) & ~true
    if wrong.any() and not wrong.all():
        value = auroc(replay.disagreement, wrong)
        report.add("A11", "AUROC of disagreement for false success", value, "", key="uncertainty_auroc")


def _add_rate(report: Report, metric: str, rate: Success, key: str, reference: float | None = None) -> None:
    interval = {"low": rate.low, "high": rate.high, "n": rate.n}
    report.add("A11", metric, rate.value, "share", key=key, reference=reference, **interval)


def check_head(replay: Replay, trust: Trust, report: Report) -> dict[str, Any]:
    """A12, before and after calibration; returns the reliability diagrams per depth."""
    labels = replay.labels.ravel()
    depths = np.tile(np.arange(1, replay.labels.shape[1] + 1), len(replay.labels))
    before, after = replay.success.ravel(), trust.success(replay.success).ravel()
    report.add("A12", "AUROC on imagined frames", auroc(before, labels), "", key="auroc")
    as_it_is, error = calibration_error(before, labels), calibration_error(after, labels)
    report.add("A12", "calibration error, head as it is", as_it_is, "share")
    report.add("A12", "calibration error", error, "share", key="ece_max", reference=as_it_is)
    metric = f"calibration error, rise by calibration ({trust.calibration.kind})"
    report.add("A12", metric, error - as_it_is, "share", key="ece_rise_max")
    return {
        name: calibration_per_depth(probabilities, labels, depths)
        for name, probabilities in (("before", before), ("after", after))
    }
