"""World models that several gate cells share: trained once, kept outside the repository under a hash of what made them.

The folder is `~/.cache/tandem/gates`, or what the variable TANDEM_GATE_MODELS names. A model that is not there is
trained by whichever cell asks first, and one that was interrupted goes on; a cell that asks meanwhile waits. The hash
is of the files below and of the settings that the profile's preset and overrides come to.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.gates import ROOT, meaning
from policies.presets import resolve
from robot.episode_store import EpisodeStore
from world_models.contract import WorldModelSpec
from world_models.eval_verb import HELD_OUT_SEED
from world_models.recording import record_mix
from world_models.settings import PRESETS
from world_models.train_verb import TrainModel

CACHE = Path(os.environ.get("TANDEM_GATE_MODELS", Path.home() / ".cache" / "tandem" / "gates"))
RECORDING_FILES = [
    "robot/stations/fr3_sim.yaml",
    "sim/tasks/lift.py",
    "world_models/drivers.py",
    "world_models/recording.py",
]
MODEL_FILES = [
    *RECORDING_FILES,
    *(f"policies/{name}.py" for name in ("network", "training", "learners/supervised")),
    *(f"world_models/{name}.py" for name in ("batches", "codec", "contract", "data", "dynamics", "latent_cache")),
    *(f"world_models/{name}.py" for name in ("learner", "losses", "noise_levels", "settings", "success_head")),
    *(f"world_models/{name}.py" for name in ("training", "train_verb", "video_model")),
]


def folder_of(kind: str, settings: dict[str, Any], files: list[str]) -> Path:
    """Return where a thing is kept that these files make with these settings."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name in sorted(files):
        digest.update(name.encode() + meaning(ROOT / name))
    return CACHE / f"{kind}-{digest.hexdigest()[:16]}"


def model_folder(kind: str, seed: int, profile: dict[str, Any]) -> Path:
    """Return where a model is kept that learned as the profile says."""
    chosen = profile["models"][kind]
    resolved = asdict(resolve(PRESETS, chosen["preset"], chosen["set"]))
    return folder_of(kind, {"training": profile["training"], "settings": resolved, "seed": seed}, MODEL_FILES)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold a folder against other cells of this machine; wait for the one that has it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def obtain_model(kind: str, seed: int, profile: dict[str, Any]) -> Path:
    """Return the run folder of a model: `model`, `mean` (deterministic) or `success_only`; train it where absent.

    All learn from the episodes that were recorded for `model`.
    """
    training, chosen, out = profile["training"], profile["models"][kind], model_folder(kind, seed, profile)
    with alone(out):
        if (out / "result.json").is_file():
            return out
        if (out / "config.json").is_file():
            TrainModel(resume=out).run()
            return out
        given: dict[str, Any] = {"env": training["env"]}
        if kind != "model":
            given = {"data": obtain_model("model", seed, profile) / "episodes"}
        TrainModel(
            **given,
            episodes=training["episodes"],
            ticks=training["ticks"],
            views=tuple(training["views"]),
            preset=chosen["preset"],
            set=tuple(chosen["set"]),
            success_only=kind == "success_only",
            seed=seed,
            out=out,
        ).run()
    return out


def obtain_held_out(spec: WorldModelSpec, profile: dict[str, Any]) -> Path:
    """Return a store of episodes that no model learned from; record it where absent."""
    settings = {"episodes": profile["held_out"], "env": profile["training"]["env"], "size": 2 * spec.image_size}
    out = folder_of("held-out", settings | {"views": list(spec.views)}, RECORDING_FILES)
    with alone(out):
        record_mix(
            settings["env"],
            EpisodeStore(out),
            settings["episodes"],
            views=spec.views,
            image_size=settings["size"],
            seed=HELD_OUT_SEED,
        )
    return out


def trained_facts(run: Path) -> dict[str, Any]:
    """Return what a training left: its time, data and first look."""
    result = json.loads((run / "result.json").read_text())
    names = (
        "wall_s",
        "cpu_s",
        "frames",
        "held_out_frames",
        "success_share",
        "store_sha256",
        "first_look",
        "seed",
        "preset",
    )
    return {name: result[name] for name in names}
