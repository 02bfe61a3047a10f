"""`tandem imagine eval`: hold a world model against recorded episodes that it never saw."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from policies.run import new_folder, write_json
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from robot.machine import machine
from robot.specs import load_station
from world_models.acceptance.accept import STEPS, accept
from world_models.acceptance.clips import cut_clips
from world_models.acceptance.pose_probe import PoseProbe, fit_probe
from world_models.acceptance.rows import in_words, read_targets
from world_models.acceptance.zoo import Evidence, check_zoo
from world_models.contract import WorldModel
from world_models.episode_frames import EpisodeFrames, read_frames
from world_models.loading import load_world_model
from world_models.recording import record_mix
from world_models.video_model import VideoWorldModel

HELD_OUT_SEED = 7_000_000  # of recorded starts: no training data are recorded with it
CALIBRATION_SHARE = 0.4


@dataclass(frozen=True)
class EvalModel:
    """Print every check of a world model with its baselines, film what it gets wrong, calibrate its success."""

    model: tyro.conf.Positional[Path]
    """A run folder of `tandem imagine train`, or a model file."""
    data: Path | None = None
    """Store of episodes that the model did not learn from; None: record them in the model's simulated task."""
    episodes: int = 160
    """Episodes to record; two fifths fit the calibration and the pose probe, the figures are of the rest."""
    tier: str = "cpu"
    """Whose targets: cpu or gpu."""
    zoo: bool = False
    """Also break the model in every known way: each must fail the check that is for it."""
    success_only: Path | None = None
    """For --zoo: the run folder of a model that never saw a failure (`imagine train --success-only`)."""
    steps: int = STEPS
    """New frames of the long checks."""
    seed: int = 0
    out: Path | None = None
    """Folder for result.json, videos and recorded episodes; None: a new one under runs/."""

    def __post_init__(self) -> None:
        if self.success_only is not None and not self.zoo:
            raise ConfigError(f"--success-only {self.success_only} is for --zoo: add it, or leave the model out")

    def run(self) -> dict[str, Any]:
        """Check, print, calibrate, return rows in the form of a benchmark."""
        torch.set_num_threads(1)
        began = time.monotonic()
        targets = read_targets(self.tier)
        model, out = load_world_model(self.model), self.out or new_folder(Path("runs"), "imagine-eval")
        out.mkdir(parents=True, exist_ok=True)
        print(f"imagine eval: {self.model} against {self.data or f'{self.episodes} new episodes'}, into {out}")
        test, calibration = split(self._episodes(model, out))
        probe = fit_probe(model, load_station(model.spec.station), calibration, self.seed)
        found = accept(model, test, calibration, targets, probe, steps=self.steps, films=out / "videos")
        if self.zoo:
            given = {} if self.success_only is None else {"success_only": load_world_model(self.success_only)}
            check_zoo(model, evidence_of(model, test, probe, self.steps), found.report, given)
        if self.model.is_dir():
            print(f"calibration: {found.trust.write(self.model)}")
        for item in found.report.rows:
            print(in_words(item), flush=True)
        result = {
            "name": "imagine-eval",
            "ok": not found.report.failed(),
            "rows": found.report.rows,
            "failed": found.report.failed(),
            "not_measurable": found.report.unmeasured(),
            "reliability": found.reliability,
            "trust": asdict(found.trust),
            "episodes": {"test": len(test), "calibration": len(calibration)},
            "videos": found.films,
            "machine": machine(),
            "wall_s": time.monotonic() - began,
        }
        write_json(out / "result.json", result)
        print(f"failed: {', '.join(result['failed']) or 'nothing'}; videos: {out / 'videos'}")
        print(f"not measurable: {', '.join(result['not_measurable']) or 'nothing'}")
        return result

    def _episodes(self, model: VideoWorldModel, out: Path) -> list[EpisodeFrames]:
        store, spec = self.data or out / "episodes", model.spec
        if self.data is None:
            size = 2 * spec.image_size
            opened = EpisodeStore(store)
            record_mix(
                f"tandem/{spec.task}", opened, self.episodes, views=spec.views, image_size=size, seed=HELD_OUT_SEED
            )
        hashes = sorted(info.content_sha256 for info in EpisodeStore(store).episodes() if not info.is_discarded)
        if hashlib.sha256("".join(hashes).encode()).hexdigest() != model.metadata.get("store_sha256"):
            return read_frames(store, spec)
        held_out = model.metadata.get("held_out", [])
        if not held_out:
            raise ConfigError(f"{store} is what the model learned from: give other episodes, or none to record some")
        print(f"{store} is what the model learned from: only the {len(held_out)} episodes it never saw are used")
        return read_frames(store, spec, episodes=held_out)


def split(episodes: Sequence[EpisodeFrames]) -> tuple[list[EpisodeFrames], list[EpisodeFrames]]:
    """Return episodes to test on, and others to calibrate on, both with successes and failures in equal numbers."""
    parts: tuple[list[EpisodeFrames], list[EpisodeFrames]] = ([], [])
    wins = [episode for episode in episodes if episode.is_success]
    losses = [episode for episode in episodes if not episode.is_success]
    count = min(len(wins), len(losses))
    held = round(CALIBRATION_SHARE * count)
    if held < 2 or count - held < 2:
        raise ConfigError(
            f"the checks need successes and failures: found {len(wins)} and {len(losses)} among {len(episodes)} "
            "episodes; record more, near misses too (tandem imagine record)"
        )
    for pair in zip(wins[:count], losses[:count], strict=True):
        parts[1 if len(parts[1]) < 2 * held else 0].extend(pair)
    return parts


def evidence_of(model: WorldModel, test: Sequence[EpisodeFrames], probe: PoseProbe, steps: int) -> Evidence:
    """Return what the checks of broken models look at, of the episodes that every figure is of."""
    room = min(len(episode) for episode in test) - model.spec.memory - 1
    warm, cold = (cut_clips(test, model.spec, min(steps, room), is_cold=is_cold) for is_cold in (False, True))
    return Evidence(load_station(model.spec.station), warm, cold, probe)
