"""Train a base policy from demonstrations: scripted ones of a world, a file, or an episode store."""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from policies.checkpoint import load_module, read_content
from policies.data.demonstrations import Demonstrations
from policies.data.sources import DemonstrationOptions, obtain
from policies.evaluation import Evaluator, curve_point
from policies.presets import resolve
from policies.rollout_video import film
from policies.run import Run, new_folder, resumed, write_json
from policies.starts import evaluation_starts
from policies.training import LoopState
from policies.training_figures import draw_curves
from robot.errors import ConfigError
from robot.verb import Verb


@dataclass(frozen=True)
class TrainConfig(DemonstrationOptions):
    """What to learn from, how, and where to put it."""

    env: str | None = None
    """World whose scripted expert demonstrates and where the result is evaluated, e.g. tandem/peg-insert."""
    base: str = "bc"
    """Kind of base policy."""
    preset: str = "cpu"
    """Named settings of that kind."""
    set: tuple[str, ...] = ()
    """Overrides of single settings: name=value."""
    steps: int | None = None
    """Gradient steps; None: the preset's."""
    seed: int = 0
    eval_episodes: int = 50
    """Episodes from fixed starts at the end; 0: none."""
    curve_episodes: int = 20
    """Episodes for each point of the curve while it trains, which also choose the best policy; 0: no curve."""
    evaluate_every: int | None = None
    """Gradient steps between two points of the curve; None: a quarter of all."""
    videos: int = 1
    """Rollouts of the trained policy to film, where the world can draw itself."""
    workers: int = 0
    """Evaluation processes; 0: in this one."""
    out: Path | None = None
    """Run folder; None: a new one under runs/."""
    resume: Path | None = None
    """Run folder of an interrupted run; no other flag is needed."""

    def __post_init__(self) -> None:
        if min(self.eval_episodes, self.curve_episodes, self.videos, self.workers) < 0:
            raise ConfigError(
                f"eval_episodes {self.eval_episodes}, curve_episodes {self.curve_episodes}, videos {self.videos} and "
                f"workers {self.workers} must be >= 0"
            )
        if self.evaluate_every is not None and self.evaluate_every < 1:
            raise ConfigError(
                f"evaluate_every is {self.evaluate_every}, it must be 1 or more; no curve: --curve-episodes 0"
            )


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
    state, best = _train(config, module, demonstrations, settings, folder)
    curves = draw_curves(out)
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
        "best_policy": best,
        "curve": state.curve,
        "curves": curves,
        "run": out,
    }
    if config.env and config.eval_episodes:
        result |= _evaluate(config, folder.policy_path, best)
    elif config.eval_episodes and not config.env:
        print("not evaluated: give --env to evaluate it there")
    result["wall_s"] = time.monotonic() - began
    write_json(out / "result.json", result)
    if config.env and config.videos:
        result["videos"] = film(config.env, folder.policy_path, evaluation_starts(config.videos), out / "rollouts")
        write_json(out / "result.json", result)
    print(f"policy: {folder.policy_path}\ncurves: {curves}")
    print(f"next: tandem finetune --env ENV --base {folder.policy_path} --recipe resfit")
    return result


def _train(
    config: TrainConfig, module: ModuleType, demonstrations: Demonstrations, settings: Any, folder: Run
) -> tuple[LoopState, Path | None]:
    """Train with a curve where there is a world for it; return the loop's state and the file of the best policy."""
    if not config.env or not config.curve_episodes or not config.eval_episodes:
        _, state = module.train_base(demonstrations, settings, folder, seed=config.seed)
        folder.close()
        return state, None
    every = config.evaluate_every or max(1, settings.steps // 4)
    with Evaluator(config.env, config.workers) as evaluator:
        evaluate = curve_point(evaluator, config.curve_episodes, folder.folder)
        _, state = module.train_base(
            demonstrations, settings, folder, seed=config.seed, evaluate=evaluate, evaluate_every=every
        )
    folder.close()
    return state, folder.best_path


def _evaluate(config: TrainConfig, last: Path, best: Path | None) -> dict[str, Any]:
    """Evaluate the last policy, and the best one where it is another; the latter was chosen on some of these starts."""
    assert config.env is not None
    starts = evaluation_starts(config.eval_episodes)
    with Evaluator(config.env, config.workers) as evaluator:
        success = evaluator.evaluate(last, starts).success
        print(f"success: {success}")
        found = {"success": asdict(success)}
        if best is not None and read_content(best).sha256 != read_content(last).sha256:
            chosen = evaluator.evaluate(best, starts).success
            print(f"best of the curve: {chosen}, {best}")
            found["best_success"] = asdict(chosen)
    return found


VERB = Verb(TrainConfig, run, "Train a base policy from demonstrations.")
