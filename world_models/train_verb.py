"""`tandem imagine train`: a world model from recorded episodes, or from a data mix recorded for it in simulation."""

import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from policies.presets import resolve
from policies.run import Run, new_folder, resumed, write_json
from policies.training_figures import draw_curves
from robot.episode_store import EpisodeStore
from robot.errors import ConfigError
from world_models.broken import copy_successes
from world_models.recording import record_mix
from world_models.settings import PRESETS, VideoModelConfig
from world_models.training import Trained, train_world_model
from world_models.validation import film, first_look

VERB_NAME = "imagine train"
PHASES = ("codec", "dynamics", "head")


@dataclass(frozen=True)
class TrainModel:
    """Train a world model on recorded episodes, failures included; or record them first in a simulated world."""

    data: Path | None = None
    """Folder of an episode store."""
    env: str | None = None
    """Simulated world to record a data mix in where no --data is given, e.g. tandem/lift."""
    episodes: int = 150
    """Episodes to record."""
    ticks: int = 100
    """Control ticks of each."""
    task: str | None = None
    """Task of the episodes, where a store holds several."""
    views: tuple[str, ...] = ()
    """Cameras; none named: all of the station, or all that were recorded."""
    preset: str = "cpu"
    """Named settings: cpu, cpu_mean (deterministic), gpu, debug."""
    set: tuple[str, ...] = ()
    """Overrides of single settings: name=value."""
    success_only: bool = False
    """Learn from solved episodes alone: a model that checks must catch (`imagine eval --zoo`), for nothing else."""
    seed: int = 0
    videos: int = 4
    """Held-out windows to film, true above imagined."""
    threads: int = 1
    """Of the processor, for training."""
    out: Path | None = None
    """Run folder; None: a new one under runs/."""
    resume: Path | None = None
    """Run folder of an interrupted run; no other flag is needed."""

    def __post_init__(self) -> None:
        if self.resume is None and (self.data is None) == (self.env is None):
            raise ConfigError("give either --data STORE, or --env tandem/TASK to record in")
        if min(self.episodes, self.ticks, self.threads) < 1 or self.videos < 0:
            raise ConfigError(
                f"episodes {self.episodes}, ticks {self.ticks} and threads {self.threads} must be >= 1, "
                f"videos {self.videos} >= 0"
            )

    def run(self) -> dict[str, Any]:
        """Record where asked to, train, look at it once, film it."""
        config = resumed(self, VERB_NAME)
        torch.set_num_threads(config.threads)
        out = config.out or new_folder(Path("runs"), f"world-model-{config.env or 'data'}")
        config = replace(config, out=out)
        settings = resolve(PRESETS, config.preset, config.set)
        print(f"imagine train: {config.preset}, from {config.data or config.env}, seed {config.seed}, into {out}")
        folder = Run(out, tensorboard=False)
        folder.write_config(VERB_NAME, asdict(config), asdict(settings))
        began, cpu = time.monotonic(), _cpu_s()
        store, recorded = _episodes(config, settings, out)
        trained = train_world_model(store, settings, out, views=config.views, task=config.task, seed=config.seed)
        cost = {"wall_s": time.monotonic() - began, "cpu_s": _cpu_s() - cpu}
        result = _look(config, trained, out) | {"recorded": recorded} | cost
        write_json(out / "result.json", result)
        print(f"model: {trained.path}\nnext: tandem imagine eval {out}")
        return result


def _cpu_s() -> float:
    """Return the processor time of this process and of those it has waited for (a compiler)."""
    return sum(os.times()[:4])


def _episodes(config: TrainModel, settings: VideoModelConfig, out: Path) -> tuple[Path, dict[str, Any] | None]:
    """Return the store to learn from; a mix that was not recorded to its end goes on where it stopped."""
    store, recorded = _recorded(config, settings, out)
    if not config.success_only:
        return store, recorded
    kept = copy_successes(store, out / "successes")
    print(f"--success-only: {kept} episodes, none of them a failure")
    return out / "successes", recorded


def _recorded(config: TrainModel, settings: VideoModelConfig, out: Path) -> tuple[Path, dict[str, Any] | None]:
    if config.data is not None:
        return config.data, None
    assert config.env is not None
    store = out / "episodes"
    recorded = record_mix(
        config.env,
        EpisodeStore(store),
        config.episodes,
        views=config.views,
        image_size=2 * settings.image_size,
        ticks=config.ticks,
        seed=config.seed,
    )
    return store, recorded


def _look(config: TrainModel, trained: Trained, out: Path) -> dict[str, Any]:
    look = first_look(trained)
    for name, value in look.items():
        print(f"{name:<28} {value:8.2f}")
    table = trained.data.table
    return {
        "model": trained.path,
        "preset": config.preset,
        "seed": config.seed,
        "frames": len(table),
        "held_out_frames": int(table.is_validation.sum()),
        "success_share": float(table.success.mean()),
        "store_sha256": trained.data.store_sha256,
        "first_look": look,
        "videos": film(trained, out / "videos", config.videos) if config.videos else [],
        "curves": [draw_curves(out / phase) for phase in PHASES],
        "run": out,
    }
