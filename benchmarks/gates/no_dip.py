"""No-dip gate: guarded residual fine-tuning never deploys what is worse than its base, and learns nearly as fast.

Arms: `TASK-guarded` (recipe resfit_guarded) and `TASK-unguarded` (resfit_fine), on the hard peg and on the simulated
peg of the demo. Every checkpoint, the last one included, runs from the same starts as the base; each point of the
curve keeps the paired 95 % interval of policy minus base. The unguarded arm has to show the dip, else the guard proves
nothing.
"""

import math
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.gate_parts import RESIDUAL_FILES, share_row
from policies.base.behavior_cloning import BehaviorCloningConfig, train_base
from policies.data.demonstrations import Demonstrations, collect, collect_from
from policies.evaluation import Evaluation, Evaluator, World, build_world
from policies.presets import with_tuples
from policies.recipes import resfit_fine, resfit_guarded
from policies.recipes.resfit_fine import FineResFiTConfig
from policies.recipes.resfit_guarded import GuardedResFiTConfig
from policies.run import Run
from policies.starts import evaluation_starts
from robot.evaluation import paired_difference
from robot.rows import row
from tests.gates.hard_peg import HardPeg, HardPegExpert

TASKS = ("hard_peg", "peg_insert")
CELLS = [(f"{task}-{kind}", seed) for task in TASKS for seed in (0, 1, 2) for kind in ("unguarded", "guarded")]
REACHED = 0.90
DEPENDS = [
    "tests/gates/blocked_peg.py",
    "tests/gates/hard_peg.py",
    "robot/tick.py",
    "sim/tasks/peg_insert.py",
    "policies/fine_residual.py",
    "policies/guard.py",
    "policies/guarded_policy.py",
    "policies/recipes/resfit_fine.py",
    "policies/recipes/resfit_guarded.py",
    "policies/state_waves.py",
    *RESIDUAL_FILES,
]


def run_cell(arm: str, seed: int, profile: dict[str, Any]) -> dict[str, Any]:
    """Clone the base, fine-tune it with or without the guard, compare every checkpoint with the base."""
    torch.set_num_threads(1)
    task, kind = arm.split("-")
    settings = profile[task]
    world, demonstrations = _task(task, settings, seed)
    config = FineResFiTConfig(**with_tuples(settings["resfit"]))
    recipe: Any = resfit_fine
    if kind == "guarded":
        recipe, config = resfit_guarded, GuardedResFiTConfig(**with_tuples(settings["resfit"] | profile["guard"]))
    clone = BehaviorCloningConfig(**with_tuples(settings["bc"]))
    starts = evaluation_starts(profile["episodes"])
    with tempfile.TemporaryDirectory() as folder, Evaluator(world) as evaluator:
        base_run, run = (Run(Path(folder) / name, tensorboard=False) for name in ("base", "run"))
        base, _ = train_base(demonstrations, clone, base_run, seed=seed)
        before = evaluator.evaluate(base_run.policy_path, starts)

        def point(env_steps: int, policy: Path) -> list[float]:
            return against(before, evaluator.evaluate(policy, starts), env_steps)

        env = build_world(world, base.spec)
        state = recipe.finetune(env, base, demonstrations, config, run, seed=seed, evaluate=point)
    return {
        "base_success": asdict(before.success),
        "curve": state.curve,  # environment steps, success, n, and the paired difference with its interval
        "warmup_steps": config.warmup_steps,
        "env_steps": config.env_steps,
        "gradient_updates": state.updates,
    }


def _task(task: str, settings: dict[str, Any], seed: int) -> tuple[World, Demonstrations]:
    if task == "hard_peg":
        return HardPeg, collect_from(HardPeg(), HardPegExpert(), "gates/hard-peg", settings["demos"], seed)
    return settings["env"], collect(settings["env"], settings["demos"], seed)


def against(base: Evaluation, policy: Evaluation, env_steps: int) -> list[float]:
    """Return one point of the curve."""
    pair = [[episode.is_success for episode in each.episodes] for each in (base, policy)]
    found = paired_difference(*pair)
    return [env_steps, policy.success.value, policy.success.n, found.value, found.low, found.high]


def judge(cells: list[dict[str, Any]], targets: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold every guarded checkpoint and the steps to 90 % against the targets; the unguarded arm must dip."""
    by_cell = {(cell["arm"], cell["seed"]): cell for cell in cells}
    rows: list[dict[str, Any]] = []
    for task in TASKS:
        seeds = sorted(seed for arm, seed in by_cell if arm == f"{task}-guarded")
        plain = {seed: by_cell[f"{task}-unguarded", seed] for seed in seeds}
        worst = min(highest_of_worst(cell) for cell in plain.values())
        rows.append(share_row(f"{task}: unguarded falls below its base", worst, targets["dip"], worst < targets["dip"]))
        for seed in seeds:
            cell, name = by_cell[f"{task}-guarded", seed], f"{task}, seed {seed}"
            high, limit = highest_of_worst(cell), targets["dip"]
            rows.append(share_row(f"{name}: upper end of the worst paired interval", high, limit, high >= limit))
            ours, theirs = steps_to(cell), steps_to(plain[seed])
            ok = math.isfinite(ours) and ours <= targets["delay"] * theirs
            rows.append(row(f"{name}: steps to 90 %", ours, "steps", target=targets["delay"], ok=ok, reference=theirs))
    return rows


def highest_of_worst(cell: dict[str, Any]) -> float:
    """Return the lowest upper end of a paired interval over all checkpoints."""
    return min(point[5] for point in cell["curve"])


def steps_to(cell: dict[str, Any]) -> float:
    """Return the environment steps, warm-up included, at the first checkpoint with 90 % success; inf without one."""
    return min((point[0] for point in cell["curve"] if point[1] >= REACHED), default=math.inf)
