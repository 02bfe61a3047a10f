"""Fine-tune a base policy in a world: train or load the base, run a recipe, evaluate both from the same starts."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from policies.actors.contract import ActorsConfig
from policies.actors.learning import WithActors, check_actors
from policies.checkpoint import load_module, load_policy, module_entries, read_content
from policies.data.demonstrations import Demonstrations, Env, seeing_env
from policies.data.sources import DemonstrationOptions, obtain
from policies.evaluation import Evaluation, Evaluator, curve_point
from policies.imagined import World, check_world, env_in
from policies.observations import cameras, image_shapes, vector_shapes
from policies.presets import resolve
from policies.run import Run, new_folder, resumed, write_json
from policies.starts import evaluation_starts
from policies.takeovers.shared_control import Watched
from policies.training_figures import draw_curves
from robot.checkpoint_file import find_policy
from robot.errors import ConfigError, unknown_name
from robot.evaluation import paired_difference
from robot.verb import Verb

NO_BASE = "none"


@dataclass(frozen=True)
class FinetuneConfig(DemonstrationOptions):
    """The world, the base, the recipe and their amounts."""

    env: str = "tandem/peg-insert"
    """World to improve in: <suite>/<name>."""
    world: World = "simulated"
    """Where to learn; `imagined`: as a world model imagines --env. Demonstrations and judge are the true world's."""
    world_model: Path | None = None
    """Folder of the model, for --world imagined."""
    base: str = "bc"
    """Kind of base to train from the demonstrations, or the path of a policy file. What the result is compared with;
    recipes that stand on no base (sac, rlpd, wsrl) also take none, and then compare with nothing."""
    recipe: str = "resfit"
    preset: str = "cpu"
    """Named settings of the recipe."""
    person: str = ""
    """Who looks on and takes over, for recipes that learn from it: a name of the group `tandem.people`; empty: whom the
    recipe is made for."""
    base_preset: str = "cpu"
    """Named settings of the base, where it is trained here."""
    set: tuple[str, ...] = ()
    """Overrides of single settings of the recipe: name=value."""
    steps: int | None = None
    """Environment steps, warm-up included; None: the preset's."""
    seed: int = 0
    eval_episodes: int = 200
    """Episodes for base_success and final_success, from the same fixed starts."""
    curve_episodes: int = 50
    """Episodes for each point of the curve."""
    workers: int = 0
    """Evaluation processes; 0: in this one."""
    actors: int = 0
    """Worlds that collect side by side, each in a process of its own, for sac, rlpd and resfit; 0: one world, here."""
    back_end: Literal["processes", "ray"] = "processes"
    """Where actors run: on this machine, or on the Ray cluster that RAY_ADDRESS names (else one of this machine)."""
    out: Path | None = None
    """Run folder; None: a new one under runs/."""
    resume: Path | None = None
    """Run folder of an interrupted run; no other flag is needed."""

    def __post_init__(self) -> None:
        check_world(self.world, self.world_model)
        if min(self.eval_episodes, self.curve_episodes) < 1 or self.workers < 0:
            raise ConfigError(
                f"eval_episodes {self.eval_episodes} and curve_episodes {self.curve_episodes} must be >= 1, "
                f"workers {self.workers} >= 0"
            )
        if self.actors:
            check_actors(self.recipe, self.actors)


def run(config: FinetuneConfig) -> dict[str, Any]:
    """Do everything that is not done yet in the run folder, and report."""
    torch.set_num_threads(1)  # small networks: a second thread only costs
    config = resumed(config, "finetune")
    began = time.monotonic()
    recipe = load_module("recipe", config.recipe, "tandem.recipes")
    check_base(config, needs_base=getattr(recipe, "NEEDS_BASE", True))
    out = config.out or new_folder(Path("runs"), f"finetune-{config.recipe}-{config.env}")
    config = replace(config, out=out)
    settings = resolve(recipe.PRESETS, config.preset, config.set, env_steps=config.steps)
    print(
        f"finetune: {config.recipe} ({config.preset}) on {config.base} in {config.env}, seed {config.seed}, into {out}"
    )
    folder = Run(out)
    folder.write_config("finetune", asdict(config), asdict(settings))
    sight = base_sight(config)
    demonstrations, demos_sha256 = obtain(
        config.env, config.data, config.demos, config.seed, out / "demos.safetensors", **sight
    )
    base_path = obtain_base(config, demonstrations, out)
    with Evaluator(config.env, config.workers) as evaluator:
        before = None if base_path is None else evaluator.evaluate(base_path, evaluation_starts(config.eval_episodes))
        print(f"base: {'none' if before is None else before.success}")
        env = watched(seeing_env(_world(config), sight["images"], sight["image_size"]), config, recipe)
        state = finetuner(config, recipe)(
            env,
            None if base_path is None else load_policy(base_path),
            demonstrations,
            settings,
            folder,
            seed=config.seed,
            evaluate=curve_point(evaluator, config.curve_episodes, out),
        )
        env.close()
        after = evaluator.evaluate(folder.policy_path, evaluation_starts(config.eval_episodes))
    folder.close()
    print(f"finetuned: {after.success}")
    result = outcome(before, after, state.curve) | {
        **_where(config, folder.policy_path, after),
        "recipe": config.recipe,
        "preset": config.preset,
        "seed": config.seed,
        "env_steps": settings.env_steps,
        "gradient_updates": state.updates,
        "demonstrations": len(demonstrations.trajectories),
        "human_ticks": demonstrations.ticks + (env.person.driven_ticks if isinstance(env, Watched) else 0),
        "learning_s": state.wall_s,
        "wall_s": time.monotonic() - began,
        "demonstrations_sha256": demos_sha256,
        "base_checkpoint": base_path,
        "base_sha256": None if base_path is None else read_content(base_path).sha256,
        "policy": folder.policy_path,
        "policy_sha256": read_content(folder.policy_path).sha256,
        "best_policy": folder.best_path,
        "curves": draw_curves(out),
        "run": out,
    }
    write_json(out / "result.json", result)
    print(f"policy: {folder.policy_path}\nnext: tandem report {out}")
    return result


def finetuner(config: FinetuneConfig, recipe: Any) -> Any:
    """Return what learns: the recipe's `finetune`, or the same with actors."""
    if not config.actors:
        return recipe.finetune
    return WithActors(config.recipe, _world(config), ActorsConfig(config.actors, config.back_end)).finetune


def watched(env: Env, config: FinetuneConfig, recipe: Any) -> Env:
    """Return the world with somebody who looks on, where the recipe learns from takeovers."""
    if not getattr(recipe, "NEEDS_PERSON", False):
        return env
    name = config.person or getattr(recipe, "PERSON", "scripted")
    return Watched(env, load_module("person", name, "tandem.people")(config.env))


def _world(config: FinetuneConfig) -> str:
    return env_in(config.world, config.env, config.world_model)


def _where(config: FinetuneConfig, policy: Path, after: Evaluation) -> dict[str, Any]:
    """Return where it learned; from imagination also what the policy achieves there: what it exploits is a gap."""
    told: dict[str, Any] = {"env": config.env, "world": config.world, "actors": config.actors}
    if config.world != "imagined":
        return told
    with Evaluator(_world(config)) as evaluator:
        found = evaluator.evaluate(policy, evaluation_starts(config.curve_episodes)).success
    print(f"in imagination: {found}")
    return told | {"imagined_success": asdict(found), "imagined_minus_true": found.value - after.success.value}


def given_base(config: FinetuneConfig) -> Path | None:
    """Return the policy file that --base is, or None where it names a kind."""
    given = Path(config.base)
    return find_policy(given) if given.exists() else None


def base_sight(config: FinetuneConfig) -> dict[str, Any]:
    """Return the vectors and cameras that the base reads, and the side of its images: its own where it is given."""
    path = given_base(config)
    if path is None:
        return {"fields": config.fields, "images": config.images, "image_size": config.image_size}
    shapes = read_content(path).spec.observation_shapes
    sizes = [shape[0] for shape in image_shapes(shapes).values()]
    size = sizes[0] if sizes else config.image_size
    return {"fields": tuple(vector_shapes(shapes)), "images": cameras(shapes), "image_size": size}


def check_base(config: FinetuneConfig, *, needs_base: bool = True) -> None:
    """Refuse a base that is neither a file nor a kind before anything is collected; names the nearest of either."""
    kinds = module_entries("tandem.bases")
    if config.base == NO_BASE and not needs_base:
        return
    if config.base == NO_BASE:
        raise ConfigError(f"{config.recipe} stands on a base: give --base a policy file or one of {sorted(kinds)}")
    if Path(config.base).exists() or config.base in kinds:
        return
    if "/" in config.base or Path(config.base).suffix:
        find_policy(config.base)
    raise unknown_name("base policy (and no file of that name)", config.base, kinds)


def obtain_base(config: FinetuneConfig, demonstrations: Demonstrations, out: Path) -> Path | None:
    """Return the policy file of the base: the given one, or one trained here from the demonstrations; None for none."""
    if config.base == NO_BASE:
        return None
    path = given_base(config)
    if path is not None:
        return path
    module = load_module("base policy", config.base, "tandem.bases")
    folder = Run(out / "base")
    module.train_base(demonstrations, resolve(module.PRESETS, config.base_preset), folder, seed=config.seed)
    folder.close()
    return folder.policy_path


def outcome(before: Evaluation | None, after: Evaluation, curve: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return base and final success, their paired difference, the curve and its worst point after the start.

    Without a base (`before` None) what speaks of it is None.
    """
    worst = min(curve[1:], key=lambda point: point[1], default=None)
    wins = [[] if item is None else [episode.is_success for episode in item.episodes] for item in (before, after)]
    return {
        "base_success": None if before is None else asdict(before.success),
        "final_success": asdict(after.success),
        "difference": None if before is None else asdict(paired_difference(*wins)),
        "success_steps": {"base": None if before is None else before.success_steps, "final": after.success_steps},
        "curve": curve,
        "curve_min": dict(zip(("env_steps", "success", "n"), worst, strict=True)) if worst else None,
    }


VERB = Verb(FinetuneConfig, run, "Fine-tune a base policy in a world and evaluate both from the same starts.")
