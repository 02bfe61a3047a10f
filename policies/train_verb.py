"""Train a base policy from demonstrations: scripted ones of a world, a file, or an episode store."""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from policies.checkpoint import load_module, read_content
from policies.data.sources import obtain
from policies.evaluation import evaluate
from policies.presets import resolve
from policies.run import Run, new_folder, resumed, write_json
from policies.starts import evaluation_starts
from robot.verb import Verb


@dataclass(frozen=True)
class TrainConfig:
    """What to learn from, how, and where to put it."""

    env: str | None = None
    """World whose scripted expert demonstrates and where the result is evaluated, e.g. tandem/peg-insert."""
    base: str = "bc"
    """Kind of base policy."""
    preset: str = "cpu"
    """Named settings of that kind."""
    set: tuple[str, ...] = ()
    """Overrides of single settings: name=value."""
    demos: int = 50
    """Successful demonstrations to collect where no --data is given."""
    data: Path | None = None
    """A demonstrations file or the folder of an episode store."""
    fields: tuple[str, ...] = ()
    """Vectors of the observation that the base reads; none named: all."""
    images: tuple[str, ...] = ()
    """Cameras that the base sees through; none named: none."""
    image_size: int = 84
    """Side of its square images [pixels]."""
    steps: int | None = None
    """Gradient steps; None: the preset's."""
    seed: int = 0
    eval_episodes: int = 50
    """Episodes from fixed starts at the end; 0: none."""
    workers: int = 0
    """Evaluation processes; 0: in this one."""
    out: Path | None = None
    """Run folder; None: a new one under runs/."""
    resume: Path | None = None
    """Run folder of an interrupted run; no other flag is needed."""


def run(config: TrainConfig) -> dict[str, Any]:
    """Train, save, evaluate."""
    torch.set_num_threads(1)  # small networks: a second thread only costs
    config = resumed(config, "train")
    began = time.monotonic()
    out = config.out or new_folder(Path("runs"), f"train-{config.base}-{config.env or 'data'}")
    config = replace(config, out=out)
    module = load_module("base policy", config.base, "tandem.bases")
    settings = resolve(module.PRESETS, config.preset, config.set, steps=config.steps)
    print(f"train: {config.base} ({config.preset}), from {config.data or config.env}, seed {config.seed}, into {out}")
    folder = Run(out)
    folder.write_config("train", asdict(config), asdict(settings))
    demonstrations, sha256 = obtain(
        config.env,
        config.data,
        config.demos,
        config.seed,
        out / "demos.safetensors",
        fields=config.fields,
        images=config.images,
        image_size=config.image_size,
    )
    _, state = module.train_base(demonstrations, settings, folder, seed=config.seed)
    folder.close()
    result: dict[str, Any] = {
        "env": config.env or demonstrations.env_id,
        "base": config.base,
        "preset": config.preset,
        "seed": config.seed,
        "gradient_updates": state.updates,
        "demonstrations": len(demonstrations.trajectories),
        "human_ticks": demonstrations.ticks,
        "demonstrations_sha256": sha256,
        "policy": folder.policy_path,
        "policy_sha256": read_content(folder.policy_path).sha256,
        "run": out,
    }
    if config.env and config.eval_episodes:
        success = evaluate(
            config.env, folder.policy_path, evaluation_starts(config.eval_episodes), config.workers
        ).success
        print(f"success: {success}")
        result["success"] = asdict(success)
    elif config.eval_episodes and not config.env:
        print("not evaluated: give --env to evaluate it there")
    result["wall_s"] = time.monotonic() - began
    write_json(out / "result.json", result)
    print(f"policy: {folder.policy_path}\nnext: tandem finetune --env ENV --base {folder.policy_path} --recipe resfit")
    return result


VERB = Verb(TrainConfig, run, "Train a base policy from demonstrations.")
