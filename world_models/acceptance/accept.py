"""All of section 9 that a model can be held to by itself, in one call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robot.specs import load_station
from world_models.acceptance import following_checks, outcome_checks, pose_checks, video_checks
from world_models.acceptance.clips import Clips, cut_clips, imagine_clips
from world_models.acceptance.exactness_checks import check_exactness
from world_models.acceptance.film import film_clips
from world_models.acceptance.pose_probe import PoseProbe
from world_models.acceptance.rows import Report
from world_models.contract import WorldModel
from world_models.episode_frames import EpisodeFrames
from world_models.trust import Trust

STEPS = 20  # new frames of the long checks: 5 chained calls of 4
WARM_CLIPS = 48  # of the video checks
FILMED = 3


@dataclass(frozen=True)
class Accepted:
    """What was found, what was fitted on the way, and what to look at."""

    report: Report
    trust: Trust
    reliability: Mapping[str, Any] = field(default_factory=dict)
    films: tuple[Path, ...] = ()


def accept(
    model: WorldModel,
    test: Sequence[EpisodeFrames],
    calibration: Sequence[EpisodeFrames],
    targets: Mapping[str, Any],
    probe: PoseProbe,
    *,
    steps: int = STEPS,
    films: Path | None = None,
) -> Accepted:
    """Run A1 to A12 and A18.

    Args:
        model: to be held against the truth.
        test: held-out episodes that every figure is reported of, successes and failures.
        calibration: others, for the calibration of success and the gate.
        targets: as `rows.read_targets`; {} reports without deciding.
        probe: says where the hand is (`pose_probe.fit_probe` on the calibration episodes).
        steps: length of the long clips.
        films: folder for videos of the worst clips; None: none.
    """
    report, spec = Report(targets), model.spec
    station = load_station(spec.station)
    warm = cut_clips(test, spec, min(steps, _room(test, spec.memory)), is_cold=False).few(WARM_CLIPS)
    made = imagine_clips(model, warm)
    video_checks.check_ceiling(model, warm, report)
    one = warm.short(1)
    video_checks.check_against_copy(model, one, imagine_clips(model, one), report, "A2")
    video_checks.check_against_copy(model, warm, made, report, "A3")
    shuffled = video_checks.check_shuffled(model, warm, made, report)
    following_checks.check_loss_ratio(model, warm, report)
    following_checks.check_variance(model, warm, report)
    pose_checks.check_displacement(model, station, warm, made, probe, report)
    following_checks.check_timing(model, warm, report)
    pose_checks.check_standing(model, station, warm, probe, report)
    pose_checks.check_views(model, station, warm, made, probe, report)
    trust, reliability, cold, replay = _outcomes(model, test, calibration, steps, report)
    check_exactness(model, warm, report)
    filmed: list[Path] = []
    if films is not None:
        worst = np.argsort(video_checks.clip_scores(warm, model.decode(made.latents)))[:FILMED]
        names = [f"worst-{place}-{warm.records[row].episode}" for place, row in enumerate(worst)]
        columns = (warm.true, model.decode(made.latents), shuffled)
        filmed += film_clips(films, columns, worst.tolist(), names, rate_hz=1 / spec.step_s)
        filmed += _film_wrong(model, cold, replay, trust, films)
    return Accepted(report, trust, reliability, tuple(filmed))


def _room(episodes: Sequence[EpisodeFrames], memory: int) -> int:
    """Return the longest warm clip that at least half of the episodes have."""
    return max(int(np.median([len(episode) for episode in episodes])) - memory - 1, 1)


def _outcomes(
    model: WorldModel, test: Sequence[EpisodeFrames], calibration: Sequence[EpisodeFrames], steps: int, report: Report
) -> tuple[Trust, dict[str, Any], Clips, outcome_checks.Replay]:
    """Fit trust on the one half of the episodes and check outcomes on the other."""
    longest = min(steps, *(int(np.median([len(item) for item in part])) - 1 for part in (test, calibration)))
    trust = outcome_checks.fit_trust(outcome_checks.replay_clips(model, cut_clips(calibration, model.spec, longest)))
    cold = cut_clips(test, model.spec, longest)
    replay = outcome_checks.replay_clips(model, cold)
    outcome_checks.check_outcomes(replay, trust, report)
    return trust, outcome_checks.check_head(replay, trust, report), cold, replay


def _film_wrong(
    model: WorldModel, cold: Clips, replay: outcome_checks.Replay, trust: Trust, folder: Path
) -> list[Path]:
    """Film replays that came out otherwise than they truly did."""
    imagined, true = replay.outcome(trust), replay.true_outcome
    rows = np.flatnonzero(imagined != true)[:FILMED].tolist()
    names = [f"{'false' if imagined[row] else 'missed'}-success-{cold.records[row].episode}" for row in rows]
    wrong = model.decode(imagine_clips(model, cold, cold.shuffled(model.spec)).latents) if rows else {}
    columns = (cold.true, replay.frames, wrong)
    return film_clips(folder, columns, rows, names, rate_hz=1 / model.spec.step_s)
